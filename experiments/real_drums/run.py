"""Does a trained mapping beat no modulation on hits it has not seen?

For each real drum (a folder of single hits), preset, seed and recipe: the mean absolute
error of each feature on the test hits over that of the unmodulated preset. All recipes
take the published reference hit, so that they are judged by the same differences.
"""

import argparse
import json
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np

from jaxsnare.lessons import Job
from jaxsnare.presets import read_preset
from jaxsnare.recipe import RECIPES, Recipe
from jaxsnare.synths import Snare808
from jaxsnare.train import fit_many, listen

RATE = 44_100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("drums", nargs="+", type=Path, help="folders of hits")
    parser.add_argument(
        "--presets", nargs="+", default=[f"808_snare_{i}" for i in "123"]
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES)
    )
    parser.add_argument("--epochs", type=int, help="default: those of the recipe")
    parser.add_argument("--early-decay", type=float, help="default: of the recipe")
    parser.add_argument("--rehearsals", type=int, help="default: of the recipe")
    parser.add_argument("--out", type=Path, default=Path("real-drums.json"))
    arguments = parser.parse_args()

    synth = Snare808(sample_rate=RATE)
    heard = {folder.name: listen([folder], RATE) for folder in arguments.drums}
    cases = list(product(heard, arguments.presets, range(arguments.seeds)))
    rows = []
    for name in arguments.recipes:
        settings = {"reference": "median_loudness", "epochs": arguments.epochs}
        for setting in ("early_decay", "rehearsals"):
            if getattr(arguments, setting) is not None:
                settings[setting] = getattr(arguments, setting)
        jobs = [
            Job(
                heard[drum],
                read_preset(preset, synth),
                Recipe.named(name, seed=seed, **settings),
            )
            for drum, preset, seed in cases
        ]

        def show(progress, name=name):
            at = progress[0]
            words = f"\r{name}, epoch {at.epoch}/{at.epochs} "
            print(words, end="", file=sys.stderr, flush=True)

        start = time.perf_counter()
        trained = fit_many(jobs, synth, show)
        seconds = (time.perf_counter() - start) / len(jobs)
        for (drum, preset, seed), training in zip(cases, trained, strict=True):
            record = training.model.training
            rows.append(
                {
                    "drum": drum,
                    "preset": preset,
                    "recipe": name,
                    "seed": seed,
                    "seconds": round(seconds, 1),
                    "best_epoch": record["best"]["epoch"],
                    **record["test"],
                }
            )
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")
    print(table(rows))


def table(rows: list[dict]) -> str:
    """Markdown: mean of error / baseline over the seeds, and over all of a recipe."""
    names = list(rows[0]["features"])
    lines = [
        f"| drum | preset | recipe | {' | '.join(names)} | mean |",
        "|---" * (len(names) + 4) + "|",
    ]

    def add(drum, preset, recipe, chosen):
        ratios = [np.mean([r["features"][n]["ratio"] for r in chosen]) for n in names]
        mean = np.mean([r["mean_ratio"] for r in chosen])
        cells = " | ".join(f"{v:.2f}" for v in [*ratios, mean])
        lines.append(f"| {drum} | {preset} | {recipe} | {cells} |")

    kinds = [(r["drum"], r["preset"], r["recipe"]) for r in rows]
    for kind in dict.fromkeys(kinds):
        add(*kind, [r for r, k in zip(rows, kinds, strict=True) if k == kind])
    for recipe in dict.fromkeys(r["recipe"] for r in rows):
        add("all", "all", recipe, [r for r in rows if r["recipe"] == recipe])
    return "\n".join(lines)


if __name__ == "__main__":
    main()
