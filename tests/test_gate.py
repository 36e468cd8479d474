"""The gate for bleed: what sounds unlike the training hits starts no voice."""

from dataclasses import replace
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsnare.drummer import SnareDrum
from jaxsnare.gate import (
    SIZE,
    fit_gate,
    gate_features,
    open_gate,
    squared_distance,
)
from jaxsnare.model import Model
from jaxsnare.remapper import remap

RATE = 48_000


def hits(count):
    """Windows of strokes from soft to loud."""
    drum, rng = SnareDrum(sample_rate=RATE), np.random.default_rng(0)
    return np.stack(
        [
            np.pad(
                drum.strike(rng.uniform(0.2, 1), rng.uniform(0, 0.8), seed=i), (17, 0)
            )
            for i in range(count)
        ]
    )[:, :256]


def hiss(count):
    """Windows of something like a hi-hat: high noise."""
    noise = np.random.default_rng(1).normal(size=(count, 260))
    return 0.05 * np.diff(noise, n=4)


def features(windows):
    return np.stack([gate_features(jnp.float32(w), RATE) for w in windows])


def distances(gate, windows):
    return np.sqrt([squared_distance(gate, f) for f in features(windows)])


@pytest.fixture(scope="module")
def gate():
    return fit_gate(features(hits(40)[::2]))


@pytest.mark.slow
def test_hits_lie_within_and_a_hat_far_away(gate):
    assert np.mean(distances(gate, hits(40)[1::2]) < 1.5) > 0.8
    assert distances(gate, hiss(10)).min() > 2.0


@pytest.mark.slow
def test_the_level_does_not_matter(gate):
    windows = hits(5)
    near, soft = distances(gate, windows), distances(gate, 0.1 * windows)
    np.testing.assert_allclose(near, soft, atol=0.05)


def test_an_open_gate_lets_all_through():
    assert not distances(open_gate(), hiss(3)).any()


def test_the_features_are_those_of_a_plain_spectrum():
    window = hits(1)[0]
    power = np.abs(
        np.fft.rfft(window * (0.5 - 0.5 * np.cos(np.pi * np.arange(256) / 128)))
    )
    power, hz = power**2, np.fft.rfftfreq(256, 1 / RATE)
    edges = [0, 120, 250, 500, 1000, 2000, 4000, 8000, RATE]
    bands = [power[(hz >= a) & (hz < b)].sum() for a, b in pairwise(edges)]
    wanted = 10 * np.log10((np.array(bands) + 1e-9) / (power.sum() + 1e-9))
    got = features([window])[0]
    assert got.shape == (SIZE,)
    np.testing.assert_allclose(got[:-1], wanted, atol=0.01)
    halves = np.square(window.reshape(2, 128)).mean(axis=1)
    assert got[-1] == pytest.approx(10 * np.log10(halves[0] / halves[1]), abs=0.01)


@pytest.mark.slow
def test_a_shut_gate_starts_no_voice_and_a_saved_one_is_the_same(
    random_model, gate, tmp_path
):
    model = replace(random_model(), gate=gate)
    model.save(tmp_path / "model")
    model = Model.load(tmp_path / "model")
    np.testing.assert_allclose(model.gate.whiten, gate.whiten, rtol=1e-6)
    stroke = SnareDrum(sample_rate=RATE).strike(0.7, 0.3, seed=99)
    audio = np.zeros(RATE, np.float32)
    audio[4800:28_800] += stroke[:24_000]
    hat = np.random.default_rng(2).normal(size=2404)
    audio[36_000:38_400] += np.float32(0.05 * np.diff(hat, n=4))
    free = remap(model.remapper(), model.params(), audio, block=441)
    gated = remap(model.remapper(), model.params(gate=0.5), audio, block=64)
    assert len(free.triggers) == len(gated.onsets) == 2
    np.testing.assert_array_equal(gated.triggers, free.triggers[:1])
    np.testing.assert_allclose(gated.hits.values[0], free.hits.values[0], rtol=1e-4)
