"""Many settings of the detector at once on one recording: some 30 times as fast.

What is before the decision - filters, levels, the tracked noise - does not depend on
the settings that are searched, and is computed once, by the detector itself. The
decision is repeated here in Numba, with the settings as the inner axis; `check` holds
it against the detector's own step.
"""

import jax
import jax.numpy as jnp
import numba
import numpy as np

from jaxsnare.component import min_gap_samples
from jaxsnare.detector import (
    DB_TO_LOG,
    FIRST_SINCE,
    FORGET_DB_S,
    HIT_SPECS,
    WEIGHTS,
    HitDetector,
    _without_steps,
)
from jaxsnare.onset import find_onsets
from jaxsnare.params import Values, as_params

FIXED = ("onset.floor", "onset.noise", "onset.hold")
"""Settings that the levels depend on: not searched."""
MOST_ONSETS = 8192
SILENCE = 64
"""Samples before each recording: some begin within a sound."""


def levels(detector: HitDetector, audio: np.ndarray) -> np.ndarray:
    """Levels [T, B] by the defaults of a recording that begins with silence."""
    if audio[:2].any():
        raise ValueError("the recording begins within a sound; wanted: silence first")
    length = 1 << (len(audio) - 1).bit_length()
    padded = np.pad(audio, (0, length - len(audio))).astype(np.float32)
    return np.asarray(_levels(detector.sample_rate, detector.defaults, padded))[
        : len(audio)
    ]


@jax.jit(static_argnums=0)
def _levels(rate: int, params: Values, x: jax.Array) -> jax.Array:
    detector = HitDetector(rate)
    state, change = _without_steps(detector.init(), x)
    _, power = detector._power(params, state, change)
    return jnp.log1p(power) / jnp.float32(DB_TO_LOG)


def onsets(
    level: np.ndarray, rate: int, settings: list[dict[str, float]]
) -> list[np.ndarray]:
    """Samples of the onsets for each of the settings, from levels [T, B]."""

    def column(name: str) -> np.ndarray:
        return np.array([s[f"onset.{name}"] for s in settings], np.float32)

    per_ms = np.float32(rate / 1000)
    weights = np.array([[s[name] for s in settings] for name in WEIGHTS], np.float32)
    fired = np.zeros((len(settings), MOST_ONSETS), np.int64)
    count = np.zeros(len(settings), np.int64)
    wait = column("wait") * per_ms
    _decide(
        level,
        column("on") - column("sensitivity"),
        column("retrigger"),
        wait,
        column("mask"),
        column("mask_slope") / per_ms,
        column("range"),
        column("most"),
        -np.expm1(-1 / (per_ms * column("past"))),
        weights,
        np.float32(FORGET_DB_S / rate),
        np.floor(np.float32(FIRST_SINCE) * wait),
        np.float32(min_gap_samples(rate)),
        fired,
        count,
    )
    return [row[:n] for row, n in zip(fired, count, strict=True)]


@numba.njit(cache=True, fastmath=True, error_model="numpy")
def _decide(
    level, on, more, wait, softer, slope, dynamics, most, rate, weights, forget,
    since, gap, fired, count,
):  # fmt: skip
    """As `HitDetector._decide`; the arrays are of a number for each settings."""
    many, bands, zero, one = len(on), level.shape[1], np.float32(0), np.float32(1)
    past = np.zeros((bands, many), np.float32)
    mask = np.zeros((bands, many), np.float32)
    loudest, rise = np.zeros(bands, np.float32), np.zeros(many, np.float32)
    for t in range(len(level)):
        rise[:] = zero
        for b in range(bands):
            x, loud, w, p, m = level[t, b], loudest[b], weights[b], past[b], mask[b]
            for k in range(many):
                below = max(max(p[k], m[k] - softer[k]), loud - dynamics[k])
                rise[k] += w[k] * min(max(x - below, zero), most[k])
                p[k] += rate[k] * (x - p[k])
                m[k] = max(m[k] - slope[k], x)
            loudest[b] = max(loud - forget, x)
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
