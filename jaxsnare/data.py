"""From recordings to hits, the reference hit and the split: what training sees."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from jaxsnare.audio import SUFFIXES, peak_dbfs, read_audio
from jaxsnare.params import unknown

StrPath = str | os.PathLike[str]

MIN_HITS = 8
"""Fewer hits than this do not make a training set."""

SILENCE_S = 0.05
"""Silence that a single hit's file is heard after."""

SILENT_DBFS = -60.0
"""Recordings that stay below this peak level are called silent."""


class Hits(NamedTuple):
    """The hits of a training set, in the order of the files and of time."""

    windows: NDArray[np.float32]  # [N, window] from onset - pre_roll on, untouched
    audio: NDArray[np.float32]  # [N, samples] from onset - pre_roll to the next hit
    sources: tuple[str, ...]  # file of each hit
    onsets: NDArray[np.int64]  # sample in that file, at the model's rate
    missed: tuple[str, ...]  # hit files in which no onset was found
    sample_rate: int  # of windows, audio and onsets, in Hz
    onset: dict[str, float]  # settings of the detector that found them


def audio_files(inputs: Sequence[StrPath]) -> list[tuple[Path, bool]]:
    """The audio files behind files and folders, and whether each is a single hit.

    A file is a recording of many hits. A folder is searched with all its subfolders
    for audio files, each a single hit, sorted by path; hidden files are left out.

    Raises ValueError: nothing given, a path that does not exist, a folder without
    audio, a file that comes twice (it would be in training and in test).
    """
    if isinstance(inputs, str | os.PathLike):
        inputs = [inputs]
    if not inputs:
        raise ValueError("no recording given; wanted: audio files or folders of hits")
    found: list[tuple[Path, bool]] = []
    for path in map(Path, inputs):
        if os.path.isdir(path):
            found += [(file, True) for file in _audio_inside(path)]
        elif os.path.exists(path):
            found.append((path, False))
        else:
            raise ValueError(f"{path}: no such file or folder")
    seen: set[str] = set()
    for path, _ in found:
        real = os.path.realpath(path)
        if real in seen:
            raise ValueError(f"{path}: is given twice; wanted: every recording once")
        seen.add(real)
    return found


def _audio_inside(folder: Path) -> list[Path]:
    files = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        # Hidden ones too: macOS leaves "._name.wav" beside the files it copies.
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not files:
        raise ValueError(
            f"{folder}: no audio files in this folder; looked for {', '.join(SUFFIXES)}"
        )
    return sorted(files)


