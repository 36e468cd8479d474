"""Overlapping frames of a signal, and the shift register that live code keeps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

ZERO_CROSSINGS, KAISER_BETA = 24, 5.0


def frames(
    x: Float[Array, "*batch time"], size: int, hop: int
) -> Float[Array, "*batch frames size"]:
    """Cut a signal into overlapping frames, complete ones only.

    Frame k holds the samples [k * hop, k * hop + size); `size` and `hop` are in
    samples. No gather is made (its gradient, a scatter, is slow): the signal is
    folded into rows of one hop, and frames are rows beside the rows after them.

    Raises ValueError if the signal is shorter than one frame.

    >>> frames(jnp.arange(7.0), size=3, hop=2).tolist()
    [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0], [4.0, 5.0, 6.0]]
    """
    if size < 1 or hop < 1:
        raise ValueError(f"size and hop are {size} and {hop} samples; both must be > 0")
    *batch, length = x.shape
    if length < size:
        raise ValueError(
            f"the signal has {length} samples; one frame takes at least {size}"
        )
    count = 1 + (length - size) // hop
    overlap = -(-size // hop)
    rows = count + overlap - 1
    missing = max(rows * hop - length, 0)
    x = jnp.pad(x, [(0, 0)] * len(batch) + [(0, missing)])[..., : rows * hop]
    x = x.reshape(*batch, rows, hop)
    parts = [x[..., k : k + count, : min(hop, size - k * hop)] for k in range(overlap)]
    return jnp.concatenate(parts, axis=-1)


def push(
    history: Float[Array, "*batch history"], x: Float[Array, "*batch time"]
) -> Float[Array, "*batch history"]:
    """The last samples of a stream: `history` after the block `x` came in.

    The length of the history stays, whatever the length of the block.

    >>> push(jnp.array([1.0, 2.0, 3.0]), jnp.array([4.0])).tolist()
    [2.0, 3.0, 4.0]
    """
    return jnp.concatenate([history, x], axis=-1)[..., x.shape[-1] :]


def resample(
    x: Float[Array, " n"], from_rate: int, to_rate: int, size: int
) -> Float[Array, " size"]:
    """A short piece of sound at another rate: `size` samples from its first on.

    Band-limited interpolation (Smith and Gossett 1984): a sinc of 24 zero crossings
    to each side under a Kaiser window. Outside of the piece is silence. Sample by
    sample, so that it compiles into the live step.

    >>> tone = jnp.sin(0.2 * jnp.arange(300.0))
    >>> slower = resample(tone, 48_000, 24_000, 150)
    >>> float(jnp.abs(slower - tone[::2])[30:-30].max()) < 1e-3
    True
    """
    places, weights = _interpolation(len(x), from_rate, to_rate, size)

    def sample(at):
        first, weights = at
        return weights @ jax.lax.dynamic_slice(x, (first,), weights.shape)

    return jax.lax.map(sample, (jnp.asarray(places), jnp.asarray(weights, x.dtype)))


@functools.cache
def _interpolation(
    length: int, from_rate: int, to_rate: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each sample of the result: a first place, and weights [size, taps]."""
    cutoff = min(1.0, to_rate / from_rate)
    reach = ZERO_CROSSINGS / cutoff
    taps = min(length, 2 * int(reach) + 1)
    times = np.arange(size) * (from_rate / to_rate)
    places = np.clip(np.round(times).astype(int) - taps // 2, 0, length - taps)
    away = times[:, None] - (places[:, None] + np.arange(taps))
    inside = np.sqrt(np.maximum(1.0 - (away / reach) ** 2, 0.0))
    window = np.i0(KAISER_BETA * inside) / np.i0(KAISER_BETA)
    window[np.abs(away) > reach] = 0.0
    return places, cutoff * np.sinc(cutoff * away) * window
