"""Grooves with hi-hat and kick in them, what bleed is learned from, and flams.

Recordings of distractors/ hold no snare hit. What is mixed to a groove and what a gate
learns bleed from is never the same sound: of a distractor one half is mixed, the other
learned from; for a groove that came with bleed, all but what it was made of.
"""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from score import LEAST_CONTRAST_DB, Performance, performances

from jaxsnare.audio import read_audio_native

DISTRACTORS = ("hihat_in_snare_mic", "kick_in_snare_mic")
HALVES = (0, 1)
BEFORE_MS = 10.0
"""A sound is cut this long before its event."""


def distractor(data: Path, name: str) -> tuple[np.ndarray, int, list[dict[str, str]]]:
    """Audio, rate, and the rows of its events."""
    audio, rate = read_audio_native(data / "distractors" / f"{name}.flac")
    with open(data / "distractors" / f"{name}.csv", newline="") as file:
        return audio, rate, list(csv.DictReader(file))


def half(data: Path, name: str, which: int) -> np.ndarray:
    """The first or the second half of a distractor's events."""
    audio, rate, rows = distractor(data, name)
    at = int(rows[len(rows) // 2]["sample"]) - round(BEFORE_MS * rate / 1000)
    return audio[at:] if which else audio[:at]


def without(data: Path, name: str, sources: set[str]) -> np.ndarray:
    """A distractor with silence for the events of some sources."""
    audio, rate, rows = distractor(data, name)
    before = round(BEFORE_MS * rate / 1000)
    starts = [max(int(row["sample"]) - before, 0) for row in rows] + [len(audio)]
    for row, start, end in zip(rows, starts[:-1], starts[1:], strict=True):
        if row["source"] in sources:
            audio[start:end] = 0.0
    return audio


def mixed_grooves(data: Path) -> Iterator[tuple[Performance, int, np.ndarray]]:
    """Every clean groove, with each half of hi-hat and kick from somewhere on."""
    clean = [p for p in performances(data) if p.kind == "groove" and p.gain_db == 0]
    for k, p in enumerate(p for p in clean if p.condition == "clean"):
        for which in HALVES:
            audio, _ = read_audio_native(p.path)
            rng = np.random.default_rng(2 * k + which)
            for name in DISTRACTORS:
                more = half(data, name, which)
                more = np.roll(more, int(rng.integers(len(more))))
                audio += np.resize(more, len(audio))
            yield replace(p, condition=f"mixed{which}"), which, audio


def bleed_to_learn(data: Path, p: Performance) -> list[np.ndarray]:
    """Recordings of the others for a groove with bleed or one of `mixed_grooves`."""
    if p.condition.startswith("mixed"):
        other = 1 - int(p.condition[-1])
        return [half(data, name, other) for name in DISTRACTORS]
    with open(data / "performances" / f"{p.name}.csv", newline="") as file:
        used = {row["hit"] for row in csv.DictReader(file) if row["type"] == "bleed"}
    return [without(data, name, used) for name in DISTRACTORS]


GAPS_MS = (30.0, 40.0, 50.0)
FLAMS = 4
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


ONSET_AT = 441
"""Sample of a single hit's file at which it begins."""
