"""How well could any mapping follow a drum?

Told: how well the feature differences of a hit follow from its onset features at all,
by a Gaussian process that is asked for each hit without having seen it. With --reach
also what a preset can do: the best modulation of each hit by itself; and both put
together: the best modulation towards what is told of it. With --bank each hit also
begins with the sound that is most like it among many made at random, and the better
end counts.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsnare.data import reference_hit, split_hits
from jaxsnare.direct import Reach, Settings, reach_many
from jaxsnare.features import TargetFeatures
from jaxsnare.lessons import Job
from jaxsnare.losses import difference_weights
from jaxsnare.params import as_params
from jaxsnare.presets import Preset, read_preset
from jaxsnare.recipe import EARS, Recipe
from jaxsnare.synths import Snare808, render
from jaxsnare.told import told
from jaxsnare.train import errors, listen

RATE = 44_100
SPREAD = 0.03, 0.6
"""Least and greatest deviation of the random sounds from the preset."""


def measured(features, rows: np.ndarray) -> np.ndarray:
    """Features of sounds [N, T], in float64."""
    return np.asarray(jax.lax.map(features, rows, batch_size=4), np.float64)


class Bank(NamedTuple):
    """Sounds around a preset, made at random."""

    moved: np.ndarray  # [B, P] damped modulations
    features: np.ndarray  # [B, 7]
    preset_features: np.ndarray  # [7]

    def nearest(self, aims: np.ndarray, balance: np.ndarray) -> np.ndarray:
        """For each of the aims [N, 7] the modulation that comes nearest, [N, P]."""
        got = self.features - self.preset_features
        apart = [np.abs((got - aim) * balance).sum(axis=1).argmin() for aim in aims]
        return self.moved[apart]


def bank(synth: Snare808, preset: Preset, target: TargetFeatures, size: int) -> Bank:
    """Of every size of step, with some or all of the parameters moved."""
    specs, rng = synth.specs, np.random.default_rng(0)
    middle = np.asarray(specs.to_unit(specs.pack(as_params(preset.values))))
    damping = np.asarray(specs.pack(as_params(preset.damping)))
    least, most = np.log(SPREAD)
    step = np.exp(rng.uniform(least, most, (size, 1)))
    some = rng.random((size, len(specs))) < rng.choice([0.3, 0.6, 1.0], (size, 1))
    raw = np.clip(step * some * rng.normal(size=some.shape), -1, 1)
    raw[0] = 0.0
    unit = np.clip(middle + damping * raw, 0, 1).astype(np.float32)

    def heard(unit):
        values = specs.unpack(specs.to_physical(unit))
        return target(render(synth, values, samples=target.samples))

    features = measured(heard, unit)
    return Bank(unit - middle, features, features[0])


def better(one: Reach, other: Reach, aims: np.ndarray, balance: np.ndarray) -> Reach:
    """Of each hit the end that came nearer to its aim."""
    loss = [np.abs((r.achieved - aims[r.hits]) * balance).sum(1) for r in (one, other)]
    achieved = np.where((loss[0] <= loss[1])[:, None], one.achieved, other.achieved)
    names = list(one.test["features"])
    return one._replace(achieved=achieved, test=errors(names, one.wanted, achieved))


def line(drum: str, what: str, ratios: np.ndarray) -> str:
    cells = " | ".join(f"{v:.2f}" for v in [*ratios, ratios.mean()])
    return f"| {drum} | {what} | {cells} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("drums", nargs="+", type=Path, help="folders of hits")
    parser.add_argument("--reach", nargs="*", default=[], metavar="PRESET")
    parser.add_argument("--bank", type=int, default=0, metavar="SOUNDS")
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

    banks = [
        bank(synth, read_preset(p, synth), target, arguments.bank)
        for p in arguments.reach
        if arguments.bank
    ]
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
            balance = np.asarray(difference_weights(jnp.asarray(wanted[split.train])))
            for kind, aim in (("reach", wanted), ("told and reach", tells)):
                aims = [aim] * len(jobs)
                found = reach_many(jobs, synth, settings, show, aims=aims)
                if banks:
                    starts = [one.nearest(aim, balance) for one in banks]
                    again = reach_many(
                        jobs, synth, settings, show, aims=aims, starts=starts
                    )
                    found = [
                        better(*ends, aim, balance)
                        for ends in zip(found, again, strict=True)
                    ]
                for preset, reach in zip(arguments.reach, found, strict=True):
                    ratios = [row["ratio"] for row in reach.test["features"].values()]
                    rows.append((f"{kind} of {preset}", np.array(ratios)))
                    totals.setdefault(kind, []).append(rows[-1][1])
        totals.setdefault("told", []).append(rows[0][1])
        for what, ratios in rows:
            print(line(drum.name, what, ratios), flush=True)
    for kind, found in totals.items():
        print(line("all", kind, np.mean(found, axis=0)))


if __name__ == "__main__":
    main()
