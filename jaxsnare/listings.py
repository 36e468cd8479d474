"""The commands that only look: at recordings, models, presets, synths, the machine."""

import argparse
import json
import sys
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxsnare.audio import read_audio_native
from jaxsnare.commands import follows, given_onset
from jaxsnare.component import run_blocks
from jaxsnare.data import cut_hits
from jaxsnare.detector import detector_specs, find_detector
from jaxsnare.features import OnsetFeatures, TargetFeatures
from jaxsnare.knobs import PLAY_SPECS
from jaxsnare.model import Model
from jaxsnare.model_files import RECORD, SOURCE
from jaxsnare.onset import find_onsets, pre_roll_samples
from jaxsnare.params import as_params
from jaxsnare.presets import preset_names, read_preset
from jaxsnare.report import FULL_NAMES, save_onsets
from jaxsnare.synths import Synth, made, source_of, synth_names
from jaxsnare.terminal import (
    Answer,
    check_file,
    note,
    nothing_heard,
    plural,
    progress_bar,
    table,
)


def heard_settings(args: argparse.Namespace) -> dict[str, float]:
    """All settings of the detector."""
    given = given_onset(args, args.detector)
    return detector_specs(args.detector).defaults | given


def run_onsets(args: argparse.Namespace) -> Answer:
    settings = heard_settings(args)
    if args.plot is not None:
        if len(args.files) > 1:
            raise ValueError("--plot draws one file; name only that one")
        check_file(args.plot, args.overwrite, [".png"])
    data, parts = {}, []
    with progress_bar(args, "listening") as progress:
        for done, path in enumerate(args.files, start=1):
            audio, rate = read_audio_native(path)
            detector = find_detector(args.detector, rate)
            heard = run_blocks(detector, as_params(settings), audio)
            onsets = np.flatnonzero(heard.fired)
            data[path] = onsets.tolist()
            head = f"{path}: {plural(len(onsets), 'hit')} in {len(audio) / rate:.2f} s"
            rows = [["hit", "at (s)", "sample"]]
            rows += [
                [str(i), f"{at / rate:.4f}", str(at)]
                for i, at in enumerate(onsets, start=1)
            ]
            parts.append(f"{head}\n{table(rows)}" if len(onsets) else head)
            if len(onsets) == 0:
                note(args, nothing_heard(path, audio))
            if args.plot is not None:
                save_onsets(
                    args.plot,
                    audio=audio,
                    sample_rate=rate,
                    onsets=onsets,
                    level_db=heard.level,
                    threshold_db=heard.threshold,
                    title=f"{path}: {plural(len(onsets), 'hit')}",
                )
            progress(done, len(args.files))
    return Answer(data, "\n".join(parts))


def run_features(args: argparse.Namespace) -> Answer:
    settings = heard_settings(args)
    files, parts, units = {}, [], {}
    for path in args.files:
        audio, rate = read_audio_native(path)
        target, onset = TargetFeatures(rate), OnsetFeatures(rate, args.window)
        units = {
            "target": dict(zip(target.names, target.units, strict=True)),
            "onset": dict(zip(onset.names, onset.units, strict=True)),
        }
        detector = find_detector(args.detector, rate)
        found = find_onsets(detector, as_params(settings), audio)[:1]
        if len(found) == 0:
            note(args, f"{path}: no hit found: measured from its first sample on")
        pre_roll = pre_roll_samples(rate) if len(found) else 0
        windows, sounds = cut_hits(
            audio,
            found if len(found) else [0],
            window=args.window,
            pre_roll=pre_roll,
            samples=target.samples,
        )
        measured = {
            "target": dict(
                zip(target.names, jax.jit(target)(sounds[0]).tolist(), strict=True)
            ),
            "onset": dict(
                zip(onset.names, jax.jit(onset)(windows[0]).tolist(), strict=True)
            ),
        }
        at = int(found[0]) if len(found) else None
        files[path] = {"sample_rate": rate, "onset_sample": at} | measured
        begin = "no hit found" if at is None else f"hit at {at / rate:.4f} s"
        rows = [["feature", "", "value", "unit"]]
        for kind, values in measured.items():
            for name, value in values.items():
                word = FULL_NAMES.get(name, "") if kind == "target" else "of the onset"
                rows.append([name, word, f"{value:.2f}", units[kind][name]])
        parts.append(f"{path}: {rate} Hz, {begin}\n{table(rows)}")
    return Answer({"units": units, "files": files}, "\n".join(parts))


