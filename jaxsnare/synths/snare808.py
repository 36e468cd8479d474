"""An 808-style snare: two pitch-swept sines and highpassed noise into a tanh."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxtyping import Array, Float

from jaxsnare.dsp.envelopes import attack_decay
from jaxsnare.dsp.filters import Biquad
from jaxsnare.dsp.oscillators import Sine
from jaxsnare.dsp.shapers import gain, tanh_drive
from jaxsnare.params import ParamSet
from jaxsnare.synths import ranges
from jaxsnare.synths.synth import Synth


class Snare808State(NamedTuple):
    osc1: Float[Array, " 2"]
    osc2: Float[Array, " 2"]
    noise_filter: Float[Array, " 2"]


@dataclass(frozen=True)
class Snare808(Synth):
    """The snare of Shier et al., NIME 2024 (arXiv 2407.04547): 14 parameters.

    `clip_filter` limits the filtered noise to [-1, 1] as the published code does; for
    parity only.

    >>> from jaxsnare import render
    >>> synth = Snare808(sample_rate=48_000)
    >>> render(synth, synth.specs.defaults, seconds=0.5).shape
    (24000,)
    """

    clip_filter: bool = False

    @property
    def specs(self) -> ParamSet:
        return ParamSet(
            (
                ranges.osc_freq("osc1.freq", 180.0),
                ranges.osc_mod("osc1.mod", 0.4),
                ranges.osc_freq("osc2.freq", 240.0),
                ranges.osc_mod("osc2.mod", 0.3),
                ranges.decay_ms("freq_env.decay", 50.0),
                ranges.decay_ms("osc1_env.decay", 200.0),
                ranges.decay_ms("osc2_env.decay", 150.0),
                ranges.decay_ms("noise_env.decay", 200.0),
                ranges.filter_freq("noise_filter.freq", self.sample_rate, 2500.0),
                ranges.filter_q("noise_filter.q", 2.0),
                ranges.gain_db("osc1_gain.gain", -6.0),
                ranges.gain_db("osc2_gain.gain", -12.0),
                ranges.gain_db("noise_gain.gain", -4.0),
                ranges.drive_db("tanh.in_gain", -12.0),
            )
        )

    @property
    def _highpass(self) -> Biquad:
        return Biquad("highpass", self.sample_rate, clip=self.clip_filter)

    def voice_init(self, dtype: Any) -> Snare808State:
        osc = Sine(self.sample_rate).init(dtype)
        return Snare808State(osc, osc, self._highpass.init(dtype))

    def voice(self, p, state, n, white):
        sr, osc = self.sample_rate, Sine(self.sample_rate)
        sweep = attack_decay(n, p["freq_env.decay"], sr)

        osc1, tone1 = osc.step((p["osc1.freq"], p["osc1.mod"]), state.osc1, (n, sweep))
        tone1 = gain(
            tone1 * attack_decay(n, p["osc1_env.decay"], sr), p["osc1_gain.gain"]
        )
        osc2, tone2 = osc.step((p["osc2.freq"], p["osc2.mod"]), state.osc2, (n, sweep))
        tone2 = gain(
            tone2 * attack_decay(n, p["osc2_env.decay"], sr), p["osc2_gain.gain"]
        )
        noise_filter, noise = self._highpass.step(
            (p["noise_filter.freq"], p["noise_filter.q"]),
            state.noise_filter,
            white() * attack_decay(n, p["noise_env.decay"], sr),
        )
        noise = gain(noise, p["noise_gain.gain"])
        out = tanh_drive(tone1 + tone2 + noise, p["tanh.in_gain"])
        return Snare808State(osc1, osc2, noise_filter), out
