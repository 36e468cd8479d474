"""What passes between commands and people: answers, notes, bars, tables, checks."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxsnare.audio import peak_dbfs

AUDIO_SUFFIXES = (".wav", ".flac", ".aiff", ".ogg")


class Answer(NamedTuple):
    """What a command found: the same for programs, as JSON, and for people."""

    data: dict[str, Any]
    text: str
    status: int = 0  # 1: what was asked about does not hold


def note(args: argparse.Namespace, message: str) -> None:
    """Something to know that is no error."""
    if not args.quiet:
        print(f"note: {message}", file=sys.stderr)


@contextmanager
def progress_bar(args: argparse.Namespace, words: str) -> Iterator[Callable[..., None]]:
    """A bar on standard error, moved by report(done, total, state).

    Nothing where nobody would see it: standard error is no terminal, or --quiet.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn(words),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
    )
    hidden = args.quiet or not console.is_terminal
    with Progress(*columns, console=console, disable=hidden, transient=True) as bar:
        task = bar.add_task(words, total=None, state="compiling")
        yield lambda done, total, state="": bar.update(
            task, completed=done, total=total, state=state
        )


def nothing_heard(path: Path, audio: np.ndarray) -> str:
    """The note on a recording without hits, and what to do."""
    peak = peak_dbfs(audio)
    if not np.isfinite(peak):
        return f"{path}: no hit found: it is silent"
    return (
        f"{path}: no hit found (peak level {peak:.1f} dBFS): raise "
        "--onset-sensitivity, or with the published detector lower --onset-on"
    )


def check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    """ValueError unless the name of a file ends in one of some suffixes."""
    if path.suffix.lower() not in suffixes:
        raise ValueError(
            f"{path}: the suffix {path.suffix!r} names no format that can be written; "
            f"allowed: {', '.join(suffixes)}"
        )


def check_file(path: Path, overwrite: bool, suffixes: Sequence[str]) -> None:
    """ValueError unless a file can be written there: to be asked before long work."""
    check_suffix(path, suffixes)
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; wanted: the name of a file")
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists already: add --overwrite to replace it")
    check_folder(path)


def check_folder(path: Path) -> None:
    """ValueError unless something can be made in the folder that holds the path."""
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}; create it first")
    try:  # permissions alone do not tell: file systems are read-only or virtual
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {error.strerror}") from None


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of words as aligned columns, the first line the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(f"  {line}".rstrip() for line in lines)


def duration(seconds: float) -> str:
    """A time for people: '7.3 s', '2 min 05 s'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def signed(value: float) -> str:
    """A difference for people: '+1.2', '-130', '0'; '-' for what is not finite."""
    if not np.isfinite(value):
        return "-"
    words = f"{value:+.{0 if abs(value) >= 100 else 1}f}"
    return words if float(words) else "0"


def plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def finite_peak(audio: np.ndarray) -> float | None:
    """Peak level in dBFS; None for silence."""
    peak = peak_dbfs(audio)
    return round(peak, 2) if np.isfinite(peak) else None