def run_show(args: argparse.Namespace) -> Answer:
    model = Model.load(args.model)
    data = json.loads((args.model / RECORD).read_text("utf-8"))
    mapping = model.mapping
    told = (mapping.seen,) if mapping.told else ()
    layers = mapping.inputs, *told, *mapping.hidden, mapping.outputs
    sizes = " -> ".join(map(str, layers))
    weights = sum(np.size(w) for w in jax.tree.leaves(model.weights))
    preset = [["parameter", "value", "unit", "range", "damping"]]
    for spec in model.specs:
        preset.append(
            [
                spec.name,
                f"{model.preset.values[spec.name]:g}",
                spec.unit,
                f"{spec.lo:g} to {spec.hi:g}",
                f"{model.preset.damping[spec.name]:g}",
            ]
        )
    heard = [["onset feature", "from", "to", "unit"]]
    for name, unit, lo, hi in zip(
        model.features.names,
        model.features.units,
        model.normaliser.lo.tolist(),
        model.normaliser.hi.tolist(),
        strict=True,
    ):
        heard.append([name, f"{lo:.2f}", f"{hi:.2f}", unit])
    onset = [[f"hearing hits ({model.hears})", "value", "unit"]]
    onset += [
        [s.name, f"{model.onset[s.name]:.4g}", s.unit]
        for s in detector_specs(model.hears)
    ]
    second = model.second
    again = f", and again {second.features.window}" if second else ""
    parts = [
        f"{args.model}: {type(model.synth).__name__} at {model.sample_rate} Hz, "
        f"{sizes} ({weights} weights), "
        f"listens {plural(model.features.window, 'sample')}{again}{code_words(model)}",
        trained_words(model.training),
        table(preset),
        table(heard),
        table(onset),
    ]
    if learned := learned_words(model):
        parts.append(learned)
    if "test" in model.training:
        parts.append(follows(model.training["test"]))
    return Answer(data, "\n\n".join(parts))


def learned_words(model: Model) -> str:
    """What a model learned where it is played: the trim, the gate and the others."""
    known = [
        f"{spec.name} {model.play[spec.name]:g} {spec.unit}".rstrip()
        for spec in PLAY_SPECS
        if spec.name in model.play
    ]
    if others := len(model.examples.others):
        known.append(f"{plural(others, 'example')} of how the others sound")
    if model.play.get("gate") and len(model.examples.hits) == 0:
        known.append("but no example of its hits: the gate is open")
    return f"Calibrated: {', '.join(known)}." if known else ""


def code_words(model: Model) -> str:
    """That a synth is code of its model, which runs when the model is loaded."""
    if source_of(type(model.synth)) is None:
        return ""
    return f"\nIts synth is the code in {SOURCE}, which runs when the model is loaded."


def trained_words(record: dict[str, Any]) -> str:
    """How a model was trained, as far as its record tells."""
    if "right" in record:
        names = " or ".join(record["table"])
        return (
            f"Chooses {names} by what is struck: {100 * record['right']:.1f} % of the "
            "hits left out are recognised."
        )
    if "hits" not in record:
        return "No record of its training."
    ended = ", interrupted" if record["interrupted"] else ""
    return (
        f"Trained on {plural(record['hits'], 'hit')} of {', '.join(record['sources'])}:"
        f" {plural(record['epochs'], 'epoch')}{ended}, the best is "
        f"{record['best']['epoch']} (seed {record['recipe']['seed']})."
    )


def listed_synths(args: argparse.Namespace) -> dict[str, Synth]:
    """The one that was asked for, or all by name; what fails is noted.

    A class that an installed package names twice is listed once.
    """
    if args.synth:
        synth = made(args.synth, args.rate)
        return {type(synth).__name__: synth}
    synths: dict[str, Synth] = {}
    for name in synth_names():
        try:
            synth = made(name, args.rate)
        except ValueError as error:
            note(args, f"{error}")
            continue
        if not any(type(synth) is type(other) for other in synths.values()):
            synths[name] = synth
    return synths


def run_presets(args: argparse.Namespace) -> Answer:
    data: dict[str, Any] = {}
    rows = [["preset", "synth", "damping (1 where not named)"]]
    for kind, synth in listed_synths(args).items():
        for name in [*preset_names(synth), "default"]:
            try:
                preset = read_preset(name, synth)
            except ValueError as error:  # at that rate
                note(args, f"{error}")
                continue
            damped = {k: v for k, v in preset.damping.items() if v != 1}
            words = ", ".join(f"{k} {v:g}" for k, v in damped.items())
            rows.append([name, kind, words])
            data.setdefault(kind, {})[name] = {
                "preset": preset.values,
                "damping": preset.damping,
            }
    return Answer(data, f"{table(rows)}\n  or a .json file of your own")


def run_synths(args: argparse.Namespace) -> Answer:
    data, parts = {}, []
    for name, synth in listed_synths(args).items():
        specs = synth.specs
        data[name] = specs.table()
        rows = [["parameter", "unit", "range", "default", "scale"]]
        rows += [
            [s.name, s.unit, f"{s.lo:g} to {s.hi:g}", f"{s.default:g}", s.scale]
            for s in specs
        ]
        if args.synth and any(s.about for s in specs):
            told = ["what it does", *(s.about for s in specs)]
            rows = [[*row, about] for row, about in zip(rows, told, strict=True)]
        words = next(iter((type(synth).__doc__ or "").splitlines()), "")
        parts.append(f"{name}: {words}\n{table(rows)}")
    return Answer(data, "\n\n".join(parts))


def run_bench(args: argparse.Namespace) -> Answer:
    from jaxsnare import bench

    progress = partial(note, args) if sys.stderr.isatty() else None
    options = {}
    if args.kind == "train":
        options = {"batches": args.batches}
    else:  # in one thread, as it plays live
        from jaxsnare.live.engine import settle

        settle()
    if args.kind == "live":
        options = {"blocks": args.blocks, "rate": args.rate, "stream": args.stream}
    options["synth"] = args.synth
    result = bench.run(args.kind, args.seconds, progress, **options)
    return Answer(result, bench.text(result))
