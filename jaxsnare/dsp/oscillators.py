"""Oscillators: a phase in turns, accumulated exactly whatever the block length."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxsnare.component import Component


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
        params: tuple[Float[Array, ""], Float[Array, ""]],
        state: Float[Array, " 2"],
        x: tuple[Int[Array, " T"], Float[Array, " T"]],
    ) -> tuple[Float[Array, " 2"], Float[Array, " T"]]:
        freq_hz, mod = params
        n, sweep = x
        turns = freq_hz / self.sample_rate * (1.0 + mod * sweep)
        phase, state = accumulate_turns(jnp.where(n < 0, 0.0, turns), state)
        return state, jnp.sin(2 * jnp.pi * phase)


@jax.custom_jvp
def accumulate_turns(
    turns: Float[Array, " T"], carry: Float[Array, " 2"]
) -> tuple[Float[Array, " T"], Float[Array, " 2"]]:
    """Phase before each sample, in turns within [-0.5, 0.5), and the phase after.

    The sum runs in integers of 2^-32 turn (2^-64 for float64), where overflow is the
    wrap: exact, hence the same for every partition into blocks. The carried phase is
    a pair of floats, value and remainder, since one float cannot hold the integer.
    """
    integer = jnp.int64 if turns.dtype == jnp.float64 else jnp.int32
    bits = jnp.iinfo(integer).bits
    scale = 2.0**bits

    def to_integer(value):
        # two halves: a float of half a turn times 2^bits would overflow
        half = value - jnp.round(value)
        coarse = jnp.round(half * 2.0 ** (bits // 2))
        fine = (half - coarse * 2.0 ** -(bits // 2)) * scale
        return (coarse.astype(integer) << (bits // 2)) + fine.astype(integer)

    start = to_integer(carry[0]) + to_integer(carry[1])
    total, before = _running_sum(to_integer(turns), start)
    value = total.astype(turns.dtype) / scale
    rest = (total - to_integer(value)).astype(turns.dtype) / scale
    return before.astype(turns.dtype) / scale, jnp.stack([value, rest])


@accumulate_turns.defjvp
def _accumulate_turns_jvp(primals, tangents):
    d_turns, d_carry = tangents
    total, before = _running_sum(d_turns, d_carry[0])
    end = jnp.stack([total, jnp.zeros_like(total)])
    return accumulate_turns(*primals), (before, end)


def _running_sum(x, start):
    """The whole sum, and the sums before each entry: 5x faster than cumsum on a CPU."""
    return jax.lax.scan(lambda total, value: (total + value, total), start, x)
