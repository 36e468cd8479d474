"""The demo: from nothing to a synth that follows a drummer, in about a minute."""

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from jaxsnare.audio import write_audio
from jaxsnare.commands import follows, picture, train_with_bar
from jaxsnare.drummer import Performance, groove, practice
from jaxsnare.model_files import put_in_place
from jaxsnare.playing import remap_with_bar
from jaxsnare.presets import read_preset, usual_preset
from jaxsnare.recipe import Recipe
from jaxsnare.synths import made
from jaxsnare.terminal import (
    Answer,
    check_folder,
    duration,
    plural,
    progress_bar,
    table,
)
from jaxsnare.train import listen

SAMPLE_RATE = 48_000
MIX = 0.5
HEARD_MS = -2.0, 20.0  # a stroke is heard if its onset is reported within these

FILES = {
    "mix.wav": "synth and drum together: hear this first",
    "synth.wav": "the synth alone",
    "input.wav": "the groove that was played",
    "practice.wav": "the minute of strokes it was trained on",
    "report.png": "what it learnt, in one picture",
    "metrics.json": "the same in numbers",
    "model": "the trained model, for jaxsnare remap",
}


def run_demo(args: argparse.Namespace) -> Answer:
    """Play, train, remap, and leave the folder whole or not at all."""
    out = Path(args.out)
    check_out(out, args.overwrite)
    new = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        folder = new / "demo"
        folder.mkdir()
        answer = make_demo(args, folder, out)
        put_in_place(folder, out)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return answer


def check_out(out: Path, overwrite: bool) -> None:
    """ValueError unless the demo can go there; only a demo is ever replaced."""
    if out.exists() or out.is_symlink():
        if not overwrite:
            raise ValueError(
                f"{out} exists already: add --overwrite to replace it, or choose "
                "another folder with --out"
            )
        strange = "it is no folder"
        if out.is_dir() and not out.is_symlink():
            theirs = sorted(set(os.listdir(out)) - set(FILES))
            strange = f"it holds {theirs[0]}" if theirs else ""
        if strange:
            raise ValueError(
                f"{out} was not made by the demo ({strange}): it is not overwritten, "
                "choose another folder with --out"
            )
    check_folder(out)


def make_demo(args: argparse.Namespace, folder: Path, out: Path) -> Answer:
    """Make the files in a folder that will become `out`."""
    started = time.monotonic()
    synth = made(args.synth, SAMPLE_RATE)
    preset = usual_preset(synth)
    lesson, performance = practice(SAMPLE_RATE), groove(SAMPLE_RATE)
    write_audio(folder / "practice.wav", lesson.audio, SAMPLE_RATE)
    write_audio(folder / "input.wav", performance.audio, SAMPLE_RATE)

    recipe = Recipe(epochs=args.epochs)
    with progress_bar(args, "listening") as progress:
        hits = listen(
            [folder / "practice.wav"], SAMPLE_RATE, recipe.window, progress=progress
        )
    training = train_with_bar(args, hits, synth, read_preset(preset, synth), recipe)
    name = type(synth).__name__ if preset == "default" else preset
    picture(training, folder / "report.png", f"Demo: {name} follows a snare drum")
    model, record = training.model, training.model.training
    # The record names the folder that stays, not the one it was made in.
    record["sources"] = [str(out / "practice.wav")]
    record["reference"]["source"] = str(out / "practice.wav")
    model.save(folder / "model")

    began = time.monotonic()
    played = remap_with_bar(args, model, SAMPLE_RATE, performance.audio, mix=MIX)
    remap_seconds = time.monotonic() - began
    write_audio(folder / "synth.wav", played.synth, SAMPLE_RATE)
    write_audio(folder / "mix.wav", played.audio, SAMPLE_RATE)

    heard = strokes_heard(performance, played.onsets)
    strokes = len(performance.onsets)
    metrics = {
        "hits": len(hits.sources),
        "epochs": record["epochs"],
        "interrupted": record["interrupted"],
        "best": record["best"],
        "test": record["test"],
        "strokes": strokes,
        "strokes_heard": heard,
        "latency_ms": 1000 * model.remapper().latency / SAMPLE_RATE,
        "remap_seconds": remap_seconds,
        "seconds": time.monotonic() - started,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    files = {name: str(out / name) for name in FILES}
    return Answer({"out": str(out), "files": files} | metrics, words(out, metrics))


def strokes_heard(performance: Performance, onsets: np.ndarray) -> int:
    """Strokes of a performance near which an onset was reported."""
    early, late = (ms * performance.sample_rate / 1000 for ms in HEARD_MS)
    delay = onsets[None, :] - performance.onsets[:, None]
    return int(((delay >= early) & (delay <= late)).any(axis=1).sum())


def words(out: Path, metrics: dict[str, Any]) -> str:
    """What was made, how good it is, and where to go from here."""
    epochs = plural(metrics["epochs"], "epoch")
    ended = ", interrupted after" if metrics["interrupted"] else " in"
    model, groove = (quote(str(out / name)) for name in ("model", "input.wav"))
    files = [[str(out / name), what] for name, what in FILES.items()]
    return f"""\
Played a drum for a minute, learnt from {metrics["hits"]} hits{ended} {epochs},
then played a groove: {metrics["strokes_heard"]} of {metrics["strokes"]} strokes \
were heard and answered by the synth,
{metrics["latency_ms"]:.1f} ms after each. All in {duration(metrics["seconds"])}.

{table(files)}

{follows(metrics["test"])}

Try next, with a recording of your own drum, a minute of hits from soft to loud:
  jaxsnare train MY_SNARE.wav --out my_snare
  jaxsnare remap my_snare MY_GROOVE.wav synth.wav
or another sound, and more of everything:
  jaxsnare remap {model} {groove} more.wav --sensitivity 2"""
