"""What the onset features of hits tell of their sounds: Gaussian process regression.

Two hits that begin alike may go on differently. A mapping cannot know that, and one
that is fitted to it all the same learns the chance of a few dozen hits by heart.
"""

from itertools import product
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike, NDArray

LENGTHS = 0.3, 0.5, 0.8, 1.2, 2.0, 3.0
LINEAR = 0.0, 0.3, 1.0, 3.0
NOISE = 0.01, 0.03, 0.1, 0.2, 0.4, 0.8, 2.0, 5.0
CONSTANT = 0.1
PLACES = 64
"""Regressions have room for a multiple of so many hits: programs fit all of a size."""


class Regression(NamedTuple):
    """A fitted process: what N hits tell of K numbers from F others."""

    hits: Float[Array | np.ndarray, "N F"]
    scale: Float[Array | np.ndarray, " F"]  # of differences to the hits
    rate: Float[Array | np.ndarray, " K"]  # at which a hit counts less, by distance
    by: Float[Array | np.ndarray, "N K"]  # what each hit counts
    slope: Float[Array | np.ndarray, "F K"]
    offset: Float[Array | np.ndarray, " K"]

    def times(self, factors: Float[np.ndarray, " K"]) -> "Regression":
        """What it tells, multiplied."""
        linear = {"slope": self.slope * factors, "offset": self.offset * factors}
        return self._replace(by=self.by * factors, **linear)

    def stored(self) -> "Regression":
        """In single precision, with room for a multiple of PLACES hits."""
        more = ((0, -len(self.hits) % PLACES), (0, 0))
        roomy = self._replace(hits=np.pad(self.hits, more), by=np.pad(self.by, more))
        return Regression(*(np.asarray(part, np.float32) for part in roomy))


def nothing_told(hits: int, numbers: int, inputs: int) -> Regression:
    """A regression of that size that says 0 of everything."""
    return Regression(
        jnp.zeros((hits, inputs)),
        jnp.zeros(inputs),
        jnp.zeros(numbers),
        jnp.zeros((hits, numbers)),
        jnp.zeros((inputs, numbers)),
        jnp.zeros(numbers),
    )


def tell(
    regression: Regression, x: Float[Array, "*batch F"]
) -> Float[Array, "*batch K"]:
    """What a regression says of inputs."""

    def one(x):
        apart = jnp.square((x[None] - regression.hits) * regression.scale[None])
        apart = jnp.sum(apart, axis=-1)
        near = jnp.exp(apart[:, None] * regression.rate[None])
        by_hits = jnp.sum(near * regression.by, axis=0)
        return by_hits + x @ regression.slope + regression.offset

    return jnp.vectorize(one, signature="(f)->(k)")(x)


class Told(NamedTuple):
    """What is told of N hits."""

    left_out: NDArray[np.float64]  # [N, K] of each by the others
    regression: Regression  # of all of them


def told(inputs: ArrayLike, wanted: ArrayLike) -> Told:
    """The regression of wanted [N, K] on inputs [N, F].

    Squared exponential, linear and constant kernels on standardised inputs; for each
    column their sizes are those of the greatest marginal likelihood. Each hit left out
    in closed form. Source: Rasmussen and Williams 2006, chapters 2 and 5.4.

    >>> x = np.linspace(0, 1, 20)[:, None]
    >>> noisy = np.sin(3 * x) + np.array([[0.1], [-0.1]] * 10)
    >>> known = tell(told(x, noisy).regression, jnp.asarray(x))
    >>> bool(np.abs(np.asarray(known) - np.sin(3 * x)).mean() < 0.015)
    True
    """
    x, y = np.asarray(inputs, np.float64), np.asarray(wanted, np.float64)
    centre, width = x.mean(axis=0), x.std(axis=0) + 1e-9
    x = (x - centre) / width
    middle, spread = y.mean(axis=0), y.std(axis=0) + 1e-9
    y = (y - middle) / spread
    apart = np.mean(np.square(x[:, None] - x[None]), axis=-1)
    best = np.full(y.shape[1], -np.inf)
    left_out, by = np.zeros_like(y), np.zeros_like(y)
    lengths, linears = np.ones_like(best), np.zeros_like(best)
    for length, linear in product(LENGTHS, LINEAR):
        kernel = np.exp(-apart / (2 * length**2)) + linear * (x @ x.T) / x.shape[1]
        sizes, axes = np.linalg.eigh(kernel + CONSTANT)
        sizes, along = np.maximum(sizes, 0.0)[:, None], axes.T @ y
        for noise in NOISE:
            inverse = 1 / (sizes + noise)
            weighs = axes @ (inverse * along)
            energy = np.sum(y * weighs, axis=0)
            likelihood = -len(y) * np.log(energy) + np.sum(np.log(inverse))
            better = likelihood > best
            best = np.where(better, likelihood, best)
            alone = y - weighs / (np.square(axes) @ inverse)
            left_out = np.where(better, alone, left_out)
            by = np.where(better, weighs, by)
            lengths = np.where(better, length, lengths)
            linears = np.where(better, linear, linears)
    slope = linears * (x.T @ by) / x.shape[1] / width[:, None]
    regression = Regression(
        x * width + centre,
        1 / (width * np.sqrt(x.shape[1])),
        -1 / (2 * lengths**2),
        by,
        slope,
        CONSTANT * by.sum(axis=0) - centre @ slope,
    ).times(spread)
    regression = regression._replace(offset=regression.offset + middle)
    return Told(left_out * spread + middle, regression)
