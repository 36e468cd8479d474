"""Min-max normalisation of features to about the unit interval."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsnare.component import Component


class Normaliser(NamedTuple):
    """Per feature the values that become 0 and 1, in the feature's own unit."""

    lo: Float[Array, " features"]
    hi: Float[Array, " features"]


def _widened(lo, hi, minimum_range) -> Normaliser:
    missing = jnp.maximum(minimum_range - (hi - lo), 0.0)
    return Normaliser(lo - 0.5 * missing, hi + 0.5 * missing)


def fit(
    values: Float[Array, "hits features"], minimum_range: float = 1.0
) -> Normaliser:
    """The range of every feature over a set of hits.

    A range below `minimum_range` (in the feature's unit) is widened about its middle,
    so that a feature that hardly moves does not blow up its noise.

    >>> fit(jnp.array([[-40.0, 7.0], [-20.0, 7.0]]))
    Normaliser(lo=Array([-40. ,   6.5], ...), hi=Array([-20. ,   7.5], ...))
    """
    if values.ndim != 2 or values.shape[0] < 1:
        raise ValueError(
            f"values have shape {values.shape}; wanted: (hits > 0, features)"
        )
    return _widened(jnp.min(values, axis=0), jnp.max(values, axis=0), minimum_range)


def normalise(
    normaliser: Normaliser, x: Float[Array, "*batch features"]
) -> Float[Array, "*batch features"]:
    """Features as fractions of their range; outside it they go below 0 or above 1.

    >>> normaliser = Normaliser(lo=jnp.array([-40.0]), hi=jnp.array([-20.0]))
    >>> normalise(normaliser, jnp.array([-25.0])).item()
    0.75
    """
    lo, hi = (jnp.broadcast_to(edge, x.shape) for edge in normaliser)
    return (x - lo) / (hi - lo)


@dataclass(frozen=True)
class RunningNormaliser(Component):
    """A component that normalises features by their range so far, its own included.

    Until a feature has moved by `minimum_range` its range is widened to that about
    its middle, so the first hit comes out as 0.5. Reset: a fresh `init`. It needs no
    params; `step` ignores what it is given there.

    >>> running = RunningNormaliser(features=1)
    >>> state = running.init()
    >>> for level in (-30.0, -20.0, -25.0):
    ...     state, y = running.step(None, state, jnp.array([level]))
    ...     print(y.item())
    0.5
    1.0
    0.5
    """

    features: int
    minimum_range: float = 1.0

    def __post_init__(self):
        if self.features < 1 or self.minimum_range <= 0.0:
            raise ValueError(
                f"features and minimum_range are {self.features} and "
                f"{self.minimum_range}; both must be > 0"
            )

    def init(self, dtype=jnp.float32) -> Normaliser:
        """The empty range."""
        lo = jnp.full(self.features, jnp.inf, dtype)
        return Normaliser(lo, -lo)

    def step(
        self, params, state: Normaliser, x: Float[Array, " features"]
    ) -> tuple[Normaliser, Float[Array, " features"]]:
        """Take one hit's features in, then normalise them."""
        del params
        state = Normaliser(jnp.minimum(state.lo, x), jnp.maximum(state.hi, x))
        return state, normalise(self.ranges(state), x)

    def ranges(self, state: Normaliser) -> Normaliser:
        """The ranges in use after at least one hit."""
        return _widened(*state, self.minimum_range)
