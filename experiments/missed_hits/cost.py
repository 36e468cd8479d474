"""What the detector costs in the live step, beside the published one.

    python experiments/missed_hits/cost.py

Both engines play the embedded drummer's groove in turns, block by block, in one
process, so that whatever else the machine does slows both down. Median, at block 64.
"""

from time import perf_counter

import numpy as np
from gate import model_of

from jaxsnare.drummer import groove
from jaxsnare.knobs import HIT_SPECS
from jaxsnare.live.engine import Engine, settle
from jaxsnare.onset import ONSET_SPECS

RATE, BLOCK = 48_000, 64
SETTINGS = {"adaptive": HIT_SPECS.defaults, "published": ONSET_SPECS.defaults}


def engine_of(settings: dict[str, float]) -> Engine:
    """The step of a model that no one trained, its gate open."""
    model = model_of(None, RATE, dict(settings))
    return Engine(model.remapper(), model.params(), BLOCK)


def main() -> None:
    settle()
    engines = {name: engine_of(settings) for name, settings in SETTINGS.items()}
    audio = groove(RATE).audio
    took: dict[str, list[float]] = {name: [] for name in engines}
    for block in audio[: len(audio) // BLOCK * BLOCK].reshape(-1, BLOCK):
        for name, engine in engines.items():
            before = perf_counter()
            engine.process(block)
            took[name].append(perf_counter() - before)
    median = {name: 1e6 * float(np.median(times)) for name, times in took.items()}
    for name, us in median.items():
        print(f"{name:12s}{us:6.1f} us a block of {BLOCK} samples")
    print(f"{'more':12s}{median['adaptive'] - median['published']:6.1f} us")


if __name__ == "__main__":
    main()
