"""How well could any mapping follow a drum?

Told: how well the feature differences of a hit follow from its onset features at all,
by a Gaussian process that is asked for each hit without having seen it. With --reach
also what a preset can do: the best modulation of each hit by itself.
"""

import argparse
import sys
from itertools import product
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
from jaxsnare.train import listen

RATE = 44_100
LENGTHS = 0.3, 0.5, 0.8, 1.2, 2.0, 3.0
LINEAR = 0.0, 0.3, 1.0, 3.0
NOISE = 0.01, 0.03, 0.1, 0.2, 0.4, 0.8


def told(inputs: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """What each hit's inputs [N, F] say of its [N, K], from the other hits.

    Squared exponential and linear kernels; their sizes are those of the greatest
    marginal likelihood. Left out in closed form (Rasmussen and Williams 2006, 5.12).
    """
    x = (inputs - inputs.mean(axis=0)) / (inputs.std(axis=0) + 1e-9)
    apart = np.mean((x[:, None] - x[None]) ** 2, axis=-1)
    middle, spread = wanted.mean(axis=0), wanted.std(axis=0) + 1e-9
    out = np.zeros(wanted.shape)
    for k, y in enumerate(((wanted - middle) / spread).T):
        best = -np.inf
        for length, linear, noise in product(LENGTHS, LINEAR, NOISE):
            kernel = np.exp(-apart / (2 * length**2)) + 0.1
            kernel += linear * (x @ x.T) / x.shape[1] + noise * np.eye(len(y))
            inverse = np.linalg.inv(kernel)
            by = inverse @ y
            likelihood = -len(y) * np.log(y @ by) - np.linalg.slogdet(kernel)[1]
            if likelihood > best:
                best, out[:, k] = likelihood, y - by / np.diag(inverse)
    return out * spread + middle


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
        error = np.abs(told(heard, wanted) - wanted).mean(axis=0)
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
