"""Single sounds: flams, strokes that ring on, starts within a note, and toms.

    python experiments/missed_hits/singles.py DATA --out missed-hits-results

DATA as for gate.py. Prints, and leaves in singles.json: how many strokes of flams and
buzzes are found, each drum's with the settings fitted without it, by their distance and
their place; how many onsets too many there are in recordings of one stroke; how often a
recording that begins within a note, or in noise, begins with a hit, and how many there
are in minutes of noise; how soft a stroke after an accent may be; and how many toms,
clicks, and hits of the drum, a gate lets play, by what it was calibrated with; and
which onsets of clean performances change when all is 24 dB softer. These, noise, and
strokes after accents are heard with the shipped settings, the others with those that
were fitted without the drum. Draws the strokes of flams and buzzes that are missed,
close.png, the second onsets of one stroke, twice.png, hits at starts, starts.png, what
changes when all is softer, softer.png, and how a gate tells toms and clicks from hits,
toms.png.
"""

import argparse
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from gate import WINDOW, model_of
from mixing import DISTRACTORS, GAPS_MS, ONSET_AT, flams, half
from run import SETTINGS, draw_hits, hear, settings_for
from score import Score, judge, performances

from jaxsnare.audio import read_audio_native
from jaxsnare.calibrate import learn_bleed
from jaxsnare.detector import HitDetector
from jaxsnare.gate import examples_of, gate_features, log_odds, passes
from jaxsnare.knobs import HIT_SPECS
from jaxsnare.onset import find_onsets
from jaxsnare.params import as_params
from jaxsnare.performance import remap
from jaxsnare.train import listen

RATE = 44_100
SURE = 40.0
"""Log odds beyond which nothing is drawn apart."""
TOMS, CLICKS = "toms_in_snare_mic", "clicks_claps"
PLACES, PIECE = 3, 1024
WITHIN_MS = (30.0, 400.0)
"""Of a note, where a recording is made to begin."""


def found_flams(
    data: Path, folds: dict[str, dict], path: Path
) -> dict[str, float | str]:
    """Recall of the strokes of flams and buzzes 30 to 50 ms apart, and precision; a
    picture of those that are missed."""
    total, places, lost = Score(), {}, []
    for p, audio in flams(data):
        heard = hear(audio, RATE, settings_for(folds, p.drum))
        score, missed, _ = judge(heard.onsets, p, RATE)
        total += score
        for k in map(int, np.flatnonzero(np.isin(p.hits, missed))):
            lost.append((f"{p.drum}\n{place(p.hits, k)}", heard, int(p.hits[k])))
        for k in np.flatnonzero(~p.excused):
            row = places.setdefault(place(p.hits, int(k)), [0, 0])
            row[0] += p.hits[k] not in missed
            row[1] += 1
    if lost:
        draw_hits(lost, path)
    row = total.row()
    found: dict[str, float | str] = {
        k: row[k] or 0.0 for k in ("hits", "recall", "precision")
    }
    return found | {k: f"{n} of {many}" for k, (n, many) in sorted(places.items())}


def place(hits: np.ndarray, k: int) -> str:
    """Where in its figure a stroke is, and how far from the next."""
    gaps = np.diff(hits) * 1000 / RATE
    before = gaps[k - 1] if k else np.inf
    after = gaps[k] if k < len(gaps) else np.inf
    near = 2 * max(GAPS_MS)
    where = "first" if before > near else "last" if after > near else "middle"
    return f"{min(before, after):.0f} ms, {where}"


def hits_of(data: Path) -> list[tuple[str, np.ndarray]]:
    """Drum and name, as "ash/centre_v01", and sound of every single hit."""
    files = sorted((data / "real").glob("*/*.flac"))
    return [
        (f"{f.parent.name}/{f.stem}", read_audio_native(f)[0].astype(np.float32))
        for f in files
    ]


def articulation(name: str) -> str:
    return name.split("/")[1].split("_")[0]


def too_many(
    hits: list[tuple[str, np.ndarray]], folds: dict[str, dict], path: Path
) -> dict[str, dict[str, int]]:
    """Recordings by articulation, those not heard, and onsets beyond the first; a
    picture of the second onsets of what is one stroke."""
    counts, twice = {}, []
    for name, audio in hits:
        heard = hear(audio, RATE, settings_for(folds, name.split("/")[0]))
        n, kind = len(heard.onsets), articulation(name)
        row = counts.setdefault(kind, {"hits": 0, "none": 0, "more": 0})
        row["hits"] += 1
        row["none"] += n == 0
        row["more"] += max(n - 1, 0)
        if n > 1 and not kind.startswith("buzz"):
            title = "\n".join(name.split("/"))
            twice += [(title, heard, int(at)) for at in heard.onsets[1:]]
    if twice:
        draw_hits(twice, path)
    return counts


NOISES = {"white": 0.0, "pink": 1.0, "brown": 2.0}
"""Kinds of noise, and how steeply their power falls over the frequency."""
NOISE_DBFS, NOISE_S, SEEDS, NOISE_STARTS = -50.0, 60.0, 20, 300


