"""Features of the amplitude envelope: the signal squared, smoothed by a Hann window.

The envelope is x^2 cross-correlated with a periodic Hann window, the signal extended
by zeros (1023 to the left and 1024 to the right for a window of 2048), so that it is
as long as the signal. As published: it runs one sample ahead of the signal.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def _hann(size: int) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(size) / size)


@functools.cache
def _envelope_response(length: int, window: int) -> np.ndarray:
    """Spectrum by which that of x^2, zero-padded, becomes that of the envelope."""
    size = length + window
    response = np.zeros(size)
    left = (window - 1) // 2
    response[(left - np.arange(window)) % size] = _hann(window)
    return np.fft.rfft(response)


@functools.cache
def _envelope_moments(length: int, window: int) -> np.ndarray:
    """What each sample of x^2 adds to the envelope's sum and first moment, (T, 2)."""
    left = (window - 1) // 2
    times = np.stack([np.ones(length), np.arange(length)])
    size = length + window
    spectrum = np.fft.rfft(times, size) * np.fft.rfft(_hann(window), size)
    return np.fft.irfft(spectrum, size)[:, left : left + length].T


def amplitude_envelope(
    audio: Float[Array, "*batch time"], window: int = 2048
) -> Float[Array, "*batch time"]:
    """Smoothed power of a signal: the sum of x^2 under a Hann window at each sample.

    `window` in samples. In float32 precise to 1e-6 of the largest value.

    >>> click = jnp.zeros(5).at[2].set(1.0)
    >>> amplitude_envelope(click, window=4).round(3).tolist()
    [0.5, 1.0, 0.5, 0.0, 0.0]
    """
    length = audio.shape[-1]
    response = _envelope_response(length, window)
    size = length + window
    spectrum = jnp.fft.rfft(audio**2, size)
    response = jnp.asarray(response, spectrum.dtype)
    spectrum = spectrum * jnp.broadcast_to(response, spectrum.shape)
    # The transform leaves rounding noise of either sign where the envelope is zero.
    return jnp.maximum(jnp.fft.irfft(spectrum, size)[..., :length], 0.0)


def amplitude_envelope_sum(
    audio: Float[Array, "*batch time"], window: int = 2048
) -> Float[Array, "*batch"]:
    """Mean over time of the envelope divided by its maximum, 0..1: how long it lasts.

    The maximum is the signal's own (published: that of the whole batch, by which a
    feature of one sound would depend on the others). Silence is 0.

    >>> amplitude_envelope_sum(jnp.zeros(8).at[4].set(3.0), window=4).round(3).item()
    0.25
    """
    envelope = amplitude_envelope(audio, window)
    largest = jnp.maximum(jnp.max(envelope, axis=-1), 1e-8)
    return jnp.mean(envelope, axis=-1) / largest


def temporal_centroid(
    audio: Float[Array, "*batch time"],
    sample_rate: float,
    *,
    window: int = 2048,
    scaling: Literal["none", "schlauch"] = "none",
) -> Float[Array, "*batch"]:
    """Centre of gravity in time of the amplitude envelope, in ms; silence is 0.

    With scaling "schlauch", 0.03 t^1.864 of it, a scale of perceived duration. The
    envelope is never formed: its sum and its first moment are sums of x^2 weighted by
    known numbers.

    >>> click = jnp.zeros(5).at[2].set(1.0)
    >>> temporal_centroid(click, 1000, window=4).round(3).item()
    1.0
    """
    if scaling not in ("none", "schlauch"):
        raise ValueError(
            f"scaling of the temporal centroid is {scaling!r}; "
            "allowed: 'none', 'schlauch'"
        )
    moments = jnp.asarray(_envelope_moments(audio.shape[-1], window), audio.dtype)
    sums = jnp.matmul(audio**2, moments, precision=jax.lax.Precision.HIGHEST)
    centroid_ms = sums[..., 1] / (sums[..., 0] + 1e-8) * (1000.0 / sample_rate)
    if scaling == "schlauch":
        return 0.03 * centroid_ms**1.864
    return centroid_ms
