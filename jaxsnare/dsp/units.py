"""Between the units of the outside world and those of the equations."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def db_to_amplitude(db: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Amplitude of a level in dB, 10^(db/20).

    >>> db_to_amplitude(jnp.array([-200.0, 0.0])).round(6).tolist()
    [0.0, 1.0]
    """
    return jnp.exp(db * (np.log(10.0).item() / 20.0))


def amplitude_to_db(
    amplitude: Float[Array, "*shape"], eps: float = 1e-8
) -> Float[Array, "*shape"]:
    """Level in dB of an amplitude of either sign, 20 log10(|a| + eps).

    Silence comes out as 20 log10(eps), -160 dB by default, with zero gradient.

    >>> amplitude_to_db(jnp.array([0.0, -0.1, 1.0])).round(3).tolist()
    [-160.0, -20.0, 0.0]
    """
    return 20.0 * jnp.log10(jnp.abs(amplitude) + eps)


def hz_to_semitones(
    frequency_hz: Float[Array, "*shape"], lowest_hz: float = 1.0
) -> Float[Array, "*shape"]:
    """MIDI pitch of a frequency, 12 log2(f/440) + 69, where 69 is A4 at 440 Hz.

    Frequencies below `lowest_hz` count as `lowest_hz`, so that the centroid of
    silence, 0 Hz, stays finite (-36.4) and has zero gradient.

    >>> hz_to_semitones(jnp.array([0.0, 220.0, 440.0])).round().tolist()
    [-36.0, 57.0, 69.0]
    """
    return 12.0 * jnp.log2(jnp.maximum(frequency_hz, lowest_hz) / 440.0) + 69.0


def safe_sqrt(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Square root of max(x, 0) whose gradient at zero is zero instead of infinite.

    >>> safe_sqrt(jnp.array([-1.0, 0.0, 4.0])).tolist()
    [0.0, 0.0, 2.0]
    """
    positive = x > 0.0
    # The inner where keeps the gradient of sqrt away from 0, where inf * 0 is NaN.
    root = jnp.sqrt(jnp.where(positive, x, jnp.ones_like(x)))
    return jnp.where(positive, root, jnp.zeros_like(x))
