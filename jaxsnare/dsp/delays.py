"""Delay lines with feedback: combs, plucked strings, and a room.

Nothing that comes back is younger than the shortest delay, so that pieces of that
length are computed at once instead of sample by sample.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsnare.component import SUB_BLOCK, Component, check_rate, scan_blocks
from jaxsnare.dsp.envelopes import TO_SILENCE
from jaxsnare.dsp.framing import push


@dataclass(frozen=True)
class Comb(Component):
    """A tuned comb filter; with damping, the string of Karplus and Strong.

    params: (freq_hz, decay_ms, damping), scalars: the pitch (clamped to
    lowest_hz..highest_hz), the time in which it falls by 60 dB, and how much faster
    high partials do: 0 for a comb, 0.5 for the two-point mean of Karplus and Strong
    1983. x: excitation [T]; a burst of noise of one period plucks a string.

    y[n] = x[n] + g y[n - D], D = rate / freq_hz, by third-order Lagrange interpolation
    (Laakso et al. 1996) less the delay of the damping (Jaffe and Smith 1983). The
    pitch has a gradient through the interpolation: it is right, but tells the way only
    within half a period of what is looked for.

    >>> comb = Comb(sample_rate=48_000)
    >>> params = (jnp.array(480.0), jnp.array(1e6), jnp.array(0.0))
    >>> click = np.float32(np.arange(250) == 0)
    >>> _, y = jax.jit(comb.step)(params, comb.init(), click)
    >>> np.flatnonzero(y > 0.9).tolist()
    [0, 100, 200]
    """

    sample_rate: int
    lowest_hz: float = 40.0
    highest_hz: float = 1000.0

    def __post_init__(self) -> None:
        check_rate(self.sample_rate)
        if not 1 <= self.lowest_hz <= self.highest_hz <= self.sample_rate / 8:
            raise ValueError(
                f"a comb of {self.lowest_hz:g}..{self.highest_hz:g} Hz; allowed: a "
                f"rising range within 1..{self.sample_rate / 8:g} Hz"
            )

    @property
    def _history(self) -> int:
        return int(self.sample_rate / self.lowest_hz) + 4

    def init(self, dtype: Any = jnp.float32) -> Float[Array, " history"]:
        return jnp.zeros(self._history, dtype)

    def step(
        self,
        params: tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]],
        state: Float[Array, " history"],
        x: Float[Array, " T"],
    ) -> tuple[Float[Array, " history"], Float[Array, " T"]]:
        freq_hz, decay_ms, damping = params
        freq_hz = jnp.clip(freq_hz, self.lowest_hz, self.highest_hz)
        delay = self.sample_rate / freq_hz - damping
        whole = jnp.floor(delay)
        feedback = jnp.exp(-TO_SILENCE * 1000 / (freq_hz * decay_ms))
        taps = feedback * _damped(_lagrange(delay - whole), damping)
        start = self._history - (whole.astype(jnp.int32) + 3)

        def piece(history, x):
            size = x.shape[-1]
            past = jax.lax.dynamic_slice(history, (start,), (size + 4,))
            back = sum(taps[k] * past[4 - k : 4 - k + size] for k in range(5))
            y = x + back
            return push(history, y), (y, ())

        # the first of the taps must lie in the past for the last sample of a piece
        size = min(int(self.sample_rate / self.highest_hz - 0.51) - 1, SUB_BLOCK)
        state, (y, _) = scan_blocks(piece, state, x, size)
        return state, y


def _lagrange(part):
    """Taps for a delay of 1 + part samples, part in 0..1, between four samples."""
    d = 1.0 + part
    return jnp.stack(
        [
            -(d - 1) * (d - 2) * (d - 3) / 6,
            d * (d - 2) * (d - 3) / 2,
            -d * (d - 1) * (d - 3) / 2,
            d * (d - 1) * (d - 2) / 6,
        ]
    )


def _damped(taps, damping):
    """Taps followed by the two-point mean (1 - damping, damping)."""
    none = jnp.zeros(1, taps.dtype)
    return (1 - damping) * jnp.concatenate([taps, none]) + damping * jnp.concatenate(
        [none, taps]
    )


ROOM_MS = (19.7, 23.1, 27.3, 30.1, 34.7, 37.9, 41.9, 45.1)
"""Delays of the lines of a room of size 1: spread, and no two in a simple ratio."""


@dataclass(frozen=True)
class Room(Component):
    """A room: eight delay lines that feed each other (Jot and Chaigne 1991).

    params: (decay_ms, damping), scalars: the time in which the sound falls by 60 dB,
    and how much faster its highs do, 0..0.5. x: dry sound [T]; out: the reflections
    alone [T], the first after 20 ms times size. size: config, 0.25..4; at 1 the
    paths are 7 to 15 m long. The lines meet in a Householder reflection, which loses
    nothing; every line loses what its length is of the decay.

    >>> room = Room(sample_rate=8000, size=0.5)
    >>> params = (jnp.array(300.0), jnp.array(0.1))
    >>> jax.jit(room.step)(params, room.init(), jnp.ones(64))[1].shape
    (64,)
    """

    sample_rate: int
    size: float = 1.0

    def __post_init__(self) -> None:
        check_rate(self.sample_rate)
        if not 0.25 <= self.size <= 4:
            raise ValueError(f"room size is {self.size:g}; allowed: 0.25..4")

    @property
    def delays(self) -> tuple[int, ...]:
        """Lengths of the lines in samples, rising; odd, so that few echoes meet."""
        per_ms = self.size * self.sample_rate / 1000
        return tuple(2 * int(ms * per_ms / 2) + 1 for ms in ROOM_MS)

    def init(self, dtype: Any = jnp.float32) -> Float[Array, "8 history"]:
        return jnp.zeros((len(ROOM_MS), self.delays[-1] + 1), dtype)

    def step(
        self,
        params: tuple[Float[Array, ""], Float[Array, ""]],
        state: Float[Array, "8 history"],
        x: Float[Array, " T"],
    ) -> tuple[Float[Array, "8 history"], Float[Array, " T"]]:
        decay_ms, damping = params
        count, last = len(self.delays), self.delays[-1] + 1
        delays = jnp.asarray(self.delays, x.dtype)
        loss = jnp.exp(
            (-TO_SILENCE * 1000 / self.sample_rate) * (delays + damping) / decay_ms
        )[:, None]
        signs = jnp.asarray(np.resize([1.0, -1.0], count)[:, None], x.dtype)

        def piece(lines, x):
            size = x.shape[-1]
            heard = jnp.stack(
                [
                    lines[i, last - delay - 1 : last - delay + size]
                    for i, delay in enumerate(self.delays)
                ]
            )
            heard = heard[:, 1:] + damping * (heard[:, :-1] - heard[:, 1:])
            heard = loss * heard
            mixed = heard - (2 / count) * jnp.sum(heard, axis=0, keepdims=True)
            out = jnp.sum(signs * heard, axis=0) / count**0.5
            return push(lines, mixed + x[None]), (out, ())

        size = min(self.delays[0], SUB_BLOCK)
        state, (out, _) = scan_blocks(piece, state, x, size)
        return state, out
