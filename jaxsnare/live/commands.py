"""The commands that play: live, devices, calibrate."""

import argparse
import json
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxsnare.audio import read_audio
from jaxsnare.cli import STARTED
from jaxsnare.commands import given, given_onset
from jaxsnare.live.controls import Controls
from jaxsnare.live.devices import devices
from jaxsnare.live.engine import Engine, Hit, Shape, settle
from jaxsnare.live.rack import Rack
from jaxsnare.live.recorder import Recorder
from jaxsnare.live.stream import Player, leave
from jaxsnare.live.view import TURNS, Screen, keys, turn
from jaxsnare.model import Model, check_destination
from jaxsnare.options import assignment
from jaxsnare.presets import read_preset
from jaxsnare.remapper import PLAY_SPECS
from jaxsnare.terminal import Answer, duration, note, plural, table

CALIBRATION_HITS = 10
POLL_S = 0.05
ENDS = [getattr(signal, s) for s in ("SIGTERM", "SIGHUP") if hasattr(signal, s)]
"""Signals that end playing as Ctrl-C does."""

WAIT_S = 30.0  # for ten hits, at most
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


class Calibration:
    """Takes ten hits, and tells the trim that brings them to the training's level."""

    def __init__(self, model: Model) -> None:
        self.model = model
        lo, hi = (float(v[0]) for v in model.normaliser)
        self._reference_db = lo + float(model.centre[0]) * (hi - lo)
        self._trims: list[float] = []

    @property
    def missing(self) -> int:
        """Hits to go."""
        return CALIBRATION_HITS - len(self._trims)

    def add(self, hit: Hit, trim: float) -> bool:
        """Take a hit that was played with a trim in dB; whether it was the last."""
        self._trims.append(self._reference_db - (hit.level_db - trim))
        return self.missing <= 0

    @property
    def trim(self) -> float:
        """The trim in dB that is right for the middle one of the hits."""
        spec = PLAY_SPECS["trim"]
        return float(np.clip(round(np.median(self._trims), 1), spec.lo, spec.hi))


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
        source = np.pad(read_audio(args.play, rate), (0, round(RING_S * rate)))
    return Player(
        shape,
        input=args.input,
        output=args.output,
        in_channels=_channels(args.channels),
        out_channels=_channels(args.out_channels),
        source=source,
    )


def run_live(args: argparse.Namespace) -> Answer:
    """Open the device, compile, and play until it is enough."""
    settle()
    knobs = _knobs(args, Model.load(args.models[0]))
    rack = Rack(args.models, args.rate, args.block, args.running_normaliser, knobs)
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


class Entry(NamedTuple):
    """A line that is being typed, and what for."""

    prompt: str
    text: str
    use: Callable[[str], None]


