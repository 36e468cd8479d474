"""Which hits do detectors miss? Ours, the published one, aubio and librosa, by level.

    python experiments/missed_hits/run.py DATA --out missed-hits-results

DATA holds performances.json, performances and their truth files. Writes results.json,
table.md and recall.png. "adaptive" is judged on each drum with the settings that were
fitted without it (settings.json, made by fit.py); "adaptive, as shipped" has the
default ones.
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

import numpy as np
import soundfile
from score import GAINS_DB, Performance, Score, judge, performances, sums

from jaxsnare.audio import read_audio_native
from jaxsnare.detector import HIT_SPECS, HitDetector
from jaxsnare.onset import ONSET_SPECS, OnsetDetector, find_onsets
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
AUBIO_METHODS = ("default", "hfc", "energy", "complex", "specflux", "phase")
AUBIO_HOP, AUBIO_WINDOW, AUBIO_GAP_S = 64, 512, 0.025

Detect = Callable[[np.ndarray, int, Performance], np.ndarray]


def ours(detector: type, settings: dict[str, float]) -> Detect:
    params = as_params(settings)
    return lambda audio, rate, _: find_onsets(detector(rate), params, audio)


def cross_validated(folds: dict[str, dict]) -> Detect:
    by_drum = {drum: ours(HitDetector, f["settings"]) for drum, f in folds.items()}
    return lambda audio, rate, p: by_drum[p.drum](audio, rate, p)


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


def detectors() -> dict[str, Detect]:
    folds = json.loads(SETTINGS.read_text("utf-8"))
    found: dict[str, Detect] = {
        "adaptive": cross_validated(folds),
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
        cells = [rows[str(gain)]["all"]["F"] for gain in GAINS_DB]
        cells += [plain["roll"]["recall"]]
        cells += [plain["bleed"][k] for k in ("precision", "recall")]
        late = [plain["all"][k] for k in ("late_ms_median", "late_ms_95")]
        words = ["-" if c is None else f"{c:.3f}" for c in cells]
        lines.append([name, *words, *(f"{ms:.1f} ms" for ms in late)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def draw(result: dict[str, dict], path: Path) -> None:
    """Recall and precision over the input gain, a line for each detector."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, what in zip(figure.subplots(1, 2), ("recall", "precision"), strict=True):
        for name, found in result.items():
            # the clean files are the same at every gain
            values = [found["sums"][str(g)]["clean"][what] for g in GAINS_DB]
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
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("missed-hits-results"))
    arguments = parser.parse_args()
    result = evaluate(arguments.data, detectors())
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    (arguments.out / "table.md").write_text(table(result))
    draw(result, arguments.out / "recall.png")
    print("\n" + table(result))


if __name__ == "__main__":
    main()
