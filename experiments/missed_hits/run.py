"""Which hits do detectors miss? Ours, the published one, aubio and librosa, by level.

    python experiments/missed_hits/run.py DATA --out missed-hits-results

DATA holds performances.json, performances and their truth files. Writes results.json,
table.md, recall.png, and what is lost and why: lost.png, a picture for every hit that
our detector misses at recorded level, and late.png. "adaptive, cross-validated" is
judged on each drum with the settings that were fitted without it (settings.json, made
by fit.py), on a drum that is not in there with those fitted on all that are; "adaptive,
as shipped" has the default ones.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from fast import levels
from score import (
    EARLY_MS,
    GAINS_DB,
    GROUPS,
    Performance,
    Score,
    judge,
    performances,
    sums,
)

from jaxsnare.audio import read_audio_native
from jaxsnare.component import run_blocks
from jaxsnare.detector import WEIGHTS, HitDetector
from jaxsnare.knobs import HIT_SPECS
from jaxsnare.onset import ONSET_SPECS, OnsetDetector, Onsets, find_onsets
from jaxsnare.params import as_params

SETTINGS = Path(__file__).parent / "settings.json"
PUBLISHED = {
    "published, plugin": {},
    "published, training": {
        "onset.on": 10.0,
        "onset.off": 4.67,
        "onset.wait": 10_000 / 44.1,
    },
    "published, SP-Tools": {
        "onset.on": 19.0,
        "onset.off": 8.0,
        "onset.wait": 1323 / 44.1,
        "onset.floor": -70.0,
        "onset.highpass": 2000.0,
    },
}
AUBIO_METHODS = ("hfc", "energy", "complex", "specflux", "phase")
AUBIO_HOP, AUBIO_WINDOW, AUBIO_GAP_S = 64, 512, 0.025

Detect = Callable[[np.ndarray, int, Performance], np.ndarray]


def ours(detector: type, settings: dict[str, float]) -> Detect:
    params = as_params(settings)
    return lambda audio, rate, _: find_onsets(detector(rate), params, audio)


def settings_for(folds: dict[str, dict], drum: str) -> dict[str, float]:
    """What was fitted without a drum: of one that is in no fold, on all of them."""
    return folds.get(drum, folds["all"])["settings"]


def cross_validated(folds: dict[str, dict]) -> Detect:
    def detect(audio: np.ndarray, rate: int, p: Performance) -> np.ndarray:
        return ours(HitDetector, settings_for(folds, p.drum))(audio, rate, p)

    return detect


def aubio(method: str, audio: np.ndarray, rate: int, _: Performance) -> np.ndarray:
    """Onsets of aubioonset (Debian's aubio-tools); its times make up for its delay."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "audio.wav"
        soundfile.write(file, audio, rate, subtype="FLOAT")
        command = ["aubioonset", "-i", file, "-O", method, "-M", AUBIO_GAP_S]
        command += ["-B", AUBIO_WINDOW, "-H", AUBIO_HOP, "-T", "samples"]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=True
        )
    return np.array([int(float(word)) for word in done.stdout.split()], int)


def librosa(audio: np.ndarray, rate: int, _: Performance) -> np.ndarray:
    """Onsets of librosa at its defaults; it looks ahead."""
    from librosa.onset import onset_detect

    return onset_detect(y=audio, sr=rate, units="samples")


def detectors(folds: dict[str, dict]) -> dict[str, Detect]:
    found: dict[str, Detect] = {
        "adaptive, cross-validated": cross_validated(folds),
        "adaptive, as shipped": ours(HitDetector, HIT_SPECS.defaults),
    }
    for name, settings in PUBLISHED.items():
        found[name] = ours(OnsetDetector, ONSET_SPECS.defaults | settings)
    if shutil.which("aubioonset"):
        found |= {f"aubio {m}": partial(aubio, m) for m in AUBIO_METHODS}
    else:
        print("no aubioonset: apt install aubio-tools", file=sys.stderr)
    return found | {"librosa": librosa}


def evaluate(data: Path, found: dict[str, Detect]) -> dict[str, dict]:
    """For each detector the sums, and what it missed and found in vain by file."""
    scores: dict[str, dict[Performance, Score]] = {name: {} for name in found}
    errors: dict[str, dict[str, dict]] = {name: {} for name in found}
    for p in performances(data):
        audio, rate = read_audio_native(p.path)
        audio = (audio * 10 ** (p.gain_db / 20)).astype(np.float32)
        for name, detect in found.items():
            scores[name][p], missed, false = judge(detect(audio, rate, p), p, rate)
            if len(missed) or len(false):
                errors[name][f"{p.name} {p.gain_db} dB"] = {
                    "missed": missed.tolist(),
                    "false": false.tolist(),
                }
        print(".", end="", file=sys.stderr, flush=True)
    return {
        name: {"sums": sums(scores[name]), "errors": errors[name]} for name in found
    }


