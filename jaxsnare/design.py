"""The commands of a synth's designer: new-synth, check-synth, match."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxsnare.audio import read_audio, write_audio
from jaxsnare.check import Check, check
from jaxsnare.commands import TARGET, chosen_preset, usual_rate
from jaxsnare.new_synth import file_name, model_name, new_synth
from jaxsnare.presets import save_preset
from jaxsnare.synths import find_synth, made
from jaxsnare.terminal import (
    AUDIO_SUFFIXES,
    Answer,
    check_file,
    note,
    plural,
    progress_bar,
    signed,
    table,
)


def run_new_synth(args: argparse.Namespace) -> Answer:
    path: Path = args.out or Path(file_name(args.name))
    source = new_synth(args.name, str(path))
    check_file(path, args.overwrite, [".py"])
    path.write_text(source, "utf-8")
    text = f"""\
{path}: a synth that works; change it.

Try next:
  jaxsnare check-synth {path}:{args.name}
  jaxsnare render {path.stem}.wav --synth {path}:{args.name}
  jaxsnare train DRUM.wav --out {model_name(path)} --synth {path}:{args.name}"""
    return Answer({"file": str(path), "synth": f"{path}:{args.name}"}, text)


def run_check_synth(args: argparse.Namespace) -> Answer:
    if args.plot is not None:
        check_file(args.plot, args.overwrite, [".png"])
    kind = find_synth(args.synth)
    progress = partial(note, args) if sys.stderr.isatty() else None
    found = check(kind, args.rate, progress)
    if args.plot is not None:
        from jaxsnare.report import save_moves

        save_moves(
            args.plot,
            audio=found.audio,
            sample_rate=args.rate,
            moves=found.moves,
            parameter_names=found.synth.specs.names,
            feature_names=TARGET.names,
            feature_units=TARGET.units,
            title=f"{kind.__name__}: what moves what",
        )
    return Answer(data(found), words(found), 0 if found.holds else 1)


def run_match(args: argparse.Namespace) -> Answer:
    """Check what was given and where it goes, then search."""
    from jaxsnare.match import find_loss, match, trimmed

    for path, suffixes in (
        (args.out, [".json"]),
        (args.plot, [".png"]),
        (args.audio, AUDIO_SUFFIXES),
    ):
        if path is not None:
            check_file(path, args.overwrite, suffixes)
    rate = args.rate or usual_rate([str(args.sound)])
    synth = made(args.synth, rate)
    preset = chosen_preset(args, synth)
    loss = find_loss(args.loss, rate)
    sound = trimmed(read_audio(args.sound, rate), round(args.seconds * rate))
    with progress_bar(args, "matching") as progress:
        found = match(
            sound,
            synth,
            loss=loss,
            preset=preset.values,
            seed=args.seed,
            progress=progress,
        )
    if args.out is not None:
        save_preset(args.out, found.preset._replace(damping=preset.damping))
    if args.plot is not None:
        from jaxsnare.report import save_match

        save_match(
            args.plot,
            sounds={
                f"{args.sound.name}": found.target,
                f"before: distance {found.distance_before:.2f}": found.before,
                f"after: distance {found.distance:.2f}": found.after,
            },
            sample_rate=rate,
            title=f"{type(synth).__name__} for {args.sound.name}",
        )
    if args.audio is not None:
        pause = np.zeros(round(PAUSE_S * rate), np.float32)
        sounds = [found.target, pause, found.before, pause, found.after]
        write_audio(args.audio, np.concatenate(sounds), rate, overwrite=args.overwrite)
    rows = [["parameter", "before", "found", "unit"]]
    rows += [
        [s.name, f"{preset.values[s.name]:.4g}", f"{found.values[s.name]:.4g}", s.unit]
        for s in synth.specs
    ]
    files = [str(p) for p in (args.out, args.plot, args.audio) if p is not None]
    text = (
        f"{args.sound}: {type(synth).__name__} came from a distance of "
        f"{found.distance_before:.3f} to {found.distance:.3f} ({args.loss}).\n"
        f"{table(rows)}" + (f"\nMade {', '.join(files)}" if files else "")
    )
    result = {
        "synth": type(synth).__name__,
        "sample_rate": rate,
        "loss": args.loss,
        "distance_before": found.distance_before,
        "distance": found.distance,
        "preset": found.values,
        "files": files,
    }
    return Answer(result, text)


PAUSE_S = 0.3  # between the sounds of --audio


def data(found: Check) -> dict[str, Any]:
    """A check as plain values."""
    specs = found.synth.specs
    return {
        "synth": type(found.synth).__name__,
        "sample_rate": found.synth.sample_rate,
        "holds": found.holds,
        "laws": [
            {"name": law.name, "holds": law.holds, "words": law.words}
            for law in found.laws
        ],
        "notes": list(found.notes),
        "moves": {
            name: dict(zip(TARGET.names, map(_number, row), strict=True))
            for name, row in zip(specs.names, found.moves.tolist(), strict=True)
        },
        "block_us": _number(found.block_us, 1),
        "render_times_real_time": _number(found.times_real_time, 1),
        "gradient_ms": _number(found.gradient_ms, 2),
    }


def _number(value: float, digits: int = 4) -> float | None:
    """What JSON can hold: None for what is not finite."""
    return round(value, digits) if np.isfinite(value) else None


def words(found: Check) -> str:
    """A check for people."""
    rate, specs = found.synth.sample_rate, found.synth.specs
    laws = []
    for law in found.laws:
        laws.append(f"  {'holds' if law.holds else 'FAILS'}  {law.name}")
        if not law.holds:
            laws.append(f"         {law.words}")
    rows = [["from lowest to highest", *TARGET.names]]
    for name, row in zip(specs.names, found.moves, strict=True):
        rows.append([name, *map(signed, row)])
    units = ["", *TARGET.units]
    failed = sum(not law.holds for law in found.laws)
    verdict = "all laws hold"
    if failed:
        verdict = f"{failed} of {plural(len(found.laws), 'law')} fail"
    notes = "".join(f"\nnote: {line}" for line in found.notes)
    times = f"""

A block of 64 samples takes {found.block_us:.0f} us (of {6.4e7 / rate:.0f} us); a second
is rendered {found.times_real_time:.0f}x faster than it lasts; the gradient of a hit in
training takes {found.gradient_ms:.1f} ms."""
    if not np.isfinite(found.block_us):
        times = ""  # it did not run
    return f"""\
{type(found.synth).__name__}: {plural(len(specs), "parameter")}, {rate} Hz: {verdict}.

{chr(10).join(laws)}

What each parameter moves, the others at their defaults:
{table([rows[0], units, *rows[1:]])}{times}{notes}"""
