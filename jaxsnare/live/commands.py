"""The commands that play: live, devices, calibrate."""

import argparse
import json
import signal
import sys
import time
from collections import deque
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxsnare.audio import read_audio
from jaxsnare.commands import changed, given, given_onset
from jaxsnare.live.controls import Controls
from jaxsnare.live.devices import devices, find_device
from jaxsnare.live.engine import Engine, Hit, settle
from jaxsnare.live.rack import Rack
from jaxsnare.live.recorder import Recorder
from jaxsnare.live.stream import Player, leave
from jaxsnare.live.view import TURNS, Screen, keys, turn
from jaxsnare.model import Model
from jaxsnare.remapper import PLAY_SPECS
from jaxsnare.terminal import Answer, duration, note, plural, table

CALIBRATION_HITS = 10
POLL_S = 0.05
ENDS = [getattr(signal, s) for s in ("SIGTERM", "SIGHUP") if hasattr(signal, s)]
"""Signals that end playing as Ctrl-C does."""

WAIT_S = 30.0  # for ten hits, at most


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


def difference_db(model: Model, hit: Hit) -> float:
    """How much louder a hit is than the reference hit of the training, in dB."""
    lo, hi = (np.asarray(v) for v in model.normaliser)
    return float(hit.features[0] * (hi[0] - lo[0]))


