"""Overlapping frames of a signal, and the shift register that live code keeps."""

import jax.numpy as jnp
from jaxtyping import Array, Float


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
