"""An 808-style hand clap: a band of noise, clapped by many hands in a room."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsnare.dsp.envelopes import bursts, decay
from jaxsnare.dsp.filters import Biquad
from jaxsnare.dsp.shapers import gain, tanh_drive
from jaxsnare.params import ParamSet, ParamSpec
from jaxsnare.synths import ranges
from jaxsnare.synths.synth import Synth

HANDS = 4


@dataclass(frozen=True)
class Clap808(Synth):
    """The hand clap of the TR-808: 9 parameters.

    After Roland's TR-808 service notes (1981): white noise through a bandpass of about
    1 kHz goes two ways. One is clapped by a sawtooth envelope, three teeth of 10 ms
    and a last one that is longer; the other decays once, slowly, for the room.

    >>> len(Clap808(sample_rate=48_000).specs)
    9
    """

    @property
    def specs(self) -> ParamSet:
        return ParamSet(
            (
                ParamSpec("noise_filter.freq", "Hz", 200.0, 6000.0, 1000.0, "log"),
                ranges.filter_q("noise_filter.q", 1.9),
                ParamSpec("bursts.spacing", "ms", 3.0, 30.0, 10.0),
                ParamSpec("bursts.decay", "ms", 5.0, 100.0, 18.0, "log"),
                ParamSpec("last.decay", "ms", 10.0, 500.0, 60.0, "log"),
                ranges.decay_ms("room_env.decay", 300.0),
                ranges.gain_db("bursts_gain.gain", 0.0),
                ranges.gain_db("room_gain.gain", -12.0),
                ranges.drive_db("tanh.in_gain", 6.0),
            )
        )

    @property
    def _bandpass(self) -> Biquad:
        return Biquad("bandpass", self.sample_rate)

    def voice_init(self, dtype: Any) -> Float[Array, " 2"]:
        return self._bandpass.init(dtype)

    def voice(self, p, state, n, white):
        sr = self.sample_rate
        state, noise = self._bandpass.step(
            (p["noise_filter.freq"], p["noise_filter.q"]),
            state,
            jnp.where(n < 0, 0.0, white()),
        )
        hands = bursts(
            n, p["bursts.spacing"], p["bursts.decay"], p["last.decay"], HANDS, sr
        )
        room = decay(n, p["room_env.decay"], sr)
        level = gain(hands, p["bursts_gain.gain"]) + gain(room, p["room_gain.gain"])
        return state, tanh_drive(noise * level, p["tanh.in_gain"])