class Calibration:
    """Takes ten hits, and tells the trim that brings them to the training's level."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.differences: list[float] = []

    def add(self, hit: Hit) -> bool:
        """Take a hit; whether it was the last."""
        self.differences.append(difference_db(self.model, hit))
        return len(self.differences) >= CALIBRATION_HITS

    def trim(self, trim: float) -> float:
        """The new trim in dB, from the one that the hits were played with."""
        spec = PLAY_SPECS["trim"]
        return float(
            np.clip(round(trim - np.median(self.differences), 1), spec.lo, spec.hi)
        )


def _prepare(args: argparse.Namespace, folder: Path) -> Model:
    model = Model.load(folder)
    return replace(
        model,
        preset=changed(model.preset, model.specs, dict(args.set), {}),
        onset=model.onset | given_onset(args, model.hears),
        play=model.play | given(args, PLAY_SPECS),
    )


def _rate(args: argparse.Namespace, model: Model) -> int:
    return args.rate or model.sample_rate


def _channels(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"channels {text!r}; allowed: numbers from 1, as in 1 or 1,2"
        ) from None


def _player(
    args: argparse.Namespace, engine: Engine, recorder: Recorder | None = None
) -> Player:
    rate = engine.remapper.sample_rate
    return Player(
        engine,
        input=args.input,
        output=args.output,
        in_channels=_channels(args.channels),
        out_channels=_channels(args.out_channels),
        source=read_audio(args.play, rate) if args.play else None,
        recorder=recorder,
    )


def run_live(args: argparse.Namespace) -> Answer:
    """Compile, open the device, and play until it is enough."""
    settle()
    started = time.monotonic()
    for kind in ("output",) if args.play else ("input", "output"):
        find_device(getattr(args, kind), kind)  # before seconds of compiling
    rack = Rack(
        partial(_prepare, args),
        args.models,
        args.rate,
        args.block,
        args.running_normaliser,
    )
    engine, rate = rack.engine, rack.settings[0]
    recorder = None
    player = _player(args, engine)
    if args.record is not None:
        recorder = Recorder(
            args.record, rate, format=args.format, overwrite=args.overwrite
        )
        player.recorder = recorder
    for warning in player.warnings:
        note(args, warning)
    latency = player.latency
    note(
        args,
        f"playing at {rate} Hz in blocks of {args.block} samples; the synth answers "
        f"{latency.ms:.1f} ms after a hit ({latency.trigger} samples of listening, "
        f"{latency.device} of the device); ready in "
        f"{duration(time.monotonic() - started)}",
    )
    ended = Session(args, player, rack).run()
    return _farewell(args, player, rack, recorder, ended)


class Session:
    """A performance: the player, the models it may play, and what is typed."""

    def __init__(self, args: argparse.Namespace, player: Player, rack: Rack) -> None:
        self.args, self.player, self.rack = args, player, rack
        self._entry: str | None = None  # a line that is being typed
        self.calibration: Calibration | None = None
        self.message, self.help = "? for the keys, q ends", False
        self._hit_times: deque[float] = deque(maxlen=64)
        self._hits, self._last_hit = 0, None
        self._recording = True

    def run(self) -> str:
        """Play; why it ended: "asked", "over" (time or file) or "gone" (the device)."""
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        hidden = self.args.quiet or self.args.json or not console.is_terminal
        view = Live(console=console, auto_refresh=False, transient=True)
        begun = time.monotonic()
        usual = [s for s in ENDS if signal.getsignal(s) == signal.SIG_DFL]
        handlers = {s: signal.signal(s, signal.default_int_handler) for s in usual}
        try:
            self.player.start()
            with keys() as typed, nullcontext() if hidden else view:
                while not (ended := self._ended(begun)):
                    time.sleep(POLL_S)
                    self._follow_hits()
                    self._follow_recording()
                    self._follow_rack(self.rack.poll())
                    if any(map(self._typed, typed())):
                        return "asked"
                    if not hidden:
                        view.update(self._screen(begun), refresh=True)
        except KeyboardInterrupt:
            return "asked"
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return ended

    def _ended(self, begun: float) -> str:
        if not self.player.alive():
            return "gone"
        duration_s = self.args.duration
        if duration_s is not None and time.monotonic() - begun >= duration_s:
            return "over"
        return "over" if self.player.source_ended else ""

    def _follow_hits(self) -> None:
        """Keep the times of hits, and hand the last one to a calibration."""
        stats = self.player.stats
        new, self._hits = stats.hits - self._hits, stats.hits
        self._hit_times.extend([time.monotonic()] * min(new, 64))
        hit, before, self._last_hit = stats.last_hit, self._last_hit, stats.last_hit
        if self.calibration is None or hit is None or hit is before:
            return
        if self.calibration.add(hit):
            trim = self.calibration.trim(self.controls["trim"])
            self.controls.set("trim", trim)
            self.message, self.calibration = f"calibrated: trim {trim:+.1f} dB", None
        else:
            left = CALIBRATION_HITS - len(self.calibration.differences)
            self.message = f"calibrating: {plural(left, 'hit')} to go"

    def _follow_recording(self) -> None:
        """Say once if the recording has ended early: playing goes on."""
        recorder = self.player.recorder
        if self._recording and isinstance(recorder, Recorder) and recorder.error:
            self._recording = False
            print(f"jaxsnare: recording has ended: {recorder.error}", file=sys.stderr)

    def _typed(self, key: str) -> bool:
        """Do what a key says; whether that is to end."""
        if self._entry is not None:
            self._type_entry(key)
            return False
        if key == "?":
            self.help = not self.help
        elif key == "c":
            self.calibration = Calibration(self.controls.model)
            self.message = f"calibrating: play {CALIBRATION_HITS} hits"
        elif key == "r":
            self.player.engine.forget_ranges()
            self.message = "ranges start afresh"
        elif key == "p":
            path = Path(time.strftime("preset-%Y%m%d-%H%M%S.json"))
            try:
                self.controls.save_preset(path)
                self.message = f"saved {path}"
            except ValueError as error:
                self.message = str(error)
        elif key == "n":
            self._type_entry("")
        elif key == "u":
            self._load(self.rack.playing)
        elif key.isdecimal() and 1 <= int(key) <= len(self.rack.slots):
            self._follow_rack(self.rack.choose(int(key) - 1))
        elif key and key.lower() in TURNS:
            self.message = turn(self.controls, key)
        return key == "q"

    def _type_entry(self, key: str) -> None:
        """A line that is typed: the folder of another model."""
        entry = self._entry or ""
        if key in ("\n", "\r"):
            self._entry, self.message = None, "no folder: nothing is loaded"
            if entry.strip():
                self._load(Path(entry.strip()).expanduser())
            return
        self._entry = entry[:-1] if key in ("\x7f", "\b") else entry + key
        self.message = f"folder of a model, then Enter: {self._entry}"

    def _load(self, folder: Path) -> None:
        self._follow_rack(self.rack.choose(self.rack.add(folder)))

    def _follow_rack(self, happened: str) -> None:
        """Let the player play what the rack says, which is told."""
        if happened:
            self.message = happened
            self.player.switch(self.rack.engine)

    @property
    def controls(self) -> Controls:
        return self.rack.controls

    def _screen(self, begun: float) -> Any:
        now = time.monotonic()
        window = float(np.clip(now - begun, 1.0, 15.0))
        rate = 60 * sum(now - t <= window for t in self._hit_times) / window
        return Screen(self.player, self.controls, rate, self.message, self.help)


def _farewell(
    args: argparse.Namespace,
    player: Player,
    rack: Rack,
    recorder: Recorder | None,
    ended: str,
) -> Answer:
    """Stop, flush the recording, and sum up; status 1 where the device has gone."""
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
    if summary is not None:
        text += f"\nRecorded {duration(summary.seconds)} to {summary.folder}"
        if summary.dropped_blocks and not summary.error:
            lost_too = plural(summary.dropped_blocks, "block")
            text += f"; {lost_too} did not fit the buffer"
        if summary.error:
            text += f"; it ended early: {summary.error}"
    if ended == "gone":
        print(
            "jaxsnare: the sound device has gone (it stopped asking for blocks): "
            "was the sound server ended, or a cable pulled?",
            file=sys.stderr,
        )
    if not closed:
        print(json.dumps(data) if args.json else text)
        leave(1)
    return Answer(data, text)


def run_calibrate(args: argparse.Namespace) -> Answer:
    """Take ten hits, and keep the trim in the model."""
    settle()
    folder: Path = args.models[0]
    model = Model.load(folder)
    rate = _rate(args, model)
    engine = Engine(model.remapper(rate), model.params(), args.block)
    hits: list[Hit] = []
    if args.play:
        audio = read_audio(args.play, rate)
        padded = np.pad(audio, (0, engine.remapper.latency + args.block))
        for start in range(0, len(padded) - args.block + 1, args.block):
            hits += engine.process(padded[start : start + args.block]).hits
    else:
        hits = _hits_of_device(args, engine)
    if len(hits) < CALIBRATION_HITS:
        raise ValueError(
            f"heard {plural(len(hits), 'hit')}, calibration takes "
            f"{CALIBRATION_HITS}: play louder, or lower --onset-on"
        )
    calibration = Calibration(model)
    for hit in hits[:CALIBRATION_HITS]:
        calibration.add(hit)
    before = model.params().play["trim"]
    trim = calibration.trim(float(before))
    replace(model, play=model.play | {"trim": trim}).save(folder, overwrite=True)
    data = {"model": str(folder), "hits": CALIBRATION_HITS, "trim_db": trim}
    return Answer(data, f"Trim {trim:+.1f} dB: it is kept in {folder}.")


def _hits_of_device(args: argparse.Namespace, engine: Engine) -> list[Hit]:
    engine.warm_up()
    player = _player(args, engine)
    heard: list[Hit] = []
    player.recorder = _Collector(heard)
    note(args, f"play {CALIBRATION_HITS} hits, as loud as you usually play")
    player.start()
    begun = time.monotonic()
    while len(heard) < CALIBRATION_HITS and time.monotonic() - begun < WAIT_S:
        time.sleep(POLL_S)
        if not player.alive():
            print("jaxsnare: the sound device has gone", file=sys.stderr)
            leave(1)
    player.close()
    return heard


class _Collector:
    """Takes the hits of what is played."""

    def __init__(self, hits: list[Hit]) -> None:
        self.hits = hits

    def put(self, played: Any) -> None:
        self.hits.extend(played.hits)
