"""A recorded performance through the step that plays live."""

from typing import Any, NamedTuple

import jax
import numpy as np

from jaxsnare.component import SUB_BLOCK, iterate_blocks
from jaxsnare.mapping import Modulation
from jaxsnare.remapper import RemapParams, Remapper


class Remapped(NamedTuple):
    """A performance remapped: NumPy arrays."""

    audio: np.ndarray  # [T] synth and input, mixed and limited
    synth: np.ndarray  # [T] synth alone
    level: np.ndarray  # [T] detection signal, dB
    onsets: np.ndarray  # [N] samples at which onsets were detected
    triggers: np.ndarray  # [M] samples at which voices started
    hits: Modulation  # [M, ...] what they play


def remap(
    remapper: Remapper,
    params: RemapParams,
    audio: np.ndarray,
    block: int = 8192,
    progress: Any = None,
) -> Remapped:
    """Run a performance [T] through the step that plays live, block by block.

    progress: called with the number of samples done after each block.
    """
    signals, hits, done = [], [], 0
    for length, out in iterate_blocks(remapper, params, audio, block):
        piece = jax.tree.map(np.asarray, out)
        voices = np.add.reduceat(
            piece.signals.trigger.astype(int),
            np.arange(0, piece.signals.trigger.shape[-1], SUB_BLOCK),
        )
        rows = np.flatnonzero(voices)
        at = np.flatnonzero(piece.signals.trigger)
        rows = rows[at < length]
        signals.append(jax.tree.map(lambda a, n=length: a[:n], piece.signals))
        hits.append(jax.tree.map(lambda a, rows=rows: a[rows], piece.hits))
        done += length
        if progress is not None:
            progress(done)
    s = jax.tree.map(lambda *a: np.concatenate(a), *signals)
    return Remapped(
        s.audio,
        s.synth,
        s.level,
        np.flatnonzero(s.onset),
        np.flatnonzero(s.trigger),
        jax.tree.map(lambda *a: np.concatenate(a), *hits),
    )