class Session:
    """A performance: the player, the models it may play, and what is typed."""

    def __init__(self, args: argparse.Namespace, player: Player, rack: Rack) -> None:
        self.args, self.player, self.rack = args, player, rack
        self._entry: Entry | None = None  # a line that is being typed
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
        calibration = self.calibration
        if calibration is None or hit is None or hit is before:
            return
        if calibration.model is not self.controls.model:
            self.message, self.calibration = "another model plays: not calibrated", None
        elif calibration.add(hit, self.controls["trim"]):
            self.controls.set("trim", calibration.trim)
            self.message = (
                f"calibrated: trim {calibration.trim:+.1f} dB, until the end; "
                "jaxsnare calibrate keeps it"
            )
            self.calibration = None
        else:
            self.message = f"calibrating: {plural(calibration.missing, 'hit')} to go"

    def _follow_recording(self) -> None:
        """Say once if the recording has ended early: playing goes on."""
        recorder = self.player.recorder
        if self._recording and isinstance(recorder, Recorder) and recorder.error:
            self._recording = False
            print(f"jaxsnare: recording has ended: {recorder.error}", file=sys.stderr)

    def _typed(self, key: str) -> bool:
        """Do what a key says; whether that is to end."""
        if self._entry is not None:
            self._type(self._entry, key)
            return False
        if key == "?":
            self.help = not self.help
        elif key == "c":
            self.calibration = Calibration(self.controls.model)
            self.message = f"calibrating: play {CALIBRATION_HITS} hits"
        elif key == "r":
            self.player.engine.forget_ranges()
            running = self.player.engine.remapper.running_normaliser
            self.message = (
                "ranges start afresh"
                if running
                else "ranges are the training's: start with --running-normaliser"
            )
        elif key == "p":
            path = Path(time.strftime("preset-%Y%m%d-%H%M%S.json")).resolve()
            try:
                self.controls.save_preset(path)
                self.message = f"saved {path}: play it with --preset"
            except ValueError as error:
                self.message = str(error)
        elif key == "=":
            self._entry = Entry("knob, as in osc1.freq=200", "", self._set)
        elif key == "n":
            self._entry = Entry("folder of a model", "", self._load)
        elif key == "u":
            self._load(str(self.rack.playing))
        elif key.isdecimal() and 1 <= int(key) <= len(self.rack.slots):
            self._follow_rack(self.rack.choose(int(key) - 1))
        elif key.isdecimal():
            self.message = f"there is no model {key}: n loads another"
        elif key and key.lower() in TURNS:
            self.message = turn(self.controls, key)
        return key == "q"

    def _type(self, entry: Entry, key: str) -> None:
        """Go on with a line: Enter uses it, Escape gives it up."""
        self._entry = None
        if key in ("\n", "\r") and entry.text.strip():
            entry.use(entry.text.strip())
        elif key not in ("\n", "\r", "\x1b"):
            text = entry.text[:-1] if key in ("\x7f", "\b") else entry.text + key
            self._entry = entry._replace(text=text)

    def _set(self, text: str) -> None:
        """Turn a knob by its name."""
        try:
            name, value = assignment(text.replace(" ", ""))
            self.controls.set(name, value)
            self.message = f"{name} {self.controls[name]:g}"
        except (argparse.ArgumentTypeError, ValueError) as error:
            self.message = str(error)

    def _load(self, folder: str) -> None:
        self._follow_rack(self.rack.choose(self.rack.add(Path(folder).expanduser())))

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
        entry, message = self._entry, self.message
        if entry is not None:
            message = f"{entry.prompt}, then Enter: {entry.text}"
        model = self.rack.playing.name
        return Screen(self.player, self.controls, model, rate, message, self.help)


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
    """Take ten hits, and keep the trim in the model."""
    settle()
    folder: Path = args.models[0]
    model = Model.load(folder)
    check_destination(folder, overwrite=True)
    rate = args.rate or model.sample_rate
    heard = replace(model, onset=model.onset | given_onset(args, model.hears))
    # The synth is silent: it would be heard by the microphone.
    params = heard.params(gain=PLAY_SPECS["gain"].lo)
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
            f"{CALIBRATION_HITS}: play louder, or lower --onset-on"
        )
    for hit in hits[:CALIBRATION_HITS]:
        calibration.add(hit, trim)
    trim = calibration.trim
    replace(model, play=model.play | {"trim": trim}).save(folder, overwrite=True)
    data = {"model": str(folder), "hits": CALIBRATION_HITS, "trim_db": trim}
    return Answer(data, f"Trim {trim:+.1f} dB: it is kept in {folder}.")


def _hits_of_file(args: argparse.Namespace, engine: Engine) -> list[Hit]:
    audio = read_audio(args.play, engine.remapper.sample_rate)
    padded = np.pad(audio, (0, engine.remapper.latency + args.block))
    hits: list[Hit] = []
    for start in range(0, len(padded) - args.block + 1, args.block):
        hits += engine.process(padded[start : start + args.block]).hits
    return hits


def _hits_of_device(args: argparse.Namespace, player: Player) -> list[Hit]:
    player.engine.warm_up()
    heard: list[Hit] = []
    player.recorder = _Collector(heard)
    note(args, f"play {CALIBRATION_HITS} hits, as loud as you usually play")
    player.start()
    begun, told = time.monotonic(), 0
    while told < CALIBRATION_HITS and time.monotonic() - begun < WAIT_S:
        time.sleep(POLL_S)
        if len(heard) > told:
            told = min(len(heard), CALIBRATION_HITS)
            note(args, f"{told} of {CALIBRATION_HITS}")
        if not player.alive():
            print("jaxsnare: the sound device has gone", file=sys.stderr)
            leave(1)
    if not player.close():
        print("jaxsnare: the sound device does not answer any more", file=sys.stderr)
        leave(1)
    return heard


class _Collector:
    """Takes the hits of what is played."""

    def __init__(self, hits: list[Hit]) -> None:
        self.hits = hits

    def put(self, played: Any) -> None:
        self.hits.extend(played.hits)
