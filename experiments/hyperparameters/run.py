"""Which network: widths, layers, activations and learning rates, on validation hits.

Every shape is one group of models (drums x rates x seeds) that are trained together.
Test hits are not looked at.
"""

import argparse
import json
import sys
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
RATES = 2e-4, 5e-4, 2e-3, 5e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("drums", nargs="+", type=Path, help="folders of hits")
    parser.add_argument("--out", type=Path, default=Path("hyperparameters.json"))
    parser.add_argument("--preset", default="808_snare_1")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()

    synth = Snare808(sample_rate=RATE)
    preset = read_preset(arguments.preset, synth)
    heard = {folder.name: listen([folder], RATE) for folder in arguments.drums}
    rows = json.loads(arguments.out.read_text()) if arguments.out.exists() else []
    made = {(tuple(row["hidden"]), row["activation"]) for row in rows}
    for hidden, activation in product(SHAPES, ACTIVATIONS):
        if (hidden, activation) in made or (not hidden and activation != "relu"):
            continue  # a linear map has no activation
        settings = list(product(heard, RATES, range(arguments.seeds)))
        jobs = [
            Job(
                heard[drum],
                preset,
                Recipe(
                    hidden=hidden,
                    activation=activation,
                    learning_rate=rate,
                    seed=seed,
                    epochs=arguments.epochs,
                ),
            )
            for drum, rate, seed in settings
        ]

        def show(progress, hidden=hidden, activation=activation):
            at = progress[0]
            words = f"\r{hidden} {activation}, epoch {at.epoch}/{at.epochs} "
            print(words, end="", file=sys.stderr, flush=True)

        state = arguments.out.with_suffix(".state")
        trained = fit_many(jobs, synth, show, state)
        if trained[0].model.training["interrupted"]:
            sys.exit("\ninterrupted: the same command goes on from here")
        for (drum, rate, seed), training in zip(settings, trained, strict=True):
            best = training.model.training["best"]
            start = training.wanted[training.split.validation]
            balance = np.array(training.model.training["loss_weights"])
            rows.append(
                {
                    "hidden": hidden,
                    "activation": activation,
                    "learning_rate": rate,
                    "drum": drum,
                    "seed": seed,
                    "loss": best["validation_loss"],
                    "baseline": float((np.abs(start) * balance).mean()),
                    "epoch": best["epoch"],
                }
            )
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")
        saved_state(jobs, synth, state).remove()
    print("\n" + table(rows))


def table(rows: list[dict]) -> str:
    """Markdown: validation loss over that of no modulation, mean over drums, seeds."""
    rates = sorted({row["learning_rate"] for row in rows})
    lines = [
        f"| hidden | activation | {' | '.join(f'{rate:g}' for rate in rates)} |",
        "|---" * (len(rates) + 2) + "|",
    ]
    for hidden, activation in dict.fromkeys(
        (tuple(row["hidden"]), row["activation"]) for row in rows
    ):
        cells = []
        for rate in rates:
            chosen = [
                row["loss"] / row["baseline"]
                for row in rows
                if (tuple(row["hidden"]), row["activation"], row["learning_rate"])
                == (hidden, activation, rate)
            ]
            cells.append(f"{np.mean(chosen):.3f}")
        shape = " x ".join(map(str, hidden)) or "linear"
        word = activation if hidden else "-"
        lines.append(f"| {shape} | {word} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
