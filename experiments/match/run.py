"""Match random presets of every synth back: how near, how long, and the pitch."""

import argparse
import json
import time
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsnare.bench import machine
from jaxsnare.losses import multi_resolution_stft
from jaxsnare.match import match
from jaxsnare.synths import Synth, find_synth, render, synth_names

RATE, SECONDS = 44_100, 1.0
HEARD_DB = -20.0  # a pitch whose move by a semitone changes the sound by less is not
QUIET_DBFS = -60.0  # of targets that are quieter, no pitch is asked for
CENTS = 20.0


def presets(synth: Synth, count: int) -> Iterator[dict[str, Any]]:
    """Values drawn evenly from the unit interval of each parameter."""
    specs = synth.specs
    rng = np.random.default_rng(2024)
    for unit in rng.uniform(0, 1, (count, len(specs))):
        yield specs.unpack(specs.to_physical(jnp.asarray(unit, jnp.float32)))


def pitches(synth: Synth) -> list[str]:
    """The parameters that are the pitch of a tone."""
    names = [s.name for s in synth.specs if s.unit == "Hz" and s.name.endswith("freq")]
    return [n for n in names if not any(w in n for w in ("filter", "noise", "mod_"))]


def heard(synth: Synth, values: dict[str, Any], name: str, audio: Any) -> bool:
    """Whether a pitch is heard: a semitone more changes the sound."""
    spec = synth.specs[name]
    other = min(float(values[name]) * 2 ** (1 / 12), spec.hi)
    moved = render(synth, values | {name: jnp.float32(other)}, samples=len(audio))
    change = np.linalg.norm(np.asarray(moved) - audio) / np.linalg.norm(audio)
    return 20 * np.log10(change + 1e-12) > HEARD_DB


def cents_off(synth: Synth, values: dict[str, Any], found: dict[str, float]) -> float:
    """Cents by which the worst pitch that is heard was missed; NaN if none is heard.

    Oscillators of a synth may stand for each other: the best order counts.
    """
    names = pitches(synth)
    audio = np.asarray(render(synth, values, seconds=SECONDS))
    worth = [heard(synth, values, name, audio) for name in names]
    if not any(worth):
        return float("nan")
    orders = permutations(names) if len(names) <= 3 else [names]
    away = []
    for order in orders:
        cents = [
            abs(1200 * np.log2(found[other] / float(values[name])))
            for name, other, is_heard in zip(names, order, worth, strict=True)
            if is_heard
        ]
        away.append(max(cents))
    return float(min(away))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--synth", action="append", help="default: all that ship")
    parser.add_argument("--presets", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("match.json"))
    args = parser.parse_args()
    results: dict[str, Any] = {"machine": machine()}
    for name in args.synth or synth_names():
        synth, rows, patches = find_synth(name)(RATE), [], []
        for i, values in enumerate(presets(synth, args.presets)):
            sound = np.asarray(render(synth, values, seconds=SECONDS))
            before, cpu = time.perf_counter(), time.process_time()
            found = match(sound, synth, loss=multi_resolution_stft, seed=i)
            row = {
                "peak_dbfs": 20 * np.log10(np.abs(sound).max() + 1e-9),
                "before": found.distance_before,
                "after": found.distance,
                "ratio": found.distance / found.distance_before,
                "cents": cents_off(synth, values, found.values),
                "seconds": time.perf_counter() - before,
                "cpu_seconds": time.process_time() - cpu,
            }
            wanted = {k: float(v) for k, v in values.items()}
            rows.append(row)
            patches.append({"wanted": wanted, "found": found.values})
            print(name, i, {k: round(v, 3) for k, v in row.items()}, flush=True)
            about = {"rows": rows, "patches": patches, "summary": summary(rows)}
            results[name] = about
            args.out.write_text(json.dumps(results, indent=2) + "\n")
        print(name, results[name]["summary"], flush=True)
        jax.clear_caches()


def summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    column = {k: np.array([row[k] for row in rows]) for k in rows[0]}
    loud = column["peak_dbfs"] > QUIET_DBFS
    with_pitch = column["cents"][~np.isnan(column["cents"]) & loud]
    return {
        "presets": len(rows),
        "median_ratio": round(float(np.median(column["ratio"])), 4),
        "worst_ratio": round(float(column["ratio"].max()), 4),
        "pitch_heard": len(with_pitch),
        "pitch_recovered": int((with_pitch <= CENTS).sum()),
        "median_cpu_seconds": round(float(np.median(column["cpu_seconds"])), 1),
        "first_cpu_seconds": round(float(column["cpu_seconds"][0]), 1),
    }


if __name__ == "__main__":
    main()
