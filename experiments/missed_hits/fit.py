"""Fit the detector's settings on performances: on all drums, and without each drum.

    python experiments/missed_hits/fit.py DATA --out settings.json

The cross-entropy method (Rubinstein 1999): settings are drawn from a normal
distribution, which begins in the middle of RANGES and as wide as they are - no setting
that was found by hand or by another fold plays a part - and which is drawn, in each
round, towards the best of them. Its mean in the end, not the best settings drawn, is
the result: the middle of the region where many do well, rather than one that happens
to suit some file. A fold never sees the drum that is left out: neither its
performances, nor its grooves mixed with hi-hat and kick, nor its flams. `run.py` and
`gate.py` judge each drum with the settings that were fitted without it. The settings of
"all", rounded, are the defaults of `HitDetector`.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from fast import check, levels, onsets
from mixing import flams, mixed_grooves, strokes
from score import Performance, Score, judge, performances

from jaxsnare.audio import read_audio_native
from jaxsnare.detector import HitDetector
from jaxsnare.knobs import HIT_SPECS

RANGES = {
    "onset.on": (6.0, 30.0),
    "onset.retrigger": (5.0, 60.0),
    "onset.wait": (20.0, 60.0),
    "onset.mask": (5.0, 20.0),
    "onset.mask_slope": (0.05, 0.5),
    "onset.most": (10.0, 50.0),
    "onset.past": (2.0, 12.0),
    "onset.head": (0.0, 1.5),
    "onset.wires": (0.0, 1.0),
    "onset.stick": (0.0, 1.0),
}
"""What is searched. "onset.body" is 1, the measure of the other weights; "onset.noise"
and "onset.hold" were set on synthetic noise alone: none in an hour at -50 dBFS.
"onset.range" and "onset.floor" are principles, README.md says which."""

LATE_MS, LATE_COST = 1.5, 0.2
"""Each ms beyond this costs as much as that share of a missed hit."""
MIXED = 0.25
"""What a mistake in a mixed groove counts."""
FLAM, STROKE = 0.5, 1.0
"""What one in a flam or a buzz does, and a second onset of one stroke."""

EACH, BEST, ROUNDS = 32, 8, 12
WIDE, NARROW = 0.35, 0.03
"""Spread of the settings at first, and at least, as a share of their ranges."""
ALL = "all"


def named(places: np.ndarray) -> dict[str, float]:
    """Settings from places in RANGES, 0 to 1."""
    lo, hi = np.array(list(RANGES.values())).T
    values = (lo + np.clip(places, 0, 1) * (hi - lo)).round(4).tolist()
    return HIT_SPECS.defaults | dict(zip(RANGES, values, strict=True))


class Jury:
    """Costs of settings on performances."""

    def __init__(self, data: Path) -> None:
        sounds: list[tuple[Performance, np.ndarray, float]] = []
        for p in performances(data):
            if p.gain_db == 0:
                sounds.append((p, read_audio_native(p.path)[0], 1.0))
        sounds += [(p, audio, MIXED) for p, _, audio in mixed_grooves(data)]
        sounds += [(p, audio, FLAM) for p, audio in flams(data)]
        sounds += [(p, audio, STROKE) for p, audio in strokes(data)]
        self.rate = read_audio_native(sounds[0][0].path)[1]
        detector = HitDetector(self.rate)
        self.cases = [
            (p, levels(detector, audio), weight) for p, audio, weight in sounds
        ]
        rng = np.random.default_rng(0)
        some = [named(rng.uniform(size=len(RANGES))) for _ in range(2)]
        for k in (0, len(sounds) // 20):
            check(detector, sounds[k][1], some)
        self.drums = sorted({p.drum for p, _, _ in self.cases})

    def costs(self, settings: list[dict[str, float]], without: str) -> np.ndarray:
        """For each settings the cost on all drums but one."""
        total = np.zeros(len(settings))
        for p, level, weight in self.cases:
            if p.drum != without:
                found = onsets(level, self.rate, settings)
                scores = [judge(at, p, self.rate)[0] for at in found]
                total += weight * np.array([cost(score) for score in scores])
        return total


def cost(score: Score) -> float:
    late = np.maximum(np.asarray(score.late_ms) - LATE_MS, 0.0).sum()
    return score.missed + score.false + LATE_COST * float(late)


def fit(jury: Jury, without: str, seed: int) -> tuple[dict[str, float], float]:
    """The settings fitted without a drum, and their cost on the others."""
    rng, size = np.random.default_rng(seed), len(RANGES)
    mean, spread = np.full(size, 0.5), np.full(size, WIDE)
    weights = np.log(BEST + 0.5) - np.log(np.arange(1, BEST + 1))
    weights /= weights.sum()
    for done in range(ROUNDS):
        drawn = np.clip(mean + spread * rng.normal(size=(EACH, size)), 0, 1)
        costs = jury.costs([named(places) for places in drawn], without)
        best = drawn[np.argsort(costs)[:BEST]]
        # about the old mean, as in CMA-ES: it does not narrow while it still moves
        around = np.sqrt(weights @ np.square(best - mean))
        keep = 0.2 if done else 0.0
        mean = keep * mean + (1 - keep) * weights @ best
        spread = np.maximum(0.4 * spread + 0.6 * around, NARROW)
        print(".", end="", file=sys.stderr, flush=True)
    return named(mean), float(jury.costs([named(mean)], without)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("settings.json"))
    parser.add_argument("--folds", nargs="+", help="only these (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    jury = Jury(arguments.data)
    result = {}
    for fold in arguments.folds or [ALL, *jury.drums]:
        settings, worth = fit(jury, fold, arguments.seed)
        result[fold] = {"settings": settings, "cost": round(worth, 2)}
        print(f" {fold}: {worth:.1f}", file=sys.stderr)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
