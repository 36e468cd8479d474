"""Does a trained mapping beat no modulation on hits it has not seen?

For each real drum (a folder of single hits), preset and seed: mlp, window 256; the mean
absolute error of each feature on the test hits over that of the unmodulated preset.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from jaxsnare.presets import read_preset
from jaxsnare.synths import Snare808
from jaxsnare.train import Recipe, listen, train

RATE = 44_100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("drums", nargs="+", type=Path, help="folders of hits")
    parser.add_argument(
        "--presets", nargs="+", default=[f"808_snare_{i}" for i in "123"]
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=250)
    parser.add_argument("--out", type=Path, default=Path("real-drums.json"))
    arguments = parser.parse_args()

    synth = Snare808(sample_rate=RATE)
    rows = []
    for drum in arguments.drums:
        hits = listen([drum], RATE)
        for preset in arguments.presets:
            for seed in range(arguments.seeds):
                start = time.perf_counter()
                recipe = Recipe(epochs=arguments.epochs, seed=seed)
                model = train(hits, synth, read_preset(preset, synth), recipe).model
                test = model.training["test"]
                rows.append(
                    {
                        "drum": drum.name,
                        "preset": preset,
                        "seed": seed,
                        "seconds": round(time.perf_counter() - start, 1),
                        "best_epoch": model.training["best"]["epoch"],
                        **test,
                    }
                )
                print(rows[-1], file=sys.stderr, flush=True)
                arguments.out.write_text(json.dumps(rows, indent=2) + "\n")
    print(table(rows))


def table(rows: list[dict]) -> str:
    """Markdown: mean of error / baseline over the seeds, by drum and preset."""
    names = list(rows[0]["features"])
    lines = [
        f"| drum | preset | {' | '.join(names)} | mean |",
        "|---" * (len(names) + 3) + "|",
    ]
    for drum, preset in dict.fromkeys((r["drum"], r["preset"]) for r in rows):
        chosen = [r for r in rows if (r["drum"], r["preset"]) == (drum, preset)]
        ratios = [np.mean([r["features"][n]["ratio"] for r in chosen]) for n in names]
        mean = np.mean([r["mean_ratio"] for r in chosen])
        cells = " | ".join(f"{v:.2f}" for v in [*ratios, mean])
        lines.append(f"| {drum} | {preset} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
