"""Does the synth follow the drummer? Judged from sound alone, by a script of others.

For each drum: a mapping is trained on the drum's single hits, its performances are
remapped by the step that plays live, and `follow.py` compares the two audio files at
the true onsets. With --held-out once more, without the hits that the performances were
assembled from.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np

from jaxsnare.audio import read_audio_native, write_audio
from jaxsnare.lessons import Job
from jaxsnare.performance import remap
from jaxsnare.presets import read_preset
from jaxsnare.recipe import RECIPES, Recipe
from jaxsnare.synths import Snare808
from jaxsnare.train import Training, fit_many, listen

KINDS = ("groove", "crescendo")
RATE = 44_100


def truth_hits(path: Path) -> set[str]:
    """Names of the hits that a performance was assembled from."""
    with open(path, newline="") as file:
        return {Path(row["hit"]).name for row in csv.DictReader(file)}


def fit(files: list[Path], presets: list[str], recipes: list[Recipe]) -> list[Training]:
    """Models of a folder of single hits, each file one hit: for every preset each."""
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            (Path(folder) / file.name).symlink_to(file.resolve())
        hits = listen([folder], RATE)
    synth = Snare808(sample_rate=RATE)

    def show(rows):
        at = rows[0]
        if at.epoch % 10 == 0:
            text = f"\r  epoch {at.epoch}/{at.epochs} best {at.best_loss:.4f} "
            print(text, end="", file=sys.stderr, flush=True)

    jobs = [Job(hits, read_preset(p, synth), r) for p in presets for r in recipes]
    return fit_many(jobs, synth, progress=show)


def judge(judge_script: Path, drum: Path, synth: Path, truth: Path) -> dict:
    """What the script says of a performance and its answer."""
    command = [sys.executable, judge_script, drum, synth, truth, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with real/ and performances/")
    parser.add_argument("judge", type=Path, help="the judging script, follow.py")
    parser.add_argument("--out", type=Path, default=Path("follow-results"))
    parser.add_argument("--presets", nargs="+", default=["808_snare_1"])
    parser.add_argument("--recipe", default="usual", choices=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--early-decay", type=float, help="default: of the recipe")
    parser.add_argument("--rehearsals", type=int, help="default: of the recipe")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument(
        "--drums",
        nargs="+",
        default=["gogodze2_snare", "osdk_snare", "fs_14x05_maple"],
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    settings = {
        "early_decay": arguments.early_decay,
        "rehearsals": arguments.rehearsals,
    }
    settings = {name: value for name, value in settings.items() if value is not None}
    recipes = [
        Recipe.named(arguments.recipe, seed=seed, **settings)
        for seed in arguments.seeds
    ]
    kinds = [(p, s) for p in arguments.presets for s in arguments.seeds]
    rows = []
    for drum in arguments.drums:
        truths = {
            kind: arguments.data / "performances" / f"{drum}__{kind}.csv"
            for kind in KINDS
        }
        used = set().union(*(truth_hits(path) for path in truths.values()))
        files = sorted((arguments.data / "real" / drum).glob("*.flac"))
        for held_out in (False, True) if arguments.held_out else (False,):
            chosen = [f for f in files if not (held_out and f.name in used)]
            trained = fit(chosen, arguments.presets, recipes)
            for (kind, truth), ((preset, seed), training) in product(
                truths.items(), zip(kinds, trained, strict=True)
            ):
                model = training.model
                source = truth.with_suffix(".flac")
                audio, rate = read_audio_native(source)
                played = remap(model.remapper(rate), model.params(), audio)
                words = [drum, kind, preset, str(seed)] + ["held_out"] * held_out
                path = arguments.out / f"{'__'.join(words)}.wav"
                write_audio(path, played.synth, rate, overwrite=True)
                row = {
                    "drum": drum,
                    "performance": kind,
                    "preset": preset,
                    "seed": seed,
                    "held_out": held_out,
                    "training_hits": len(training.hits.audio),
                    "test_mean_ratio": model.training["test"]["mean_ratio"],
                    **judge(arguments.judge, source, path, truth),
                }
                rows.append(row)
                print("\r" + line(row), flush=True)
    (arguments.out / "follow.json").write_text(json.dumps(rows, indent=2) + "\n")
    for held_out in sorted({row["held_out"] for row in rows}):
        chosen = [row for row in rows if row["held_out"] == held_out]
        medians = [row["median_ratio"] for row in chosen]
        ratio, middle = np.mean(medians), np.median(medians)
        mean = np.mean([row["mean_ratio"] for row in chosen])
        correlation = np.mean([row["mean_correlation"] for row in chosen])
        least = min(row["features"]["SPL_T"]["correlation"] for row in chosen)
        what = "hits of the performances held out" if held_out else "all hits"
        print(
            f"{what}: median ratio {ratio:.3f} (the median of them {middle:.3f}), "
            f"mean ratio {mean:.3f}, mean correlation {correlation:.3f}, "
            f"least SPL_T correlation {least:.3f}"
        )


def line(row: dict) -> str:
    return (
        f"{row['drum']:16s} {row['performance']:10s} {row['preset']} {row['seed']} "
        f"{'held out' if row['held_out'] else 'all hits':9s} "
        f"{row['answered']}/{row['hits']} answered  "
        f"median ratio {row['median_ratio']:.3f}  "
        f"mean correlation {row['mean_correlation']:.3f}  "
        f"SPL_T correlation {row['features']['SPL_T']['correlation']:.3f}"
    )


if __name__ == "__main__":
    main()
