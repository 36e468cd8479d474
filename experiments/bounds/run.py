"""How well could any mapping follow a drum?

Told: how well the feature differences of a hit follow from its onset features at all,
by a Gaussian process that is asked for each hit without having seen it. With --reach
also what a preset can do: the best modulation of each hit by itself.
"""

import argparse
import sys
from pathlib import Path

import jax
import numpy as np

from jaxsnare.data import reference_hit
from jaxsnare.direct import Settings, reach_many
from jaxsnare.features import OnsetFeatures, TargetFeatures
from jaxsnare.lessons import Job
from jaxsnare.presets import read_preset
from jaxsnare.recipe import Recipe
from jaxsnare.synths import Snare808
from jaxsnare.told import told
from jaxsnare.train import listen

RATE = 44_100


def measured(features, rows: np.ndarray) -> np.ndarray:
    """Features of sounds [N, T], in float64."""
    return np.asarray(jax.lax.map(features, rows, batch_size=4), np.float64)


def line(drum: str, what: str, ratios: np.ndarray) -> str:
    cells = " | ".join(f"{v:.2f}" for v in [*ratios, ratios.mean()])
    return f"| {drum} | {what} | {cells} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("drums", nargs="+", type=Path, help="folders of hits")
    parser.add_argument("--reach", nargs="*", default=[], metavar="PRESET")
    parser.add_argument("--steps", type=int, default=1000, help="of each modulation")
    arguments = parser.parse_args()

    synth, target = Snare808(sample_rate=RATE), TargetFeatures(RATE)
    names = target.names
    print(f"| drum | bound | {' | '.join(names)} | mean |")
    print("|---" * (len(names) + 3) + "|")

    for drum in arguments.drums:
        hits = listen([drum], RATE)
        recipe = Recipe()
        heard = measured(OnsetFeatures(RATE, recipe.window), hits.windows)
        features = measured(target, hits.audio)
        reference = reference_hit(features, recipe.reference, features[:, 0])
        wanted = features - features[reference]
        error = np.abs(told(heard, wanted).left_out - wanted).mean(axis=0)
        found = error / np.abs(wanted).mean(axis=0)
        print(line(drum.name, "told", found), flush=True)
        for preset in arguments.reach:
            job = Job(hits, read_preset(preset, synth), recipe)
            settings = Settings(steps=arguments.steps, hits="all")
            print(f"{preset}: {arguments.steps} steps", file=sys.stderr)
            (reach,) = reach_many([job], synth, settings)
            ratios = [row["ratio"] for row in reach.test["features"].values()]
            print(line(drum.name, f"reach of {preset}", np.array(ratios)), flush=True)


if __name__ == "__main__":
    main()
