"""Everything a performer turns, by name: checked, atomic, without a recompile."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np

from jaxsnare.detector import detector_specs
from jaxsnare.knobs import PLAY_SPECS
from jaxsnare.live.engine import Engine
from jaxsnare.model import Model
from jaxsnare.params import ParamSet, ParamSpec
from jaxsnare.presets import Preset, save_preset

SHIFT_RANGE, SCALE_RANGE = 1.0, 4.0


def control_specs(model: Model) -> ParamSet:
    """The knobs of a model: playing, detector, preset, damping, latent controls.

    Synth parameters keep their names ("osc1.freq"); "damping.osc1.freq" is how far
    the mapping may move one; "scale.SPL_T" and "shift.SPL_T" act on a difference
    that the network is given. Their defaults are what the model says.
    """

    def at(specs: ParamSet, values: Mapping[str, float]) -> list[ParamSpec]:
        return [replace(s, default=values.get(s.name, s.default)) for s in specs]

    damping = [
        ParamSpec(f"damping.{name}", "", 0.0, 1.0, value)
        for name, value in model.preset.damping.items()
    ]
    latent = [
        spec
        for name in model.remapper().seen_names
        for spec in (
            ParamSpec(f"scale.{name}", "", -SCALE_RANGE, SCALE_RANGE, 1.0),
            ParamSpec(f"shift.{name}", "", -SHIFT_RANGE, SHIFT_RANGE, 0.0),
        )
    ]
    play = at(PLAY_SPECS, model.play)
    onset = at(detector_specs(model.hears), model.onset)
    preset = at(model.specs, model.preset.values)
    return ParamSet((*play, *onset, *preset, *damping, *latent))


class Controls:
    """The knobs of an engine that plays a model.

    `set` may be called from any thread at any time: the engine's vector is replaced
    whole, so a block sees all of a change or nothing of it. Not active: the knobs of a
    model that does not play (yet); turning them is heard once they `take_over`.
    Raises ValueError for a model whose step is not the one that the engine compiled.
    """

    def __init__(self, engine: Engine, model: Model, active: bool = True) -> None:
        playing = engine.remapper
        needed = model.remapper(playing.sample_rate, playing.running_normaliser)
        if needed != playing:
            raise ValueError(
                "that model has another synth, range, window or mapping than the "
                "engine, which cannot play it"
            )
        self.engine, self.model = engine, model
        self.specs = control_specs(model)
        self._active = active
        self._lock = Lock()
        self._base = engine.pack(model.params())
        self._places = self._find_places()
        self._values = {s.name: s.default for s in self.specs}
        self._send()

    def _find_places(self) -> dict[str, int]:
        index = self.engine.index
        places = {name: int(i) for name, i in (index.play | index.onset).items()}
        for k, name in enumerate(self.model.specs.names):
            places[name] = int(index.map.preset[k])
            places[f"damping.{name}"] = int(index.map.damping[k])
        for k, name in enumerate(self.engine.remapper.seen_names):
            places[f"scale.{name}"] = int(index.map.scale[k])
            places[f"shift.{name}"] = int(index.map.shift[k])
        return places

    def __getitem__(self, name: str) -> float:
        self.specs[name]
        return self._values[name]

    def set(self, name: str, value: float) -> None:
        """Turn a knob, in its unit. ValueError if unknown or out of range."""
        self.set_many({name: value})

    def set_many(self, values: dict[str, float]) -> None:
        """Turn several knobs at once: all of them, or on an error none."""
        checked = {name: self.specs.check_one(name, v) for name, v in values.items()}
        with self._lock:
            self._values |= checked
            self._send()

    def _stored(self, name: str, value: float) -> float:
        """A value as the step wants it: presets are in the unit interval there."""
        if name not in self.model.specs.names:
            return value
        spec = self.model.specs[name]
        if spec.scale == "log":
            return float(np.log(value / spec.lo) / np.log(spec.hi / spec.lo))
        # In float32, as ParamSet.to_unit: a knob at rest changes no bit of the sound.
        lo, span = np.float32(spec.lo), np.float32(spec.hi - spec.lo)
        return float((np.float32(value) - lo) / span)

    def _send(self) -> None:
        """Let the engine play what the knobs say from the next block on."""
        if not self._active:
            return
        vector = self._base.copy()
        for name, value in self._values.items():
            vector[self._places[name]] = self._stored(name, value)
        self.engine.vector = vector

    def _turned(self) -> dict[str, float]:
        """What of PLAY_SPECS stands elsewhere than the model says."""
        now = {name: self._values[name] for name in PLAY_SPECS.names}
        return {k: v for k, v in now.items() if v != self.specs[k].default}

    def take_over(self, other: "Controls") -> None:
        """Play from now on, in place of other knobs; how it is played stays."""
        with other._lock:
            other._active = False
            turned = other._turned()
        with self._lock:
            usual = {name: self.specs[name].default for name in PLAY_SPECS.names}
            self._values |= usual | turned
            self._active = True
            self._send()

    def preset(self) -> dict[str, dict[str, float]]:
        """What the knobs say, in the schema of preset files.

        Preset and damping of the synth, and all others that are not at their default.
        """
        names = self.model.specs.names
        damping = {name: f"damping.{name}" for name in names}
        others = set(self.specs.names).difference(names, damping.values())
        return {
            "preset": {name: self._values[name] for name in names},
            "damping": {name: self._values[knob] for name, knob in damping.items()},
            "knobs": {
                name: self._values[name]
                for name in sorted(others)
                if self._values[name] != self.specs[name].default
            },
        }

    def save_preset(self, path: str | Path) -> None:
        """Write the turned knobs as a preset file, whole or not at all."""
        stored = self.preset()
        values, damping, knobs = (stored[k] for k in ("preset", "damping", "knobs"))
        save_preset(path, Preset(values, damping, knobs))
