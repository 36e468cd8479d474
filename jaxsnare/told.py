"""What the onset features of hits tell of their sounds: Gaussian process regression.

Two hits that begin alike may go on differently. A mapping cannot know that, and one
that is fitted to it all the same learns the chance of a few dozen hits by heart.
"""

from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike, NDArray

LENGTHS = 0.3, 0.5, 0.8, 1.2, 2.0, 3.0
LINEAR = 0.0, 0.3, 1.0, 3.0
NOISE = 0.01, 0.03, 0.1, 0.2, 0.4, 0.8, 2.0, 5.0
CONSTANT = 0.1
PLACES = 64
"""Regressions have room for a multiple of so many sounds: fewer sizes to compile."""


class Regression(NamedTuple):
    """A fitted process: what N sounds of hits tell of K numbers from F others."""

    hits: Float[Array | np.ndarray, "N F"]  # as they were heard
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
        """In single precision, with room for a multiple of PLACES sounds."""
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

    room = (0, -len(regression.hits) % PLACES), (0, 0)
    # A few at a time: of more XLA makes a task for several threads, and waking them
    # takes longer than all else that a block does when it is played.
    pieces = [
        jnp.pad(jnp.asarray(rows), room).reshape(-1, PLACES, rows.shape[1])
        for rows in (regression.hits, regression.by)
    ]

    def one(x):
        def add(total, piece):
            hits, by = piece
            apart = jnp.square((x[None] - hits) * regression.scale[None])
            apart = jnp.sum(apart, axis=-1)
            near = jnp.exp(apart[:, None] * regression.rate[None])
            return total + jnp.sum(near * by, axis=0), None

        linear = x @ regression.slope + regression.offset
        return jax.lax.scan(add, linear, pieces)[0]

    return jnp.vectorize(one, signature="(f)->(k)")(x)


class Told(NamedTuple):
    """What is told of N hits."""

    left_out: NDArray[np.float64]  # [N, K] of each by the others
    regression: Regression  # of all of them


def told(
    inputs: ArrayLike,
    wanted: ArrayLike,
    again: tuple[NDArray[np.int64], ArrayLike] | None = None,
) -> Told:
    """The regression of wanted [N, K] on inputs [N, F] of N hits.

    again: hits that were heard once more: which each of them is [M], and its inputs
    [M, F]. Those of a hit count together as much as it does itself.

    Squared exponential, linear and constant kernels on standardised inputs; for each
    column their sizes are those of the greatest marginal likelihood of the N. Each hit
    left out, whenever heard, in closed form. Source: Rasmussen and Williams 2006,
    chapters 2 and 5.4.

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
    sizes = _sizes(x, y)

    count = len(x)
    hit, doubt = np.arange(count), np.ones(count)
    if again is not None:
        whose, more = (np.asarray(part) for part in again)
        x = np.concatenate([x, (more - centre) / width])
        hit = np.concatenate([hit, whose])
        doubt = np.concatenate([doubt, np.bincount(whose)[whose]])
    own = [np.flatnonzero(hit == n) for n in range(count)]
    left_out, by = np.zeros_like(y), np.zeros((len(x), y.shape[1]))
    for k, (length, linear, noise) in enumerate(sizes):
        inverse = np.linalg.inv(_kernel(x, length, linear) + noise * np.diag(doubt))
        by[:, k] = inverse @ y[hit, k]
        for n, rows in enumerate(own):
            lacks = np.linalg.solve(inverse[np.ix_(rows, rows)], by[rows, k])
            left_out[n, k] = y[n, k] - lacks[0]

    lengths, linears, _ = sizes.T
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


def _kernel(x: np.ndarray, length: float, linear: float) -> np.ndarray:
    products = x @ x.T
    squares = np.diag(products)
    apart = np.maximum(squares[:, None] + squares - 2 * products, 0.0) / x.shape[1]
    near = np.exp(-apart / (2 * length**2))
    return near + linear * products / x.shape[1] + CONSTANT


def _sizes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Length, linear and noise [K, 3] of the greatest likelihood of each column."""
    best, sizes = np.full(y.shape[1], -np.inf), np.zeros((y.shape[1], 3))
    for length, linear in product(LENGTHS, LINEAR):
        powers, axes = np.linalg.eigh(_kernel(x, length, linear))
        powers, along = np.maximum(powers, 0.0)[:, None], axes.T @ y
        for noise in NOISE:
            inverse = 1 / (powers + noise)
            energy = np.sum(inverse * np.square(along), axis=0)
            likelihood = -len(y) * np.log(energy) + np.sum(np.log(inverse))
            better = likelihood > best
            best = np.where(better, likelihood, best)
            sizes[better] = length, linear, noise
    return sizes