def noise(slope: float, seconds: float, seed: int) -> np.ndarray:
    """Gaussian noise of NOISE_DBFS (RMS), above 20 Hz."""
    size = round(seconds * RATE)
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=size))
    hz = np.maximum(np.fft.rfftfreq(size, 1 / RATE), 1.0)
    audio = np.fft.irfft(spectrum * (hz >= 20) * hz ** (-slope / 2), size)
    rms = np.sqrt(np.mean(np.square(audio)))
    return np.asarray(audio * (10 ** (NOISE_DBFS / 20) / rms), np.float32)


def in_noise() -> dict[str, dict[str, int]]:
    """Onsets in minutes of noise, and starts of 0.4 s within it that have any."""
    detector, params = HitDetector(RATE), as_params(HIT_SPECS.defaults)
    counts = {}
    for name, slope in NOISES.items():
        minutes = [noise(slope, NOISE_S, seed) for seed in range(SEEDS)]
        begun = [noise(slope, 0.4, seed) for seed in range(NOISE_STARTS)]
        counts[name] = {
            "minutes": SEEDS,
            "onsets": sum(len(find_onsets(detector, params, x)) for x in minutes),
            "starts": NOISE_STARTS,
            "hits": sum(len(find_onsets(detector, params, x)) > 0 for x in begun),
        }
    return counts


SOFTER_DB, AFTER_S = range(15, 50), (0.25, 0.5, 1.0, 1.9, 2.5, 4.0)


def after_accents(hits: list[tuple[str, np.ndarray]]) -> dict[str, dict[str, int]]:
    """How much softer than an accent a stroke may be that is heard s after it, in dB:
    of half of some drums' centre strokes, and of all but the tenth part."""
    detector, params = HitDetector(RATE), as_params(HIT_SPECS.defaults)
    strokes = [x for name, x in hits if articulation(name) == "centre"][::8]
    found: dict[str, list[int]] = {f"{s:g} s": [] for s in AFTER_S}
    for stroke in strokes:
        for after in AFTER_S:
            size, at = round((after + 0.2) * RATE), round(after * RATE)
            accent = np.resize(np.pad(stroke, (0, size)), size)
            heard = 0
            for softer in SOFTER_DB:
                audio = accent.copy()
                audio[at:] += 10 ** (-softer / 20) * stroke[: size - at]
                near = np.abs(
                    find_onsets(detector, params, audio.astype(np.float32))
                    - (at + ONSET_AT)
                )
                if not np.any(near < 0.02 * RATE):
                    break
                heard = softer
            found[f"{after:g} s"].append(heard)
    return {
        after: {"half": int(np.median(dbs)), "nine in ten": int(np.quantile(dbs, 0.1))}
        for after, dbs in found.items()
    }


SOFT_DB, SAME_MS = -24, 1.0


def softer(data: Path, path: Path) -> dict[str, int]:
    """Onsets of clean performances, and how many have no counterpart when all is 24 dB
    softer, or are there then alone; a picture of where they lack."""
    onsets, strays = 0, []
    for p in performances(data):
        if p.condition != "clean" or p.gain_db != 0:
            continue
        audio, rate = read_audio_native(p.path)
        gains = {"recorded": 1.0, f"{SOFT_DB} dB": 10 ** (SOFT_DB / 20)}
        heard = {
            name: hear((gain * audio).astype(np.float32), rate, HIT_SPECS.defaults)
            for name, gain in gains.items()
        }
        onsets += len(heard["recorded"].onsets)
        for name, lacks in zip(heard, reversed(heard.values()), strict=True):
            for at in map(int, heard[name].onsets):
                apart = np.abs(lacks.onsets - at).min(initial=rate)
                if apart > SAME_MS * rate / 1000:
                    strays.append((f"{p.name}\nheard {name} alone", lacks, at))
    if strays:
        draw_hits(strays, path, "onset of the other")
    return {"onsets": onsets, "without counterpart": len(strays)}


def starts(
    hits: list[tuple[str, np.ndarray]], folds: dict[str, dict], path: Path
) -> dict[str, dict[str, int]]:
    """Starts within a note, anywhere and where its wave crosses zero; hits there, and a
    picture of these."""
    rng = np.random.default_rng(0)
    low, high = (round(ms * RATE / 1000) for ms in WITHIN_MS)
    detector = HitDetector(RATE)

    @jax.jit
    def heard(params, audio):
        return jax.vmap(lambda x: detector.step(params, detector.init(), x)[1].fired)(
            audio
        ).any(axis=1)

    counts = {w: {"starts": 0, "hits": 0} for w in ("anywhere", "at a zero crossing")}
    false = []
    for name, audio in hits:
        if articulation(name).startswith("buzz"):  # new strokes all along
            continue
        pieces = []
        for at in ONSET_AT + rng.integers(low, high, PLACES):
            crossing = np.flatnonzero(np.diff(np.signbit(audio[at : at + 2 * PIECE])))
            if len(crossing) and at + crossing[0] + PIECE < len(audio):
                for begin in (at, at + crossing[0] + 1):
                    pieces.append(audio[begin : begin + PIECE])
        if pieces:
            settings = settings_for(folds, name.split("/")[0])
            found = heard(as_params(settings), np.asarray(pieces, np.float32))
            found = np.asarray(found)
            for k in np.flatnonzero(found):
                again = hear(np.asarray(pieces[k], np.float32), RATE, settings)
                at = int(np.argmax(again.out.level > again.out.threshold))
                false.append(("\n".join(name.split("/")), again, at))
            for row, some in zip(
                counts.values(), (found[::2], found[1::2]), strict=True
            ):
                row["starts"] += len(some)
                row["hits"] += int(some.sum())
    if false:
        draw_hits(false, path, "false onset")
    return counts


