"""Which network: widths, layers and activations, on validation hits.

Beside them the price of large weights (proximal, as usual) or the learning rate (adam,
as published). Every shape is one group of models (drums x values x seeds) that are
trained together. Test hits are not looked at.
"""

import argparse
import json
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from jaxsnare.lessons import Job
from jaxsnare.presets import read_preset
from jaxsnare.recipe import Recipe
from jaxsnare.synths import Snare808
from jaxsnare.train import fit_many, listen, saved_state

RATE = 44_100
SHAPES = ((), (16,), (32,), (64,), (32, 32), (64, 64, 64))
ACTIVATIONS = "relu", "tanh", "silu"
SEARCHED = {
    "proximal": ("decay", (3e-3, 1e-3, 3e-4, 1e-4, 3e-5)),
    "adam": ("learning_rate", (2e-4, 5e-4, 2e-3, 5e-3)),
}
"""What is searched beside the shape, by optimiser."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("drums", nargs="+", type=Path, help="folders of hits")
    parser.add_argument("--out", type=Path, default=Path("hyperparameters.json"))
    parser.add_argument("--preset", default="808_snare_1")
    parser.add_argument("--optimiser", default="proximal", choices=list(SEARCHED))
    parser.add_argument("--epochs", type=int, help="default: those of the optimiser")
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()

    name, values = SEARCHED[arguments.optimiser]
    recipe = Recipe.named("single" if name == "decay" else "published")
    recipe = replace(recipe, weights="balanced", epochs=arguments.epochs)
    synth = Snare808(sample_rate=RATE)
    preset = read_preset(arguments.preset, synth)
    heard = {folder.name: listen([folder], RATE) for folder in arguments.drums}
    rows = json.loads(arguments.out.read_text()) if arguments.out.exists() else []
    made = {(tuple(row["hidden"]), row["activation"]) for row in rows}
    for hidden, activation in product(SHAPES, ACTIVATIONS):
        if (hidden, activation) in made or (not hidden and activation != "relu"):
            continue  # a linear map has no activation
        settings = list(product(heard, values, range(arguments.seeds)))
        shaped = replace(recipe, hidden=hidden, activation=activation)
        jobs = [
            Job(heard[drum], preset, replace(shaped, seed=seed, **{name: value}))
            for drum, value, seed in settings
        ]

        def show(progress, hidden=hidden, activation=activation):
            at = progress[0]
            words = f"\r{hidden} {activation}, epoch {at.epoch}/{at.epochs} "
            print(words, end="", file=sys.stderr, flush=True)

        state = arguments.out.with_suffix(".state")
        trained = fit_many(jobs, synth, show, state)
        if trained[0].model.training["interrupted"]:
            sys.exit("\ninterrupted: the same command goes on from here")
        for (drum, value, seed), training in zip(settings, trained, strict=True):
            best = training.model.training["best"]
            start = training.wanted[training.split.validation]
            balance = np.array(training.model.training["loss_weights"])
            rows.append(
                {
                    "hidden": hidden,
                    "activation": activation,
                    name: value,
                    "drum": drum,
                    "seed": seed,
                    "loss": best["validation_loss"],
                    "baseline": float((np.abs(start) * balance).mean()),
                    "epoch": best["epoch"],
                }
            )
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")
        saved_state(jobs, synth, state).remove()
    print("\n" + table(rows, name))


def table(rows: list[dict], name: str) -> str:
    """Markdown: validation loss over that of no modulation, mean over drums, seeds."""
    values = sorted({row[name] for row in rows})
    lines = [
        f"| hidden | activation | {' | '.join(f'{name} {v:g}' for v in values)} |",
        "|---" * (len(values) + 2) + "|",
    ]
    for hidden, activation in dict.fromkeys(
        (tuple(row["hidden"]), row["activation"]) for row in rows
    ):
        cells = []
        for value in values:
            chosen = [
                row["loss"] / row["baseline"]
                for row in rows
                if (tuple(row["hidden"]), row["activation"], row[name])
                == (hidden, activation, value)
            ]
            cells.append(f"{np.mean(chosen):.3f}")
        shape = " x ".join(map(str, hidden)) or "linear"
        word = activation if hidden else "-"
        lines.append(f"| {shape} | {word} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
