"""Grooves with hi-hat and kick in them, what bleed is learned from, and flams.

Recordings of distractors/ hold no snare hit. What is mixed to a groove and what a gate
learns bleed from is never the same sound: of a distractor one half is mixed, the other
learned from; for a groove that came with bleed, all but what it was made of.
"""

import csv
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
from score import LEAST_CONTRAST_DB, Performance, performances

from jaxsnare.audio import read_audio_native

DISTRACTORS = ("hihat_in_snare_mic", "kick_in_snare_mic")
HALVES = (0, 1)
BEFORE_MS = 10.0
"""A sound is cut this long before its event."""
ASYNCHRONY_MS = 10.0
"""Most that two limbs which strike together are apart."""


def distractor(data: Path, name: str) -> tuple[list[str], list[np.ndarray]]:
    """The sources of its events and their sounds; what is before the first has none."""
    audio, rate = read_audio_native(data / "distractors" / f"{name}.flac")
    with open(data / "distractors" / f"{name}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    before = round(BEFORE_MS * rate / 1000)
    starts = [max(int(row["sample"]) - before, 0) for row in rows]
    return ["", *(row["source"] for row in rows)], np.split(audio, starts)


def half(data: Path, name: str, which: int) -> list[np.ndarray]:
    """The first or the second half of a distractor's events."""
    _, sounds = distractor(data, name)
    first = 1 + (len(sounds) - 1) // 2
    return sounds[first:] if which else sounds[:first]


def without(data: Path, name: str, used: set[str]) -> list[np.ndarray]:
    """A distractor's events, with silence for those of some sources."""
    events = zip(*distractor(data, name), strict=True)
    return [0 * sound if source in used else sound for source, sound in events]


def together(
    hihats: list[np.ndarray], kicks: list[np.ndarray], rate: int
) -> np.ndarray:
    """Every hi-hat over a kick, up to ASYNCHRONY_MS before or after it."""
    most, rng = round(ASYNCHRONY_MS * rate / 1000), np.random.default_rng(0)
    hihats, kicks = ([s for s in side if s.any()] for side in (hihats, kicks))
    pairs = []
    for hihat, kick in zip(hihats, cycle(kicks), strict=False):
        both = np.zeros(2 * most + max(len(hihat), len(kick)), np.float32)
        both[most:][: len(kick)] += kick
        both[int(rng.integers(2 * most + 1)) :][: len(hihat)] += hihat
        pairs.append(both)
    return np.concatenate(pairs)


def mixed_grooves(data: Path) -> Iterator[tuple[Performance, int, np.ndarray]]:
    """Every clean groove, with each half of hi-hat and kick from somewhere on."""
    clean = [p for p in performances(data) if p.kind == "groove" and p.gain_db == 0]
    for k, p in enumerate(p for p in clean if p.condition == "clean"):
        for which in HALVES:
            audio, _ = read_audio_native(p.path)
            rng = np.random.default_rng(2 * k + which)
            for name in DISTRACTORS:
                more = np.concatenate(half(data, name, which))
                more = np.roll(more, int(rng.integers(len(more))))
                audio += np.resize(more, len(audio))
            yield replace(p, condition=f"mixed{which}"), which, audio


def bleed_to_learn(data: Path, p: Performance, rate: int) -> list[np.ndarray]:
    """Recordings of the others for a groove with bleed or one of `mixed_grooves`:
    each alone, and both together."""
    if p.condition.startswith("mixed"):
        other = 1 - int(p.condition[-1])
        sounds = [half(data, name, other) for name in DISTRACTORS]
    else:
        used = set()
        if p.condition == "bleed":
            with open(data / "performances" / f"{p.name}.csv", newline="") as file:
                rows = list(csv.DictReader(file))
            used = {row["hit"] for row in rows if row["type"] == "bleed"}
        sounds = [without(data, name, used) for name in DISTRACTORS]
    hats, kicks = sounds
    return [*(np.concatenate(s) for s in sounds), together(hats, kicks, rate)]


GAPS_MS = (30.0, 40.0, 50.0)
FLAMS = 8
"""Of each gap, for each drum."""


def flams(data: Path) -> Iterator[tuple[Performance, np.ndarray]]:
    """Of each drum's centre strokes, soft ones with a louder one just after, and three
    alike as of a buzz: half a second apart."""
    drums = {p.drum: p for p in performances(data) if p.condition == "clean"}
    for drum, p in sorted(drums.items()):
        files = sorted((data / "real" / drum).glob("centre_*.flac"))
        sounds = [read_audio_native(file) for file in files]
        strokes = sorted((audio for audio, _ in sounds), key=lambda a: np.abs(a).max())
        rate, lead = sounds[0][1], ONSET_AT
        rng = np.random.default_rng(0)
        at, chosen = [], []
        now = 0.5 * rate
        for gap_ms in GAPS_MS:
            gap = gap_ms * rate / 1000
            for k in range(FLAMS):
                soft = int(rng.integers(len(strokes) // 2))
                loud = len(strokes) // 2 + int(rng.integers(len(strokes) // 2))
                figure = (soft, loud) if k % 2 else (loud, loud, loud)
                for step, stroke in enumerate(figure):
                    at.append(round(now + step * gap))
                    chosen.append(strokes[stroke])
                now += 0.5 * rate
        audio = np.zeros(round(now + rate), np.float32)
        hits, excused = np.array(at), np.zeros(len(at), bool)
        span = round(0.01 * rate)
        for k, (start, stroke) in enumerate(zip(at, chosen, strict=True)):
            before = np.abs(audio[start - span : start]).max()
            after = np.abs(stroke[lead : lead + span]).max()
            excused[k] = after < before * 10 ** (LEAST_CONTRAST_DB / 20)
            room = audio[start - lead :]
            room[: len(stroke)] += stroke[: len(room)]
        yield (
            replace(p, name=f"{drum}__flams", kind="flam", hits=hits, excused=excused),
            audio,
        )


def strokes(data: Path) -> Iterator[tuple[Performance, np.ndarray]]:
    """Every single hit but the buzzes, its first STROKE_S."""
    for p in {p.drum: p for p in performances(data)}.values():
        for file in sorted((data / "real" / p.drum).glob("*.flac")):
            if not file.name.startswith("buzz"):
                audio, rate = read_audio_native(file)
                hits, excused = np.array([ONSET_AT]), np.array([False])
                one = replace(
                    p, name=file.stem, kind="stroke", hits=hits, excused=excused
                )
                yield one, audio[: round(STROKE_S * rate)]


STROKE_S = 0.2
ONSET_AT = 441
"""Sample of a single hit's file at which it begins."""
