"""The commands that play: live, devices, calibrate."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from jaxsnare.audio import read_audio, read_channels, resample
from jaxsnare.calibrate import learn_bleed, learn_room
from jaxsnare.cli import STARTED
from jaxsnare.commands import given, given_onset
from jaxsnare.knobs import PLAY_SPECS
from jaxsnare.live.devices import devices
from jaxsnare.live.engine import Engine, Hit, Played, Shape, settle
from jaxsnare.live.options import LISTEN
from jaxsnare.live.rack import Rack
from jaxsnare.live.recorder import Recorder
from jaxsnare.live.session import CALIBRATION_HITS, ENDS, POLL_S, Calibration, Session
from jaxsnare.live.stream import Player, leave
from jaxsnare.live.zones import ZoneRack
from jaxsnare.model import Model
from jaxsnare.model_files import check_destination
from jaxsnare.playing import note_open_gate
from jaxsnare.presets import read_preset
from jaxsnare.terminal import Answer, duration, note, plural, table

WAIT_S = 30.0  # for ten hits, at most
ROOM_S, BLEED_S = 5.0, 15.0
LEARNED = ("onset.floor", "onset.noise")
"""Settings of a detector that a room teaches."""
RING_S = 1.0  # after the end of a file, in which its last hit rings


def run_devices(args: argparse.Namespace) -> Answer:
    found = devices()
    rows = [["", "device", "in", "out", "default", "rates in Hz", "latency in/out"]]
    for d in found:
        default = "/".join(
            word
            for word, is_it in (("in", d.default_input), ("out", d.default_output))
            if is_it
        )
        rows.append(
            [
                str(d.number),
                f"{d.name}, {d.host_api}",
                str(d.inputs),
                str(d.outputs),
                default,
                ", ".join(map(str, d.rates_hz)) or "none of the usual",
                f"{d.input_latency_ms:.1f} / {d.output_latency_ms:.1f} ms",
            ]
        )
    text = table(rows) if found else "no sound devices: no sound card or server"
    return Answer({"devices": [d._asdict() for d in found]}, text)


def _knobs(args: argparse.Namespace, model: Model) -> dict[str, float]:
    """What is turned from the beginning: by a preset, and by options."""
    knobs: dict[str, float] = {}
    if args.preset is not None:
        values, damping, others = read_preset(args.preset, model.synth)
        knobs |= {**values, **{f"damping.{k}": v for k, v in damping.items()}, **others}
    onset = given_onset(args, model.hears)
    return knobs | given(args, PLAY_SPECS) | onset | dict(args.set)


def _channels(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"channels {text!r}; allowed: numbers from 1, as in 1 or 1,2"
        ) from None


def _player(args: argparse.Namespace, shape: Engine | Shape) -> Player:
    """The device, open, with what it plays on; the engine may follow."""
    rate = shape.remapper.sample_rate
    source = None
    if args.play:
        source = _source(args, rate)
    return Player(
        shape,
        input=args.input,
        output=args.output,
        in_channels=_channels(args.channels),
        out_channels=_channels(args.out_channels),
        source=source,
        zones=_zones(args),
    )


def _source(args: argparse.Namespace, rate: int) -> np.ndarray:
    """What --play takes for the microphone: [T], or [Z, T] of its channels for zones.

    It ends in silence, in which the last hit rings.
    """
    zones = _zones(args)
    if zones:
        channels, file_rate = read_channels(args.play)
        there = channels.shape[1]
        missing = [str(zone) for zone in zones if not 1 <= zone <= there]
        if missing:
            raise ValueError(
                f"{args.play} has {plural(there, 'channel')}; --zones asks for "
                f"{', '.join(missing)}"
            )
        rows = [resample(channels[:, zone - 1], file_rate, rate) for zone in zones]
        audio = np.stack(rows)
    else:
        audio = read_audio(args.play, rate)
    ring = (0, round(RING_S * rate))
    return np.pad(audio, ((0, 0),) * (audio.ndim - 1) + (ring,))


def _zones(args: argparse.Namespace) -> list[int]:
    """The input channel of each model, if all play at once."""
    zones = _channels(getattr(args, "zones", None)) or []
    if not zones:
        return []
    if len(zones) != len(args.models):
        raise ValueError(
            f"--zones {args.zones}: {plural(len(zones), 'channel')} for "
            f"{plural(len(args.models), 'model')}; wanted: one for each"
        )
    if args.channels:
        raise ValueError("--zones and --channels do not go together")
    return zones


def run_live(args: argparse.Namespace) -> Answer:
    """Open the device, compile, and play until it is enough."""
    settle()
    models = [Model.load(path) for path in args.models]
    knobs = _knobs(args, models[0])
    for model in models:
        note_open_gate(args, model, knobs)
    kind = ZoneRack if _zones(args) else Rack
    rack = kind(args.models, args.rate, args.block, args.running_normaliser, knobs)
    player = _player(args, rack.shape)
    recorder = None
    if args.record is not None:
        recorder = Recorder(
            args.record, player.rate, format=args.format, overwrite=args.overwrite
        )
        player.recorder = recorder
    try:
        rack.compile()
        player.engine = rack.engine
        for warning in player.warnings:
            note(args, warning)
        latency = player.latency
        note(
            args,
            f"playing at {player.rate} Hz in blocks of {args.block} samples; the synth "
            f"answers {latency.ms:.1f} ms after a hit ({latency.trigger} samples of "
            f"listening, {latency.device} of the device); ready in "
            f"{duration(time.monotonic() - STARTED)}",
        )
        ended = Session(args, player, rack).run()
    except BaseException:
        if recorder is not None:
            recorder.close()
        raise
    finally:
        rack.close()
    return _farewell(args, player, rack, recorder, ended)


def _farewell(
    args: argparse.Namespace,
    player: Player,
    rack: Rack,
    recorder: Recorder | None,
    ended: str,
) -> Answer:
    """Stop, flush the recording, and sum up; status 1 where the device has gone."""
    for number in (signal.SIGINT, *ENDS):  # it ends already
        signal.signal(number, signal.SIG_IGN)
    closed = ended != "gone" and player.stop() and player.close()
    stats, engine = player.stats, player.engine
    summary = recorder.close() if recorder is not None else None
    steps = 1e3 * stats.recent().step_s
    p50, p99 = np.percentile(steps, [50, 99]) if len(steps) else (0.0, 0.0)
    budget = 1e3 * engine.block / player.rate
    seconds = stats.blocks * engine.block / player.rate
    data = {
        "ended": ended,
        "seconds": round(seconds, 3),
        "sample_rate": player.rate,
        "block": engine.block,
        "hits": stats.hits,
        "onsets": stats.onsets,
        "latency_samples": player.latency.samples if closed is not False else None,
        "trigger_latency_samples": engine.remapper.latency,
        "lost_blocks": stats.lost,
        "faults": stats.faults,
        "fault": stats.fault,
        "bad_input_blocks": sum(e.bad_input for e in set(rack.engines())),
        "step_ms": {"p50": round(float(p50), 4), "p99": round(float(p99), 4)},
        "budget_ms": round(budget, 4),
        "recording": None
        if summary is None
        else summary._asdict() | {"folder": str(summary.folder)},
    }
    text = (
        f"Played {duration(seconds)}, {plural(stats.hits, 'hit')}; "
        f"{plural(stats.lost, 'block')} lost; a step took {p50:.3f} ms "
        f"(99 % under {p99:.3f}) of {budget:.2f} ms."
    )
    if misfit := stats.misfit(engine.block):
        text += f"\n{misfit}."
    if summary is not None:
        text += f"\nRecorded {duration(summary.seconds)} to {summary.folder}"
        if summary.dropped_blocks and not summary.error:
            lost_too = plural(summary.dropped_blocks, "block")
            text += f"; {lost_too} did not fit the buffer"
        if summary.error:
            text += f"; it ended early: {summary.error}"
    if not closed:
        print(
            "jaxsnare: the sound device has gone (it stopped asking for blocks): "
            "was the sound server ended, or a cable pulled?",
            file=sys.stderr,
        )
        print(json.dumps(data, indent=2) if args.json else text)
        leave(1)
    return Answer(data, text)


def run_calibrate(args: argparse.Namespace) -> Answer:
    """Learn the room, the others or the level of ten hits, and keep it in the model."""
    settle()
    folder: Path = args.models[0]
    model = Model.load(folder)
    check_destination(folder, overwrite=True)
    model = replace(model, onset=model.onset | given_onset(args, model.hears))
    data: dict[str, Any] = {"model": str(folder)}
    said = []
    if args.play and any(file is LISTEN for file in (args.room, args.bleed)):
        raise ValueError(
            f"--play {args.play} holds ten hits: give --room and --bleed a FILE as well"
        )
    if args.play or (args.room is None and args.bleed is None):
        trim = _trim(args, model)
        model = replace(model, play=model.play | {"trim": trim})
        data |= {"hits": CALIBRATION_HITS, "trim_db": trim}
        said.append(f"Trim {trim:+.1f} dB.")
    try:
        if args.room is not None:
            audio = _sound(args, model, args.room, ROOM_S, "let the room be quiet")
            model, data["floor_db"] = learn_room(model, audio)
            words = f"floor {data['floor_db']:g} dB"
            if "onset.noise" in model.onset:
                data["noise_db"] = model.onset["onset.noise"]
                words += f", noise {data['noise_db']:g} dB"
            said.append(f"The room is no hit: {words}.")
        if args.bleed is not None:
            words = (
                "let the others play, hi-hat and kick also together, and no one the "
                "drum"
            )
            audio = _sound(args, model, args.bleed, BLEED_S, words)
            model, data["others"] = learn_bleed(model, audio)
            data["gate"] = model.play["gate"]
            others = plural(data["others"], "sound")
            said.append(f"Heard {others} of the others: gate {data['gate']:g}.")
    except ValueError as error:
        kept = (
            "; nothing is kept, of what was learned before it neither" if said else ""
        )
        raise ValueError(f"{folder}: {error}{kept}") from None
    # settings that were only for hearing now are not kept
    stored = Model.load(folder)
    learned = LEARNED if "floor_db" in data else ()
    learned = {n: model.onset[n] for n in learned if n in model.onset}
    model = replace(model, onset=stored.onset | learned)
    model.save(folder, overwrite=True)
    return Answer(data, f"{' '.join(said)} It is kept in {folder}.")


def _sound(
    args: argparse.Namespace, model: Model, file: Path, seconds: float, words: str
) -> np.ndarray:
    """What a file holds, or what the device hears for some seconds."""
    if file is not LISTEN:
        return read_audio(file, model.sample_rate)
    shape = Shape(model.remapper(args.rate or model.sample_rate), args.block)
    player = _player(argparse.Namespace(**{**vars(args), "play": None}), shape)
    player.engine = Engine(
        shape.remapper, model.params(gain=PLAY_SPECS["gain"].lo), args.block
    )
    heard: list[np.ndarray] = []
    note(args, f"{words}: {seconds:g} s from now")
    wanted = seconds * player.rate / args.block
    _listen(player, lambda played: heard.append(played.input.copy()), wanted, heard)
    audio = np.concatenate(heard)
    if player.rate == model.sample_rate:
        return audio
    return soxr.resample(audio, player.rate, model.sample_rate, quality="VHQ")


def _trim(args: argparse.Namespace, model: Model) -> float:
    """The trim that brings ten hits to the level of the training."""
    rate = args.rate or model.sample_rate
    # The synth is silent: it would be heard by the microphone.
    params = model.params(gain=PLAY_SPECS["gain"].lo)
    calibration, trim = Calibration(model), float(params.play["trim"])
    shape = Shape(model.remapper(rate), args.block)
    player = None if args.play else _player(args, shape)
    engine = Engine(shape.remapper, params, args.block)
    if player is None:
        hits = _hits_of_file(args, engine)
    else:
        player.engine = engine
        hits = _hits_of_device(args, player)
    if len(hits) < CALIBRATION_HITS:
        raise ValueError(
            f"heard {plural(len(hits), 'hit')}, calibration takes "
            f"{CALIBRATION_HITS}: play louder, or raise --onset-sensitivity"
        )
    for hit in hits[:CALIBRATION_HITS]:
        calibration.add(hit, trim)
    return calibration.trim


def _hits_of_file(args: argparse.Namespace, engine: Engine) -> list[Hit]:
    audio = read_audio(args.play, engine.remapper.sample_rate)
    padded = np.pad(audio, (0, engine.remapper.latency + args.block))
    hits: list[Hit] = []
    for start in range(0, len(padded) - args.block + 1, args.block):
        hits += engine.process(padded[start : start + args.block]).hits
    return hits


def _hits_of_device(args: argparse.Namespace, player: Player) -> list[Hit]:
    heard: list[Hit] = []
    note(args, f"play {CALIBRATION_HITS} hits, as loud as you usually play")
    _listen(
        player,
        lambda played: heard.extend(played.hits),
        CALIBRATION_HITS,
        heard,
        lambda told: note(args, f"{told} of {CALIBRATION_HITS}"),
    )
    return heard


def _listen(
    player: Player,
    take: Callable[[Played], None],
    wanted: float,
    heard: list[Any],
    tell: Callable[[int], None] = lambda told: None,
) -> None:
    """Play until `take` has put enough into what was heard, or for half a minute."""
    player.engine.warm_up()
    player.recorder = _Collector(take)
    player.start()
    begun, told = time.monotonic(), 0
    while told < wanted and time.monotonic() - begun < WAIT_S:
        time.sleep(POLL_S)
        if len(heard) > told:
            told = min(len(heard), ceil(wanted))
            tell(told)
        if not player.alive():
            print("jaxsnare: the sound device has gone", file=sys.stderr)
            leave(1)
    if not player.close():
        print("jaxsnare: the sound device does not answer any more", file=sys.stderr)
        leave(1)


class _Collector:
    """Takes what is played."""

    def __init__(self, take: Callable[[Played], None]) -> None:
        self._take = take

    def put(self, played: Played) -> None:
        self._take(played)
