"""The commands that play into a file: remap, render."""

import argparse
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np

from jaxsnare.audio import read_audio_native, write_audio
from jaxsnare.commands import changed, chosen_preset, given, given_onset
from jaxsnare.dsp.noise import SeededNoise
from jaxsnare.gate import NO_HITS
from jaxsnare.knobs import PLAY_SPECS
from jaxsnare.model import Model
from jaxsnare.params import as_params
from jaxsnare.performance import Remapped, remap
from jaxsnare.synths import blaming_synth, made, not_finite, render
from jaxsnare.terminal import (
    AUDIO_SUFFIXES,
    Answer,
    check_file,
    duration,
    finite_peak,
    note,
    nothing_heard,
    plural,
    progress_bar,
)


def run_remap(args: argparse.Namespace) -> Answer:
    output: Path = args.output
    check_file(output, args.overwrite, AUDIO_SUFFIXES)
    if output.exists() and args.input.exists() and output.samefile(args.input):
        raise ValueError(f"{output}: is the input; choose another name for the output")
    play = given(args, PLAY_SPECS)
    model = Model.load(args.model)
    note_open_gate(args, model, play)
    onset = given_onset(args, model.hears)
    preset = changed(model.preset, model.specs, dict(args.set), {})
    model = replace(model, preset=preset, onset=model.onset | onset)
    audio, rate = read_audio_native(args.input)

    started = time.monotonic()
    played = remap_with_bar(
        args, model, rate, audio, args.block, args.running_normaliser, **play
    )
    seconds = time.monotonic() - started
    clipped = write_audio(output, played.audio, rate, overwrite=args.overwrite)
    if clipped:
        note(args, f"{output}: {plural(clipped, 'sample')} clipped; lower --gain")
    if len(played.onsets) == 0:
        note(args, nothing_heard(args.input, audio))
    latency = model.remapper(rate).latency
    # the last onsets may be too late for a voice
    decided = int(np.sum(played.onsets + latency < len(audio)))
    if refused := decided - len(played.triggers):
        note(
            args, f"{plural(refused, 'onset')} refused by the gate; --gate 0 plays all"
        )
    text = (
        f"{output}: {plural(len(played.onsets) - refused, 'hit')} in "
        f"{duration(len(audio) / rate)}, at {rate} Hz.\n"
        f"The synth starts {1000 * latency / rate:.1f} ms after each hit."
    )
    data = {
        "output": str(output),
        "sample_rate": rate,
        "samples": len(audio),
        "onsets": played.onsets.tolist(),
        "triggers": played.triggers.tolist(),
        "refused_by_gate": refused,
        "latency_samples": latency,
        "peak_dbfs": finite_peak(played.audio),
        "clipped": clipped,
        "seconds": round(seconds, 3),
    }
    return Answer(data, text)


def note_open_gate(
    args: argparse.Namespace, model: Model, turned: dict[str, float]
) -> None:
    """Say so where a gate is wanted of a model that does not know its hits."""
    strength = (model.play | turned).get("gate", 0.0)
    if strength and len(model.examples.hits) == 0:
        words = f"gate {strength:g}, but {NO_HITS}: every hit plays; train it again"
        note(args, words)


def remap_with_bar(
    args, model, rate, audio, block=8192, running_normaliser=False, **play
) -> Remapped:
    remapper, params = model.remapper(rate, running_normaliser), model.params(**play)
    with progress_bar(args, "remapping") as progress:

        def after_block(done):
            state = f"{done / rate:.1f} of {len(audio) / rate:.1f} s"
            progress(done, len(audio), state)

        return remap(remapper, params, audio, block, after_block)


def run_render(args: argparse.Namespace) -> Answer:
    output: Path = args.output
    check_file(output, args.overwrite, AUDIO_SUFFIXES)
    synth = made(args.synth, args.rate, noise=SeededNoise(args.seed))
    preset = chosen_preset(args, synth)
    values = as_params(preset.values)
    samples = max(1, round(args.seconds * args.rate))
    with blaming_synth(type(synth)):
        audio = np.asarray(jax.jit(partial(render, synth, samples=samples))(values))
    if not np.isfinite(audio).all():
        raise not_finite(synth)
    clipped = write_audio(output, audio, args.rate, overwrite=args.overwrite)
    if clipped:
        note(args, f"{output}: {plural(clipped, 'sample')} clipped; lower a gain")
    peak = finite_peak(audio)
    data = {
        "output": str(output),
        "synth": type(synth).__name__,
        "sample_rate": args.rate,
        "samples": samples,
        "peak_dbfs": peak,
        "clipped": clipped,
        "values": preset.values,
    }
    loud = "silent" if peak is None else f"peak {peak:.1f} dBFS"
    return Answer(
        data,
        f"{output}: {type(synth).__name__}, {duration(samples / args.rate)} at "
        f"{args.rate} Hz, {loud}",
    )
