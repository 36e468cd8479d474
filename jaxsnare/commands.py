"""The commands that train, and what others share with them: train, reach, choose.

Each takes parsed options and gives its answer. What was given is checked first, as far
as it can be, and the destination before any long work.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from jaxsnare import direct
from jaxsnare.audio import (
    read_audio,
)
from jaxsnare.data import Hits, audio_files
from jaxsnare.detector import DETECTORS, detector_specs
from jaxsnare.features import TargetFeatures
from jaxsnare.interrupt import patient_ctrl_c
from jaxsnare.lessons import Job
from jaxsnare.model import Model
from jaxsnare.model_files import check_destination
from jaxsnare.onset import pre_roll_samples
from jaxsnare.params import ParamSet
from jaxsnare.presets import Preset, parse_preset, read_preset, usual_preset
from jaxsnare.recipe import Recipe
from jaxsnare.report import FULL_NAMES, save_report
from jaxsnare.synths import Synth, made
from jaxsnare.terminal import (
    Answer,
    check_file,
    check_folder,
    check_suffix,
    duration,
    note,
    plural,
    progress_bar,
    table,
)
from jaxsnare.train import Training, listen, saved_state, train

SHOWN_HITS = 32  # of a folder of hits, in the report
TARGET = TargetFeatures(48_000)  # for names and units, which hold at any rate


def given(args: argparse.Namespace, specs: ParamSet) -> dict[str, float]:
    """The options of a set of parameters that were given, within their ranges."""
    values = {name: getattr(args, name) for name in specs.names}
    return {
        name: specs.check_one(name, value)
        for name, value in values.items()
        if value is not None
    }


def given_onset(args: argparse.Namespace, detector: str) -> dict[str, float]:
    """The settings of a detector that were given, within their ranges."""
    specs = detector_specs(detector)
    for other, kind in DETECTORS.items():
        for name in kind.specs.names:
            if name not in specs.names and getattr(args, name) is not None:
                chosen = hasattr(args, "detector")
                way = f"add --detector {other}" if chosen else "the model was trained "
                way += "" if chosen else f"with that; train again with {other}"
                raise ValueError(
                    f"--{name.replace('.', '-').replace('_', '-')} is a setting of the "
                    f"{other} detector, and this is the {detector} one: {way}"
                )
    return given(args, specs)


def chosen_preset(args: argparse.Namespace, synth: Synth) -> Preset:
    """The preset with the changes of --set and --damping."""
    name = usual_preset(synth) if args.preset is None else args.preset
    preset = read_preset(name, synth)
    damping = dict(getattr(args, "damping", ()))
    return changed(preset, synth.specs, dict(args.set), damping)


def changed(
    preset: Preset, specs: ParamSet, values: dict[str, float], damping: dict[str, float]
) -> Preset:
    """A preset with other values and damping, all checked."""
    return parse_preset(
        {"preset": preset.values | values, "damping": preset.damping | damping}, specs
    )


def chosen_recipe(args: argparse.Namespace, *names: str) -> Recipe:
    """The recipe of --recipe with the settings that were given."""
    settings = {name: getattr(args, name) for name in names}
    settings = {name: value for name, value in settings.items() if value is not None}
    return Recipe.named(args.recipe, **settings)


def run_train(args: argparse.Namespace) -> Answer:
    """Check everything that was given, then listen, train, save and report."""
    out: Path = args.out
    report: Path = args.report or out / "report.png"
    check_destination(out, args.overwrite)
    check_folder(out)
    check_suffix(report, [".png"])
    if report.parent.absolute() != out.absolute():  # which is yet to be made
        check_file(report, args.overwrite, [".png"])
    recipe = chosen_recipe(
        args,
        "mapping",
        "window",
        "second_look",
        "optimiser",
        "epochs",
        "decay",
        "batch",
        "learning_rate",
        "weights",
        "early_decay",
        "reference",
        "ear",
        "targets",
        "rehearsals",
        "seed",
    )
    for name, kind, owner in (
        ("batch", "optimiser", "adam"),
        ("decay", "optimiser", "proximal"),
        ("rehearsals", "targets", "told"),
    ):
        chosen = getattr(recipe, kind)
        if getattr(args, name) is not None and chosen != owner:
            raise ValueError(
                f"--{name} is a setting of --{kind} {owner}; --{kind} is {chosen}"
            )
    hits, synth, preset = what_to_follow(args, recipe.window)
    state = out.with_name(f"{out.name}.training")
    saved = saved_state([Job(hits, preset, recipe)], synth, state)
    if args.fresh:
        saved.remove()
    if begun := saved.step:
        note(
            args,
            f"going on after epoch {begun} of {recipe.passes}, kept in {state} "
            "(--fresh: begin anew)",
        )
    started = time.monotonic()
    training = train_with_bar(args, hits, synth, preset, recipe, state)
    seconds = time.monotonic() - started

    model = training.model
    record = model.training
    model.save(out, args.overwrite)
    picture(training, report, f"{out.name}: {type(synth).__name__}")

    epochs = plural(record["epochs"], "epoch")
    if again := record.get("second_look"):
        epochs += f" and {again['epochs']} of the second look"
    ended = f"Trained {epochs} in {duration(seconds)}"
    if begun:
        ended += f", the first {begun} before"
    if record["interrupted"]:
        ended = (
            f"Interrupted after {epochs}: kept the best model so far; "
            " the same command with --overwrite goes on"
        )
    else:
        saved.remove()
    rate = synth.sample_rate
    files = plural(len(set(hits.sources)), "file")
    heard = f"{plural(len(hits.sources), 'hit')} in {files}"
    text = f"""\
