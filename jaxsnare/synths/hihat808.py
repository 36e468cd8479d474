"""An 808-style hi-hat: six square waves that never agree, and what is high of them."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsnare.dsp.envelopes import attack_decay
from jaxsnare.dsp.filters import Biquad
from jaxsnare.dsp.oscillators import metallic
from jaxsnare.dsp.shapers import gain, tanh_drive
from jaxsnare.params import ParamSet, ParamSpec
from jaxsnare.synths import ranges
from jaxsnare.synths.synth import Synth


class HiHat808State(NamedTuple):
    bandpass: Float[Array, " 2"]
    highpass: Float[Array, " 2"]


@dataclass(frozen=True)
class HiHat808(Synth):
    """The hi-hat of the TR-808, closed or open by its decay: 9 parameters.

    After Werner, Abel and Smith, 'The TR-808 Cymbal: a physically-informed,
    circuit-bendable, digital model' (ICMC 2014): the six square-wave oscillators that
    the cymbal shares with the hats (`metallic`), a bandpass at 7.1 kHz, an amplifier of
    one transistor that bends what is loud (tanh), and a highpass. Noise may be added.

    >>> len(HiHat808(sample_rate=48_000).specs)
    9
    """

    @property
    def specs(self) -> ParamSet:
        sr = self.sample_rate
        return ParamSet(
            (
                ParamSpec("metal.tune", "ratio", 0.5, 2.0, 1.0, "log"),
                ranges.filter_freq("bandpass.freq", sr, min(7100.0, sr / 4)),
                ranges.filter_q("bandpass.q", 1.0),
                ranges.filter_freq("highpass.freq", sr, min(7000.0, sr / 4)),
                ranges.decay_ms("amp_env.decay", 90.0),
                ranges.gain_db("metal_gain.gain", 0.0),
                ranges.gain_db("noise_gain.gain", -24.0),
                ranges.drive_db("tanh.in_gain", 6.0),
                ranges.gain_db("gain.gain", 0.0),
            )
        )

    def voice_init(self, dtype: Any) -> HiHat808State:
        rest = Biquad("highpass", self.sample_rate).init(dtype)
        return HiHat808State(rest, rest)

    def voice(self, p, state, n, white):
        sr = self.sample_rate
        metal = gain(metallic(n, p["metal.tune"], sr), p["metal_gain.gain"])
        noise = jnp.where(n < 0, 0.0, white())
        bandpass, band = Biquad("bandpass", sr).step(
            (p["bandpass.freq"], p["bandpass.q"]),
            state.bandpass,
            metal + gain(noise, p["noise_gain.gain"]),
        )
        struck = band * attack_decay(n, p["amp_env.decay"], sr)
        highpass, out = Biquad("highpass", sr).step(
            (p["highpass.freq"], jnp.full_like(p["highpass.freq"], 0.7)),
            state.highpass,
            tanh_drive(struck, p["tanh.in_gain"]),
        )
        return HiHat808State(bandpass, highpass), gain(out, p["gain.gain"])
