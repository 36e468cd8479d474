"""What a player sees and types while playing: meters, and keys for the main knobs."""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from textwrap import wrap
from typing import Any

import numpy as np

from jaxsnare.live.controls import Controls
from jaxsnare.live.recorder import Recorder
from jaxsnare.live.stream import Player
from jaxsnare.terminal import duration

METER_DB = 60.0
WIDTH = 40  # of a meter, in characters, where there is room
HOLD_S = 0.25  # a meter shows the highest level of so long
STEPS = {"gain": 1.0, "trim": 1.0, "onset.on": 1.0, "onset.sensitivity": -1.0}
"""Of the knobs whose step is not 0.1; upper case turns the last one down."""
KEYS = {
    "s/S": "sensitivity down/up",
    "m/M": "mix towards drum/synth",
    "g/G": "gain of the synth down/up",
    "t/T": "trim of the input down/up",
    "o/O": "hears softer hits/fewer",
    "l/L": "loudness follow down/up",
    "c": "calibrate: play ten hits",
    "r": "reset the running normaliser",
    "=": "turn any knob: name=value, Enter",
    "p": "save the knobs as a preset file",
    "1..9": "play the first..ninth model",
    "n": "load a model: its folder, Enter",
    "u": "load the one that plays again",
    "?": "these keys",
    "q": "end",
}
TURNS = {
    "s": "sensitivity",
    "m": "mix",
    "g": "gain",
    "t": "trim",
    "o": "onset.on",
    "l": "loudness_follow",
}


def knob(controls: Controls, key: str) -> str:
    """The knob of a key: of a detector with a sensitivity that, not the threshold."""
    name = TURNS[key.lower()]
    easier = "onset.sensitivity"
    return easier if name == "onset.on" and easier in controls.specs.names else name


def turn(controls: Controls, key: str) -> str:
    """Turn the knob of a key, lower case down and upper case up; what it is now."""
    name = knob(controls, key)
    step = STEPS.get(name, 0.1)
    spec = controls.specs[name]
    value = controls[name] + (step if key.isupper() else -step)
    value = float(np.clip(round(value, 3), spec.lo, spec.hi))
    controls.set(name, value)
    return f"{name} {value:g} {spec.unit}".strip()


def bar(level_db: float, mark: float | None = None, width: int = WIDTH) -> str:
    """A meter from -60 to 0 dB; the mark is a position from 0 to 1."""
    filled = int(np.clip(1 + level_db / METER_DB, 0, 1) * width)
    cells = ["█" if i < filled else "·" for i in range(width)]
    if mark is not None:
        cells[int(np.clip(mark, 0, 1) * (width - 1))] = "│"
    return "".join(cells)


def dbfs(amplitude: float) -> float:
    """Level of an amplitude in dBFS, at least -120."""
    return float(20 * np.log10(max(amplitude, 1e-6)))


@dataclass
class Screen:
    """The picture of now, for rich: as wide as there is room."""

    player: Player
    controls: Controls
    model: str
    hits_per_minute: float
    message: str
    help: bool  # the keys, in place of the numbers

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        for line in self.lines(options.max_width):
            yield Text(line, no_wrap=True)

    def lines(self, width: int) -> list[str]:
        """Its lines, none longer than `width` characters (at least 40)."""
        keys = [f"  {key:5s} {words}" for key, words in KEYS.items()]
        below = [*([""] if not self.help else keys), self.message]
        lines = [*self._meters(width), *([] if self.help else self._numbers()), *below]
        indent = {"width": width, "subsequent_indent": 8 * " "}
        return [part for line in lines for part in wrap(line, **indent) or [""]]

    def _meters(self, width: int) -> list[str]:
        player, controls = self.player, self.controls
        recent = player.stats.recent(ceil(HOLD_S * player.rate / player.engine.block))
        heard = dbfs(float(recent.input_peak.max(initial=0.0)))
        played = dbfs(float(recent.output_peak.max(initial=0.0)))
        signal = float(recent.level_db.max(initial=0.0))
        detector = player.engine.remapper.detector
        names = detector.specs.names
        threshold = float(detector.threshold_db({n: controls[n] for n in names}))
        spec = controls.specs["onset.on"]
        onset, mark = (signal / spec.hi - 1) * METER_DB, threshold / spec.hi
        room = min(WIDTH, width - 8 - 18)
        return [
            f"input   {bar(heard, width=room)} {heard:6.1f} dBFS",
            f"output  {bar(played, width=room)} {played:6.1f} dBFS",
            f"onset   {bar(onset, mark, room)} {signal:6.1f} / {threshold:.1f} dB",
        ]

    def _numbers(self) -> list[str]:
        player, controls, stats = self.player, self.controls, self.player.stats
        knobs = [knob(controls, key) for key in TURNS]
        lines = [
            f"model   {self.model}",
            f"hits    {stats.hits}, {self.hits_per_minute:.0f} a minute",
        ]
        if stats.last_hit is not None:
            hit = stats.last_hit
            features = zip(hit.names.features, hit.features, strict=True)
            lines.append("last    " + "  ".join(f"{n} {v:+.2f}" for n, v in features))
        steps = 1e3 * stats.recent().step_s
        p50, p99 = np.percentile(steps, [50, 99]) if len(steps) else (0.0, 0.0)
        budget = 1e3 * player.engine.block / player.rate
        lines += [
            f"step    {p50:.3f} ms, 99 % under {p99:.3f} ms, of {budget:.2f} ms",
            f"lost    {stats.lost} blocks (xruns), {stats.faults} faults, "
            f"{player.engine.bad_input} blocks of bad input",
            "knobs   " + "  ".join(f"{n} {controls[n]:g}" for n in knobs),
        ]
        if misfit := stats.misfit(player.engine.block):
            lines.append(f"        {misfit}")
        recorder = player.recorder
        if isinstance(recorder, Recorder):
            so_far = f"{duration(recorder.seconds)} to {recorder.folder}"
            if recorder.dropped_blocks:
                so_far += f", {recorder.dropped_blocks} blocks did not fit the buffer"
            lines.append(f"record  {recorder.error or so_far}")
        return lines


@contextlib.contextmanager
def keys() -> Iterator[Callable[[], str]]:
    """A function that gives the keys typed since it was last called, or ''."""
    try:
        import select
        import termios
        import tty

        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except Exception:  # no terminal, or no such module: playing goes on without keys
        yield lambda: ""
        return

    def typed() -> str:
        if not select.select([descriptor], [], [], 0)[0]:
            return ""
        return plain(os.read(descriptor, 1024).decode("utf-8", "ignore"))

    tty.setcbreak(descriptor)
    try:
        yield typed
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def plain(typed: str) -> str:
    """Without what arrows and function keys send, which ends in a letter.

    >>> plain("s\\x1b[A\\x1bOS\\x1b[15~g")
    'sg'
    >>> plain("\\x1b")  # Escape itself
    '\\x1b'
    """
    return re.sub(r"\x1b(?:O.|\[[0-9;]*.|.)", "", typed)
