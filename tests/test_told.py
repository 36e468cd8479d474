"""What onset features tell, against regression written out."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsnare import told as module
from jaxsnare.told import tell, told


def test_it_is_gaussian_process_regression(monkeypatch):
    """One kernel, each hit left out by solving without it."""
    for name, size in (("LENGTHS", 0.7), ("LINEAR", 0.4), ("NOISE", 0.2)):
        monkeypatch.setattr(module, name, (size,))
    rng = np.random.default_rng(0)
    inputs, wanted = rng.normal(size=(12, 3)), rng.normal(2.0, 3.0, (12, 2))
    x = (inputs - inputs.mean(0)) / inputs.std(0)
    y = (wanted - wanted.mean(0)) / wanted.std(0)
    apart = ((x[:, None] - x[None]) ** 2).mean(-1)
    kernel = np.exp(-apart / (2 * 0.7**2)) + 0.4 * x @ x.T / 3 + 0.1

    def told_by(rows):
        inner = kernel[np.ix_(rows, rows)] + 0.2 * np.eye(len(rows))
        return kernel[:, rows] @ np.linalg.solve(inner, y[rows])

    found = told(inputs, wanted)
    alone = [told_by(np.delete(np.arange(12), i))[i] for i in range(12)]
    alone = np.array(alone) * wanted.std(0) + wanted.mean(0)
    np.testing.assert_allclose(found.left_out, alone, rtol=1e-6)

    others = np.concatenate([inputs, rng.normal(size=(5, 3))])
    z = (others - inputs.mean(0)) / inputs.std(0)
    apart = ((z[:, None] - x[None]) ** 2).mean(-1)
    kernel_there = np.exp(-apart / (2 * 0.7**2)) + 0.4 * z @ x.T / 3 + 0.1
    there = kernel_there @ np.linalg.solve(kernel + 0.2 * np.eye(12), y)
    there = there * wanted.std(0) + wanted.mean(0)
    stored = found.regression.times(np.array([2.0, 0.5])).stored()
    assert stored.hits.shape == (64, 3)  # room for hits that count nothing
    got = tell(stored, jnp.asarray(others, jnp.float32))
    np.testing.assert_allclose(got, there * [2.0, 0.5], rtol=1e-4, atol=1e-5)


def test_hits_that_are_heard_again(monkeypatch):
    """Those of a hit count as one more, and are left out together."""
    for name, size in (("LENGTHS", 0.7), ("LINEAR", 0.4), ("NOISE", 0.2)):
        monkeypatch.setattr(module, name, (size,))
    rng = np.random.default_rng(0)
    inputs, wanted = rng.normal(size=(8, 3)), rng.normal(2.0, 3.0, (8, 2))
    whose = np.array([0, 3, 3, 5, 3, 0])
    more = inputs[whose] + rng.normal(0.0, 0.3, (6, 3))
    hit = np.concatenate([np.arange(8), whose])
    counts = np.array([1] * 8 + [2, 3, 3, 1, 3, 2])
    x = (np.concatenate([inputs, more]) - inputs.mean(0)) / inputs.std(0)
    y = ((wanted - wanted.mean(0)) / wanted.std(0))[hit]
    apart = ((x[:, None] - x[None]) ** 2).mean(-1)
    kernel = np.exp(-apart / (2 * 0.7**2)) + 0.4 * x @ x.T / 3 + 0.1

    def told_by(rows):
        inner = kernel[np.ix_(rows, rows)] + 0.2 * np.diag(counts[rows])
        found = kernel[:, rows] @ np.linalg.solve(inner, y[rows])
        return found * wanted.std(0) + wanted.mean(0)

    found = told(inputs, wanted, (whose, more))
    alone = [told_by(np.flatnonzero(hit != n))[n] for n in range(8)]
    np.testing.assert_allclose(found.left_out, alone, rtol=1e-6)
    everywhere = jnp.asarray(np.concatenate([inputs, more]), jnp.float32)
    got = tell(found.regression.stored(), everywhere)
    np.testing.assert_allclose(got, told_by(np.arange(14)), rtol=1e-4, atol=1e-5)


def test_what_is_told_is_known_and_what_is_chance_is_not():
    rng = np.random.default_rng(1)
    inputs = rng.uniform(-1, 1, (60, 3))
    law = 5 * np.stack([np.sin(2 * inputs[:, 0]), inputs[:, 1] ** 2], axis=1)
    chance = rng.normal(size=(60, 1))
    wanted = np.concatenate([law + rng.normal(size=law.shape), chance], axis=1)
    left_out, regression = told(inputs, wanted)
    known = np.asarray(tell(regression, jnp.asarray(inputs)))
    error = np.abs(known[:, :2] - law).mean(axis=0)
    assert (error < 0.8 * np.abs(wanted[:, :2] - law).mean(axis=0)).all()
    spread = np.abs(left_out[:, 2] - chance.mean()).mean()
    assert spread < 0.3 * np.abs(chance - chance.mean()).mean()
    assert known[:, :2].std() == pytest.approx(law.std(), rel=0.15)