Heard {heard}, at {rate} Hz.
{ended} (the best is epoch {record["best"]["epoch"]}).

{follows(record["test"])}

Model:  {out}
Report: {report}

Try next:
  jaxsnare remap {quote(str(out))} PERFORMANCE.wav synth.wav
  jaxsnare remap {quote(str(out))} PERFORMANCE.wav both.wav --mix 0.5"""
    data = {
        "model": str(out),
        "report": str(report),
        "sample_rate": rate,
        "hits": len(hits.sources),
        "files_without_hit": list(hits.missed),
        "seconds": round(seconds, 2),
        "epochs": record["epochs"],
        "went_on_after": begun or 0,
        "interrupted": record["interrupted"],
        "best": record["best"],
        "test": record["test"],
    }
    return Answer(data, text)


def what_to_follow(args: argparse.Namespace, window: int) -> tuple[Hits, Synth, Preset]:
    """Hits, synth and preset that were asked for."""
    onset = given_onset(args, args.detector)
    synth = made(args.synth, args.rate or usual_rate(args.inputs))
    preset = chosen_preset(args, synth)
    with progress_bar(args, "listening") as progress:
        hits = listen(
            args.inputs, synth.sample_rate, window, onset, progress, args.detector
        )
    for path in hits.missed:
        note(args, f"{path}: no hit found, left out")
    return hits, synth, preset


def run_reach(args: argparse.Namespace) -> Answer:
    """The best modulation of each hit: what the preset can do at all."""
    settings = direct.Settings(
        args.steps, args.learning_rate, args.patience, "all" if args.all else "test"
    )
    recipe = chosen_recipe(args, "weights", "reference", "seed")
    hits, synth, preset = what_to_follow(args, recipe.window)
    started = time.monotonic()
    with (
        progress_bar(args, "optimising") as progress,
        patient_ctrl_c("" if args.quiet else ENDING.replace("epoch", "step")) as pause,
    ):

        def after_steps(done, total, loss):
            progress(done, total, f"step {done}/{total}, loss {loss:.4f}")
            pause()

        job = Job(hits, preset, recipe)
        (found,) = direct.reach_many([job], synth, settings, after_steps)
    seconds = time.monotonic() - started
    ended = "Interrupted after" if found.interrupted else "Optimised for"
    text = f"""{ended} {duration(seconds)}.

