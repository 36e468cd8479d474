"""Zones: several drums, each with a microphone and a model of its own, at once."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxsnare.dsp.followers import Limiter
from jaxsnare.live.engine import Engine, Played
from jaxsnare.live.rack import Rack
from jaxsnare.remapper import PEAK_RELEASE_MS


class Zones:
    """Engines that play together, each on an input of its own: an engine like one.

    All have one block length and one sample rate. `process` takes blocks [Z, T]; what
    is heard is the sum of what they play, limited as each of them is, and the input
    that a recording gets is the mean of theirs.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self.engines = tuple(engines)
        self.block = engines[0].block
        latest = max(engines, key=lambda engine: engine.remapper.latency)
        self.remapper = latest.remapper
        limiter = Limiter(self.remapper.sample_rate)
        self._peaks = jnp.stack([limiter.init()] * 2)

        def limit(peaks, x):
            release_ms = jnp.asarray(PEAK_RELEASE_MS, x.dtype)
            return jax.vmap(limiter.step, (None, 0, 0))(release_ms, peaks, x)

        both = jnp.zeros((2, self.block), jnp.float32)
        self._limit = jax.jit(limit).lower(self._peaks, both).compile()

    def process(self, x: NDArray[np.float32]) -> Played:
        """The next block of every zone, x: [Z, T]."""
        played = [e.process(row) for e, row in zip(self.engines, x, strict=True)]
        signals = zip(*(p[:3] for p in played), strict=True)
        audio, synth, heard = (np.stack(signal) for signal in signals)
        sums = np.stack([audio.sum(axis=0), synth.sum(axis=0)])
        self._peaks, limited = self._limit(self._peaks, sums)
        audio, synth = np.asarray(limited)
        return Played(
            audio,
            synth,
            heard.mean(axis=0),
            max(p.level_db for p in played),
            sum(p.onsets for p in played),
            tuple(h._replace(zone=z) for z, p in enumerate(played) for h in p.hits),
        )

    @property
    def bad_input(self) -> int:
        return sum(engine.bad_input for engine in self.engines)

    def forget(self) -> None:
        for engine in self.engines:
            engine.forget()

    def forget_ranges(self) -> None:
        for engine in self.engines:
            engine.forget_ranges()


class ZoneRack(Rack):
    """Models that all play, each in a zone; the knobs are those of the chosen one."""

    def compile(self) -> None:
        """Make all models ready to play; alike ones are compiled once."""
        rate, block, running = self.settings
        engines: list[Engine] = []
        for slot, model in zip(self.slots, self._models, strict=True):
            remapper = model.remapper(rate, running)
            alike = next((e for e in engines if e.remapper == remapper), None)
            if alike is None:
                engine = Engine(remapper, model.params(), block)
            else:
                engine = alike.twin(model.params())
            engine.warm_up()
            engines.append(engine)
            slot.controls = self.knobs_of(model, engine)
        self.zones = Zones(engines)
        self._turn(0)

    def _turn(self, number: int) -> None:
        controls = self.slots[number].controls
        assert controls is not None
        self.zone = number
        self.controls, self.playing = controls, self.slots[number].folder

    @property
    def engine(self) -> Any:
        """All of them."""
        return self.zones

    def engines(self) -> Iterator[Engine]:
        return iter(self.zones.engines)

    def add(self, folder: Any) -> int:
        raise ValueError("zones play the models that they began with")

    def choose(self, number: int) -> str:
        """Let the keys turn the knobs of a zone; what happens."""
        self._turn(number)
        return f"the knobs are those of {self.playing}"
