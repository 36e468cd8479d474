"""A gate for bleed: does an onset's window sound like the hits of the training?

A voice starts only when its window is complete, so this costs no latency.
"""

from functools import cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsnare.features.spectral import power_spectrum

EDGES_HZ = (120.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
"""Borders of the bands whose shares of the power are compared."""
SIZE = len(EDGES_HZ) + 2

FLOOR = 1e-9
SHRINKAGE, SPREAD_DB = 0.1, 1.0
"""How much of the spread of the features counts as unrelated, and its least size."""
USUAL = 0.95
"""Share of the training hits that lie within distance 1."""


class Gate(NamedTuple):
    """Where the training hits lie. All zeros: everything lies among them."""

    mean: Float[Array | np.ndarray, " G"]
    whiten: Float[Array | np.ndarray, "G G"]


def open_gate() -> Gate:
    """The gate of a model that has none: everything is at distance 0."""
    return Gate(np.zeros(SIZE, np.float32), np.zeros((SIZE, SIZE), np.float32))


@cache
def _bands(size: int, sample_rate: int) -> np.ndarray:
    """Which bins of a spectrum belong to which band, [bands, bins]."""
    hz = np.arange(size // 2 + 1) * sample_rate / size
    return (
        np.searchsorted(EDGES_HZ, hz, "right") == np.arange(SIZE - 1)[:, None]
    ) * 1.0


def gate_features(window: Float[Array, " T"], sample_rate: int) -> Float[Array, " G"]:
    """Shares of the power by band, and the first half over the second, in dB.

    None depends on the level of the window.
    """
    power = power_spectrum(window)
    bands = jnp.asarray(_bands(len(window), sample_rate), window.dtype)
    by_band = jnp.sum(bands * power[None], axis=-1)
    total = jnp.sum(power)
    half = len(window) // 2
    first, second = (jnp.mean(jnp.square(w)) for w in (window[:half], window[half:]))

    def share_db(part, whole):
        return 10 * jnp.log10((part + FLOOR) / (whole + FLOOR))

    return jnp.append(share_db(by_band, total), share_db(first, second))


def fit_gate(features: np.ndarray) -> Gate:
    """The gate of training hits [N, G]; USUAL of them lie within distance 1.

    The distance is that of Mahalanobis; of each hit it is measured without it.
    """
    features = np.asarray(features, np.float64)

    def whitener(rows):
        spread = np.cov(rows.T)
        alone = np.diag(np.diag(spread))
        spread = (1 - SHRINKAGE) * spread + SHRINKAGE * alone
        return np.linalg.inv(
            np.linalg.cholesky(spread + SPREAD_DB**2 * np.eye(features.shape[1]))
        )

    away = []
    for i, one in enumerate(features):
        others = np.delete(features, i, axis=0)
        away.append(np.linalg.norm(whitener(others) @ (one - others.mean(axis=0))))
    whiten = whitener(features) / np.quantile(away, USUAL)
    return Gate(features.mean(axis=0).astype(np.float32), whiten.astype(np.float32))


def squared_distance(gate: Gate, features: Float[Array, " G"]) -> Float[Array, ""]:
    """How far features are from the training hits, squared."""
    away = jnp.sum(gate.whiten * (features - gate.mean)[None], axis=-1)
    return jnp.sum(jnp.square(away))
