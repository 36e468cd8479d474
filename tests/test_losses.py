"""Losses against float64 oracles and the published values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal.windows

from jaxsnare import losses

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("preset", ["p0", "p4"])
def test_feature_difference_is_the_published_loss(golden, x64, preset):
    data = golden("loss_grad")
    predicted = data[f"{preset}_features_f64"] - data[f"{preset}_reference_f64"]
    predicted = jnp.asarray(predicted)
    target = jnp.asarray(data["target_diff"], np.float64)
    got = losses.feature_difference(predicted, target)
    assert got == pytest.approx(data[f"{preset}_loss_f64"].item(), rel=1e-6)
    weight = jnp.asarray(data["weight"], np.float64)
    got = losses.feature_difference(predicted, target, weight)
    assert got == pytest.approx(data[f"{preset}_loss_weighted_f64"].item(), rel=1e-6)


def test_feature_difference_takes_one_hit_or_a_batch():
    rng = np.random.default_rng(0)
    predicted, target = jnp.asarray(rng.normal(size=(2, 5, 7)), np.float32)
    weights = jnp.asarray(rng.uniform(0, 1, 7), np.float32)
    each = [
        losses.feature_difference(p, t, weights)
        for p, t in zip(predicted, target, strict=True)
    ]
    got = losses.feature_difference(predicted, target, weights)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.mean(each), rtol=1e-6)


def test_a_perfect_prediction_costs_nothing_and_has_a_finite_gradient():
    target = jnp.ones((3, 7))
    value, gradient = jax.value_and_grad(losses.feature_difference)(target, target)
    assert value == 0.0
    assert np.all(np.isfinite(gradient))


def test_difference_weights_are_one_over_the_range():
    differences = np.random.default_rng(1).normal(size=(40, 7))
    differences *= [20, 1, 3, 0.01, 10, 0, 40]
    floors = np.array([10, 10, 1, 1, 10, 10, 5])
    got = losses.difference_weights(jnp.asarray(differences, np.float32))
    wanted = 1 / np.maximum(np.ptp(differences, axis=0), floors)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
    assert np.all(np.asarray(got)[[1, 3, 5]] == np.array([0.1, 1.0, 0.1], np.float32))


def test_difference_weights_need_a_floor_per_feature():
    with pytest.raises(ValueError, match=r"\(4, 3\); wanted: \(hits, 7\)"):
        losses.difference_weights(jnp.zeros((4, 3)))


def np_stft_loss(x, y, fft_sizes, overlap, floor):
    total = 0.0
    for size in fft_sizes:
        hop, spectra = size // overlap, []
        window = scipy.signal.windows.hann(size, sym=False)
        for signal in (x, y):
            padded = np.pad(signal, size // 2)
            starts = range(0, len(padded) - size + 1, hop)
            framed = np.stack([padded[s : s + size] * window for s in starts])
            spectra.append(np.maximum(np.abs(np.fft.rfft(framed)), floor))
        a, b = spectra
        total += np.linalg.norm(a - b) / np.linalg.norm(b)
        total += np.mean(np.abs(np.log(a / b)))
    return total / len(fft_sizes)


@pytest.mark.parametrize(
    "options",
    [
        {"fft_sizes": (2048, 1024, 512), "overlap": 4, "floor": 1e-4},
        {"fft_sizes": (300,), "overlap": 3, "floor": 1e-2},
    ],
)
def test_multi_resolution_stft_against_numpy(options):
    rng = np.random.default_rng(2)
    x = rng.normal(size=8000) * np.exp(-np.arange(8000) / 1500)
    y = np.roll(x, 100) + 0.1 * rng.normal(size=8000)
    loss = jax.jit(functools.partial(losses.multi_resolution_stft, **options))
    got = loss(jnp.asarray(x, np.float32), jnp.asarray(y, np.float32))
    assert got.dtype == np.float32
    assert got == pytest.approx(np_stft_loss(x, y, **options), rel=1e-4)
    with jax.enable_x64(True):
        got = loss(jnp.asarray(x), jnp.asarray(y))
        assert got == pytest.approx(np_stft_loss(x, y, **options), rel=1e-9)


def test_multi_resolution_stft_has_finite_gradients():
    silence = jnp.zeros(4096)
    click = silence.at[100].set(1.0)
    hit = jnp.asarray(np.random.default_rng(3).normal(size=4096), np.float32)
    both = jax.jit(jax.value_and_grad(losses.multi_resolution_stft, argnums=(0, 1)))
    for x in (silence, click, hit):
        for y in (silence, click, hit):
            value, gradients = both(x, y)
            assert np.isfinite(value)
            assert np.all(np.isfinite(gradients))
            assert (value == 0.0) == (x is y)


@pytest.mark.parametrize(
    ("length", "options", "message"),
    [
        (99, {}, r"shapes \(100,\) and \(99,\)"),
        (100, {"fft_sizes": ()}, r"fft_sizes are \(\)"),
        (100, {"fft_sizes": (64, 2)}, "each at least the overlap"),
    ],
)
def test_multi_resolution_stft_refuses(length, options, message):
    with pytest.raises(ValueError, match=message):
        losses.multi_resolution_stft(jnp.zeros(100), jnp.zeros(length), **options)