def table(result: dict[str, dict]) -> str:
    """The main figures as Markdown."""
    head = ["detector", *(f"F, {g} dB" for g in GAINS_DB), "rolls: recall"]
    head += ["bleed: precision", "bleed: recall", "late, median", "late, 95 %"]
    lines = [head, ["---"] * len(head)]
    for name, found in result.items():
        rows = found["sums"]
        plain = rows["0"]
        cells = [rows.get(str(gain), {}).get("all", {}).get("F") for gain in GAINS_DB]
        cells += [plain.get("roll", {}).get("recall")]
        cells += [plain.get("bleed", {}).get(k) for k in ("precision", "recall")]
        late = [plain["all"][k] for k in ("late_ms_median", "late_ms_95")]
        words = ["-" if c is None else f"{c:.3f}" for c in cells]
        lines.append(
            [name, *words, *("-" if m is None else f"{m:.1f} ms" for m in late)]
        )
    return markdown(lines)


def by_kind(result: dict[str, dict]) -> str:
    """F at recorded level by kind and by condition, as Markdown."""
    groups = list(GROUPS)
    lines = [["F, 0 dB", *groups], ["---"] * (len(groups) + 1)]
    for name, found in result.items():
        cells = [found["sums"]["0"].get(group, {}).get("F") for group in groups]
        lines.append([name, *("-" if c is None else f"{c:.3f}" for c in cells)])
    return markdown(lines)


