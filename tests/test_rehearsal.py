"""Hits within playing, against the same performance put together hit by hit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsnare import rehearsal as module
from jaxsnare.data import Hits
from jaxsnare.detector import HitDetector
from jaxsnare.features.normalise import normalise
from jaxsnare.onset import find_onsets, pre_roll_samples
from jaxsnare.params import as_params
from jaxsnare.performance import remap
from jaxsnare.rehearsal import rehearse

RATE, WINDOW, LENGTH = 44_100, 256, 20_000
PRE_ROLL = pre_roll_samples(RATE)


@pytest.fixture(scope="module")
def hits() -> Hits:
    """Drums of two modes and a click, each higher and a dB louder than the last."""
    rng = np.random.default_rng(0)
    n = np.arange(LENGTH - PRE_ROLL)
    phase = 2 * np.pi * (150 + 13 * np.arange(12))[:, None] * n / RATE
    sounds = (np.sin(phase) + np.sin(2.3 * phase)) * np.exp(-n / 3000)
    sounds += rng.normal(size=(12, len(n))) * np.exp(-n / 100)
    sounds *= 0.1 * 10 ** (np.arange(12) / 20)[:, None]
    audio = np.pad(sounds, ((0, 0), (PRE_ROLL, 0))).astype(np.float32)
    names = tuple(f"{k}.wav" for k in range(12))
    onset = HitDetector(RATE).specs.defaults
    windows = audio[:, :WINDOW]
    return Hits(windows, audio, names, np.zeros(12, int), (), RATE, dict(onset))


@pytest.fixture
def played(monkeypatch):
    """What the detector was given, and the onsets it found there."""
    kept = []

    def keep(detector, params, audio):
        kept.append((audio, find_onsets(detector, params, audio)))
        return kept[-1][1]

    monkeypatch.setattr(module, "find_onsets", keep)
    return kept


def test_hits_ring_into_the_next(hits, played):
    chosen = np.array([1, 4, 5, 7, 8, 11])
    found = rehearse(hits, chosen, rounds=3, seed=5, window=WINDOW)
    ((audio, onsets),) = played
    assert set(np.unique(found.hits)) <= set(chosen)
    assert len(found.hits) == len(found.windows) >= 15  # of 18: the loud ones hide some

    # Where each hit begins, found from the outside: by its own noise.
    starts, rest = [], audio.astype(np.float64)
    for n in range(18):
        likeness = [np.correlate(rest, hits.audio[k][PRE_ROLL:3000]) for k in chosen]
        powers = [np.square(hits.audio[k][PRE_ROLL:3000]).sum() for k in chosen]
        share = np.array(likeness) / np.array(powers)[:, None]
        which, at = np.unravel_index(np.argmin(np.abs(share - 1)), share.shape)
        assert share[which, at] == pytest.approx(1, abs=0.02), n
        hit = chosen[which]
        rest[at - PRE_ROLL :][:LENGTH] -= hits.audio[hit]
        starts.append((at, hit))
    assert np.abs(rest).max() < 1e-5
    counts = np.bincount([hit for _, hit in starts], minlength=12)
    assert (counts[chosen] == 3).all()
    gaps = np.diff(sorted(at for at, _ in starts)) / RATE
    assert gaps.min() >= 0.06 - 1e-4
    assert gaps.max() <= 0.5 + 1e-4

    late = []
    for hit, window in zip(found.hits, found.windows, strict=True):
        places = [
            onset
            for onset in onsets
            if np.array_equal(audio[onset - PRE_ROLL :][:WINDOW], window)
        ]
        (onset,) = places
        late.append(min(onset - at for at, h in starts if h == hit and onset - at > -5))
    assert max(late) <= 0.012 * RATE
    assert np.abs(found.windows - hits.windows[found.hits]).max() > 1e-3


def test_what_is_rehearsed_is_what_is_played(hits, played, random_model):
    """A model that plays the same performance measures the same windows."""
    found = rehearse(hits, np.arange(12), rounds=2, seed=0, window=WINDOW)
    ((audio, onsets),) = played
    model = random_model(rate=RATE)
    params = model.params()._replace(onset=as_params(hits.onset))
    answer = remap(model.remapper(), params, audio)
    np.testing.assert_array_equal(answer.onsets, onsets)

    measured = jax.vmap(model.features)(jnp.asarray(found.windows))
    normalised = normalise(params.map.normaliser, measured)
    seen = np.asarray(normalised) - np.asarray(params.map.centre)
    apart = np.abs(answer.hits.features[:, None] - seen[None])
    assert apart.max(axis=2).min(axis=0).max() < 1e-3
    assert len(found.windows) > 0.9 * len(answer.triggers)


def test_it_is_the_same_every_time(hits):
    first = rehearse(hits, np.arange(12), 2, 3, WINDOW)
    again = rehearse(hits, np.arange(12), 2, 3, WINDOW)
    other = rehearse(hits, np.arange(12), 2, 4, WINDOW)
    np.testing.assert_array_equal(first.windows, again.windows)
    assert first.hits.tolist() != other.hits.tolist()


def test_a_longer_window_ends_before_the_next_hit(hits, played):
    window = 8192
    found = rehearse(hits, np.arange(12), 2, 0, window)
    ((audio, onsets),) = played
    assert len(found.windows) > 15
    places = [
        [o for o in onsets if np.array_equal(audio[o - PRE_ROLL :][:window], one)]
        for one in found.windows
    ]
    assert np.diff(np.concatenate(places)).min() >= window
