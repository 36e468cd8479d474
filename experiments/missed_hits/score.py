"""What a detector found against where the hits are: matching, and sums over files.

A hit counts if an onset is reported within -2..+20 ms; one onset serves one hit, and a
second one at the same hit is false. A hit that hardly stands out (contrast under 3 dB,
or a peak under noise + 12 dB) is excused, and so is an onset at it.
"""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

EARLY_MS, LATE_MS = -2.0, 20.0
LEAST_CONTRAST_DB = 3.0
ABOVE_NOISE_DB = 12.0
GAINS_DB = (0, -12, -24)


@dataclass(frozen=True, eq=False)
class Performance:
    """A file with its truth, played at an input gain."""

    name: str
    path: Path
    drum: str
    kind: str  # crescendo, groove, roll
    condition: str  # clean, noise60, noise50, bleed
    gain_db: int
    hits: np.ndarray  # samples, rising
    excused: np.ndarray  # Bool, of each hit


@dataclass
class Score:
    """Counts, which add up over files."""

    found: int = 0
    missed: int = 0
    false: int = 0
    late_ms: list[float] = field(default_factory=list)

    def __add__(self, other: "Score") -> "Score":
        return Score(
            self.found + other.found,
            self.missed + other.missed,
            self.false + other.false,
            self.late_ms + other.late_ms,
        )

    def row(self) -> dict[str, float | int | None]:
        """Precision, recall, F and lateness; None where there is nothing to divide."""
        onsets, hits = self.found + self.false, self.found + self.missed
        late = np.percentile(self.late_ms, [50, 95]) if self.late_ms else (None, None)
        return {
            "hits": hits,
            "found": self.found,
            "false": self.false,
            "precision": self.found / onsets if onsets else None,
            "recall": self.found / hits if hits else None,
            "F": 2 * self.found / (onsets + hits) if onsets + hits else None,
            "late_ms_median": late[0],
            "late_ms_95": late[1],
        }


def performances(data: Path) -> Iterator[Performance]:
    """Those of a folder with performances.json; noisy ones at recorded level only."""
    for entry in json.loads((data / "performances.json").read_text("utf-8")):
        with open(data / entry["truth"], newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["type"] == "snare"]
        rows.sort(key=lambda row: int(row["sample"]))
        noise = entry["noise_dbfs"]
        excused = np.array([float(r["contrast_db"]) < LEAST_CONTRAST_DB for r in rows])
        condition = "bleed" if entry["bleed"] else "clean"
        if noise is not None:
            peaks = np.array([float(row["peak_dbfs"]) for row in rows])
            excused |= peaks < noise + ABOVE_NOISE_DB
            condition = f"noise{-noise:g}"
        for gain in GAINS_DB if noise is None else (0,):
            yield Performance(
                Path(entry["file"]).stem,
                data / entry["file"],
                entry["drum"],
                entry["kind"],
                condition,
                gain,
                np.array([int(row["sample"]) for row in rows]),
                excused,
            )


def match(onsets: np.ndarray, hits: np.ndarray, rate: int) -> np.ndarray:
    """The onset that serves each hit, as an index, or -1; as many as possible.

    Hits [N] and onsets [M] are samples. As every window is as long as any other, the
    first free onset in the window of each hit, in their order, is the best choice.
    """
    low, high = (round(ms * rate / 1000) for ms in (EARLY_MS, LATE_MS))
    served, free = np.full(len(hits), -1), 0
    for i in np.argsort(hits, kind="stable"):
        while free < len(onsets) and onsets[free] < hits[i] + low:
            free += 1
        if free < len(onsets) and onsets[free] <= hits[i] + high:
            served[i], free = free, free + 1
    return served


def judge(
    onsets: np.ndarray, performance: Performance, rate: int
) -> tuple[Score, np.ndarray, np.ndarray]:
    """The score, the samples of hits that were missed, and of onsets that are false.

    Hits that count are served first; what is left may be at an excused one.
    """
    onsets = np.sort(np.asarray(onsets, np.int64))
    must = performance.hits[~performance.excused]
    served = match(onsets, must, rate)
    used = served[served >= 0]
    left = np.delete(onsets, used)
    excuse = match(left, performance.hits[performance.excused], rate)
    false = np.delete(left, excuse[excuse >= 0])
    late = (onsets[used] - must[served >= 0]) * 1000 / rate
    missed = must[served < 0]
    return Score(len(used), len(missed), len(false), late.tolist()), missed, false


GROUPS: dict[str, Callable[[Performance], bool]] = {
    "all": lambda p: True,
    "crescendo": lambda p: p.kind == "crescendo",
    "groove": lambda p: p.kind == "groove",
    "roll": lambda p: p.kind == "roll",
    "clean": lambda p: p.condition == "clean",
    "noise60": lambda p: p.condition == "noise60",
    "noise50": lambda p: p.condition == "noise50",
    "bleed": lambda p: p.condition == "bleed",
}


def sums(scores: dict[Performance, Score]) -> dict[str, dict[str, dict]]:
    """Rows by input gain and group."""
    table: dict[str, dict[str, dict]] = {}
    for gain in GAINS_DB:
        for group, inside in GROUPS.items():
            chosen = [s for p, s in scores.items() if p.gain_db == gain and inside(p)]
            if chosen:
                total = sum(chosen, start=Score())
                table.setdefault(str(gain), {})[group] = total.row()
    return table
