"""Fit the detector's settings on performances: on all drums, and without each drum.

    python experiments/missed_hits/fit.py DATA --out settings.json

Random search: candidates over the whole of RANGES, the same for every fold, then rounds
of candidates nearer to the best one of each fold. A fold's choice never sees the drum
that is left out; `run.py` judges each drum with the settings that were fitted without
it. The settings of "all" are the defaults of `HitDetector`.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from score import Performance, Score, judge, performances

from jaxsnare.audio import read_audio_native
from jaxsnare.detector import HIT_SPECS, HitDetector

RANGES = {
    "onset.on": (6.0, 30.0),
    "onset.retrigger": (5.0, 60.0),
    "onset.wait": (28.0, 60.0),
    "onset.range": (28.0, 60.0),
    "onset.mask": (5.0, 20.0),
    "onset.mask_slope": (0.05, 0.5),
    "onset.most": (10.0, 50.0),
    "onset.past": (2.0, 12.0),
    "onset.head": (0.0, 1.5),
    "onset.wires": (0.0, 1.0),
    "onset.stick": (0.0, 1.0),
}
"""What is searched. "onset.body" is 1, the measure of the other weights; "onset.noise"
and "onset.hold" were set on synthetic noise alone: none in minutes at -50 dBFS."""

LATE_MS, LATE_COST = 1.5, 0.3
"""Each ms beyond this costs as much as that share of a missed hit."""
CHUNK = 1024
AT_ONCE = 8
PARENTS, EACH = 4, 4


def random_settings(rng: np.random.Generator, count: int) -> list[dict[str, float]]:
    """Settings from the whole of RANGES."""
    lo, hi = np.array(list(RANGES.values())).T
    return [named(lo + u * (hi - lo)) for u in rng.uniform(size=(count, len(lo)))]


def near(
    rng: np.random.Generator, best: dict[str, float], spread: float, count: int
) -> list[dict[str, float]]:
    """Settings that differ from others in some places."""
    lo, hi = np.array(list(RANGES.values())).T
    at = np.array([best[name] for name in RANGES])
    moves = spread * (hi - lo) * rng.normal(size=(count, len(lo)))
    moves *= rng.uniform(size=moves.shape) < 0.35
    return [named(row) for row in np.clip(at + moves, lo, hi)]


def named(values: np.ndarray) -> dict[str, float]:
    found = dict(zip(RANGES, values.round(4).tolist(), strict=True))
    return HIT_SPECS.defaults | found


class Judge:
    """Costs of settings on performances, all of them at once."""

    def __init__(self, data: Path, gains: tuple[int, ...]) -> None:
        self.chosen = [p for p in performances(data) if p.gain_db in gains]
        sounds = [read_audio_native(p.path) for p in self.chosen]
        (self.rate,) = {rate for _, rate in sounds}
        longest = max(len(audio) for audio, _ in sounds)
        self.audio = np.zeros((len(sounds), -(-longest // CHUNK) * CHUNK), np.float32)
        for row, (audio, _), p in zip(self.audio, sounds, self.chosen, strict=True):
            row[: len(audio)] = audio * 10 ** (p.gain_db / 20)
        self.lengths = [len(audio) for audio, _ in sounds]
        self.detector = HitDetector(self.rate)
        over_files = jax.vmap(self._fired, (None, 0, 0))
        self._step = jax.jit(jax.vmap(over_files, (0, 0, None)))

    def _fired(self, params, state, x):
        state, out = self.detector.step(params, state, x)
        return state, out.fired

    def onsets(self, settings: list[dict[str, float]]) -> Iterator[list[np.ndarray]]:
        """For each settings the onsets in each performance."""
        stacked = {
            name: jnp.asarray([s[name] for s in settings], jnp.float32)
            for name in HIT_SPECS.names
        }
        size = (len(settings), len(self.audio))
        state = jax.tree.map(
            lambda a: jnp.broadcast_to(a, size + a.shape), self.detector.init()
        )
        parts = []
        for start in range(0, self.audio.shape[1], CHUNK):
            piece = self.audio[:, start : start + CHUNK]
            state, fired = self._step(stacked, state, piece)
            where = np.argwhere(np.asarray(fired))
            where[:, 2] += start
            parts.append(where)
        found = np.concatenate(parts)
        for i in range(len(settings)):
            mine = found[found[:, 0] == i]
            yield [
                np.sort(at[at < length])
                for k, length in enumerate(self.lengths)
                for at in [mine[mine[:, 1] == k, 2]]
            ]

    def costs(self, settings: list[dict[str, float]]) -> list[dict[str, float]]:
        """For each settings the cost by drum."""
        rows = []
        for start in range(0, len(settings), AT_ONCE):
            for onsets in self.onsets(settings[start : start + AT_ONCE]):
                row: dict[str, float] = {}
                for p, at in zip(self.chosen, onsets, strict=True):
                    score, _, _ = judge(at, p, self.rate)
                    row[p.drum] = row.get(p.drum, 0.0) + cost(score, p)
                rows.append(row)
            print(".", end="", file=sys.stderr, flush=True)
        return rows


def cost(score: Score, performance: Performance) -> float:
    late = np.maximum(np.asarray(score.late_ms) - LATE_MS, 0.0).sum()
    return score.missed + score.false + LATE_COST * float(late)


def total(row: dict[str, float], without: str) -> float:
    """The cost of all drums but one."""
    return sum(value for drum, value in row.items() if drum != without)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("settings.json"))
    parser.add_argument("--first", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folds", nargs="+", help="only these (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    jury = Judge(arguments.data, gains=(0,))
    rng = np.random.default_rng(arguments.seed)

    first = random_settings(rng, arguments.first)
    costs = jury.costs(first)
    folds = arguments.folds or ["all", *sorted({p.drum for p in jury.chosen})]
    result = {}
    for fold in folds:
        rng = np.random.default_rng(arguments.seed + 1)
        pool = list(zip(first, costs, strict=True))
        score_of = partial(total, without=fold)
        for spread in np.geomspace(0.25, 0.04, arguments.rounds):
            pool.sort(key=lambda pair: score_of(pair[1]))
            parents = pool[:PARENTS]
            tried = [s for best, _ in parents for s in near(rng, best, spread, EACH)]
            pool += zip(tried, jury.costs(tried), strict=True)
        best, row = min(pool, key=lambda pair: score_of(pair[1]))
        result[fold] = {"settings": best, "cost": row}
        print(f"\n{fold}: {score_of(row):.1f}, left out {row.get(fold, 0.0):.1f}")
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
