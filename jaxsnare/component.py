"""The contract of every part, and the ways to run one: in blocks, or whole.

A component is one block function, right for any static block length::

    init() -> state
    step(params, state, x[T]) -> (state, out[T])

and obeys one law: step(x ++ y) = step(x), then step(y) - outputs, final state and
gradients, for any partition. So rendering a file and playing live are the same code.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SUB_BLOCK = 64
"""Samples: longest piece a synth or remapper works on at once inside a step."""

MIN_RATE_HZ, MAX_RATE_HZ = 8_000, 192_000

FADE_MS = 2.0
"""Milliseconds over which a voice that is still sounding is faded out."""


class Component(ABC):
    """Config: a frozen, hashable dataclass with `init` and `step`.

    Params (a pytree of float arrays) belong to the caller and may be turned,
    vmapped or differentiated; state (a pytree of fixed structure) is what the next
    block needs; time is the last axis of x and out; there is no batch axis (vmap).
    """

    @abstractmethod
    def init(self, dtype: Any = jnp.float32) -> Any:
        """The state before the first sample."""

    @abstractmethod
    def step(self, params: Any, state: Any, x: Any) -> tuple[Any, Any]:
        """One block: the next state, and the output of the block's length."""


def fade_samples(sample_rate: int) -> int:
    """Length in samples of the fade of a voice that is cut by the next."""
    return max(1, round(FADE_MS * sample_rate / 1000))


def min_gap_samples(sample_rate: int) -> int:
    """Least distance in samples of two triggers.

    A fade must be over in the sub-block before the next one begins, wherever the
    borders of the sub-blocks lie.
    """
    return fade_samples(sample_rate) + SUB_BLOCK - 1


def check_rate(sample_rate: int) -> None:
    """A ValueError unless a sample rate is one of those that every part allows."""
    whole = isinstance(sample_rate, int | np.integer)
    if not whole or not MIN_RATE_HZ <= sample_rate <= MAX_RATE_HZ:
        raise ValueError(
            f"sample_rate is {sample_rate!r} Hz; allowed: whole numbers from "
            f"{MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"
        )


def scan_blocks(
    step: Callable[[Any, Any], tuple[Any, tuple[Any, Any]]],
    state: Any,
    x: Any,
    size: int = SUB_BLOCK,
) -> tuple[Any, tuple[Any, Any]]:
    """Run `step(state, x) -> (state, (signals, events))` over pieces of `size` samples.

    x: a pytree of arrays whose last axis is time. Signals are joined along their last
    axis (time); events, of which a piece has one each, are stacked along a new first
    axis, a row for each piece.
    """
    length = jax.tree.leaves(x)[0].shape[-1]
    count, rest = divmod(length, size)
    parts = []
    if count == 1:
        state, out = step(state, jax.tree.map(lambda a: a[..., :size], x))
        parts.append(_with_rows(out))
    elif count > 1:

        def pieces(a):
            whole = a[..., : count * size]
            cut = whole.reshape(*a.shape[:-1], count, size)
            return jnp.moveaxis(cut, -2, 0)

        def join(a):
            moved = jnp.moveaxis(a, 0, -2)
            return moved.reshape(*moved.shape[:-2], count * size)

        state, (signals, events) = jax.lax.scan(step, state, jax.tree.map(pieces, x))
        parts.append((jax.tree.map(join, signals), events))
    if rest:
        tail = jax.tree.map(lambda a: a[..., count * size :], x)
        state, out = step(state, tail)
        parts.append(_with_rows(out))
    if len(parts) == 1:
        return state, parts[0]
    signals, events = zip(*parts, strict=True)
    return state, (
        jax.tree.map(lambda *a: jnp.concatenate(a, axis=-1), *signals),
        jax.tree.map(lambda *a: jnp.concatenate(a, axis=0), *events),
    )


def _with_rows(out: tuple[Any, Any]) -> tuple[Any, Any]:
    signals, events = out
    return signals, jax.tree.map(lambda a: a[None], events)


def select(condition: Any, if_true: Any, if_false: Any) -> Any:
    """`jnp.where` over two pytrees of the same structure, by one scalar."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)


def iterate_blocks(
    component: Component, params: Any, audio: np.ndarray, block: int = 8192
) -> Iterator[tuple[int, Any]]:
    """Run a recording [T] through a component's jit-compiled step, block by block.

    Yields (samples of the recording in the block, out). The last block is padded with
    zeros, so that one compilation serves the whole recording (short ones are padded to
    a power of two). Raises ValueError for anything but finite mono audio in floating
    point, and for blocks of no samples.
    """
    audio = check_audio(audio)
    if block < 1:
        raise ValueError(f"block is {block} samples; allowed: 1 or more")
    block = min(block, max(SUB_BLOCK, 1 << (len(audio) - 1).bit_length()))
    state = component.init()
    for start in range(0, len(audio), block):
        piece = audio[start : start + block]
        padded = np.pad(piece, (0, block - len(piece)))
        state, out = _jit_step(component, params, state, padded)
        yield len(piece), out


def check_audio(audio: Any) -> np.ndarray:
    """Audio [T] as float32; ValueError unless floating point, mono and finite."""
    audio = np.asarray(audio)
    if (
        audio.ndim != 1
        or len(audio) == 0
        or not np.issubdtype(audio.dtype, np.floating)
    ):
        raise ValueError(
            f"audio is {audio.dtype} of shape {audio.shape}; wanted: floating point of "
            "shape (samples > 0,), full scale 1, mono"
        )
    bad = ~np.isfinite(audio)
    if bad.any():
        raise ValueError(
            f"audio has {bad.sum()} NaN or infinite samples, the first at "
            f"{np.argmax(bad)}; wanted: finite ones"
        )
    return audio.astype(np.float32)


@partial(jax.jit, static_argnums=0)
def _jit_step(component, params, state, x):
    return component.step(params, state, x)


def run_blocks(
    component: Component, params: Any, audio: np.ndarray, block: int = 8192
) -> Any:
    """The output signals of a component over a recording [T], as NumPy arrays."""
    outs = [
        jax.tree.map(lambda a, n=n: np.asarray(a)[..., :n], out)
        for n, out in iterate_blocks(component, params, audio, block)
    ]
    return jax.tree.map(lambda *a: np.concatenate(a, axis=-1), *outs)