def cut_hits(
    audio: ArrayLike,
    onsets: ArrayLike,
    *,
    window: int,
    pre_roll: int,
    samples: int,
    fade: int = 1024,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The measured windows [N, window] and the sounds [N, samples] of a recording [T].

    Both begin `pre_roll` samples before the onset, with zeros beyond the ends of the
    recording. A window is what the live step measures, whatever is in it. A sound is
    one hit alone: it fades out (half Hann over `fade` samples, or over the whole hit
    where that is shorter) to end where the next begins. All lengths in samples.

    Raises ValueError for onsets that do not rise or lie outside the recording, and
    for lengths that make no sense.

    >>> windows, sounds = cut_hits(
    ...     np.ones(10), [1, 5], window=4, pre_roll=2, samples=6, fade=2
    ... )
    >>> windows.tolist()
    [[0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]
    >>> sounds.round(2).tolist()
    [[0.0, 1.0, 0.75, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]]
    """
    audio = np.asarray(audio, np.float32)
    onsets = np.asarray(onsets, np.int64)
    if not (0 <= pre_roll < window and samples >= 1 and fade >= 0):
        raise ValueError(
            f"window, pre_roll, samples and fade are {window}, {pre_roll}, {samples} "
            f"and {fade}; allowed: 0 <= pre_roll < window, samples > 0, fade >= 0"
        )
    gaps = np.diff(onsets)
    inside = (onsets >= 0) & (onsets < len(audio))
    if not inside.all() or not (gaps > 0).all():
        raise ValueError(
            f"onsets must rise and lie in the {len(audio)} samples of the recording"
        )
    padded = np.pad(audio, (pre_roll, max(window, samples)))
    windows = sliding_window_view(padded, window)[onsets]
    sounds = sliding_window_view(padded, samples)[onsets]
    for sound, end in zip(sounds[:-1], gaps, strict=True):
        length = min(fade, end)
        tail = sound[end - length : end]
        tail *= np.hanning(2 * length)[length:][: len(tail)]
        sound[end:] = 0.0
    return windows, sounds


def collect_hits(
    inputs: Sequence[StrPath],
    sample_rate: int,
    find: Callable[[NDArray[np.float32]], NDArray[np.int64]],
    *,
    window: int,
    pre_roll: int,
    samples: int | None = None,
    onset: dict[str, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Hits:
    """The hits of recordings and of folders of hits (see `audio_files`).

    Files are read at `sample_rate` (Hz). `find` gives the onsets in audio [T]; of a
    single hit's file the first counts and nothing is cut at the others. A sound has
    `samples` samples, by default a second. `progress(done, total)` counts files.

    Raises ValueError for files that cannot be read, and for fewer than 8 hits.
    """
    samples = sample_rate if samples is None else samples
    files = audio_files(inputs)
    windows, sounds, sources, onsets, missed = [], [], [], [], []
    peak = -np.inf
    for done, (path, is_hit) in enumerate(files, start=1):
        audio = read_audio(path, sample_rate)
        peak = max(peak, peak_dbfs(audio))
        if is_hit:  # often cut at the attack: silence before it, to rise from
            silence = round(SILENCE_S * sample_rate)
            found = np.asarray(find(np.pad(audio, (silence, 0))), np.int64) - silence
            found = np.maximum(found[:1], 0)
            if len(found) == 0:
                missed.append(str(path))
        else:
            found = np.asarray(find(audio), np.int64)
        cut = cut_hits(audio, found, window=window, pre_roll=pre_roll, samples=samples)
        windows.append(cut[0])
        sounds.append(cut[1])
        sources += [str(path)] * len(found)
        onsets.append(found)
        if progress is not None:
            progress(done, len(files))
    if len(sources) < MIN_HITS:
        raise ValueError(_too_few(len(sources), len(files), peak))
    return Hits(
        np.concatenate(windows),
        np.concatenate(sounds),
        tuple(sources),
        np.concatenate(onsets),
        tuple(missed),
        sample_rate,
        dict(onset or {}),
    )


def _too_few(hits: int, files: int, peak: float) -> str:
    found = (
        f"found {hits} hit{'' if hits == 1 else 's'} in {files} "
        f"file{'' if files == 1 else 's'}, training takes at least {MIN_HITS}"
    )
    level = f"peak level {peak:.1f} dBFS"
    if peak < SILENT_DBFS:
        return f"{found}: the input is silent ({level}); check the recording"
    return (
        f"{found} ({level}): record more hits, play louder or raise the input gain, "
        "or lower the threshold onset.on"
    )


def reference_hit(
    features: ArrayLike,
    rule: Literal["median_vector", "median_loudness"] = "median_vector",
    loudness: ArrayLike | None = None,
) -> int:
    """Index of the hit to which all others are compared.

    features: target features [N, K]. "median_vector": the hit nearest (Euclidean) to
    the median of every standardised feature (NIME 2025). "median_loudness": the hit
    of median `loudness` [N], of an even number the lower one (arXiv 2407.04547).

    >>> reference_hit([[0.0, 5.0], [1.0, 5.0], [9.0, 5.0]])
    1
    """
    values = np.asarray(features, np.float64)
    if values.ndim != 2 or len(values) < 1 or not np.isfinite(values).all():
        raise ValueError(
            f"features have shape {values.shape}; wanted: finite (hits > 0, features)"
        )
    if rule == "median_loudness":
        if loudness is None:
            raise ValueError(
                "the rule 'median_loudness' takes the loudness of the hits"
            )
        order = np.argsort(_loudness(loudness, len(values)), kind="stable")
        return int(order[(len(order) - 1) // 2])
    if rule != "median_vector":
        raise ValueError(unknown("rule", rule, ["median_vector", "median_loudness"]))
    spread = values.std(axis=0)
    # A constant feature says nothing, and neither does the rounding of its float32.
    moves = spread > 1e-6 * np.abs(values).max(axis=0)
    scaled = values[:, moves] / spread[moves]
    return int(np.linalg.norm(scaled - np.median(scaled, axis=0), axis=1).argmin())


def _loudness(loudness: ArrayLike, count: int | None = None) -> NDArray[np.float64]:
    values = np.asarray(loudness, np.float64)
    wanted = "(hits,)" if count is None else f"({count},)"
    if values.ndim != 1 or count not in (None, len(values)):
        raise ValueError(f"loudness has shape {values.shape}; wanted: {wanted}")
    if not np.isfinite(values).all():
        raise ValueError("loudness has NaN or infinite values; wanted: finite ones")
    return values


class Split(NamedTuple):
    """Indices of the hits of each set, rising; together every hit once."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def split_hits(
    loudness: ArrayLike, reference: int, seed: int, *, share: float = 0.1
) -> Split:
    """Split hits such that every set spans the range of loudness [N].

    The hits sorted by loudness are cut into `share` * N chunks (at least 1), and one
    random hit of each makes the test set; the validation set is made of the others in
    the same way, and the rest is for training. The reference hit is always there. A
    seed (>= 0) gives the same split everywhere.

    Raises ValueError for too few hits to give each set one.

    >>> split = split_hits(np.arange(20.0), reference=10, seed=0)
    >>> len(split.train), len(split.validation), len(split.test)
    (16, 2, 2)
    """
    values = _loudness(loudness)
    count = len(values)
    if not 0 <= reference < count:
        raise ValueError(f"reference is {reference}; allowed: 0 to {count - 1}")
    if not 0.0 < share < 0.5:
        raise ValueError(f"share is {share}; allowed: more than 0, less than 0.5")
    chunks = max(1, round(share * count))
    if 2 * chunks >= count:
        raise ValueError(
            f"{count} hits cannot give {chunks} for validation, {chunks} for test and "
            "one for training; record more hits, or lower the share"
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    order = np.argsort(values, kind="stable")
    left = order[order != reference]

    test, left = _draw(rng, left, chunks)
    validation, left = _draw(rng, left, chunks)
    return Split(np.sort(np.append(left, reference)), validation, test)


def _draw(
    rng: np.random.Generator, hits: NDArray[np.int64], chunks: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One random hit of every chunk, sorted; and the others, in their order."""
    parts = np.array_split(hits, chunks)
    drawn = np.array([part[rng.integers(len(part))] for part in parts])
    return np.sort(drawn), hits[~np.isin(hits, drawn)]
