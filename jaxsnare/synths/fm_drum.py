"""An FM drum: a sine whose frequency is modulated by another, and white noise."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxtyping import Array, Float

from jaxsnare.dsp.envelopes import attack_decay
from jaxsnare.dsp.oscillators import Sine
from jaxsnare.dsp.shapers import gain, tanh_drive
from jaxsnare.params import ParamSet, ParamSpec
from jaxsnare.synths import ranges
from jaxsnare.synths.synth import Synth


class FMDrumState(NamedTuple):
    modulator: Float[Array, " 2"]
    carrier: Float[Array, " 2"]


@dataclass(frozen=True)
class FMDrumSynth(Synth):
    """The FM drum of Shier et al. 2024 (released code): 13 parameters.

    At high modulator gains the phase is ill-conditioned: a rounding error of the
    modulator is integrated, times up to 250 * 2000 Hz.

    >>> len(FMDrumSynth(sample_rate=48_000).specs)
    13
    """

    @property
    def specs(self) -> ParamSet:
        return ParamSet(
            (
                ranges.decay_ms("amp_env.decay", 300.0),
                ranges.decay_ms("freq_env.decay", 50.0),
                ranges.osc_freq("osc.freq", 150.0),
                ranges.osc_mod("osc.mod", 1.0),
                ranges.decay_ms("mod_amp_env.decay", 100.0),
                ranges.decay_ms("mod_freq_env.decay", 50.0),
                ranges.osc_freq("mod_osc.freq", 240.0),
                ranges.osc_mod("mod_osc.mod", 0.5),
                ParamSpec("mod_gain.gain", "dB", -48.0, 48.0, 0.0),
                ranges.decay_ms("noise_env.decay", 100.0),
                ranges.gain_db("tonal_gain.gain", -6.0),
                ranges.gain_db("noise_gain.gain", -18.0),
                ranges.drive_db("tanh.in_gain", 0.0),
            )
        )

    def voice_init(self, dtype: Any) -> FMDrumState:
        osc = Sine(self.sample_rate).init(dtype)
        return FMDrumState(osc, osc)

    def voice(self, p, state, n, white):
        sr, osc = self.sample_rate, Sine(self.sample_rate)
        mod_sweep = attack_decay(n, p["mod_freq_env.decay"], sr)
        modulator, mod = osc.step(
            (p["mod_osc.freq"], p["mod_osc.mod"]), state.modulator, (n, mod_sweep)
        )
        mod = gain(
            mod * attack_decay(n, p["mod_amp_env.decay"], sr), p["mod_gain.gain"]
        )

        sweep = attack_decay(n, p["freq_env.decay"], sr) + mod
        carrier, tone = osc.step(
            (p["osc.freq"], p["osc.mod"]), state.carrier, (n, sweep)
        )
        tone = gain(
            tone * attack_decay(n, p["amp_env.decay"], sr), p["tonal_gain.gain"]
        )
        noise = white() * attack_decay(n, p["noise_env.decay"], sr)
        noise = gain(noise, p["noise_gain.gain"])
        return FMDrumState(modulator, carrier), tanh_drive(
            tone + noise, p["tanh.in_gain"]
        )
