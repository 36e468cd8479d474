"""Level followers, one-pole smoothing up and down; and what they limit or compress."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxsnare.component import Component
from jaxsnare.dsp.units import amplitude_to_db, db_to_amplitude


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
class PeakFollower(Component):
    """Held peak of a signal: rises at once, falls exponentially.

    params: release_ms, scalar: time in which the held peak falls by a factor of e.
    x: signal [T]. out: the peak at each sample, linear amplitude.

    >>> peak = PeakFollower(sample_rate=1000)
    >>> _, held = peak.step(jnp.array(1.0), peak.init(), jnp.array([0.5, -1.0, 0.0]))
    >>> [round(float(v), 3) for v in held]
    [0.5, 1.0, 0.368]
    """

    sample_rate: int

    def init(self, dtype: Any = jnp.float32) -> Float[Array, ""]:
        return jnp.zeros((), dtype)

    def step(
        self, params: Float[Array, ""], state: Float[Array, ""], x: Float[Array, " T"]
    ) -> tuple[Float[Array, ""], Float[Array, " T"]]:
        keep = jnp.exp(-1000 / (params * self.sample_rate))

        def body(peak, value):
            peak = jnp.maximum(jnp.abs(value), keep * peak)
            return peak, peak

        return jax.lax.scan(body, state, x)


@dataclass(frozen=True)
class Limiter(Component):
    """Peak limiter: transparent up to full scale, never above it.

    params: release_ms, scalar, of the held peak (`PeakFollower`). x: signal [T]. The
    gain is 1 / peak where the held peak exceeds 1 (0 dBFS), so a signal within
    [-1, 1] passes unchanged, sample for sample, without delay.

    >>> limiter = Limiter(sample_rate=48_000)
    >>> limiter.step(jnp.array(50.0), limiter.init(), jnp.array([0.5, -2.0]))[1]
    Array([ 0.5, -1. ], dtype=float32)
    """

    sample_rate: int

    def init(self, dtype: Any = jnp.float32) -> Float[Array, ""]:
        return PeakFollower(self.sample_rate).init(dtype)

    def step(
        self, params: Float[Array, ""], state: Float[Array, ""], x: Float[Array, " T"]
    ) -> tuple[Float[Array, ""], Float[Array, " T"]]:
        state, peak = PeakFollower(self.sample_rate).step(params, state, x)
        return state, x / jnp.maximum(peak, 1.0)


@dataclass(frozen=True)
class Compressor(Component):
    """Feed-forward compressor (Giannoulis, Massberg and Reiss 2012).

    params: (threshold_db, ratio, knee_db, attack_ms, release_ms, makeup_db), scalars.
    x: signal [T]. Above the threshold (dB re full scale) the level rises by 1 / ratio
    of what comes in, with a bend that is knee_db wide; the reduction in dB is smoothed
    by a `Follower`, whose times are those to cover 63 % of the way.

    >>> compressor = Compressor(sample_rate=1000)
    >>> params = tuple(jnp.array(v) for v in (-20.0, 4.0, 0.0, 0.1, 50.0, 0.0))
    >>> _, y = compressor.step(params, compressor.init(), jnp.array([0.1, 1.0]))
    >>> [round(float(v), 3) for v in y]  # 0 dB, 20 above, comes out 5 above
    [0.1, 0.178]
    """

    sample_rate: int

    def init(self, dtype: Any = jnp.float32) -> Float[Array, ""]:
        return Follower(self.sample_rate).init(dtype)

    def step(
        self,
        params: tuple[Float[Array, ""], ...],
        state: Float[Array, ""],
        x: Float[Array, " T"],
    ) -> tuple[Float[Array, ""], Float[Array, " T"]]:
        threshold_db, ratio, knee_db, attack_ms, release_ms, makeup_db = params
        over = amplitude_to_db(x) - threshold_db
        knee_db = jnp.maximum(knee_db, 1e-3)
        bend = jnp.clip(over + 0.5 * knee_db, 0.0, knee_db)
        above = bend * bend / (2.0 * knee_db) + jnp.maximum(over - 0.5 * knee_db, 0.0)
        state, less = Follower(self.sample_rate).step(
            (attack_ms, release_ms), state, (1.0 - 1.0 / ratio) * above
        )
        return state, x * db_to_amplitude(makeup_db - less)


@dataclass(frozen=True)
class Ramp(Component):
    """Glides to where a knob is turned, so that turning it makes no click.

    params: (target, time_ms), scalars: where the knob stands, and the time in which
    the distance to go falls by a factor of e. x: anything [T], which only tells how
    long the block is. Before the first block there is no distance to go.

    >>> ramp = Ramp(sample_rate=1000)
    >>> knob = lambda at: (jnp.array(at), jnp.array(1.0))
    >>> state, _ = ramp.step(knob(1.0), ramp.init(), jnp.zeros(1))
    >>> [round(float(v), 3) for v in ramp.step(knob(0.0), state, jnp.zeros(2))[1]]
    [0.368, 0.135]
    """

    sample_rate: int

    def init(self, dtype: Any = jnp.float32) -> tuple[Array, Array]:
        return jnp.zeros((), dtype), jnp.asarray(False)

    def step(
        self,
        params: tuple[Float[Array, ""], Float[Array, ""]],
        state: tuple[Float[Array, ""], Bool[Array, ""]],
        x: Any,
    ) -> tuple[tuple[Array, Array], Float[Array, " T"]]:
        target, time_ms = params
        value, started = state
        away = jnp.where(started, value - target, 0.0)
        n = jnp.arange(1, x.shape[-1] + 1, dtype=target.dtype)
        values = target + away * jnp.exp(n * (-1000 / (time_ms * self.sample_rate)))
        return (values[-1], jnp.asarray(True)), values
