"""How well could any mapping follow a drum?

Told: how well the feature differences of a hit follow from its onset features at all,
by a Gaussian process that is asked for each hit without having seen it. With --reach
also what a preset can do: the best modulation of each hit by itself; and both put
together: the best modulation towards what is told of it.
"""

import argparse
import sys
from pathlib import Path

import jax
import numpy as np

from jaxsnare.data import reference_hit, split_hits
from jaxsnare.direct import Settings, reach_many
from jaxsnare.features import TargetFeatures
from jaxsnare.lessons import Job
from jaxsnare.presets import read_preset
from jaxsnare.recipe import EARS, Recipe
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
    parser.add_argument("--hits", choices=("test", "all"), default="all")
    rules = ("median_vector", "median_loudness")
    parser.add_argument("--reference", choices=rules, default=Recipe().reference)
    parser.add_argument("--ear", choices=tuple(EARS), default=Recipe().ear)
    arguments = parser.parse_args()

    recipe = Recipe(reference=arguments.reference, ear=arguments.ear)
    settings = Settings(steps=arguments.steps, hits=arguments.hits)
    synth, target = Snare808(sample_rate=RATE), TargetFeatures(RATE)
    names = target.names
    print(f"| drum | bound | {' | '.join(names)} | mean |")
    print("|---" * (len(names) + 3) + "|")

    def show(done, steps, loss):
        text = f"\rstep {done}/{steps}, loss {loss:.4f} "
        print(text, end="", file=sys.stderr, flush=True)

    totals: dict[str, list[np.ndarray]] = {}
    for drum in arguments.drums:
        hits = listen([drum], RATE)
        heard = measured(recipe.ears(RATE), hits.windows)
        features = measured(target, hits.audio)
        reference = reference_hit(features, recipe.reference, features[:, 0])
        wanted = features - features[reference]
        tells = told(heard, wanted).left_out
        split = split_hits(features[:, 0], reference, recipe.seed)
        judged = split.test if arguments.hits == "test" else np.arange(len(wanted))
        error = np.abs(tells - wanted)[judged].mean(axis=0)
        rows = [("told", error / np.abs(wanted)[judged].mean(axis=0))]
        jobs = [Job(hits, read_preset(p, synth), recipe) for p in arguments.reach]
        if jobs:
            for kind, aims in (
                ("reach", None),
                ("told and reach", [tells] * len(jobs)),
            ):
                found = reach_many(jobs, synth, settings, show, aims=aims)
                for preset, reach in zip(arguments.reach, found, strict=True):
                    ratios = [row["ratio"] for row in reach.test["features"].values()]
                    rows.append((f"{kind} of {preset}", np.array(ratios)))
                    totals.setdefault(kind, []).append(rows[-1][1])
        for what, ratios in rows:
            print(line(drum.name, what, ratios), flush=True)
    for kind, found in totals.items():
        print(line("all", kind, np.mean(found, axis=0)))


if __name__ == "__main__":
    main()
