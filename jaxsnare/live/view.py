"""What a player sees and types while playing: meters, and keys for the main knobs."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxsnare.live.controls import Controls
from jaxsnare.live.stream import Player

METER_DB = 60.0
WIDTH = 40
STEPS = {"sensitivity": 0.1, "mix": 0.1, "gain": 1.0, "trim": 1.0, "onset.on": 1.0}
KEYS = {
    "s/S": "sensitivity down/up",
    "m/M": "mix towards drum/synth",
    "g/G": "gain of the synth down/up",
    "t/T": "trim of the input down/up",
    "o/O": "threshold down (hears softer hits)/up",
    "l/L": "loudness follow down/up",
    "c": "calibrate: play ten hits",
    "r": "reset the running normaliser (with --running-normaliser)",
    "p": "save the knobs as a preset file",
    "1..9": "play the first..ninth model",
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


def turn(controls: Controls, key: str) -> str:
    """Turn the knob of a key, lower case down and upper case up; what it is now."""
    name = TURNS[key.lower()]
    step = STEPS.get(name, 0.1)
    spec = controls.specs[name]
    value = controls[name] + (step if key.isupper() else -step)
    value = float(np.clip(round(value, 3), spec.lo, spec.hi))
    controls.set(name, value)
    return f"{name} {value:g} {spec.unit}".strip()


def bar(level_db: float, mark: float | None = None) -> str:
    """A meter from -60 to 0 dB; the mark is a position from 0 to 1."""
    filled = int(np.clip(1 + level_db / METER_DB, 0, 1) * WIDTH)
    cells = ["█" if i < filled else "·" for i in range(WIDTH)]
    if mark is not None:
        cells[int(np.clip(mark, 0, 1) * (WIDTH - 1))] = "│"
    return "".join(cells)


def dbfs(amplitude: float) -> float:
    """Level of an amplitude in dBFS, at least -120."""
    return float(20 * np.log10(max(amplitude, 1e-6)))


def screen(
    player: Player, controls: Controls, hits_per_minute: float, message: str, help: bool
) -> Any:
    """The picture of now, for rich."""
    from rich.console import Group
    from rich.text import Text

    stats, engine = player.stats, player.engine
    budget_ms = 1e3 * engine.block / player.rate
    recent = stats.recent(max(1, int(0.1 * player.rate / engine.block)))
    longer = stats.recent()
    heard = dbfs(float(recent.input_peak.max(initial=0.0)))
    played = dbfs(float(recent.output_peak.max(initial=0.0)))
    signal = float(recent.level_db.max(initial=0.0))
    spec, threshold = controls.specs["onset.on"], controls["onset.on"]
    step = (
        1e3 * np.percentile(longer.step_s, [50, 99]) if len(longer.step_s) else (0, 0)
    )
    lines = [
        f"input   {bar(heard)} {heard:6.1f} dBFS",
        f"output  {bar(played)} {played:6.1f} dBFS",
        f"onset   {bar((signal / spec.hi - 1) * METER_DB, threshold / spec.hi)}"
        f" {signal:6.1f} dB of {threshold:g}",
        f"hits    {stats.hits}, {hits_per_minute:.0f} a minute",
    ]
    if stats.last_hit is not None:
        names = engine.remapper.features.names
        features = zip(names, stats.last_hit.features, strict=True)
        lines.append("last    " + "  ".join(f"{n} {v:+.2f}" for n, v in features))
    lost = stats.underflows + stats.overflows + stats.starved + stats.dropped
    lines += [
        f"step    {step[0]:.3f} ms, 99 % under {step[1]:.3f} ms, of {budget_ms:.2f} ms",
        f"lost    {lost} blocks (xruns), {stats.faults} faults, "
        f"{engine.bad_input} blocks of bad input",
        "knobs   " + "  ".join(f"{n} {controls[n]:g}" for n in TURNS.values()),
        "",
        message,
    ]
    if help:
        lines += [f"  {key:5s} {words}" for key, words in KEYS.items()]
    return Group(*(Text(line, no_wrap=True) for line in lines))


@contextlib.contextmanager
def keys() -> Iterator[Callable[[], str]]:
    """A function that gives the key typed since it was last called, or ''."""
    try:
        import select
        import termios
        import tty

        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except Exception:  # no terminal, or no such module: playing goes on without keys
        yield lambda: ""
        return
    tty.setcbreak(descriptor)
    try:
        yield (
            lambda: (
                sys.stdin.read(1) if select.select([sys.stdin], [], [], 0)[0] else ""
            )
        )
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
