"""Many settings of the detector at once on one recording: some 30 times as fast.

What is before the decision - filters, levels, the tracked noise - does not depend on
the settings that are searched, and is computed once, by the detector itself. The
decision is repeated here in Numba, with the settings as the inner axis; `check` holds
it against the detector's own step.
"""

from typing import NamedTuple

import jax
import numba
import numpy as np

from jaxsnare.component import min_gap_samples
from jaxsnare.detector import (
    FIRST_SINCE,
    FORGET_DB_S,
    RECALL_S,
    SENSITIVITY_DB,
    STARTS,
    WEIGHTS,
    HitDetector,
)
from jaxsnare.knobs import HIT_SPECS
from jaxsnare.onset import find_onsets
from jaxsnare.params import Values, as_params

FIXED = ("onset.floor", "onset.noise", "onset.hold")
"""Settings that the levels depend on: not searched."""


class Heard(NamedTuple):
    """What the decision is made from, in dB above what counts as silence."""

    level: np.ndarray  # [T, B]
    start: np.ndarray  # [STARTS], of the wave that the recording begins with


def levels(detector: HitDetector, audio: np.ndarray) -> Heard:
    """What the detector hears of a recording by its defaults."""
    length = 1 << (len(audio) - 1).bit_length()
    padded = np.pad(audio, (0, length - len(audio))).astype(np.float32)
    level, start = _levels(detector.sample_rate, detector.defaults, padded)
    return Heard(np.asarray(level)[: len(audio)], np.asarray(start))


@jax.jit(static_argnums=0)
def _levels(rate: int, params: Values, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    heard = HitDetector(rate).heard(params, HitDetector(rate).init(), x)
    return heard[1], heard[2][:STARTS]


def onsets(
    heard: Heard, rate: int, settings: list[dict[str, float]]
) -> list[np.ndarray]:
    """Samples of the onsets for each of the settings."""

    def column(name: str) -> np.ndarray:
        return np.array([s[f"onset.{name}"] for s in settings], np.float32)

    per_ms = np.float32(rate / 1000)
    weights = np.array([[s[name] for s in settings] for name in WEIGHTS], np.float32)
    most = len(heard.level) // min_gap_samples(rate) + 1
    fired = np.zeros((len(settings), most), np.int64)
    count = np.zeros(len(settings), np.int64)
    wait = column("wait") * per_ms
    _decide(
        heard.level,
        heard.start,
        column("on") - np.float32(SENSITIVITY_DB) * column("sensitivity"),
        column("retrigger"),
        wait,
        column("mask"),
        column("mask_slope") / per_ms,
        column("range"),
        column("most"),
        -np.expm1(-1 / (per_ms * column("past"))),
        weights,
        np.float32(FORGET_DB_S / rate),
        np.float32(round(RECALL_S * rate)),
        np.floor(np.float32(FIRST_SINCE) * wait),
        np.float32(min_gap_samples(rate)),
        fired,
        count,
    )
    return [row[:n] for row, n in zip(fired, count, strict=True)]


@numba.njit(cache=True, fastmath=True, error_model="numpy")
def _decide(
    level, start, on, more, wait, softer, slope, dynamics, most, rate, weights, forget,
    remembered, since, gap, fired, count,
):  # fmt: skip
    """As `HitDetector._decide`; the arrays are of a number for each settings."""
    many, bands, zero, one = len(on), level.shape[1], np.float32(0), np.float32(1)
    past = np.zeros((bands, many), np.float32)
    mask = np.zeros((bands, many), np.float32)
    recall = np.zeros(bands, np.float32)
    loudest, rise = np.zeros(bands, np.float32), np.zeros(many, np.float32)
    for t in range(len(level)):
        rise[:] = zero
        for b in range(bands):
            x, loud, w, p, m = level[t, b], loudest[b], weights[b], past[b], mask[b]
            for k in range(many):
                if t < len(start):
                    p[k], m[k] = max(p[k], start[t]), max(m[k], start[t])
                below = max(max(p[k], m[k] - softer[k]), loud - dynamics[k])
                rise[k] += w[k] * min(max(x - below, zero), most[k])
                p[k] += rate[k] * (x - p[k])
                m[k] = max(m[k] - slope[k], x)
            forgotten = loud if recall[b] > 0 else loud - forget
            recall[b] = remembered if x >= forgotten else recall[b] - one
            loudest[b] = max(forgotten, x)
        some = False
        for k in range(many):
            threshold = on[k] + more[k] * max(one - since[k] / wait[k], zero)
            some |= (rise[k] > threshold) & (since[k] >= gap)
        if some:
            for k in range(many):
                threshold = on[k] + more[k] * max(one - since[k] / wait[k], zero)
                if rise[k] > threshold and since[k] >= gap:
                    fired[k, count[k]] = t
                    count[k] += 1
                    since[k] = -one
        for k in range(many):
            since[k] += one


def check(
    detector: HitDetector, audio: np.ndarray, settings: list[dict[str, float]]
) -> None:
    """AssertionError unless the onsets are those of the detector, within a sample.

    One in a hundred may differ, where a rise just reaches the threshold: the sums are
    in another order.
    """
    for one, got in zip(
        settings,
        onsets(levels(detector, audio), detector.sample_rate, settings),
        strict=True,
    ):
        wanted = find_onsets(detector, as_params(HIT_SPECS.defaults | one), audio)
        strays = np.array([np.abs(got - w).min(initial=9) > 1 for w in wanted], bool)
        extra = np.array([np.abs(wanted - g).min(initial=9) > 1 for g in got], bool)
        assert strays.sum() + extra.sum() <= 0.01 * len(wanted) + 1, (wanted, got)