def played_toms(
    data: Path, folds: dict[str, dict], path: Path
) -> dict[str, dict[str, int]]:
    """Of the second half of toms and clicks and each drum's second hits, what the gate
    lets play, by what it was calibrated with: the first halves of the others; and a
    picture of how sure it is."""
    toms, clicks = (
        np.concatenate(half(data, name, 1)).astype(np.float32)
        for name in (TOMS, CLICKS)
    )
    learned = {"hits alone": (), "hi-hat, kick": DISTRACTORS}
    learned["hi-hat, kick, toms"] = (*DISTRACTORS, TOMS)
    counts: dict[str, dict[str, int]] = {}
    odds: dict[str, dict[str, list[float]]] = {}
    for drum in sorted(set(folds) - {"all"}):
        if not (data / "real" / drum).is_dir():
            continue
        hits = listen([data / "real" / drum], RATE, WINDOW).audio
        plain = model_of(hits[::2], RATE, folds[drum]["settings"])
        unseen = examples_of(hits[1::2], WINDOW, RATE, (0.0,))
        for name, others in learned.items():
            model = plain
            if others:
                sounds = [sound for other in others for sound in half(data, other, 0)]
                learned_from = np.concatenate(sounds).astype(np.float32)
                model, _ = learn_bleed(plain, learned_from)
            kinds = ("toms", "clicks", "hits")
            empty = dict.fromkeys(
                (k + end for k in kinds for end in ("", " played")), 0
            )
            row = counts.setdefault(name, empty)
            remapper, params = model.remapper(RATE), model.params(gate=0.5)
            free = model.params(gate=0.0)
            sure = odds.setdefault(name, {k: [] for k in kinds})
            for kind, sound in (("toms", toms), ("clicks", clicks)):
                due = remap(remapper, free, sound).triggers
                row[kind] += len(due)
                row[f"{kind} played"] += len(remap(remapper, params, sound).triggers)
                for at in due:
                    features = gate_features(jnp.asarray(sound[at - WINDOW : at]), RATE)
                    sure[kind].append(float(log_odds(params.gate, features)))
            row["hits"] += len(unseen)
            strength = params.play["gate"]
            judged = [bool(passes(params.gate, strength, x)) for x in unseen]
            row["hits played"] += sum(judged)
            sure["hits"] += [float(log_odds(params.gate, x)) for x in unseen]
        print(".", end="", file=sys.stderr, flush=True)
    draw_odds(odds, path)
    return counts


def draw_odds(odds: dict[str, dict[str, list[float]]], path: Path) -> None:
    """A panel for each calibration: how likely the gate takes what to be a hit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    panels = figure.subplots(1, len(odds), sharey=True)
    bins = np.linspace(-SURE, SURE, 41)
    for axes, (name, kinds) in zip(panels, odds.items(), strict=True):
        for kind, values in kinds.items():
            inside = np.clip(values, -SURE, SURE)
            axes.hist(inside, bins, label=kind, histtype="step")
        axes.axvline(0, color="0.6")
        axes.set_title(f"it has heard: {name}", fontsize=9)
        axes.set_yscale("log")
    panels[0].set_ylabel("sounds")
    panels[0].legend(fontsize=8)
    figure.supxlabel("log odds of a hit; beyond 0 it plays at strength 0.5", fontsize=9)
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("missed-hits-results"))
    arguments = parser.parse_args()
    folds = json.loads(SETTINGS.read_text("utf-8"))
    hits = hits_of(arguments.data)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    found = {
        "flams": found_flams(arguments.data, folds, out / "close.png"),
        "one stroke": too_many(hits, folds, out / "twice.png"),
        "starts": starts(hits, folds, out / "starts.png"),
        "noise": in_noise(),
        "softer after an accent, dB": after_accents(hits),
        "softer": softer(arguments.data, out / "softer.png"),
        "toms": played_toms(arguments.data, folds, out / "toms.png"),
    }
    text = json.dumps(found, indent=1)
    (out / "singles.json").write_text(text + "\n")
    print(f"\n{text}")


if __name__ == "__main__":
    main()
