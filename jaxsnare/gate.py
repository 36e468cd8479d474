"""A gate for bleed: does an onset's window sound like the hits, or like the others?

A voice starts only when its window is complete, so this costs no latency.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.special import logsumexp

from jaxsnare.features.spectral import band_powers

EDGES_HZ = (120.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
"""Borders of the bands whose shares of the power are compared."""
HALVES_HZ = (500.0, 2000.0, 6000.0)
"""And in each half of the window: wires sound on where the click of a tom has gone."""
SIZE = len(EDGES_HZ) + 1 + 2 * (len(HALVES_HZ) + 1)
LEAST_SHARE = 1e-3
"""A share that counts as none: what is so soft beside the rest tells little."""

MOST = 128
"""Examples of each side that are kept."""
DECIMALS = 2
"""Of examples, in dB, in the file of a model as well."""
LATE_MS = (0.0, 0.9, 1.8)
"""Examples of a hit are its windows as cut, and as if its onset were heard later."""
OTHERS_LATE_MS = (-0.9, *LATE_MS)

SHRINKAGE, SPREAD_DB = 0.1, 3.0
"""How much of the spread of the features counts as unrelated, and its least size."""
WIDTHS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.3)
"""Widths of an example's surroundings that are tried, in standard deviations."""
USUAL = 0.95
"""Share of the hits that sound usual: those that play at strength 1."""
NEUTRAL, STEP = 0.5, 4.0
"""Strength at which the likelier side wins; log odds that each doubling asks for."""
FAR = 3.0
"""Standard deviations beyond the usual hits at which a sound is like neither side."""
NO_HITS = (
    "the model keeps no examples of its hits (it was trained by an older jaxsnare)"
)
LEAST, TINY = -1e9, 1e-30
"""The least log density that is told from none, and the least sum."""


class Examples(NamedTuple):
    """Features of the training hits, and of what else the microphone hears."""

    hits: Float[np.ndarray, "N G"]
    others: Float[np.ndarray, "M G"]


class Gate(NamedTuple):
    """Where the examples lie, ready for the step: always of the same shapes."""

    whiten: Float[Array | np.ndarray, "G G"]
    hits: Float[Array | np.ndarray, "K G"]
    others: Float[Array | np.ndarray, "K G"]
    hits_log: Float[Array | np.ndarray, " K"]  # of their weights; -inf: none is there
    others_log: Float[Array | np.ndarray, " K"]
    elsewhere: Float[Array | np.ndarray, ""]  # log density of any other sound


def no_examples() -> Examples:
    """Of a model that has none: its gate is open."""
    return Examples(np.zeros((0, SIZE), np.float32), np.zeros((0, SIZE), np.float32))


def open_gate() -> Gate:
    """Everything is as likely a hit."""
    points, nowhere = np.zeros((MOST, SIZE)), np.full(MOST, -np.inf)
    one = np.where(np.arange(MOST) == 0, 0.0, nowhere)
    gate = Gate(
        np.zeros((SIZE, SIZE)), points, points, one, nowhere, np.asarray(-np.inf)
    )
    return Gate(*(np.asarray(part, np.float32) for part in gate))


def gate_features(window: Float[Array, " T"], sample_rate: int) -> Float[Array, " G"]:
    """Shares of the power, in dB: by band, and by half of the window and band.

    None depends on the level of the window.
    """
    half = len(window) // 2
    parts = window[:half], window[half : 2 * half]
    powers = [band_powers(part, sample_rate, HALVES_HZ) for part in parts]

    def shares_db(power):
        return 10 * jnp.log10(power / (jnp.sum(power) + TINY) + LEAST_SHARE)

    whole = shares_db(band_powers(window, sample_rate, EDGES_HZ))
    return jnp.concatenate([whole, shares_db(jnp.concatenate(powers))])


@cache
def _all_features(size: int, sample_rate: int):
    return jax.jit(jax.vmap(lambda window: gate_features(window, sample_rate)))


def examples_of(
    sounds: Float[np.ndarray, "N T"],
    window: int,
    sample_rate: int,
    late_ms: tuple[float, ...] = LATE_MS,
) -> Float[np.ndarray, "M G"]:
    """Features of sounds [N, T], each once for every lateness, of all at most MOST.

    A sound begins where the first window does; T is at least a window and all of them
    later. Of more than MOST an even choice is made, at random, the same every time.
    """
    late = [round(ms * sample_rate / 1000) for ms in late_ms]
    windows = _fewer(
        np.concatenate([sounds[:, s - late[0] :][:, :window] for s in late])
    )
    features = _all_features(window, sample_rate)
    # one shape, one compilation
    padded = np.pad(windows, ((0, MOST - len(windows)), (0, 0)))
    found = np.asarray(features(padded.astype(np.float32)))[: len(windows)]
    return found.round(DECIMALS)


