"""A performance: what is typed, what is shown, and what happens meanwhile."""

import argparse
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxsnare.arguments import assignment
from jaxsnare.knobs import PLAY_SPECS
from jaxsnare.live.controls import Controls
from jaxsnare.live.engine import Hit
from jaxsnare.live.rack import Rack
from jaxsnare.live.recorder import Recorder
from jaxsnare.live.stream import Player
from jaxsnare.live.view import TURNS, Screen, keys, turn
from jaxsnare.model import Model
from jaxsnare.terminal import plural

CALIBRATION_HITS = 10
POLL_S = 0.05
ENDS = [getattr(signal, s) for s in ("SIGTERM", "SIGHUP") if hasattr(signal, s)]
"""Signals that end playing as Ctrl-C does."""


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
        if hit.zone != self.rack.zone:
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
        try:
            number = self.rack.add(Path(folder).expanduser())
        except ValueError as error:
            self.message = str(error)
            return
        self._follow_rack(self.rack.choose(number))

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
