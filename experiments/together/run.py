"""Many models at once, or one by one: how long, and how much memory?

Each way in a process of its own, which hears the drums, compiles and trains. With
`--every K` only every K-th model of a drum is trained one by one; what the others would
take is reckoned from these, less the first of each drum, which is compiled for its
number of hits.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import jax

from jaxsnare.lessons import Job
from jaxsnare.presets import read_preset
from jaxsnare.recipe import RECIPES, Recipe
from jaxsnare.synths import Snare808
from jaxsnare.train import fit_many, listen

RATE = 44_100
PRESETS = (*(f"808_snare_{i}" for i in "123"), "808_noisy_snare", "808_open_snare")
WAYS = "together", "one by one"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("drums", nargs="+", type=Path, help="folders of hits")
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", default="usual", choices=list(RECIPES))
    parser.add_argument("--every", type=int, default=1, metavar="K")
    parser.add_argument("--way", choices=WAYS, help="only this one, as JSON")
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(measure(arguments)))
        return
    print("| | models | seconds | peak memory |\n|---|---|---|---|")
    for way in WAYS:
        command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(done.stdout)
        print(
            f"| {way} | {row['models']} | {row['seconds']:.0f} | {row['gb']:.2f} GB |",
            flush=True,
        )


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds that all models take, and the most memory, one way."""
    # what an earlier run compiled would be no measure
    jax.config.update("jax_enable_compilation_cache", False)
    synth = Snare808(sample_rate=RATE)
    presets = [read_preset(name, synth) for name in arguments.presets]
    recipes = [
        Recipe.named(arguments.recipe, seed=seed) for seed in range(arguments.seeds)
    ]
    by_drum = [
        [Job(hits, preset, recipe) for preset in presets for recipe in recipes]
        for hits in (listen([folder], RATE) for folder in arguments.drums)
    ]

    def seconds(jobs: list[Job]) -> float:
        begin = time.perf_counter()
        fit_many(jobs, synth)
        print(".", end="", file=sys.stderr, flush=True)
        return time.perf_counter() - begin

    if arguments.way == WAYS[0]:
        total = seconds([job for jobs in by_drum for job in jobs])
    else:
        total = 0.0
        for jobs in by_drum:
            first, *others = (seconds([job]) for job in jobs[:: arguments.every])
            usual = sum(others) / max(len(others), 1)
            total += first + (len(jobs) - 1) * usual
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kB on Linux
    return {"models": sum(map(len, by_drum)), "seconds": total, "gb": used}


if __name__ == "__main__":
    main()
