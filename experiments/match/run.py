"""Match random presets of every synth back: how near, how long, and the pitch."""

import argparse
import json
import time
from collections.abc import Iterator
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsnare.bench import machine
from jaxsnare.losses import multi_resolution_stft
from jaxsnare.match import match
from jaxsnare.synths import Synth, find_synth, render
from jaxsnare.synths.registry import SHIPPED

RATE, SECONDS = 44_100, 1.0
HEARD_DB = -20.0  # a pitch whose move by a semitone changes the sound by less is not
QUIET_DBFS = -60.0  # presets that peak lower are drawn again
CENTS = 20.0
PITCHES = {
    "Snare808": ("osc1.freq", "osc2.freq"),
    "SimpleDrumSynth": ("osc.freq",),
    "FMDrumSynth": ("osc.freq",),
    "Kick808": ("osc.freq",),
    "Clap808": (),
    "HiHat808": ("metal.tune",),
    "Snare909": ("osc1.freq", "osc2.freq"),
    "ModalDrum": ("membrane.freq",),
    "FMPercussion": ("carrier.freq",),
}
"""The parameters that are the pitch of a tone; filters of noise have none."""


def presets(synth: Synth, count: int) -> Iterator[dict[str, Any]]:
    """Values drawn evenly from the unit interval of each parameter, if heard."""
    specs, rng, told = synth.specs, np.random.default_rng(2024), 0
    while told < count:
        unit = jnp.asarray(rng.uniform(0, 1, len(specs)), jnp.float32)
        values = specs.unpack(specs.to_physical(unit))
        if np.abs(sound_of(synth, values)).max() > 10 ** (QUIET_DBFS / 20):
            told += 1
            yield values


def sound_of(synth: Synth, values: dict[str, Any]) -> np.ndarray:
    return np.asarray(_rendered(synth, values))


@partial(jax.jit, static_argnums=0)
def _rendered(synth: Synth, values: dict[str, Any]) -> jax.Array:
    return render(synth, values, seconds=SECONDS)


def heard(synth: Synth, values: dict[str, Any], name: str, audio: Any) -> bool:
    """Whether a pitch is heard: a semitone more changes the sound."""
    spec = synth.specs[name]
    other = min(float(values[name]) * 2 ** (1 / 12), spec.hi)
    moved = sound_of(synth, values | {name: jnp.float32(other)})
    change = np.linalg.norm(moved - audio) / np.linalg.norm(audio)
    return 20 * np.log10(change + 1e-12) > HEARD_DB


def cents_off(synth: Synth, values: dict[str, Any], found: dict[str, float]) -> float:
    """Cents by which the worst pitch that is heard was missed; NaN if none is heard.

    Oscillators of a synth may stand for each other: the best order counts.
    """
    names = PITCHES[type(synth).__name__]
    audio = sound_of(synth, values)
    worth = [heard(synth, values, name, audio) for name in names]
    if not any(worth):
        return float("nan")
    away = []
    for order in permutations(names):
        cents = [
            abs(1200 * np.log2(found[other] / float(values[name])))
            for name, other, is_heard in zip(names, order, worth, strict=True)
            if is_heard
        ]
        away.append(max(cents))
    return float(min(away))


def distance_at_one_level(start: np.ndarray, target: np.ndarray) -> float:
    """Distance of a sound brought to the target's peak, as `match` measures it.

    Else the ratio of a quiet target is small already where only the level is found.
    """
    one, other = (jnp.asarray(audio / np.abs(audio).max()) for audio in (start, target))
    return float(multi_resolution_stft(one, other))


def matched_back(synth: Synth, values: dict[str, Any], seed: int) -> dict[str, Any]:
    """Render a preset, match it back, and measure."""
    sound = sound_of(synth, values)
    before, cpu = time.perf_counter(), time.process_time()
    found = match(sound, synth, loss=multi_resolution_stft, seed=seed)
    start = distance_at_one_level(found.before, sound)
    return {
        "peak_dbfs": 20 * float(np.log10(np.abs(sound).max())),
        "before": start,
        "before_as_it_is": found.distance_before,
        "after": found.distance,
        "ratio": found.distance / start,
        "seconds": time.perf_counter() - before,
        "cpu_seconds": time.process_time() - cpu,
        "cents": cents_off(synth, values, found.values),
        "wanted": {k: float(v) for k, v in values.items()},
        "found": found.values,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--synth", action="append", help="default: all that ship")
    parser.add_argument("--presets", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("match.json"))
    args = parser.parse_args()
    results: dict[str, Any] = {}
    if args.out.exists():  # go on where it was
        results = json.loads(args.out.read_text())
    results["machine"] = machine()
    names = args.synth or list(SHIPPED)
    synths = {name: find_synth(name)(RATE) for name in names}
    drawn = {name: presets(synth, args.presets) for name, synth in synths.items()}
    compiled = set()
    for i in range(args.presets):  # one of every synth, before the next are begun
        for name, synth in synths.items():
            values = next(drawn[name])
            rows = results.setdefault(name, {"rows": []})["rows"]
            if i < len(rows):
                continue
            row = matched_back(synth, values, seed=i)
            row["first"] = name not in compiled
            compiled.add(name)
            rows.append(row)
            told = [row[k] for k in ("peak_dbfs", "ratio", "cents", "cpu_seconds")]
            print(name, i, *(f"{v:.4g}" for v in told), flush=True)
            results[name]["summary"] = summary(rows)
            args.out.write_text(json.dumps(results, indent=2) + "\n")
    print(table({name: results[name]["summary"] for name in names}))


def table(summaries: dict[str, dict[str, Any]]) -> str:
    """What the README shows."""
    lines = [
        "| synth | presets | ratio, median | worst | pitch within 20 cents "
        "| CPU s, median | most | s by the clock |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in summaries.items():
        pitch = f"{row['pitch_recovered']} of {row['pitch_heard']}"
        cells = (
            row["presets"],
            f"{row['median_ratio']:.4f}",
            f"{row['worst_ratio']:.3f}",
            pitch if row["pitch_heard"] else "-",
            f"{row['median_cpu_seconds']:.0f}",
            f"{row['most_cpu_seconds']:.0f}",
            f"{row['median_seconds']:.0f}",
        )
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = ("ratio", "cents", "seconds", "cpu_seconds", "first")
    column = {name: np.array([row[name] for row in rows]) for name in names}
    with_pitch = column["cents"][~np.isnan(column["cents"])]
    first = column["first"].astype(bool)
    others = column["cpu_seconds"][~first]
    return {
        "presets": len(rows),
        "median_ratio": round(float(np.median(column["ratio"])), 4),
        "worst_ratio": round(float(column["ratio"].max()), 4),
        "pitch_heard": len(with_pitch),
        "pitch_recovered": int((with_pitch <= CENTS).sum()),
        "first_cpu_seconds": round(float(column["cpu_seconds"][first].max()), 1),
        "median_cpu_seconds": round(float(np.median(others)), 1) if len(others) else 0,
        "median_seconds": round(float(np.median(column["seconds"])), 1),
        "most_seconds": round(float(column["seconds"].max()), 1),
        "most_cpu_seconds": round(float(others.max(initial=0.0)), 1),
    }


if __name__ == "__main__":
    main()
