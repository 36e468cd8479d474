"""What the gate makes of bleed: precision and recall over its strength.

    python experiments/missed_hits/gate.py DATA --out missed-hits-results

DATA as for run.py, and real/<drum>/*.flac: single hits. For each groove with bleed a
gate is learned from the drum's single hits less those that the groove was assembled
from; the onsets of the default detector whose windows it lets through are judged. The
same on the other drums' grooves mixed with distractors/, which hold no hit. For each
strength the sums; "chosen elsewhere" takes for each drum the strength of best F on all
other drums.
"""

import argparse
import csv
import json
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from score import Performance, Score, judge, performances

from jaxsnare.audio import read_audio_native
from jaxsnare.data import cut_hits
from jaxsnare.detector import HitDetector
from jaxsnare.gate import fit_gate, gate_features, squared_distance
from jaxsnare.onset import find_onsets, pre_roll_samples
from jaxsnare.train import listen

STRENGTHS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
BLEED = ("hihat_in_snare_mic", "kick_in_snare_mic")
WINDOW = 256


def features(windows: np.ndarray, rate: int) -> np.ndarray:
    return np.asarray(jax.vmap(lambda w: gate_features(w, rate))(jnp.asarray(windows)))


def other_hits(data: Path, p: Performance, rate: int) -> np.ndarray:
    """Windows of the drum's single hits that are not in the performance."""
    with open(data / "performances" / f"{p.drum}__{p.kind}.csv", newline="") as file:
        used = {Path(row["hit"]).name for row in csv.DictReader(file)}
    with tempfile.TemporaryDirectory() as folder:
        for file in sorted((data / "real" / p.drum).glob("*.flac")):
            if file.name not in used:
                (Path(folder) / file.name).symlink_to(file.resolve())
        return listen([folder], rate, WINDOW).windows


def with_bleed(data: Path, p: Performance) -> tuple[np.ndarray, int]:
    """A groove with its bleed, or mixed with hi-hat and kick in the snare's mic."""
    audio, rate = read_audio_native(p.path)
    if p.condition != "bleed":
        for name in BLEED:
            more, _ = read_audio_native(data / "distractors" / f"{name}.flac")
            length = min(len(audio), len(more))
            audio[:length] += more[:length]
    return audio, rate


def judge_groove(data: Path, p: Performance) -> list[Score]:
    """The score for each strength."""
    audio, rate = with_bleed(data, p)
    gate = fit_gate(features(other_hits(data, p, rate), rate))
    detector = HitDetector(rate)
    onsets = find_onsets(detector, detector.defaults, audio)
    windows, _ = cut_hits(
        audio, onsets, window=WINDOW, pre_roll=pre_roll_samples(rate), samples=1
    )
    away = np.array([squared_distance(gate, f) for f in features(windows, rate)])
    return [judge(onsets[s**2 * away <= 1.0], p, rate)[0] for s in STRENGTHS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("missed-hits-results"))
    arguments = parser.parse_args()
    grooves = {}
    for p in performances(arguments.data):
        if p.kind == "groove" and p.gain_db == 0 and p.condition in ("clean", "bleed"):
            grooves[p.drum] = p  # the one with bleed comes after the clean one
    scores = {drum: judge_groove(arguments.data, p) for drum, p in grooves.items()}
    real = {drum for drum, p in grooves.items() if p.condition == "bleed"}

    def f_of(drums, i):
        total = sum((scores[d][i] for d in drums), start=Score())
        return float(total.row()["F"] or 0.0)

    rows = {}
    for i, strength in enumerate(STRENGTHS):
        for name, drums in (
            ("grooves with bleed", real),
            ("mixed", set(scores) - real),
        ):
            total = sum((scores[d][i] for d in drums), start=Score())
            rows[f"{name}, gate {strength:g}"] = total.row()
    for name, drums in (("grooves with bleed", real), ("mixed", set(scores) - real)):
        total = Score()
        for drum in drums:
            others = set(scores) - {drum}
            best = max(range(len(STRENGTHS)), key=lambda i: f_of(others, i))
            total += scores[drum][best]
        rows[f"{name}, chosen elsewhere"] = total.row()
    for name, row in rows.items():
        print(f"{name:36s} precision {row['precision']:.3f} recall {row['recall']:.3f}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "gate.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
