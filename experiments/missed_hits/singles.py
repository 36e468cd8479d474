"""Single sounds: flams, strokes that ring on, starts within a note, and toms.

    python experiments/missed_hits/singles.py DATA --out missed-hits-results

DATA as for gate.py. Prints, and leaves in singles.json: how many strokes of flams and
buzzes are found, each drum's with the settings fitted without it; how many onsets too
many there are in recordings of one stroke; how often a recording that begins within a
note begins with a hit; and how many toms, and hits of the drum, a gate lets play that
was calibrated with or without toms. The latter two have the shipped settings.
"""

import argparse
import json
import sys
from pathlib import Path

import jax
import numpy as np
from gate import WINDOW, model_of
from mixing import DISTRACTORS, ONSET_AT, flams, half
from run import SETTINGS
from score import Score, judge

from jaxsnare.audio import read_audio_native
from jaxsnare.calibrate import learn_bleed
from jaxsnare.detector import HIT_SPECS, HitDetector
from jaxsnare.gate import examples_of, passes
from jaxsnare.onset import find_onsets
from jaxsnare.params import as_params
from jaxsnare.remapper import remap
from jaxsnare.train import listen

RATE = 44_100
TOMS = "toms_in_snare_mic"
PLACES, PIECE = 3, 1024
WITHIN_MS = (30.0, 400.0)
"""Of a note, where a recording is made to begin."""


def found_flams(data: Path, folds: dict[str, dict]) -> dict[str, float]:
    """Recall of the strokes of flams and buzzes 30 to 50 ms apart, and precision."""
    total = Score()
    for p, audio in flams(data):
        params = as_params(folds[p.drum]["settings"])
        total += judge(find_onsets(HitDetector(RATE), params, audio), p, RATE)[0]
    row = total.row()
    return {k: row[k] or 0.0 for k in ("hits", "recall", "precision")}


def hits_of(data: Path) -> list[tuple[str, np.ndarray]]:
    """Articulation and sound of every single hit."""
    files = sorted((data / "real").glob("*/*.flac"))
    return [(f.name.split("_")[0], read_audio_native(f)[0]) for f in files]


def too_many(hits: list[tuple[str, np.ndarray]]) -> dict[str, dict[str, int]]:
    """Recordings by articulation, those not heard, and onsets beyond the first."""
    params, counts = as_params(HIT_SPECS.defaults), {}
    for name, audio in hits:
        n = len(find_onsets(HitDetector(RATE), params, audio.astype(np.float32)))
        row = counts.setdefault(name, {"hits": 0, "none": 0, "more": 0})
        row["hits"] += 1
        row["none"] += n == 0
        row["more"] += max(n - 1, 0)
    return counts


def starts(hits: list[tuple[str, np.ndarray]]) -> dict[str, dict[str, float]]:
    """Starts within a note, anywhere and where its wave crosses zero; hits there."""
    rng = np.random.default_rng(0)
    low, high = (round(ms * RATE / 1000) for ms in WITHIN_MS)
    pieces: dict[str, list[np.ndarray]] = {"anywhere": [], "at a zero crossing": []}
    for name, audio in hits:
        if name.startswith("buzz"):  # new strokes all along
            continue
        for at in ONSET_AT + rng.integers(low, high, PLACES):
            crossing = np.flatnonzero(np.diff(np.signbit(audio[at : at + 2 * PIECE])))
            if len(crossing) and at + crossing[0] + PIECE < len(audio):
                begins = at, at + crossing[0] + 1
                for where, begin in zip(pieces, begins, strict=True):
                    pieces[where].append(audio[begin : begin + PIECE])
    detector, params = HitDetector(RATE), as_params(HIT_SPECS.defaults)

    @jax.jit
    def heard(audio):
        return jax.vmap(lambda x: detector.step(params, detector.init(), x)[1].fired)(
            audio
        ).any(axis=1)

    return {
        where: {
            "starts": len(some),
            "hits": int(heard(np.asarray(some, np.float32)).sum()),
        }
        for where, some in pieces.items()
    }


def played_toms(data: Path, folds: dict[str, dict]) -> dict[str, dict[str, float]]:
    """Of the toms' second half and each drum's second hits, what the gate lets play,
    by what it was calibrated with: the first halves of the others."""
    toms = np.concatenate(half(data, TOMS, 1)).astype(np.float32)
    learned = {"hits alone": (), "hi-hat, kick": DISTRACTORS}
    learned["hi-hat, kick, toms"] = (*DISTRACTORS, TOMS)
    counts: dict[str, dict[str, float]] = {}
    for drum in sorted(set(folds) - {"all"}):
        hits = listen([data / "real" / drum], RATE, WINDOW).audio
        plain = model_of(hits[::2], RATE, folds[drum]["settings"])
        unseen = examples_of(hits[1::2], WINDOW, RATE, (0.0,))
        for name, others in learned.items():
            model = plain
            if others:
                sounds = [sound for other in others for sound in half(data, other, 0)]
                learned_from = np.concatenate(sounds).astype(np.float32)
                model, _ = learn_bleed(plain, learned_from)
            row = counts.setdefault(
                name, dict.fromkeys(("toms", "toms played", "hits", "hits played"), 0)
            )
            remapper, params = model.remapper(RATE), model.params(gate=0.5)
            free = remap(remapper, model.params(gate=0.0), toms)
            row["toms"] += len(free.triggers)
            row["toms played"] += len(remap(remapper, params, toms).triggers)
            row["hits"] += len(unseen)
            strength = params.play["gate"]
            judged = [bool(passes(params.gate, strength, x)) for x in unseen]
            row["hits played"] += sum(judged)
        print(".", end="", file=sys.stderr, flush=True)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("missed-hits-results"))
    arguments = parser.parse_args()
    folds = json.loads(SETTINGS.read_text("utf-8"))
    hits = hits_of(arguments.data)
    found = {
        "flams": found_flams(arguments.data, folds),
        "one stroke": too_many(hits),
        "starts": starts(hits),
        "toms": played_toms(arguments.data, folds),
    }
    text = json.dumps(found, indent=1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "singles.json").write_text(text + "\n")
    print(f"\n{text}")


if __name__ == "__main__":
    main()
