"""Level followers: one-pole smoothing with a speed for rising and one for falling."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsnare.component import Component


@dataclass(frozen=True)
class Follower(Component):
    """One-pole follower: y += rate (x - y), the rate depending on the direction.

    params: (up_ms, down_ms), scalars, time constants in ms; the rates are
    1 / samples, at most 1. x: signal [T]. `start` is the value before the first
    sample, in the unit of the signal.

    >>> follower = Follower(sample_rate=1000)
    >>> params = (jnp.array(2.0), jnp.array(4.0))
    >>> follower.step(params, follower.init(), jnp.array([1.0, 1.0, 0.0]))[1]
    Array([0.5   , 0.75  , 0.5625], dtype=float32)
    """

    sample_rate: int
    start: float = 0.0

    def init(self, dtype: Any = jnp.float32) -> Float[Array, ""]:
        return jnp.asarray(self.start, dtype)

    def rates(
        self, params: tuple[Float[Array, ""], Float[Array, ""]]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Share of the distance covered per sample, up and down."""
        up_ms, down_ms = params
        per_ms = 1000 / self.sample_rate
        return jnp.minimum(per_ms / up_ms, 1.0), jnp.minimum(per_ms / down_ms, 1.0)

    def step(
        self,
        params: tuple[Float[Array, ""], Float[Array, ""]],
        state: Float[Array, ""],
        x: Float[Array, " T"],
    ) -> tuple[Float[Array, ""], Float[Array, " T"]]:
        up, down = self.rates(params)

        def body(level, value):
            level = level + jnp.where(value > level, up, down) * (value - level)
            return level, level

        return jax.lax.scan(body, state, x)


@dataclass(frozen=True)
class Limiter(Component):
    """Peak limiter: transparent up to full scale, never above it.

    params: release_ms, scalar: time in which the held peak falls by a factor of e.
    x: signal [T]. The gain is 1 / peak where the held peak exceeds 1 (0 dBFS), so a
    signal within [-1, 1] passes unchanged, sample for sample, without delay.

    >>> limiter = Limiter(sample_rate=48_000)
    >>> limiter.step(jnp.array(50.0), limiter.init(), jnp.array([0.5, -2.0]))[1]
    Array([ 0.5, -1. ], dtype=float32)
    """

    sample_rate: int

    def init(self, dtype: Any = jnp.float32) -> Float[Array, ""]:
        return jnp.zeros((), dtype)

    def step(
        self,
        params: Float[Array, ""],
        state: Float[Array, ""],
        x: Float[Array, " T"],
    ) -> tuple[Float[Array, ""], Float[Array, " T"]]:
        keep = jnp.exp(-1000 / (params * self.sample_rate))

        def body(peak, value):
            peak = jnp.maximum(jnp.abs(value), keep * peak)
            return peak, peak

        state, peak = jax.lax.scan(body, state, x)
        return state, x / jnp.maximum(peak, 1.0)
