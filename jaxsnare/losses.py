"""How far two sounds, or two differences between sounds, are apart."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsnare.dsp.framing import frames
from jaxsnare.dsp.units import safe_sqrt
from jaxsnare.features.spectral import power_spectrum

# Least ranges, in each target feature's unit (SPL, SPL, SC, SC, SF, SF, TC).
RANGE_FLOORS = (10.0, 10.0, 1.0, 1.0, 10.0, 10.0, 5.0)


def feature_difference(
    predicted_difference: Float[Array, "*batch features"],
    target_difference: Float[Array, "*batch features"],
    weights: Float[Array, " features"] | None = None,
) -> Float[Array, ""]:
    """Mean over everything of weight * |predicted - target|.

    The differences are features of a sound less those of its reference, and `weights`
    one number per feature (None: 1, the published loss). The mean is not divided by
    the weights. Source: arXiv 2407.04547.

    >>> target = jnp.array([[0.0, 0.0]])
    >>> feature_difference(jnp.array([[1.0, -3.0]]), target).item()
    2.0
    >>> feature_difference(
    ...     jnp.array([[1.0, -3.0]]), target, jnp.array([1.0, 0.0])
    ... ).item()
    0.5
    """
    error = jnp.abs(predicted_difference - target_difference)
    if weights is not None:
        error = error * jnp.broadcast_to(weights, error.shape)
    return jnp.mean(error)


def difference_weights(
    target_differences: Float[Array, "hits features"],
    range_floors: Sequence[float] = RANGE_FLOORS,
) -> Float[Array, " features"]:
    """Weights that let every feature count alike: 1 / its range over a set of hits.

    Ranges below `range_floors` (in the features' units) count as that, so that a
    feature which hardly moves in a set does not rule the loss.

    >>> differences = jnp.array([[-10.0, 0.1], [30.0, 0.2]])
    >>> difference_weights(differences, range_floors=(10.0, 1.0)).tolist()
    [0.02500000037252903, 1.0]
    """
    if target_differences.ndim != 2 or target_differences.shape[-1] != len(
        range_floors
    ):
        raise ValueError(
            f"target_differences have shape {target_differences.shape}; "
            f"wanted: (hits, {len(range_floors)}), one column per range floor"
        )
    extent = jnp.ptp(target_differences, axis=0)
    return 1.0 / jnp.maximum(extent, jnp.asarray(range_floors, extent.dtype))


def multi_resolution_stft(
    x: Float[Array, " time"],
    y: Float[Array, " time"],
    *,
    fft_sizes: Sequence[int] = (2048, 1024, 512),
    overlap: int = 4,
    floor: float = 1e-4,
) -> Float[Array, ""]:
    """Distance of the spectrograms of a sound `x` and a target `y`.

    The mean over `fft_sizes` of spectral convergence, ||X - Y|| / ||Y||, plus the mean
    of |log X - log Y|; X and Y are magnitudes, at least `floor`, of frames under a
    periodic Hann window every size / `overlap` samples, half a frame of zeros being
    put at either end. Source: Yamamoto, Song, Kim 2020, arXiv 1910.11480.

    >>> x = jnp.sin(jnp.arange(512.0))
    >>> multi_resolution_stft(x, x, fft_sizes=(128,)).item()
    0.0
    """
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(
            f"x and y have shapes {x.shape} and {y.shape}; wanted: the same (samples,)"
        )
    if not fft_sizes or min(fft_sizes) < overlap or overlap < 1:
        raise ValueError(
            f"fft_sizes are {tuple(fft_sizes)} with overlap {overlap}; allowed: one "
            "size or more, each at least the overlap, which is at least 1"
        )
    total = jnp.zeros((), x.dtype)
    for size in fft_sizes:
        magnitude_x, magnitude_y = (
            _spectrogram(signal, size, size // overlap, floor) for signal in (x, y)
        )
        apart = safe_sqrt(jnp.sum((magnitude_x - magnitude_y) ** 2))
        convergence = apart / jnp.sqrt(jnp.sum(magnitude_y**2))
        logarithmic = jnp.mean(jnp.abs(jnp.log(magnitude_x) - jnp.log(magnitude_y)))
        total = total + convergence + logarithmic
    return total / len(fft_sizes)


def _spectrogram(x, size, hop, floor):
    power = power_spectrum(frames(jnp.pad(x, size // 2), size, hop))
    return jnp.sqrt(jnp.maximum(power, floor**2))
