"""Hits as they are heard within playing: a little late, and on what still rings.

A hit that is heard by itself rises from silence. After another one the detector takes
longer to be sure of it, and its window holds the end of that other one as well: a
mapping that has only known hits by themselves would take the same stroke for another.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxsnare.data import Hits, cut_hits
from jaxsnare.detector import detector_of, find_detector
from jaxsnare.onset import find_onsets, pre_roll_samples
from jaxsnare.params import as_params

GAPS_S = 0.06, 0.5
"""From one stroke to the next, any ratio as often as another: from rolls to eighths."""
LATE_MS = 12.0
"""An onset so soon after where a hit's own is, by itself, is the onset of that hit."""
LEAD_S = 0.1
"""Silence at the start."""


class Rehearsal(NamedTuple):
    """Hits, each heard again within playing, some of them more than once."""

    hits: NDArray[np.int64]  # [M] which hit it is
    windows: NDArray[np.float32]  # [M, window] from its onset - pre_roll on


def rehearse(
    hits: Hits, chosen: NDArray[np.int64], rounds: int, seed: int, window: int
) -> Rehearsal:
    """What the detector that found the hits hears of the chosen ones within playing.

    In each round all of them are played once, one after the other at random, and ring
    on into the next; no gap is shorter than the window. A hit that is not heard, as one
    that is hidden by a louder one, is left out of that round. window: in samples.
    """
    rate = hits.sample_rate
    pre_roll = pre_roll_samples(rate)
    late = round(LATE_MS * rate / 1000)
    detector = find_detector(detector_of(hits.onset), rate)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(chosen) for _ in range(rounds)])
    least, most = np.log(GAPS_S)
    gaps = np.exp(rng.uniform(least, most, len(order))) * rate
    starts = np.cumsum(np.maximum(gaps, window + late).astype(np.int64))
    starts += round(LEAD_S * rate) - starts[0]

    samples = hits.audio.shape[1]
    audio = np.zeros(starts[-1] + samples, np.float32)
    for start, hit in zip(starts, order, strict=True):
        audio[start:][:samples] += hits.audio[hit]
    onsets = find_onsets(detector, as_params(hits.onset), audio)
    windows, _ = cut_hits(audio, onsets, window=window, pre_roll=pre_roll, samples=1)

    own = np.searchsorted(onsets, starts)
    at = np.append(onsets, np.iinfo(np.int64).max)[own]
    heard = at <= starts + pre_roll + late
    return Rehearsal(order[heard], windows[own[heard]])
