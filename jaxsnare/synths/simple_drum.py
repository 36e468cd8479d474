"""A simple drum: one pitch-swept sine and white noise into a tanh."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Array, Float

from jaxsnare.dsp.envelopes import attack_decay
from jaxsnare.dsp.oscillators import Sine
from jaxsnare.dsp.shapers import gain, tanh_drive
from jaxsnare.params import ParamSet
from jaxsnare.synths import ranges
from jaxsnare.synths.synth import Synth


@dataclass(frozen=True)
class SimpleDrumSynth(Synth):
    """The simple drum of Shier et al. 2024 (released code): 9 parameters.

    >>> len(SimpleDrumSynth(sample_rate=48_000).specs)
    9
    """

    @property
    def specs(self) -> ParamSet:
        return ParamSet(
            (
                ranges.decay_ms("amp_env.decay", 300.0),
                ranges.decay_ms("freq_env.decay", 50.0),
                ranges.osc_freq("osc.freq", 120.0),
                ranges.osc_mod("osc.mod", 1.0),
                ranges.drive_db("tanh.in_gain", 0.0),
                ranges.gain_db("gain.gain", -6.0),
                ranges.decay_ms("noise_env.decay", 100.0),
                ranges.gain_db("tonal_gain.gain", -6.0),
                ranges.gain_db("noise_gain.gain", -18.0),
            )
        )

    def voice_init(self, dtype: Any) -> Float[Array, " 2"]:
        return Sine(self.sample_rate).init(dtype)

    def voice(self, p, state, n, white):
        sr = self.sample_rate
        sweep = attack_decay(n, p["freq_env.decay"], sr)
        state, tone = Sine(sr).step((p["osc.freq"], p["osc.mod"]), state, (n, sweep))
        tone = gain(
            tone * attack_decay(n, p["amp_env.decay"], sr), p["tonal_gain.gain"]
        )
        noise = white() * attack_decay(n, p["noise_env.decay"], sr)
        noise = gain(noise, p["noise_gain.gain"])
        out = tanh_drive(tone + noise, p["tanh.in_gain"])
        return state, gain(out, p["gain.gain"])
