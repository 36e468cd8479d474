"""The detector that hears hits: soft ones, rolls and quiet playing too."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxsnare.component import min_gap_samples
from jaxsnare.dsp.units import amplitude_to_db
from jaxsnare.knobs import HIT_SPECS
from jaxsnare.onset import Detector, OnsetDetector, Onsets
from jaxsnare.params import ParamSet, Values, unknown

EDGES_HZ = (200.0, 600.0, 2500.0, 8000.0, 20_000.0)
"""Borders of the bands."""
HIGHEST = 0.45
"""No border lies above this share of the sample rate."""
WEIGHTS = ("onset.body", "onset.head", "onset.wires", "onset.stick")
BANDS = len(WEIGHTS)

NOISE_UP_DB_S = 1.5
SETTLING_DB_S, SETTLING_MS = 600.0, 100.0
"""The noise is the least level of late, which may rise slowly; at first faster."""

FIRST_SINCE = 0.65
"""Share of `onset.wait` that has passed at the start."""
WAVE = 5.0
"""A start within a wave: its first step is at least the WAVE-th part of the wave."""
BEGUN_MS = 10.0
"""Time in which the filters settle: the noise is no less than at the start so long."""
SENSITIVITY_DB, LEAST_ON_DB = 0.3, 0.5
"""What a step of the sensitivity takes from the threshold, and the least threshold."""
NEVER = -1
"""Age of an onset that is refused where none is."""

RECALL_S, FORGET_DB_S = 2.0, 12.0
"""How long the loudest of late is remembered, and how fast it is forgotten then."""

DB_TO_LOG = math.log(10) / 10


class HitState(NamedTuple):
    heard: Int[Array, ""]  # samples of the start that have been heard, until it is over
    before: Float[Array, " 3"]  # the last sample, and the differences before it
    bands: Float[Array, "2 B"]  # of the filters
    peak: Float[Array, " B"]  # power, held
    noise: Float[Array, " B"]  # power
    settling: Float[Array, ""]  # how much faster the noise may rise, 1 to 0
    past: Float[Array, " B"]  # level to rise from, dB above the floor
    mask: Float[Array, " B"]  # level that hits leave behind, dB above the floor
    loudest: Float[Array, " B"]  # level of the loudest of late, dB above the floor
    recall: Int[Array, " B"]  # samples until that begins to be forgotten
    since: Int[Array, ""]  # samples since the last onset


@dataclass(frozen=True)
class HitDetector(Detector):
    """Rises above the past, the mask of the last hit and the noise, in four bands.

    params: HIT_SPECS by name. x: signal [T]. In each band the level of a held peak is
    compared with others: the level of some ms ago, that of the last hit less what a
    hit masks (which falls in a straight line), the loudest of late less the dynamics
    of the playing, and the room's noise, which is tracked. So nothing depends on how
    loud the input is, and neither an accent nor a roll hides what follows. The rises,
    limited and weighted, add up to the detection signal; an onset is reported where it
    exceeds `onset.on`, less 0.3 dB for each step of `onset.sensitivity`. Just after one
    the threshold is higher by `onset.retrigger` and falls in a straight line over
    `onset.wait`:
    the body of a drum, which peaks some ms after the stick, is no second hit, and a
    flam is. Onsets keep the distance of a fade and a sub-block. A start counts as an
    onset, and a wave through its first two samples as the level before, and for 10 ms
    as the noise: recordings that begin within a note or in noise have no hit there,
    those cut just before an attack have. The loudest is remembered for 2 s, as long as
    it is from one accent to the next, and then forgotten by 12 dB/s: after a single
    bump soft playing is soon heard again.
    An onset that turns out to be none, as a gate refuses it, is forgotten: the sample
    at which it is `refused` ago hears as if it had not been.
    Of the differences between samples the middle one of three counts, so that a step
    of the offset from one sample to the next is not heard. What lies below
    `expected_db` - our own sound, heard by the microphone - is never a rise, and masks
    nothing.

    >>> detector = HitDetector(sample_rate=44_100)
    >>> burst = jnp.zeros(1024).at[980:].set(0.5 * jnp.cos(jnp.arange(44.0)))
    >>> _, out = detector.step(detector.defaults, detector.init(), burst)
    >>> jnp.flatnonzero(out.fired)
    Array([982], dtype=int32)
    """

    specs = HIT_SPECS

    def init(self, dtype: Any = jnp.float32) -> HitState:
        bands, zero = jnp.zeros(BANDS, dtype), jnp.zeros((), dtype)
        return HitState(
            jnp.zeros((), jnp.int32),
            jnp.zeros(3, dtype),
            jnp.zeros((2, BANDS), dtype),
            bands,
            bands,
            zero + 1,
            bands,
            bands,
            bands,
            jnp.zeros(BANDS, jnp.int32),
            jnp.zeros((), jnp.int32),
        )

    def step(
        self,
        params: Values,
        state: HitState,
        x: Float[Array, " T"],
        expected_db: Float[Array, " T"] | float = -math.inf,
        refused: Int[Array, " T"] | int = NEVER,
    ) -> tuple[HitState, Onsets]:
        state, level_db, start_db = self.heard(params, state, x)
        expected = jnp.broadcast_to(jnp.asarray(expected_db, x.dtype), x.shape)
        refused = jnp.broadcast_to(jnp.asarray(refused, jnp.int32), x.shape)
        expected = expected - self._silence_db(params)
        return self._decide(params, state, level_db, expected, start_db, refused)

    def heard(
        self, params: Values, state: HitState, x: Float[Array, " T"]
    ) -> tuple[HitState, Float[Array, "T B"], Float[Array, " T"]]:
        """What the decision is made from: the levels of the bands, and in the first
        samples that of the wave which the signal begins with, else very low; in dB.
        """
        first = state.heard == 0
        wait = params["onset.wait"] * (self.sample_rate / 1000)
        first_since = jnp.asarray(FIRST_SINCE * wait, jnp.int32)
        unheard = jnp.stack([x[0], x[0] * 0, x[0] * 0])
        state = state._replace(
            before=jnp.where(first, unheard, state.before),
            since=jnp.where(first, first_since, state.since),
        )
        n = state.heard + jnp.arange(len(x), dtype=jnp.int32)
        last = jnp.concatenate([state.before[:1], x[:-1]])
        wave = jnp.abs(last) + WAVE * jnp.abs(x - last)
        wave = jnp.where(n < STARTS, wave, 0.0)

        state, change = _without_steps(state, x)
        state, power = self._power(params, state, change, wave, n < self._begun)
        state = state._replace(heard=jnp.minimum(n[-1] + 1, self._begun))
        level_db = jnp.log1p(power) / jnp.asarray(DB_TO_LOG, x.dtype)
        return state, level_db, amplitude_to_db(wave) - self._silence_db(params)

    def threshold_db(self, params: Mapping[str, Any]) -> Any:
        less = SENSITIVITY_DB * params["onset.sensitivity"]
        return jnp.maximum(params["onset.on"] - less, LEAST_ON_DB)

    def _silence_db(self, params: Values) -> Any:
        """What counts as silence in a room without noise: levels count from there."""
        return params["onset.floor"] + params["onset.noise"]

    @property
    def _begun(self) -> int:
        """Samples after which a start is over."""
        return round(BEGUN_MS * self.sample_rate / 1000)

    def _rate(self, time_ms: Any) -> Any:
        """Share of a distance covered per sample by what takes that time."""
        return -jnp.expm1(-1000 / (self.sample_rate * time_ms))

    def _power(
        self,
        params: Values,
        state: HitState,
        change: Float[Array, " T"],
        wave: Float[Array, " T"],
        keeps: Bool[Array, " T"],
    ) -> tuple[HitState, Float[Array, "T B"]]:
        """Power of each band beyond what counts as silence, in units of that."""
        dtype = change.dtype
        edges = np.minimum(EDGES_HZ, HIGHEST * self.sample_rate)
        poles = np.exp(-2 * np.pi * edges / self.sample_rate)
        low, high = jnp.asarray(poles[:-1], dtype), jnp.asarray(poles[1:], dtype)
        gain = low - high
        keep = 1.0 - self._rate(params["onset.hold"])
        floor = jnp.exp(params["onset.floor"] * DB_TO_LOG)
        margin = jnp.exp(params["onset.noise"] * DB_TO_LOG)
        n = jnp.arange(1, len(change) + 1, dtype=dtype)
        settling = state.settling * jnp.exp(
            n * (-1000 / (SETTLING_MS * self.sample_rate))
        )
        rise = 1 + (NOISE_UP_DB_S + SETTLING_DB_S * settling) * (
            DB_TO_LOG / self.sample_rate
        )

        def body(carry, now):
            smooth, band, peak, noise = carry
            change, rise, start, keeps = now
            smooth = high * smooth + change
            band = low * band + smooth
            peak = jnp.maximum(jnp.square(gain * band), keep * peak)
            least = jnp.where(keeps, jnp.maximum(noise, start), floor)
            noise = jnp.maximum(jnp.minimum(peak, rise * noise), least)
            return (smooth, band, peak, noise), peak + margin * (noise - floor)

        carry = *state.bands, state.peak, state.noise
        start = jnp.maximum(jnp.square(wave) / margin, floor)
        carry, power = jax.lax.scan(body, carry, (change, rise, start, keeps))
        smooth, band, peak, noise = carry
        bands = jnp.stack([smooth, band])
        state = HitState(*state[:2], bands, peak, noise, settling[-1], *state[6:])
        return state, power / (margin * floor)

    def _decide(
        self,
        params: Values,
        state: HitState,
        level_db: Float[Array, "T B"],
        expected_db: Float[Array, " T"],
        start_db: Float[Array, " T"],
        refused: Int[Array, " T"],
    ) -> tuple[HitState, Onsets]:
        gap = min_gap_samples(self.sample_rate)
        per_ms = self.sample_rate / 1000
        rate = self._rate(params["onset.past"])
        slope = params["onset.mask_slope"] / per_ms
        softer, most = params["onset.mask"], params["onset.most"]
        dynamics = params["onset.range"]
        forget = jnp.asarray(FORGET_DB_S / self.sample_rate, level_db.dtype)
        remembered = jnp.int32(round(RECALL_S * self.sample_rate))
        weights = jnp.stack([params[name] for name in WEIGHTS])
        on = self.threshold_db(params)
        more = params["onset.retrigger"]
        less_per_sample = 1 / (params["onset.wait"] * per_ms)

        def body(carry, now):
            past, mask, loudest, recall, since = carry
            level, expected, start, refused = now
            past, mask = jnp.maximum(past, start), jnp.maximum(mask, start)
            since = jnp.where(since + 1 == refused, LONG_AGO, since)
            masked = jnp.maximum(mask - softer, loudest - dynamics)
            below = jnp.maximum(jnp.maximum(past, masked), expected)
            rise = jnp.sum(weights * jnp.clip(level - below, 0.0, most))
            share = jnp.maximum(1 - since.astype(rise.dtype) * less_per_sample, 0.0)
            threshold = on + more * share
            fires = (rise > threshold) & (since >= gap)
            past = past + rate * (level - past)
            heard = jnp.where(level > expected, level, 0.0)
            mask = jnp.maximum(mask - slope, heard)
            forgotten = jnp.where(recall > 0, loudest, loudest - forget)
            recall = jnp.where(heard >= forgotten, remembered, recall - 1)
            loudest = jnp.maximum(forgotten, heard)
            since = jnp.where(fires, 0, jnp.minimum(since + 1, LONG_AGO))
            carry = past, mask, loudest, jnp.maximum(recall, 0), since
            return carry, (fires, rise, threshold)

        carry = state.past, state.mask, state.loudest, state.recall, state.since
        carry, out = jax.lax.scan(
            body, carry, (level_db, expected_db, start_db, refused)
        )
        return HitState(*state[:6], *carry), Onsets(*out)


STARTS = 2
"""Samples that a start is known by."""

LONG_AGO = 2**24
"""Samples after which it no longer matters how long ago an onset was."""


def _without_steps(
    state: HitState, x: Float[Array, " T"]
) -> tuple[HitState, Float[Array, " T"]]:
    """Differences of a signal, of each three in a row the middle one by size."""
    last, *older = state.before
    change = x - jnp.concatenate([last[None], x[:-1]])
    a = jnp.concatenate([jnp.stack(older), change])
    first, second, third = a[:-2], a[1:-1], a[2:]
    middle = jnp.maximum(
        jnp.minimum(first, second),
        jnp.minimum(jnp.maximum(first, second), third),
    )
    before = jnp.stack([x[-1], a[-2], a[-1]])
    return state._replace(before=before), middle


DETECTORS: dict[str, type[Detector]] = {
    "adaptive": HitDetector,
    "published": OnsetDetector,
}
"""Detectors by name; the first is the default."""


def find_detector(name: str, sample_rate: int) -> Detector:
    """A detector by its name, at a rate in Hz. ValueError for an unknown name."""
    return _kind(name)(sample_rate)


def detector_specs(name: str) -> ParamSet:
    """The settings of a detector by its name. ValueError for an unknown name."""
    return _kind(name).specs


def detector_of(settings: Mapping[str, float]) -> str:
    """The name of the detector whose settings these are; ValueError if of none."""
    for name, kind in DETECTORS.items():
        if set(settings) == set(kind.specs.names):
            return name
    # the nearest one says what is missing or unknown
    nearest = max(DETECTORS.values(), key=lambda k: len({*k.specs.names} & {*settings}))
    nearest.specs.check(settings)
    raise AssertionError("settings of no detector are complete")


def _kind(name: str) -> type[Detector]:
    if name not in DETECTORS:
        raise ValueError(unknown("detector", name, tuple(DETECTORS)))
    return DETECTORS[name]