def _fewer(rows: np.ndarray) -> np.ndarray:
    """At most MOST of some rows, an even choice."""
    if len(rows) <= MOST:
        return rows
    return rows[np.random.default_rng(0).permutation(len(rows))[:MOST]]


def merged(several: Sequence[Examples]) -> Examples:
    """The examples of several models, of each side at most MOST.

    None where one of them has no hits: a gate would refuse all that it plays.
    """
    if not all(len(examples.hits) for examples in several):
        return no_examples()
    return Examples(
        *(_fewer(np.concatenate(side)) for side in zip(*several, strict=True))
    )


def fit_gate(examples: Examples) -> Gate:
    """The gate of examples: a density of each side, by Gaussians around them.

    All have the spread of the features within the sides, and of the WIDTHS tried the
    one by which examples are likeliest, each judged by the others (Duin 1976). Sounds
    of which there is no example are taken to be as likely everywhere: without others
    so likely that, at strength 1, USUAL of the hits pass; beside them much less, to
    refuse only what is FAR from both.
    """
    hits, others = (np.asarray(side, np.float64) for side in examples)
    sides = [side for side in (hits, others) if len(side) > 1]
    if len(hits) < 2:
        return open_gate()
    spread = sum((len(s) - 1) * np.cov(s.T) for s in sides) / sum(map(len, sides))
    alone = np.diag(np.diag(spread))
    spread = (1 - SHRINKAGE) * spread + SHRINKAGE * alone
    whiten = np.linalg.inv(np.linalg.cholesky(spread + SPREAD_DB**2 * np.eye(SIZE)))

    def judged_by_others(side, width):
        """Log density of each, from the others of its side."""
        at = side @ whiten.T / width
        apart = np.square(at[:, None] - at[None]).sum(axis=-1) / 2
        np.fill_diagonal(apart, np.inf)
        return logsumexp(-apart, axis=1) - np.log(len(side) - 1) - SIZE * np.log(width)

    width = max(WIDTHS, key=lambda w: sum(judged_by_others(s, w).sum() for s in sides))
    # densities in units in which those of the step are: widths of 1
    usual = np.quantile(judged_by_others(hits, width), 1 - USUAL)
    usual += SIZE * np.log(width)
    elsewhere = usual - ((FAR / width) ** 2 / 2 if len(sides) == 2 else STEP)

    def padded(side):
        points, logs = np.zeros((MOST, SIZE)), np.full(MOST, -np.inf)
        points[: len(side)] = side @ whiten.T / width
        logs[: len(side)] = -np.log(max(len(side), 1))
        return points, logs

    (hit_points, hit_logs), (other_points, other_logs) = padded(hits), padded(others)
    gate = Gate(
        whiten / width,
        hit_points,
        other_points,
        hit_logs,
        other_logs,
        np.asarray(elsewhere),
    )
    return Gate(*(np.asarray(part, np.float32) for part in gate))


def log_odds(gate: Gate, features: Float[Array, " G"]) -> Float[Array, ""]:
    """How much likelier features are those of a hit than of anything else, log."""
    at = jnp.sum(gate.whiten * features[None], axis=-1)

    def density(points: Any, logs: Any, more: Any = -jnp.inf) -> Any:
        each = logs - jnp.sum(jnp.square(points - at[None]), axis=-1) / 2
        most = jnp.maximum(jnp.maximum(jnp.max(each), more), LEAST)
        total = jnp.sum(jnp.exp(each - most)) + jnp.exp(more - most)
        return most + jnp.log(total + TINY)

    other = density(gate.others, gate.others_log, gate.elsewhere)
    return density(gate.hits, gate.hits_log) - other


def passes(
    gate: Gate, strength: Float[Array, ""], features: Float[Array, " G"]
) -> Bool[Array, ""]:
    """Whether a gate of some strength lets a hit of these features play; 0: all."""
    wanted = STEP * jnp.log2(strength / NEUTRAL)
    return log_odds(gate, features) >= wanted
