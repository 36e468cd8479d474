"""FM percussion after Chowning: bells, wood and drums of two sines."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from jaxsnare.dsp.envelopes import attack_decay, decay_sum
from jaxsnare.dsp.oscillators import sin_turns, steady_turns
from jaxsnare.dsp.shapers import gain, tanh_drive
from jaxsnare.params import ParamSet, ParamSpec
from jaxsnare.synths import ranges
from jaxsnare.synths.synth import Synth


@dataclass(frozen=True)
class FMPercussion(Synth):
    """Two sines, the phase of one moved by the other, and a stick: 12 parameters.

    J. M. Chowning, 'The Synthesis of Complex Audio Spectra by Means of Frequency
    Modulation' (JAES 1973): the ratio of the frequencies says which partials there are
    (1.4 is a bell, 0.69 wood and drums), the index how many; it decays faster than the
    sound. The phase is in closed form, hence well-conditioned at any index (compare
    `FMDrumSynth`). A hit of the stick is noise of a few milliseconds.

    >>> len(FMPercussion(sample_rate=48_000).specs)
    12
    """

    @property
    def specs(self) -> ParamSet:
        return ParamSet(
            (
                ParamSpec("carrier.freq", "Hz", 30.0, 3000.0, 200.0, "log"),
                ParamSpec("modulator.ratio", "ratio", 0.1, 10.0, 1.4, "log"),
                ParamSpec("modulator.index", "", 0.0, 25.0, 5.0),
                ranges.decay_ms("index_env.decay", 150.0),
                ranges.osc_mod("sweep.mod", 0.0),
                ranges.decay_ms("sweep_env.decay", 50.0),
                ParamSpec("amp_env.decay", "ms", 20.0, 8000.0, 600.0, "log"),
                ParamSpec("stick_env.decay", "ms", 1.0, 100.0, 10.0, "log"),
                ranges.gain_db("tonal_gain.gain", -6.0),
                ranges.gain_db("stick_gain.gain", -18.0),
                ranges.drive_db("tanh.in_gain", 0.0),
                ranges.gain_db("gain.gain", 0.0),
            )
        )

    def voice_init(self, dtype: Any) -> tuple[()]:
        return ()

    def voice(self, p, state, n, white):
        sr = self.sample_rate
        bend = p["sweep.mod"] * decay_sum(n, p["sweep_env.decay"], sr)

        def turns(freq_hz):
            return steady_turns(n, freq_hz, sr) + freq_hz / sr * bend

        modulator = turns(p["carrier.freq"] * p["modulator.ratio"])
        index = p["modulator.index"] * attack_decay(n, p["index_env.decay"], sr)
        moved = index / (2 * jnp.pi) * sin_turns(modulator)
        tone = sin_turns(turns(p["carrier.freq"]) + moved)
        tone = tone * attack_decay(n, p["amp_env.decay"], sr)
        stick = white() * attack_decay(n, p["stick_env.decay"], sr)
        mix = gain(tone, p["tonal_gain.gain"]) + gain(stick, p["stick_gain.gain"])
        return state, gain(tanh_drive(mix, p["tanh.in_gain"]), p["gain.gain"])
