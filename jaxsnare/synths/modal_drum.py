"""A drum by its modes: a struck membrane, and wires that rattle on it."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsnare.dsp.envelopes import attack_decay, decay_sum
from jaxsnare.dsp.filters import Biquad
from jaxsnare.dsp.oscillators import sin_turns, steady_turns
from jaxsnare.dsp.resonators import ring
from jaxsnare.dsp.shapers import gain, tanh_drive
from jaxsnare.params import ParamSet, ParamSpec
from jaxsnare.synths import ranges
from jaxsnare.synths.synth import Synth

MODES = (
    (0, 2.404826),
    (1, 3.831706),
    (2, 5.135622),
    (0, 5.520078),
    (3, 6.380162),
    (1, 7.015587),
    (4, 7.588342),
    (2, 8.417244),
    (0, 8.653728),
    (5, 8.771484),
    (3, 9.761023),
    (6, 9.936110),
)
"""The twelve lowest modes of a circular membrane: nodal diameters m, and the zero of
the Bessel function J_m to which the frequency is proportional."""


@dataclass(frozen=True)
class ModalDrum(Synth):
    """A membrane of twelve modes, with wires: 15 parameters.

    The ideal circular membrane (Fletcher and Rossing, The Physics of Musical
    Instruments, ch. 3 and 18): modes at 1, 1.59, 2.14, 2.30 ... times the lowest; a
    strike at radius r drives a mode by J_m(j_mn r), so that the centre sounds only the
    round ones, and a soft mallet, long in contact, few of the high. `stretch` bends
    the ratios, as the air of a timpano does; the tension of a hard hit makes the pitch
    glide; the wires are a band of noise which the membrane opens once per period.

    >>> len(ModalDrum(sample_rate=48_000).specs)
    15
    """

    @property
    def specs(self) -> ParamSet:
        sr = self.sample_rate
        contact = "how long the stick touches: short is bright"
        return ParamSet(
            (
                ParamSpec("membrane.freq", "Hz", 40.0, 800.0, 180.0, "log"),
                ParamSpec("membrane.stretch", "", 0.5, 1.5, 1.0),
                ParamSpec("membrane.decay", "ms", 30.0, 4000.0, 500.0, "log"),
                ParamSpec("membrane.damping", "", 0.0, 3.0, 1.0),
                ParamSpec("strike.position", "radius", 0.0, 0.95, 0.3),
                ParamSpec("strike.contact", "ms", 0.05, 5.0, 0.5, "log", contact),
                ParamSpec("glide.mod", "ratio", 0.0, 1.0, 0.05),
                ranges.decay_ms("glide_env.decay", 100.0),
                ranges.decay_ms("wires_env.decay", 250.0),
                ranges.filter_freq("wires.freq", sr, min(4500.0, sr / 4)),
                ranges.filter_q("wires.q", 0.6),
                ParamSpec("wires.rattle", "", 0.0, 1.0, 0.4),
                ranges.gain_db("membrane_gain.gain", -6.0),
                ranges.gain_db("wires_gain.gain", -6.0),
                ranges.drive_db("tanh.in_gain", 0.0),
            )
        )

    @property
    def _bandpass(self) -> Biquad:
        return Biquad("bandpass", self.sample_rate)

    def voice_init(self, dtype: Any) -> Float[Array, " 2"]:
        return self._bandpass.init(dtype)

    def voice(self, p, state, n, white):
        sr, lowest_hz = self.sample_rate, p["membrane.freq"]
        zeros = jnp.asarray([zero for _, zero in MODES], lowest_hz.dtype)
        ratio = jnp.exp(p["membrane.stretch"] * jnp.log(zeros / zeros[0]))
        freq_hz = lowest_hz * ratio
        decay_ms = p["membrane.decay"] * ratio ** -p["membrane.damping"]
        contact = freq_hz * p["strike.contact"] / 1000
        amplitude = shapes(p["strike.position"]) * jnp.exp(-(contact**2))
        bend = p["glide.mod"] * decay_sum(n, p["glide_env.decay"], sr)
        head = ring(n, freq_hz, decay_ms, amplitude, sr, bend)

        phase = steady_turns(n, lowest_hz, sr) + lowest_hz / sr * bend
        closed = 0.5 * p["wires.rattle"] * (1.0 + sin_turns(phase + 0.25))
        rattle = white() * attack_decay(n, p["wires_env.decay"], sr) * (1.0 - closed)
        state, wires = self._bandpass.step(
            (p["wires.freq"], p["wires.q"]), state, rattle
        )
        mix = gain(head, p["membrane_gain.gain"]) + gain(wires, p["wires_gain.gain"])
        return state, tanh_drive(mix, p["tanh.in_gain"])


def shapes(radius: Float[Array, ""]) -> Float[Array, " 12"]:
    """J_m(j_mn radius): how far each mode moves at a radius, 0 (centre) to 1 (rim).

    Bessel's integral as a mean over 32 angles, which is right to 1e-6 here.

    >>> abs(shapes(jnp.array(0.0))[:4]).round(3).tolist()
    [1.0, 0.0, 0.0, 1.0]
    """
    turns = np.arange(32) / 32
    orders = np.array([m for m, _ in MODES])
    zeros = np.array([zero for _, zero in MODES]) / (2 * np.pi)
    steady = jnp.asarray(np.outer(orders, turns) % 1 + 0.25, radius.dtype)
    moved = jnp.asarray(np.outer(zeros, np.sin(2 * np.pi * turns)), radius.dtype)
    return jnp.mean(sin_turns(steady - radius * moved), axis=1)
