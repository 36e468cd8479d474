"""Oscillators: a phase in turns, accumulated exactly whatever the block length."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxsnare.component import Component
from jaxsnare.params import Scalar


@dataclass(frozen=True)
class Sine(Component):
    """Sine oscillator with frequency modulation, starting at phase 0.

    params: (freq_hz, mod), scalars; the frequency is freq_hz (1 + mod * sweep).
    x: (n, sweep): samples since the trigger [T], int32, and the modulation [T]. The
    phase is sum over k < n of that frequency; before the trigger (n < 0) it rests.

    >>> osc = Sine(sample_rate=4)
    >>> x = (jnp.arange(4), jnp.zeros(4))
    >>> osc.step((jnp.array(1.0), jnp.array(0.0)), osc.init(), x)[1].round(3)
    Array([ 0.,  1.,  0., -1.], dtype=float32)
    """

    sample_rate: int

    def init(self, dtype: Any = jnp.float32) -> Float[Array, " 2"]:
        return jnp.zeros(2, dtype)

    def step(
        self,
        params: tuple[Scalar, Scalar],
        state: Float[Array, " 2"],
        x: tuple[Int[Array, " T"], Float[Array, " T"]],
    ) -> tuple[Float[Array, " 2"], Float[Array, " T"]]:
        freq_hz, mod = params
        n, sweep = x
        turns = freq_hz / self.sample_rate * (1.0 + mod * sweep)
        phase, state = accumulate_turns(jnp.where(n < 0, 0.0, turns), state)
        return state, sin_turns(phase)


@dataclass(frozen=True)
class Wave(Component):
    """Band-limited saw, pulse or triangle with frequency modulation.

    params: (freq_hz, mod, width), scalars; the frequency is freq_hz (1 + mod * sweep)
    as of `Sine`; width, 0..1, is the share of a period in which a pulse is high or a
    triangle rises (kept within 0.01..0.99; a saw has none). x: (n, sweep), as of
    `Sine`. The waves have no mean; they start in the middle of their rise, and are
    silent before the trigger. `square` and `triangle` do it at any phase.

    Every jump and corner is rounded over four samples by a cubic B-spline (polyBLEP
    and polyBLAMP: Välimäki, Pekonen and Nam 2012; Esqueda, Välimäki and Bilbao 2016),
    which costs 3 dB at a quarter of the sample rate. So the wave is a smooth function
    of frequency and width, and its gradients are its slopes.

    >>> square = Wave("pulse", sample_rate=8)
    >>> params = (jnp.array(1.0), jnp.array(0.0), jnp.array(0.5))
    >>> x = (jnp.arange(-1, 8), jnp.zeros(9))
    >>> _, y = jax.jit(square.step)(params, square.init(), x)
    >>> [abs(round(float(v), 2)) for v in y]
    [0.0, 0.0, 0.92, 1.0, 0.92, 0.0, 0.92, 1.0, 0.92]
    """

    kind: Literal["saw", "pulse", "triangle"]
    sample_rate: int

    def __post_init__(self) -> None:
        if self.kind not in ("saw", "pulse", "triangle"):
            raise ValueError(
                f"wave kind must be 'saw', 'pulse' or 'triangle', got {self.kind!r}"
            )

    def init(self, dtype: Any = jnp.float32) -> Float[Array, " 2"]:
        return jnp.zeros(2, dtype)

    def step(
        self,
        params: tuple[Scalar, Scalar, Scalar],
        state: Float[Array, " 2"],
        x: tuple[Int[Array, " T"], Float[Array, " T"]],
    ) -> tuple[Float[Array, " 2"], Float[Array, " T"]]:
        freq_hz, mod, width = params
        n, sweep = x
        turns = jnp.where(n < 0, 0.0, freq_hz / self.sample_rate * (1.0 + mod * sweep))
        phase, state = accumulate_turns(turns, state)
        if self.kind == "saw":
            y = _saw(phase - 0.5, turns)
        elif self.kind == "pulse":
            y = _saw(phase - width, turns) - _saw(phase, turns)
        else:
            width = jnp.clip(width, 0.01, 0.99)
            rise, fall = phase + 0.5 * width, phase - 0.5 * width
            y = _parabola(fall, turns) - _parabola(rise, turns)
            y = y / (width * (1.0 - width))
        return state, jnp.where(n < 0, 0.0, y)


def steady_turns(
    n: Int[Array, " T"], freq_hz: Float[Array, ""], sample_rate: int
) -> Float[Array, " T"]:
    """Phase in turns, within [-0.5, 0.5), of a steady tone: n freq_hz / sample_rate.

    n: samples since the trigger. In closed form: no state, and exact however large n
    is, since the product is one of integers modulo a turn (see `accumulate_turns`).

    >>> steady_turns(jnp.arange(4), jnp.array(1.0), 4).tolist()
    [0.0, 0.25, -0.5, -0.25]
    """
    turns = jnp.asarray(freq_hz) / sample_rate
    step = _to_integer(turns)
    exact = (n.astype(step.dtype) * step).astype(turns.dtype) / _scale(turns.dtype)
    # the integers have no slope: that of the product, whose value cancels
    slope = n.astype(turns.dtype) * turns
    return exact + (slope - jax.lax.stop_gradient(slope))


@jax.custom_jvp
def sin_turns(phase: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """sin(2 pi phase) of any phase in turns: 10x faster than `jnp.sin` on a CPU.

    Folded to a quarter of a turn, where the power series ends soon: right to the last
    digits of float32 and to 1e-15 in float64.

    >>> sin_turns(jnp.array([0.0, 0.25, 1.5, -0.25])).round(5)
    Array([ 0.,  1.,  0., -1.], dtype=float32)
    """
    side, away = _halves(phase)
    x = 2 * jnp.pi * side * jnp.minimum(away, 0.5 - away)
    square, total = x * x, jnp.zeros_like(x)
    for power in range(21 if x.dtype == jnp.float64 else 13, 1, -2):
        total = square * (total + (-1.0) ** (power // 2) / math.factorial(power))
    return x + x * total


@sin_turns.defjvp
def _sin_turns_jvp(primals, tangents):
    (phase,), (d_phase,) = primals, tangents
    return sin_turns(phase), 2 * jnp.pi * sin_turns(phase + 0.25) * d_phase


CYMBAL_808_HZ = (205.3, 304.4, 369.6, 522.7, 540.0, 800.0)
"""The six oscillators of the TR-808's cymbal, cowbell and hi-hats (Werner, Abel and
Smith, 'The TR-808 Cymbal', ICMC 2014); the last two are trimmed by hand."""


def metallic(
    n: Int[Array, " T"],
    tune: Float[Array, ""],
    sample_rate: int,
    freqs_hz: Sequence[float] = CYMBAL_808_HZ,
) -> Float[Array, " T"]:
    """A cluster of square waves that never agree, within [-1, 1]: cymbal metal.

    n: samples since the trigger, where all start together; silent before. tune: factor
    on all frequencies. Each is band-limited as `Wave`; in closed form, no state.

    >>> metal = jax.jit(lambda n: metallic(n, jnp.array(1.0), 48_000))
    >>> float(abs(metal(jnp.arange(1000))).max()) <= 1.0
    True
    """
    tune = jnp.asarray(tune)

    def one(freq_hz):
        phase = steady_turns(n, freq_hz * tune, sample_rate)
        return square(phase, freq_hz * tune / sample_rate)

    total = sum(one(freq_hz) for freq_hz in freqs_hz)
    return jnp.where(n < 0, 0.0, total / len(freqs_hz))


def square(
    phase: Float[Array, " T"], turns: Float[Array, " T"] | Float[Array, ""]
) -> Float[Array, " T"]:
    """The square of `Wave` at a phase, in turns, that moves by `turns` per sample.

    >>> square(jnp.array([-0.2, 0.0, 0.2]), jnp.array(0.1)).tolist()
    [-1.0, 0.0, 1.0]
    """
    side, away = _halves(phase)
    turns = _limited(turns, 0.125)
    edge = jnp.minimum(away, 0.5 - away)
    return side * (1.0 - 2.0 * _step_residual(edge / turns))


def triangle(
    phase: Float[Array, " T"], turns: Float[Array, " T"] | Float[Array, ""]
) -> Float[Array, " T"]:
    """The triangle of `Wave`, which is like a sine; arguments as of `square`.

    >>> triangle(jnp.array([-0.25, 0.0, 0.125]), jnp.array(1e-6)).round(3).tolist()
    [-1.0, 0.0, 0.5]
    """
    side, away = _halves(phase)
    turns = _limited(turns, 0.125)
    corner = jnp.abs(away - 0.25)
    rounded = turns * _slope_residual(corner / turns)
    return side * (1.0 - 4.0 * corner - 8.0 * rounded)


def _halves(phase):
    """On which side of the nearest whole turn a phase is, and how far from it."""
    phase = phase - jnp.round(phase)
    side = jnp.where(phase < 0.0, -1.0, 1.0).astype(phase.dtype)
    return side, side * phase


def _limited(turns, most):
    """|turns|, as long as the four samples of a corner do not reach the next."""
    return jnp.clip(jnp.abs(turns), 1e-9, most)


def _saw(away, turns):
    """Rising from -1 to 1, with its jump where `away`, in turns, is whole."""
    side, away = _halves(away)
    residual = _step_residual(away / _limited(turns, 0.25))
    return side * (2.0 * away - 1.0 + 2.0 * residual)


def _parabola(away, turns):
    """The integral of `_saw` over the phase, (1/2 - |away|)^2 with a round corner."""
    _, away = _halves(away)
    turns = _limited(turns, 0.25)
    return (0.5 - away) ** 2 - 2.0 * turns * _slope_residual(away / turns)


def _step_residual(distance):
    """How far a unit step through a cubic B-spline is from the step, at a distance in
    samples from it."""
    d = jnp.minimum(distance, 2.0)
    inner = 0.5 + d * (-2 / 3 + d * d * (1 / 3 - d / 8))
    return jnp.where(d < 1.0, inner, (2.0 - d) ** 4 / 24)


def _slope_residual(distance):
    """The same of a corner where the slope changes by 1 per sample."""
    d = jnp.minimum(distance, 2.0)
    inner = 7 / 30 + d * (-1 / 2 + d * (1 / 3 + d * d * (-1 / 12 + d / 40)))
    return jnp.where(d < 1.0, inner, (2.0 - d) ** 5 / 120)


@jax.custom_jvp
def accumulate_turns(
    turns: Float[Array, " T"], carry: Float[Array, " 2"]
) -> tuple[Float[Array, " T"], Float[Array, " 2"]]:
    """Phase before each sample, in turns within [-0.5, 0.5), and the phase after.

    The sum runs in integers of 2^-32 turn (2^-64 for float64), where overflow is the
    wrap: exact, hence the same for every partition into blocks. The carried phase is
    a pair of floats, value and remainder, since one float cannot hold the integer.
    """
    scale = _scale(turns.dtype)
    start = _to_integer(carry[0]) + _to_integer(carry[1])
    total, before = _running_sum(_to_integer(turns), start)
    value = total.astype(turns.dtype) / scale
    rest = (total - _to_integer(value)).astype(turns.dtype) / scale
    return before.astype(turns.dtype) / scale, jnp.stack([value, rest])


def _scale(dtype: Any) -> float:
    return 2.0 ** (64 if dtype == jnp.float64 else 32)


def _to_integer(turns):
    """Turns, less whole ones, in integers of 2^-32 turn (2^-64 for float64)."""
    integer = jnp.int64 if turns.dtype == jnp.float64 else jnp.int32
    bits = jnp.iinfo(integer).bits
    # two halves: a float of half a turn times 2^bits would overflow
    half = turns - jnp.round(turns)
    coarse = jnp.round(half * 2.0 ** (bits // 2))
    fine = (half - coarse * 2.0 ** -(bits // 2)) * 2.0**bits
    return (coarse.astype(integer) << (bits // 2)) + fine.astype(integer)


@accumulate_turns.defjvp
def _accumulate_turns_jvp(primals, tangents):
    d_turns, d_carry = tangents
    total, before = _running_sum(d_turns, d_carry[0])
    end = jnp.stack([total, jnp.zeros_like(total)])
    return accumulate_turns(*primals), (before, end)


def _running_sum(x, start):
    """The whole sum, and the sums before each entry: 5x faster than cumsum on a CPU."""
    return jax.lax.scan(lambda total, value: (total + value, total), start, x)
