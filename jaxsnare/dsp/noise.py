"""White noise as a function of (seed, sample index): the same for any block length."""

from dataclasses import dataclass
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def _mix(x: Array) -> Array:
    """Avalanche of 32 bits (C. Wellons, 'Prospecting for hash functions', 2018)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def white(
    n: Int[Array, " T"], seed: Int[Array, ""] | int, dtype: Any = jnp.float32
) -> Float[Array, " T"]:
    """Uniform white noise in [-1, 1): a hash of the seed and the sample index.

    n: sample indices. The values have 24 random bits, so that every dtype from
    float32 up holds the same noise exactly.

    >>> bool((white(jnp.arange(8), 1)[2:4] == white(jnp.arange(2, 4), 1)).all())
    True
    """
    key = _mix(jnp.asarray(seed).astype(jnp.uint32) * jnp.uint32(0x9E3779B9))
    bits = _mix(_mix(n.astype(jnp.uint32) ^ key) + key)
    # through int32: XLA converts it faster than uint32, and 24 bits fit
    top = (bits >> 8).astype(jnp.int32) - (1 << 23)
    return top.astype(dtype) / (1 << 23)


class NoiseSource(Protocol):
    """Where a synth's noise comes from; static and hashable, part of its config."""

    def __call__(
        self, n: Int[Array, " T"], hit: Int[Array, ""], channel: int, dtype: Any
    ) -> Float[Array, " T"]:
        """Noise at n samples since the trigger of the hit with that number."""
        ...


@dataclass(frozen=True)
class SeededNoise:
    """Noise from a seed, counted from the trigger.

    With `per_hit` every hit has a noise of its own; without (the default) every hit
    has the noise of training, so that what is trained is what is played.
    """

    seed: int = 0
    per_hit: bool = False

    def __call__(self, n, hit, channel, dtype):
        seed = self.seed + 0x10001 * channel
        return white(n, seed + 0x101 * hit if self.per_hit else seed, dtype)


@dataclass(frozen=True, eq=False)
class BufferNoise:
    """Noise from given samples [N] (repeated after N): for parity with other code."""

    samples: np.ndarray

    def __call__(self, n, hit, channel, dtype):
        return jnp.asarray(self.samples, dtype)[n % len(self.samples)]