{follows(found.test, "How near any mapping could come to {hits}")}"""
    data = {
        "sample_rate": synth.sample_rate,
        "hits": len(hits.sources),
        "seconds": round(seconds, 2),
        "interrupted": found.interrupted,
        "test": found.test,
        "modulation": {
            name: found.modulation[:, i].round(6).tolist()
            for i, name in enumerate(synth.specs.names)
        },
    }
    return Answer(data, text)


def usual_rate(inputs: Sequence[str]) -> int:
    """Rate in Hz of the first recording, if 44100 or 48000: no need to resample."""
    import soundfile

    try:
        rate = soundfile.info(str(audio_files(inputs)[0][0])).samplerate
    except (soundfile.SoundFileError, TypeError):  # reading it will say what is wrong
        return 48_000
    return rate if rate in (44_100, 48_000) else 48_000


ENDING = "note: ending after this epoch, once compiled (again: at once)"


def train_with_bar(args, hits, synth, preset, recipe, state=None) -> Training:
    """Train, and show how far it is."""
    with (
        progress_bar(args, "training") as progress,
        patient_ctrl_c("" if args.quiet else ENDING) as pause,
    ):

        def after_epoch(p):
            which = "" if p.look == 1 else " of the second look"
            words = (
                f"epoch {p.epoch}/{p.epochs}{which}, loss {p.validation_loss:.4f}, "
                f"best {p.best_loss:.4f}"
            )
            done = p.epoch + (p.look - 1) * p.epochs
            progress(done, p.looks * p.epochs, words)
            pause()

        training = train(hits, synth, preset, recipe, after_epoch, state)
    if training.model.training["epochs"] == 0:
        raise KeyboardInterrupt  # nothing has been learnt that could be kept
    return training


def picture(training: Training, path: Path, title: str) -> None:
    """The report of a training as a PNG."""
    model, hits, test = training.model, training.hits, training.split.test
    rows = training.table.values()
    rate = model.sample_rate
    source, count = Counter(hits.sources).most_common(1)[0]
    if count > 1:
        audio = read_audio(source, rate)
        onsets = hits.onsets[np.array(hits.sources) == source]
    else:  # a folder of hits: some of them, one after another
        shown = hits.audio[:SHOWN_HITS]
        audio = shown.reshape(-1)
        onsets = np.arange(len(shown)) * shown.shape[1] + pre_roll_samples(rate)
    save_report(
        path,
        audio=audio,
        sample_rate=rate,
        onsets=onsets,
        feature_names=list(training.table),
        feature_units=TARGET.units,
        target=training.wanted[test],
        achieved=training.achieved[test],
        baseline_error=[row["baseline"] for row in rows],
        test_error=[row["error"] for row in rows],
        loudness=training.loudness,
        modulation=training.modulation,
        parameter_names=model.specs.names,
        title=title,
    )


UNSEEN = "How well it follows {hits} that it was not trained on"


def follows(test: dict[str, Any], title: str = UNSEEN) -> str:
    """How well the test hits are followed, as a table in plain words."""
    units = dict(zip(TARGET.names, TARGET.units, strict=True))
    rows = [["", "error", "preset alone", "error / preset alone"]]
    for name, row in test["features"].items():
        error, baseline = (
            f"{row[k]:.3g} {units.get(name, '')}" for k in ("error", "baseline")
        )
        word = FULL_NAMES.get(name, name)
        rows.append([f"{word} ({name})", error, baseline, f"{row['ratio']:.2f}"])
    rows.append(["mean", "", "", f"{test['mean_ratio']:.2f}"])
    return (
        f"{title.format(hits=plural(test['hits'], 'hit'))}:\n{table(rows)}\n"
        "0: follows exactly. 1: no better than one sound for every hit."
    )


def run_choose(args: argparse.Namespace) -> Answer:
    """Check the parts, listen to their hits, and tell them apart."""
    from jaxsnare.choose import choose_models

    check_destination(args.out, args.overwrite)
    check_folder(args.out)
    names = [name for name, _, _ in args.part]
    for name in names:
        if names.count(name) > 1 or not name.isidentifier():
            raise ValueError(f"part {name!r}: each has a name of its own, as in rim")
    parts = {name: Model.load(folder) for name, folder, _ in args.part}
    windows = {}
    with progress_bar(args, "listening") as progress:
        for name, _, hits in args.part:
            part = parts[name]
            heard, hears = part.features, part.hears
            found = listen(
                [hits], part.sample_rate, heard.window, part.onset, progress, hears
            )
            windows[name] = found.windows
    model, right, taken = choose_models(parts, windows)
    model.save(args.out, args.overwrite)
    if any(part.second for part in parts.values()):
        note(args, "a choice looks at each hit once: the second looks are left out")
    lost = {knob for part in parts.values() for knob in part.play} - set(model.play)
    if lost:
        note(
            args,
            f"the parts differ in {', '.join(sorted(lost))}, which {args.out} has at "
            f"the default: jaxsnare calibrate {args.out}",
        )
    rows = [["struck", *(f"taken for {name}" for name in names)]]
    rows += [[name, *(str(taken[name][k]) for k in names)] for name in names]
    text = (
        f"{args.out}: {' or '.join(names)}, by what is struck: {100 * right:.1f} % of "
        f"the hits that were left out are recognised.\n{table(rows)}"
    )
    return Answer({"model": str(args.out), "right": right, "table": taken}, text)
