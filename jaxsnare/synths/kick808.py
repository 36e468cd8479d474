"""An 808-style bass drum: a resonance that is struck, and the click of the strike."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from jaxsnare.dsp.envelopes import decay, decay_sum
from jaxsnare.dsp.oscillators import sin_turns, steady_turns
from jaxsnare.dsp.shapers import gain, tanh_drive
from jaxsnare.params import ParamSet, ParamSpec
from jaxsnare.synths import ranges
from jaxsnare.synths.synth import Synth

PULSE_MS = 1.0


@dataclass(frozen=True)
class Kick808(Synth):
    """The bass drum of the TR-808, in closed form: 10 parameters.

    After Werner, Abel and Smith, 'A physically-informed, circuit-bendable, digital
    model of the Roland TR-808 bass drum circuit' (DAFx 2014): a bridged-T network rings
    at about 50 Hz; for its first milliseconds a transistor holds it more than an octave
    higher (attack), and leakage bends it up a little for as long as it is loud (sigh).
    The trigger pulse of 1 ms is heard too, through the lowpass of the tone knob.

    >>> len(Kick808(sample_rate=48_000).specs)
    10
    """

    @property
    def specs(self) -> ParamSet:
        about = "how far the pitch is up at first"
        return ParamSet(
            (
                ParamSpec("osc.freq", "Hz", 30.0, 150.0, 50.0, "log"),
                ParamSpec("attack.mod", "ratio", 0.0, 6.0, 1.5, about=about),
                ranges.decay_ms("attack_env.decay", 30.0),
                ParamSpec("sigh.mod", "ratio", 0.0, 0.5, 0.06),
                ParamSpec("amp_env.decay", "ms", 30.0, 4000.0, 700.0, "log"),
                ParamSpec("click_filter.freq", "Hz", 100.0, 8000.0, 1500.0, "log"),
                ranges.gain_db("osc_gain.gain", 0.0),
                ranges.gain_db("click_gain.gain", -9.0),
                ranges.drive_db("tanh.in_gain", 0.0),
                ranges.gain_db("gain.gain", -1.0),
            )
        )

    def voice_init(self, dtype: Any) -> tuple[()]:
        return ()

    def voice(self, p, state, n, white):
        sr, freq_hz = self.sample_rate, p["osc.freq"]
        ahead = p["attack.mod"] * decay_sum(n, p["attack_env.decay"], sr)
        ahead = ahead + p["sigh.mod"] * decay_sum(n, p["amp_env.decay"], sr)
        turns = steady_turns(n, freq_hz, sr) + freq_hz / sr * ahead
        tone = sin_turns(turns) * decay(n, p["amp_env.decay"], sr)
        click = _pulse(n, p["click_filter.freq"], sr)
        mix = gain(tone, p["osc_gain.gain"]) + gain(click, p["click_gain.gain"])
        return state, gain(tanh_drive(mix, p["tanh.in_gain"]), p["gain.gain"])


def _pulse(n, freq_hz, sample_rate):
    """A pulse of 1 ms through a first-order lowpass: a capacitor that is charged, and
    then discharged."""
    since = jnp.maximum(n, 0).astype(freq_hz.dtype)
    per_sample = 2 * jnp.pi * freq_hz / sample_rate
    length = PULSE_MS * sample_rate / 1000
    charge = -jnp.expm1(-per_sample * jnp.minimum(since, length))
    return charge * jnp.exp(-per_sample * jnp.maximum(since - length, 0.0))
