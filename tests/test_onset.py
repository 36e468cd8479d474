"""The onset detector against the published one and a plain loop in float64."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import soxr

from jaxsnare.component import run_blocks
from jaxsnare.onset import (
    ONSET_SPECS,
    OnsetDetector,
    find_onsets,
    pre_roll_samples,
)
from jaxsnare.params import as_params

RATE = 44_100
DETECTOR = OnsetDetector(RATE)
DEFAULTS = {"on": 16.0, "off": 4.66, "wait": 1000, "floor": -55.0, "highpass": 600.0}


def settings(wait_samples=1000, **turned):
    values = ONSET_SPECS.defaults | {f"onset.{k}": v for k, v in turned.items()}
    values["onset.wait"] = wait_samples / RATE * 1000
    return as_params(values)


def oracle(x, sample_rate, on, off, wait, floor, highpass):
    """system.md, section 6, in float64: detection signal and onsets."""
    k = np.tan(np.pi * highpass / sample_rate)
    n = 1 / (1 + k / 0.707 + k * k)
    b, a = (n, -2 * n, n), (1, 2 * (k * k - 1) * n, (1 - k / 0.707 + k * k) * n)
    y = np.abs(scipy.signal.lfilter(b, a, np.asarray(x, float)))
    level_db = np.maximum(20 * np.log10(y + 1e-8), floor)
    scale = 44_100 / sample_rate
    up, down, both = scale / 3, scale / 383, scale / 2205
    fast = slow = floor
    signal, onsets, before, armed, last = [], [], 0.0, True, -np.inf
    for i, value in enumerate(level_db):
        fast += (up if value > fast else down) * (value - fast)
        slow += both * (value - slow)
        difference = fast - slow
        if armed and before <= on < difference and i - last >= wait:
            onsets.append(i)
            last, armed = i, False
        elif not armed and difference < off:
            armed = True
        before = difference
        signal.append(difference)
    return np.array(signal), np.array(onsets)


def test_the_detection_signal_is_the_published_one(golden):
    data = golden("onset")
    level = run_blocks(DETECTOR, settings(), data["performance"]).level
    assert np.abs(level - data["onset_signal_44100"]).max() < 1e-3


@pytest.mark.parametrize(
    ("key", "turned"),
    [
        ("default", {"off": 4.6666, "wait_samples": 1323}),
        ("data", {"on": 10.0, "off": 4.6666, "wait_samples": 10_000}),
        ("plugin", {}),
    ],
)
def test_the_onsets_are_the_published_ones(golden, key, turned):
    data = golden("onset")
    got = find_onsets(DETECTOR, settings(**turned), data["performance"])
    wanted = data[f"onsets_44100_{key}"]
    np.testing.assert_array_equal(got[got < 1_273_000], wanted[wanted < 1_273_000])


@pytest.mark.parametrize("name", ["gogodze2_snare__groove", "fs_14x05_maple__roll"])
def test_a_performance_gives_the_onsets_of_a_loop(performance, name):
    x = performance(name)[: 5 * RATE]
    signal, onsets = oracle(x, RATE, **DEFAULTS)
    assert len(onsets) >= 10
    got = run_blocks(DETECTOR, settings(), x)
    assert np.abs(got.level - signal).max() < 1e-3
    np.testing.assert_array_equal(np.flatnonzero(got.fired), onsets)


def test_settings_are_what_the_loop_says(performance):
    """A low floor, another filter, thresholds and lockout: the 2026 settings."""
    turned = {"on": 19.0, "off": 8.0, "floor": -70.0, "highpass": 2000.0}
    x = performance("gogodze2_snare__groove")[: 4 * RATE]
    signal, onsets = oracle(x, RATE, wait=1323, **turned)
    got = run_blocks(DETECTOR, settings(1323, **turned), x)
    assert np.abs(got.level - signal).max() < 1e-3
    np.testing.assert_array_equal(np.flatnonzero(got.fired), onsets)


def test_the_hits_of_a_performance_are_found(shared, performance):
    """Outside knowledge: where the hits are, from the truth file."""
    folder = shared / "data" / "snare" / "performances"
    truth = np.genfromtxt(
        folder / "gogodze2_snare__groove.csv", delimiter=",", names=True, usecols=(0, 7)
    )
    onsets = find_onsets(DETECTOR, settings(), performance("gogodze2_snare__groove"))
    clear = truth["sample"][truth["contrast_db"] > 3]
    late = (onsets[None] - clear[:, None]) / RATE
    found = ((late > -0.002) & (late < 0.020)).any(axis=1)
    assert found.mean() >= 0.8


def test_onsets_do_not_depend_on_the_rate(performance):
    """The time constants scale: resampled, the hits are found at the same times."""
    x = performance("gogodze2_snare__crescendo")[: 8 * RATE]
    at_44 = find_onsets(DETECTOR, settings(), x) / RATE
    resampled = soxr.resample(x, RATE, 48_000, quality="VHQ")
    at_48 = find_onsets(OnsetDetector(48_000), settings(), resampled) / 48_000
    assert len(at_44) >= 15
    assert len(at_48) == len(at_44)
    assert np.abs(at_48 - at_44).max() < 1e-3


@pytest.mark.parametrize(("rate", "gap"), [(8_000, 64), (44_100, 88), (96_000, 192)])
def test_onsets_keep_a_distance(rate, gap):
    """At least a sub-block of 64 and a fade of 2 ms, however short the lockout."""
    x = np.tile(np.r_[1.0, np.zeros(39)], 200).astype(np.float32)
    turned = {"on": 0.5, "off": 50.0, "fast_down": 0.1, "fast_up": 0.01}
    params = settings(0, **turned)
    onsets = find_onsets(OnsetDetector(rate), params, x)
    assert len(onsets) > 10
    assert np.diff(onsets).min() >= gap
    params["onset.wait"] = jnp.float32(20.0)
    onsets = find_onsets(OnsetDetector(rate), params, x)
    assert np.diff(onsets).min() >= 0.02 * rate


@pytest.mark.parametrize("block", [441, 100_000])
def test_a_file_gives_the_same_onsets_in_blocks_of_any_size(performance, block):
    x = performance("gogodze2_snare__groove")[: 2 * RATE]
    got = run_blocks(DETECTOR, settings(), x, block)
    wanted = run_blocks(DETECTOR, settings(), x)
    assert got.fired.shape == x.shape
    np.testing.assert_array_equal(got.fired, wanted.fired)
    np.testing.assert_allclose(got.level, wanted.level, atol=1e-3)


def test_a_rise_during_the_lockout_is_lost():
    """Only a rise fires: not the end of the lockout in the middle of a sound."""
    rng = np.random.default_rng(0)
    x = np.zeros(9000, np.float32)
    for start, end in ((100, 300), (4000, 5400)):
        x[start:end] = rng.uniform(-0.5, 0.5, end - start)
    signal, onsets = oracle(x, RATE, **(DEFAULTS | {"wait": 5000}))
    assert signal[5150] > 16.0
    assert len(onsets) == 1
    got = find_onsets(DETECTOR, settings(5000), x)
    np.testing.assert_array_equal(got, onsets)
    assert len(find_onsets(DETECTOR, settings(1000), x)) == 2


def test_silence_has_no_onsets():
    out = run_blocks(DETECTOR, settings(), np.zeros(20_000, np.float32))
    assert not out.fired.any()
    assert not out.level.any()


def test_the_pre_roll_is_16_samples_at_44100():
    assert [pre_roll_samples(r) for r in (44_100, 48_000, 96_000)] == [16, 17, 35]
