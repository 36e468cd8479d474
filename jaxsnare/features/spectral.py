"""Features of the magnitude spectrum of frames.

`window` is "hann" (periodic), "flat_top" (symmetric) or "none"; `floor` is the
smallest magnitude counted (None: no floor); `compress` takes log(1 + magnitude).
Those are the options of the published timbre remapping (arXiv 2407.04547).
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsnare.dsp.units import hz_to_semitones, safe_sqrt

Window = Literal["hann", "flat_top", "none"]
Scaling = Literal["none", "semitone", "kazazis"]


@functools.cache
def _window(name: str, size: int) -> np.ndarray:
    turns = np.arange(size) / size
    if name == "hann":
        return 0.5 - 0.5 * np.cos(2.0 * np.pi * turns)
    if name == "flat_top":  # five terms, D'Antona and Ferrero 2006
        weights = (0.21557895, -0.41663158, 0.277263158, -0.083578947, 0.006947368)
        turns = np.linspace(0.0, 1.0, size)
        return sum(
            (w * np.cos(2.0 * np.pi * k * turns) for k, w in enumerate(weights)),
            start=np.zeros(size),
        )
    if name == "none":
        return np.ones(size)
    raise ValueError(f"window is {name!r}; allowed: 'hann', 'flat_top', 'none'")


def _power(frames, window):
    shape = _window(window, frames.shape[-1])
    shape = jnp.broadcast_to(jnp.asarray(shape, frames.dtype), frames.shape)
    if frames.ndim == 1:
        real, imag = _short_rfft(frames * shape)
        return real**2 + imag**2
    spectrum = jnp.fft.rfft(frames * shape)
    return spectrum.real**2 + spectrum.imag**2


def power_spectrum(frame: Float[Array, "*frames n"]) -> Float[Array, "*frames n//2+1"]:
    """Power of each bin of a frame, or of frames, under a periodic Hann window."""
    return _power(frame, "hann")


@functools.cache
def _bands(size: int, sample_rate: int, edges_hz: tuple[float, ...]) -> np.ndarray:
    """Which bins of a spectrum belong to which band, [bands, bins]."""
    hz = np.arange(size // 2 + 1) * sample_rate / size
    bands = np.arange(len(edges_hz) + 1)[:, None]
    return (np.searchsorted(edges_hz, hz, "right") == bands) * 1.0


def band_powers(
    window: Float[Array, " T"], sample_rate: int, edges_hz: tuple[float, ...]
) -> Float[Array, " B"]:
    """Power of a window in the bands between some borders, under a Hann window."""
    bands = jnp.asarray(_bands(len(window), sample_rate, edges_hz), window.dtype)
    return jnp.sum(bands * power_spectrum(window)[None], axis=-1)


@functools.cache
def _rfft_factors(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A DFT of size a b: matrix of size a, twiddles [a, b], matrix of size b."""
    a = max(d for d in range(1, int(size**0.5) + 1) if size % d == 0)
    b = size // a

    def turn(rows, columns, size):
        return np.exp(-2j * np.pi * np.outer(rows, columns) / size)

    needed = np.arange(b // 2 + 1)
    first = turn(np.arange(a), np.arange(a), a)
    between = turn(np.arange(a), np.arange(b), size)
    return first, between, turn(needed, np.arange(b), b)


def _short_rfft(frame: Float[Array, " n"]) -> tuple[Array, Array]:
    """Real and imaginary part of the rfft of one frame, by small matrix products.

    Cooley and Tukey 1965, one stage. Row by row, so that it compiles into the live
    step: an FFT, or a product of matrices, would be a call of a library there.
    """
    first, between, second = (
        tuple(jnp.asarray(part(matrix), frame.dtype) for part in (np.real, np.imag))
        for matrix in _rfft_factors(len(frame))
    )

    def product(a, b):
        return jax.lax.map(lambda row: row @ b, a)

    rows = frame.reshape(between[0].shape)
    r, i = product(first[0], rows), product(first[1], rows)
    r, i = r * between[0] - i * between[1], r * between[1] + i * between[0]
    real = product(second[0], r.T) - product(second[1], i.T)
    imag = product(second[0], i.T) + product(second[1], r.T)
    bins = len(frame) // 2 + 1
    return real.ravel()[:bins], imag.ravel()[:bins]


def _magnitude(frames, window, floor, compress):
    power = _power(frames, window)
    if floor is None:
        magnitude = safe_sqrt(power)
    elif floor > 0.0:
        magnitude = jnp.sqrt(jnp.maximum(power, floor**2))
    else:
        raise ValueError(f"floor is {floor}; allowed: a magnitude > 0, or None")
    return jnp.log1p(magnitude) if compress else magnitude


def _centre(magnitude, bins):
    """Mean of `bins` weighted by the spectrum; 0 for a spectrum of zeros."""
    total = jnp.maximum(jnp.sum(magnitude, axis=-1), 1e-8)
    return jnp.sum(magnitude * bins, axis=-1) / total


def _bins(magnitude):
    bins = jnp.arange(magnitude.shape[-1], dtype=magnitude.dtype)
    return jnp.broadcast_to(bins, magnitude.shape)


def spectral_centroid(
    frames: Float[Array, "*batch n"],
    sample_rate: float,
    *,
    window: Window = "hann",
    floor: float | None = None,
    compress: bool = False,
    scaling: Scaling = "none",
) -> Float[Array, "*batch"]:
    """Centre of gravity of the spectrum of every frame.

    In Hz (scaling "none"), in semitones as MIDI pitch ("semitone") or on the scale
    of perceived brightness -34.61 f^-0.1621 + 21.2985 ("kazazis": Kazazis, Depalle,
    McAdams 2022, Front. Psychol. 13, 835401). Silence without a floor is 0 Hz; the
    two scalings count frequencies below 1 Hz as 1 Hz. Options: see the module.

    >>> t = jnp.arange(2048) / 44100
    >>> tone = jnp.sin(2 * jnp.pi * 44100 * 100 / 2048 * t)  # the middle of bin 100
    >>> round(spectral_centroid(tone, 44100).item() / 44100 * 2048)
    100
    """
    if scaling not in ("none", "semitone", "kazazis"):
        raise ValueError(
            f"scaling of the spectral centroid is {scaling!r}; "
            "allowed: 'none', 'semitone', 'kazazis'"
        )
    magnitude = _magnitude(frames, window, floor, compress)
    bin_hz = sample_rate / frames.shape[-1]
    centroid_hz = _centre(magnitude, _bins(magnitude)) * bin_hz
    if scaling == "semitone":
        return hz_to_semitones(centroid_hz)
    if scaling == "kazazis":
        return -34.61 * jnp.maximum(centroid_hz, 1.0) ** -0.1621 + 21.2985
    return centroid_hz


def spectral_spread(
    frames: Float[Array, "*batch n"],
    *,
    window: Window = "hann",
    floor: float | None = None,
    compress: bool = False,
) -> Float[Array, "*batch"]:
    """Variance of the spectrum about its centroid, in bins squared, as published.

    Options: see the module.

    >>> tone = jnp.cos(jnp.pi / 2 * jnp.arange(64.0))
    >>> spectral_spread(tone).round(2).item()  # magnitudes 1, 2, 1 about bin 16
    0.5
    """
    magnitude = _magnitude(frames, window, floor, compress)
    bins = _bins(magnitude)
    centre = _centre(magnitude, bins)
    return _centre(magnitude, (bins - centre[..., None]) ** 2)


def spectral_flatness(
    frames: Float[Array, "*batch n"],
    *,
    window: Window = "hann",
    compress: bool = False,
    amin: float = 1e-10,
) -> Float[Array, "*batch"]:
    """Geometric over arithmetic mean of the power spectrum, in dB; 0 dB is flat.

    20 log10(geometric / arithmetic + 1e-8), of powers floored at `amin`: so silence
    is 0 dB. As published, 20 log10 is taken of a ratio of powers. Options: see the
    module; compressed, the power is log(1 + magnitude)^2.

    >>> spectral_flatness(jnp.zeros(64).at[0].set(1.0), window="none").round(3).item()
    0.0
    """
    if amin <= 0.0:
        raise ValueError(f"amin is {amin}; allowed: a power > 0")
    if compress:
        power = _magnitude(frames, window, None, compress) ** 2
    else:
        power = _power(frames, window)
    power = jnp.maximum(power, amin)
    geometric = jnp.exp(jnp.mean(jnp.log(power), axis=-1))
    return 20.0 * jnp.log10(geometric / jnp.mean(power, axis=-1) + 1e-8)


def spectral_flux(
    frames: Float[Array, "*batch frames n"], *, window: Window = "hann"
) -> Float[Array, "*batch frames-1"]:
    """Growth of the spectrum: the sum of max(X[k] - X[k-1], 0)^2 over the bins.

    X are the magnitudes of frame k; one value for every frame but the first.

    >>> onset = jnp.stack([jnp.zeros(8), jnp.zeros(8).at[4].set(2.0)])
    >>> spectral_flux(onset, window="none")  # five bins grow from 0 to 2
    Array([20.], dtype=float32)
    """
    if frames.ndim < 2 or frames.shape[-2] < 2:
        raise ValueError(
            f"spectral flux compares frames; given: {frames.shape}, "
            "wanted: (..., at least 2 frames, samples)"
        )
    magnitude = _magnitude(frames, window, None, False)
    growth = magnitude[..., 1:, :] - magnitude[..., :-1, :]
    return jnp.sum(jnp.maximum(growth, 0.0) ** 2, axis=-1)
