"""Presets: parameter values and damping in a JSON file, in physical units.

The schema is the published one (Shier et al. 2024): {"preset": {name: value, ...},
"damping": {name: factor, ...}}; the order of keys does not matter, and a parameter
without damping has 1. A file saved while playing has "knobs" as well: how it was
played, by the names of `live.controls`.
"""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from jaxsnare.files import write_whole
from jaxsnare.params import ParamSet, Values, as_number, unknown
from jaxsnare.synths import Synth

USUAL_SNARE = "808_snare_1"  # of the published presets, of which it is not the first


class Preset(NamedTuple):
    """Values in physical units, and how far a mapping may move each (0..1)."""

    values: dict[str, float]
    damping: dict[str, float]
    knobs: Mapping[str, float] = {}


def preset_names(synth: Synth | None = None) -> list[str]:
    """The presets that ship (for a synth: those that fit its parameters)."""
    files = [f for f in resources.files(__name__).iterdir() if f.name.endswith(".json")]
    names = sorted(f.name.removesuffix(".json") for f in files)
    if synth is None:
        return names
    return [n for n in names if set(_shipped(n)["preset"]) == set(synth.specs.names)]


def usual_preset(synth: Synth) -> str:
    """The preset that is meant where none is named: the first that ships for a synth.

    Where none does, or it is out of range at the synth's rate: "default".
    """
    names = preset_names(synth)
    name = USUAL_SNARE if USUAL_SNARE in names else next(iter(names), "default")
    try:
        read_preset(name, synth)
    except ValueError:
        return "default"
    return name


def _shipped(name: str) -> dict[str, Any]:
    return json.loads((resources.files(__name__) / f"{name}.json").read_text("utf-8"))


def read_preset(name: str | Path, synth: Synth) -> Preset:
    """A shipped preset by name, or a preset file; complete and within all ranges.

    The name "default" stands for the defaults that a synth declares. Raises
    ValueError that names the file, the parameter, what came and what is allowed.
    """
    if str(name) == "default":
        return Preset(synth.specs.defaults, dict.fromkeys(synth.specs.names, 1.0))
    path = Path(name)
    if str(name) in preset_names():
        content = _shipped(str(name))
    elif path.suffix == ".json" or path.is_file():
        content = _read_json(path)
    else:
        choices = ["default", *preset_names(synth)]
        raise ValueError(f"{unknown('preset', str(name), choices)}, or a .json file")
    try:
        return parse_preset(content, synth.specs)
    except ValueError as error:
        raise ValueError(f"preset {name}: {error}") from None


def load_preset(name: str | Path, synth: Synth) -> Values:
    """The values of a preset, by name in physical units: the params of a synth.

    >>> from jaxsnare import Snare808
    >>> load_preset("808_snare_1", Snare808(sample_rate=48_000))["osc1.freq"]
    180.0
    """
    return dict(read_preset(name, synth).values)


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise ValueError(f"preset {path}: no such file")
    try:
        return json.loads(path.read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"preset {path}: not JSON ({error})") from None


def parse_preset(content: Any, specs: ParamSet) -> Preset:
    """Check what a preset file holds against a set of parameters."""
    if not isinstance(content, dict) or not isinstance(content.get("preset"), dict):
        raise ValueError('expected {"preset": {name: value, ...}, "damping": {...}}')
    values = specs.check(content["preset"])
    given = content.get("damping", {})
    if not isinstance(given, dict):
        raise ValueError(f'"damping" must be an object, got {given!r}')
    damping = dict.fromkeys(specs.names, 1.0)
    for name, value in given.items():
        if name not in damping:
            raise ValueError(unknown("parameter in damping", name, specs.names))
        damping[name] = as_number(value, f"damping of {name}")
        if not 0.0 <= damping[name] <= 1.0:
            raise ValueError(f"damping of {name!r} is {value:g}, allowed is 0..1")
    knobs = content.get("knobs", {})
    if not isinstance(knobs, dict):
        raise ValueError(f'"knobs" must be an object, got {knobs!r}')
    return Preset(values, damping, {k: as_number(v, k) for k, v in knobs.items()})


def save_preset(path: str | Path, preset: Preset) -> None:
    """Write a preset file, whole or not at all. ValueError if it cannot be written."""
    content: dict[str, Any] = {"preset": preset.values, "damping": preset.damping}
    if preset.knobs:
        content["knobs"] = dict(preset.knobs)
    write_whole(Path(path), (json.dumps(content, indent=2) + "\n").encode())
