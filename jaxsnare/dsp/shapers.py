"""Stateless shaping: gain, soft clipping, crossfade."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsnare.dsp.units import db_to_amplitude, safe_sqrt


def gain(x: Float[Array, " T"], gain_db: Float[Array, ""]) -> Float[Array, " T"]:
    """Scale by a gain in dB.

    >>> gain(jnp.ones(2), jnp.array(20.0))
    Array([10., 10.], dtype=float32)
    """
    return x * db_to_amplitude(gain_db)


def tanh_drive(x: Float[Array, " T"], drive_db: Float[Array, ""]) -> Float[Array, " T"]:
    """Soft clipping: tanh of the signal after a gain in dB; within [-1, 1].

    >>> float(tanh_drive(jnp.array([1.0]), jnp.array(0.0))[0]).__round__(4)
    0.7616
    """
    return jnp.tanh(gain(x, drive_db))


def crossfade(
    x: Float[Array, " T"], y: Float[Array, " T"], amount: Float[Array, ""]
) -> Float[Array, " T"]:
    """Equal-power mix sqrt(amount) x + sqrt(1 - amount) y; amount in 0..1.

    >>> crossfade(jnp.ones(1), jnp.zeros(1), jnp.array(0.25))
    Array([0.5], dtype=float32)
    """
    return safe_sqrt(amount) * x + safe_sqrt(1.0 - amount) * y
