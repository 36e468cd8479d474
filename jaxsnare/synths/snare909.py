"""A 909-style snare: two bent triangles and two ways of noise."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsnare.dsp.envelopes import attack_decay, decay, decay_sum
from jaxsnare.dsp.filters import Biquad
from jaxsnare.dsp.oscillators import steady_turns, triangle
from jaxsnare.dsp.shapers import gain, tanh_drive
from jaxsnare.params import ParamSet, ParamSpec
from jaxsnare.synths import ranges
from jaxsnare.synths.synth import Synth


class Snare909State(NamedTuple):
    lowpass: Float[Array, " 2"]
    highpass: Float[Array, " 2"]


@dataclass(frozen=True)
class Snare909(Synth):
    """A snare in the way of the TR-909: 15 parameters.

    After Roland's TR-909 service notes (1984): two triangle oscillators, restarted at
    every hit, whose pitch falls for about 20 ms, each through a diode clipper that
    makes it nearly a sine, with a decay of its own. Noise is lowpassed; one way of it
    decays as it is (tone), the other, highpassed, is the snap of the wires (snappy).

    >>> len(Snare909(sample_rate=48_000).specs)
    15
    """

    @property
    def specs(self) -> ParamSet:
        sr = self.sample_rate
        return ParamSet(
            (
                ranges.osc_freq("osc1.freq", 180.0),
                ranges.osc_freq("osc2.freq", 290.0),
                ranges.osc_mod("osc.mod", 0.8),
                ParamSpec("freq_env.decay", "ms", 5.0, 200.0, 40.0, "log"),
                ranges.decay_ms("osc1_env.decay", 180.0),
                ranges.decay_ms("osc2_env.decay", 110.0),
                ranges.filter_freq("noise_lowpass.freq", sr, min(9000.0, sr / 4)),
                ranges.filter_freq("snap_highpass.freq", sr, min(3500.0, sr / 4)),
                ranges.decay_ms("noise_env.decay", 160.0),
                ranges.decay_ms("snap_env.decay", 320.0),
                ranges.gain_db("osc1_gain.gain", -4.0),
                ranges.gain_db("osc2_gain.gain", -10.0),
                ranges.gain_db("noise_gain.gain", -12.0),
                ranges.gain_db("snap_gain.gain", -2.0),
                ranges.drive_db("tanh.in_gain", 0.0),
            )
        )

    def voice_init(self, dtype: Any) -> Snare909State:
        rest = Biquad("highpass", self.sample_rate).init(dtype)
        return Snare909State(rest, rest)

    def voice(self, p, state, n, white):
        sr, flat = self.sample_rate, jnp.full_like(p["osc.mod"], 0.7)
        bend = p["osc.mod"] * decay_sum(n, p["freq_env.decay"], sr)
        sweep = 1.0 + p["osc.mod"] * decay(n, p["freq_env.decay"], sr)

        def drum(name):
            turns = p[f"{name}.freq"] / sr
            phase = steady_turns(n, p[f"{name}.freq"], sr) + turns * bend
            clipped = jnp.tanh(1.5 * triangle(phase, turns * sweep))
            level = attack_decay(n, p[f"{name}_env.decay"], sr)
            return gain(clipped * level, p[f"{name}_gain.gain"])

        lowpass, noise = Biquad("lowpass", sr).step(
            (p["noise_lowpass.freq"], flat),
            state.lowpass,
            jnp.where(n < 0, 0.0, white()),
        )
        highpass, snap = Biquad("highpass", sr).step(
            (p["snap_highpass.freq"], flat), state.highpass, noise
        )
        noise = gain(noise * decay(n, p["noise_env.decay"], sr), p["noise_gain.gain"])
        snap = gain(snap * decay(n, p["snap_env.decay"], sr), p["snap_gain.gain"])
        mix = drum("osc1") + drum("osc2") + noise + snap
        return Snare909State(lowpass, highpass), tanh_drive(mix, p["tanh.in_gain"])
