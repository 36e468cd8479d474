"""How fast a model plays live here: its step, its start, and the sound device."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxsnare.drummer import SnareDrum
from jaxsnare.live.engine import Engine
from jaxsnare.model import Model

BLOCKS = (32, 64, 128, 256)
RATE = 48_000
HITS_PER_SECOND = 8
CLICK_S = 0.5


def measure(
    model: Model,
    seconds: float,
    progress: Callable[[str], Any],
    blocks: Sequence[int] = BLOCKS,
    rate: int = RATE,
    stream: bool = False,
) -> dict[str, Any]:
    """The live step at several block lengths, with hits at 8 per second.

    seconds: length of what is played. progress: called with the name of what is
    measured next. stream: play through the sound device as well.
    """
    audio = _strokes(seconds, rate)
    rows, streams = [], []
    for block in blocks:
        progress(f"live, blocks of {block}")
        start = time.perf_counter()
        engine = Engine(model.remapper(rate), model.params(), block)
        engine.process(np.zeros(block, np.float32))
        compiled = time.perf_counter() - start
        engine.warm_up()
        times = np.array(
            [
                _seconds(engine.process, audio[i : i + block])
                for i in range(0, len(audio) - block + 1, block)
            ]
        )
        budget = block / rate
        p50, p99, p999 = np.percentile(times, [50, 99, 99.9])
        rows.append(
            {
                "block": block,
                "budget_us": round(1e6 * budget, 1),
                "p50_us": round(1e6 * p50, 1),
                "p99_us": round(1e6 * p99, 1),
                "p99.9_us": round(1e6 * p999, 1),
                "max_us": round(1e6 * times.max(), 1),
                "p50_share": round(p50 / budget, 4),
                "p99.9_share": round(p999 / budget, 4),
                "compile_s": round(compiled, 2),
            }
        )
        if stream:
            progress(f"live, through the sound device, blocks of {block}")
            streams.append(_through_device(engine, audio))
    result = {"sample_rate": rate, "hits_per_second": HITS_PER_SECOND, "blocks": rows}
    progress("start to sound")
    with tempfile.TemporaryDirectory() as folder:
        model.save(saved := Path(folder) / "model")
        cold, cached = (_start_s(saved, rate, folder) for _ in range(2))
    result["start_s"] = {"cold": cold, "cached": cached}
    return result | ({"streams": streams} if stream else {})


def _seconds(function: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def _strokes(seconds: float, rate: int) -> np.ndarray:
    """Strokes of several strengths, 8 per second."""
    drum = SnareDrum(sample_rate=rate)
    audio = np.zeros(round(seconds * rate), np.float32)
    for i in range(int(seconds * HITS_PER_SECOND)):
        stroke = drum.strike(0.3 + 0.2 * (i % 4), seed=i)
        at = round(i * rate / HITS_PER_SECOND)
        piece = audio[at : at + len(stroke)]
        piece += stroke[: len(piece)]
    return np.clip(audio, -1.0, 1.0)


START = """
import sys
import jax
import numpy as np
from jaxsnare.live.engine import Engine, settle
from jaxsnare.model import Model
settle()
folder, rate, cache = sys.argv[1:]
jax.config.update("jax_compilation_cache_dir", cache)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
model = Model.load(folder)
engine = Engine(model.remapper(int(rate)), model.params(), 64)
engine.warm_up()
engine.process(np.zeros(64, np.float32))
"""


def _start_s(model: Path, rate: int, cache: str) -> float:
    """Seconds from starting Python to the first block of 64, in a fresh process."""
    command = [sys.executable, "-c", START, str(model), str(rate), cache]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return round(time.perf_counter() - start, 2)


def _through_device(engine: Engine, audio: np.ndarray) -> dict[str, Any]:
    """Play through the default device: lost blocks, step times, and the round trip."""
    from jaxsnare.live.stream import Player

    player = Player(engine, source=audio)
    with player:
        while player.alive() and not player.source_ended:
            time.sleep(0.05)
        stats = player.stats
    steps = 1e6 * stats.recent().step_s
    p50, p999 = np.percentile(steps, [50, 99.9]) if len(steps) else (0.0, 0.0)
    return {
        "block": engine.block,
        "blocks": stats.blocks,
        "lost_blocks": stats.lost,
        "p50_us": round(float(p50), 1),
        "p99.9_us": round(float(p999), 1),
        "round_trip_samples": _round_trip(player.rate, player.blocksize),
    }


def _round_trip(rate: int, blocksize: int) -> int | None:
    """Samples from a click that is played until it is heard; None if it is not.

    A cable, a connection of the sound server, or the air must lead the output back.
    """
    from jaxsnare.live.devices import find_device, sounddevice

    sd = sounddevice()
    click = np.zeros((round(CLICK_S * rate), 1), np.float32)
    click[0] = 0.5
    try:
        devices = find_device(None, "input"), find_device(None, "output")
        heard = sd.playrec(
            click,
            rate,
            1,
            blocking=True,
            blocksize=blocksize,
            latency="low",
            device=devices,
        )
    except (ValueError, sd.PortAudioError):
        return None
    loud = np.flatnonzero(np.abs(heard[:, 0]) > 0.1)
    return int(loud[0]) if len(loud) else None