def markdown(lines: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def draw(result: dict[str, dict], path: Path) -> None:
    """Recall and precision over the input gain, a line for each detector."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, what in zip(figure.subplots(1, 2), ("recall", "precision"), strict=True):
        for name, found in result.items():
            # the clean files are the same at every gain
            clean = [found["sums"].get(str(g), {}).get("clean", {}) for g in GAINS_DB]
            values = [row.get(what) for row in clean]
            bold = name.startswith("adaptive")
            axes.plot(
                GAINS_DB,
                [np.nan if v is None else v for v in values],
                marker="o",
                linewidth=2.5 if bold else 1.2,
                linestyle="-" if bold else "--",
                label=name,
            )
        axes.set_xlabel("input gain (dB)")
        axes.set_ylabel(what)
        axes.set_ylim(0, 1.02)
        axes.set_xticks(GAINS_DB)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    figure.suptitle("Clean performances, by input gain")
    figure.savefig(path, dpi=80)


AROUND_MS = (-40.0, 40.0)


class Heard(NamedTuple):
    """A recording as a detector hears it."""

    audio: np.ndarray  # [T]
    out: Onsets  # [T]
    rate: int

    @property
    def onsets(self) -> np.ndarray:
        return np.flatnonzero(self.out.fired)


def hear(audio: np.ndarray, rate: int, settings: dict[str, float]) -> Heard:
    out = run_blocks(HitDetector(rate), as_params(settings), audio)
    return Heard(audio, out, rate)


def draw_hits(
    hits: list[tuple[str, Heard, int]], path: Path, label: str = "hit"
) -> None:
    """A panel for each hit - title, recording, sample -: sound, signal, threshold."""
    from matplotlib.figure import Figure

    rows = -(-len(hits) // 4)
    figure = Figure(figsize=(14, 2.6 * rows), layout="constrained")
    panels = figure.subplots(rows, 4, squeeze=False).ravel()
    for axes, (title, heard, at) in zip(panels, hits, strict=False):
        start, end = (at + round(ms * heard.rate / 1000) for ms in AROUND_MS)
        start, end = max(start, 0), min(end, len(heard.audio))
        ms = (np.arange(start, end) - at) * 1000 / heard.rate
        peak = max(np.abs(heard.audio[start:end]).max(), 1e-9)
        sound = 30 * heard.audio[start:end] / peak
        axes.plot(ms, sound, color="0.75", linewidth=0.6)
        axes.plot(ms, heard.out.level[start:end], label="detection signal")
        axes.plot(ms, heard.out.threshold[start:end], "--", label="threshold")
        axes.axvline(0, color="red", label=label)
        for k in heard.onsets[(heard.onsets >= start) & (heard.onsets < end)]:
            axes.axvline((k - at) * 1000 / heard.rate, color="k", linestyle=":")
        axes.set_title(title, fontsize=8)
        axes.set_ylim(-30, 80)
    for axes in panels[len(hits) :]:
        axes.set_visible(False)
    panels[0].legend(fontsize=6)
    figure.supxlabel(f"ms from the {label}; dotted: onsets; grey: the sound")
    figure.savefig(path, dpi=60)


def lost_hits(data: Path, folds: dict[str, dict], path: Path) -> dict[str, int]:
    """A picture of every hit missed at recorded level; how many, by why."""
    lost, why = [], {}
    for p in performances(data):
        if p.gain_db != 0:
            continue
        audio, rate = read_audio_native(p.path)
        heard = hear(audio, rate, settings_for(folds, p.drum))
        _, missed, false = judge(heard.onsets, p, rate)
        for at in missed:
            settings = settings_for(folds, p.drum)
            near = [(at - f) * 1000 / rate for f in false]
            near = [ms for ms in near if 0 < ms < settings["onset.wait"]]
            early = max(at + round(EARLY_MS * rate / 1000), 0)
            reach = slice(early, at + round(0.02 * rate))
            short = (heard.out.threshold[reach] - heard.out.level[reach]).min()
            reason = f"short by {short:.1f} dB"
            kind = f"{p.condition}: too soft for the threshold"
            if near:
                reason = f"{min(near):.1f} ms after a false onset"
                kind = f"{p.condition}: hidden by a false onset just before"
            why[kind] = why.get(kind, 0) + 1
            lost.append((f"{p.name}\n{reason}", heard, int(at)))
    if lost:
        draw_hits(lost, path)
    return why


def late_hits(data: Path, folds: dict[str, dict], path: Path) -> dict[str, float]:
    """Lateness by drum, and what rises at the strokes of its latest roll."""
    from matplotlib.figure import Figure

    late: dict[str, list[float]] = {}
    rolls = {}
    for p in performances(data):
        if p.gain_db == 0:
            audio, rate = read_audio_native(p.path)
            params = as_params(settings_for(folds, p.drum))
            found = find_onsets(HitDetector(rate), params, audio)
            score, _, _ = judge(found, p, rate)
            late[p.drum] = late.get(p.drum, []) + score.late_ms
            if p.kind == "roll" and score.late_ms:
                rolls[p.drum] = p, np.median(score.late_ms)
    late = {drum: ms for drum, ms in late.items() if ms}
    worst = {drum: round(float(np.percentile(ms, 95)), 2) for drum, ms in late.items()}
    if not rolls:
        return worst
    p, _ = max(rolls.values(), key=lambda roll: roll[1])
    audio, rate = read_audio_native(p.path)
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.boxplot(list(late.values()), tick_labels=list(late), whis=(5, 95))
    left.tick_params(axis="x", rotation=30)
    left.set_ylabel("late (ms); box: half of the hits, whiskers: 90 %")
    level = levels(HitDetector(rate), audio).level
    reach = np.arange(-round(0.004 * rate), round(0.008 * rate))
    inside = (p.hits + reach[0] >= 0) & (p.hits + reach[-1] < len(level))
    strokes = level[p.hits[inside][:, None] + reach]
    rise = strokes - strokes[:, : round(0.002 * rate)].mean(axis=1, keepdims=True)
    for k, name in enumerate(WEIGHTS):
        middle = np.median(rise[:, :, k], axis=0)
        right.plot(reach * 1000 / rate, middle, label=name.removeprefix("onset."))
    right.axvline(0, color="red")
    right.axvline(2.5, color="0.5", linestyle=":")
    right.set_title(f"{p.name}: levels at its strokes, median")
    right.set_xlabel("ms from the hit")
    right.set_ylabel("dB above what rings before it")
    right.legend()
    figure.savefig(path, dpi=80)
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("missed-hits-results"))
    parser.add_argument("--only", metavar="NAME", help="detectors that begin with this")
    arguments = parser.parse_args()
    folds = json.loads(SETTINGS.read_text("utf-8"))
    wanted = arguments.only or ""
    found = {n: d for n, d in detectors(folds).items() if n.startswith(wanted)}
    result: dict[str, dict] = evaluate(arguments.data, found)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    why = lost_hits(arguments.data, folds, out / "lost.png")
    late = late_hits(arguments.data, folds, out / "late.png")
    whole = result | {"lost": why, "late_ms_95": late}
    (out / "results.json").write_text(json.dumps(whole, indent=1) + "\n")
    tables = f"{table(result)}\n{by_kind(result)}"
    (out / "table.md").write_text(tables)
    draw(result, out / "recall.png")
    print("\n" + tables)
    print(json.dumps({"lost": why, "late_ms_95": late}, indent=1))


if __name__ == "__main__":
    main()
