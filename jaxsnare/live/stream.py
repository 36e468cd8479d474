"""The engine in the callback of a sound device."""

import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from math import ceil
from threading import Thread
from time import perf_counter
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from jaxsnare.live.devices import (
    Device,
    devices,
    find_device,
    opens_at,
    rates_of,
    sounddevice,
)
from jaxsnare.live.engine import Engine, Played
from jaxsnare.live.stats import Stats

__all__ = ["Device", "Latency", "Player", "devices", "find_device", "leave"]

SILENT_S, SILENT_BLOCKS = 0.5, 8  # without a callback: the device is gone
QUEUE_S = 0.02  # between two streams, at most; and a few blocks at least
QUEUE_BLOCKS = 4


class Latency(NamedTuple):
    """Samples from a stroke's onset to its answer, and where they go."""

    trigger: int  # from the detected onset to the voice: exact
    device: int  # buffering in and out, as PortAudio states it
    sample_rate: int

    @property
    def samples(self) -> int:
        return self.trigger + self.device

    @property
    def ms(self) -> float:
        return 1e3 * self.samples / self.sample_rate


class Taker(Protocol):
    """What may be recorded to, without ever blocking."""

    def put(self, played: Played) -> None: ...


class Player:
    """Plays an engine on a sound device.

    input, output: devices as for `find_device`. in_channels, out_channels: channels
    from 1 on; inputs are averaged (default: the first), all outputs play the same
    (default: the first two, or the only one). source: audio [T] at the engine's rate
    that is played, in real time, in place of the microphone. recorder: is handed every
    block.

    The device is opened here and plays from `start()` on. `stats` counts, `warnings`
    are sentences for the player's eyes. Raises ValueError, saying what works, for a
    device, rate or channel that does not exist.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        input: str | int | None = None,
        output: str | int | None = None,
        in_channels: Sequence[int] | None = None,
        out_channels: Sequence[int] | None = None,
        source: NDArray[np.float32] | None = None,
        recorder: Taker | None = None,
    ) -> None:
        sd = sounddevice()
        self.engine, self.recorder = engine, recorder
        self.rate = engine.remapper.sample_rate
        self.stats = Stats()
        self.warnings: list[str] = []
        self._last_call = self._started = 0.0
        self._ended = self._unsettled = False
        self._source = None if source is None else np.asarray(source, np.float32)
        self._position = 0
        waiting = max(QUEUE_BLOCKS, ceil(QUEUE_S * self.rate / engine.block))
        self._queue: deque[NDArray[np.float32]] = deque(maxlen=waiting)

        to = self._device(sd, output, "output")
        self._outs = _channels(out_channels, to, "output", 2)
        one = {"channels": max(self._outs) + 1, "device": to["index"]}
        if source is not None:
            self._streams = [self._open(sd.OutputStream, self._from_source, **one)]
            return
        of = self._device(sd, input, "input")
        self._ins = _channels(in_channels, of, "input", 1)
        other = {"channels": max(self._ins) + 1, "device": of["index"]}
        if of["index"] == to["index"]:
            both = {k: (other[k], one[k]) for k in one}
            self._streams = [self._open(sd.Stream, self._duplex, **both)]
            return
        self.warnings.append(
            f"input ({of['name']}) and output ({to['name']}) are two devices, whose "
            f"clocks drift apart: blocks are lost now and then, and up to "
            f"{1e3 * waiting * engine.block / self.rate:.0f} ms of latency come on "
            "top; choose one device for both to avoid it"
        )
        self._streams = [self._open(sd.OutputStream, self._from_queue, **one)]
        try:
            self._streams.append(self._open(sd.InputStream, self._to_queue, **other))
        except ValueError:
            self._streams[0].close()
            raise

    def _device(self, sd: Any, name: str | int | None, kind: str) -> dict[str, Any]:
        """The record of a device that runs at the engine's rate."""
        device = sd.query_devices(find_device(name, kind))
        if not opens_at(sd, device["index"], kind, self.rate):
            works = sorted({*rates_of(sd, device), round(device["default_samplerate"])})
            raise ValueError(
                f"{kind} device {device['name']!r} does not run at {self.rate} Hz; "
                f"it runs at {', '.join(map(str, works))} Hz"
            )
        return device

    def _open(self, kind: Callable[..., Any], callback: Any, **settings: Any) -> Any:
        sd = sounddevice()
        try:
            return kind(
                samplerate=self.rate,
                blocksize=self.engine.block,
                dtype="float32",
                latency="low",
                callback=callback,
                finished_callback=self._finished,
                **settings,
            )
        except (sd.PortAudioError, ValueError) as error:
            raise ValueError(
                f"device {settings['device']} cannot be opened with blocks of "
                f"{self.engine.block} samples at {self.rate} Hz and "
                f"{settings['channels']} channels ({error}); blocks of 64, 128 and "
                "256 samples work on most devices, or another program holds it"
            ) from None

    @property
    def latency(self) -> Latency:
        """What lies between a stroke and its answer, without drum stick and air.

        The device's part is PortAudio's. On JACK it is the latency of the server's own
        ports and one block, by which blocks are fitted to the server's period, be it
        the same or another.
        """
        seconds = sum(float(np.sum(stream.latency)) for stream in self._streams)
        trigger = self.engine.remapper.latency
        return Latency(trigger, round(seconds * self.rate), self.rate)

    def start(self) -> None:
        """Begin to play. ValueError if the device refuses."""
        self._last_call = self._started = perf_counter()
        self._ended = False
        try:
            for stream in self._streams:
                stream.start()
        except sounddevice().PortAudioError as error:
            raise ValueError(f"the sound device does not start: {error}") from None

    def stop(self, timeout: float = 1.0) -> bool:
        """Stop playing; False if the device did not answer in time (seconds)."""
        return self._within(timeout, lambda stream: stream.stop())

    def close(self, timeout: float = 1.0) -> bool:
        """Give the device back; False if it did not answer in time (seconds).

        A sound server that was killed just stops calling, and closing its stream hangs
        or aborts the process: after a False, or where `alive` was false, end the
        process by `leave`.
        """
        return self._within(timeout, lambda stream: stream.close())

    def _within(self, timeout: float, act: Callable[[Any], None]) -> bool:
        done = []

        def run() -> None:
            try:
                for stream in self._streams:
                    act(stream)
            except Exception as error:
                self.stats.fault = f"{type(error).__name__}: {error}"
            done.append(True)

        thread = Thread(target=run, daemon=True)
        thread.start()
        thread.join(timeout)
        return bool(done)

    def alive(self) -> bool:
        """Whether the device still asks for blocks."""
        patience = max(SILENT_S, SILENT_BLOCKS * self.engine.block / self.rate)
        silent = perf_counter() - self._last_call
        return self._started > 0 and not self._ended and silent < patience

    @property
    def source_ended(self) -> bool:
        """Whether the source was played to its end."""
        return self._source is not None and self._position >= len(self._source)

    def __enter__(self) -> "Player":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _finished(self) -> None:
        self._ended = True

    def _duplex(self, indata, outdata, frames, _time, status) -> None:
        self._answer(lambda: self._mono(indata), outdata, frames, status)

    def _from_source(self, outdata, frames, _time, status) -> None:
        self._answer(self._next_of_source, outdata, frames, status)

    def _from_queue(self, outdata, frames, _time, status) -> None:
        self._answer(self._next_in_queue, outdata, frames, status)

    def _to_queue(self, indata, frames, _time, status) -> None:
        self._count(status)
        if frames != self.engine.block:
            self.stats.other_lengths += 1
            return
        self.stats.dropped += len(self._queue) == self._queue.maxlen
        self._queue.append(self._mono(indata))

    def _answer(self, heard: Callable[[], NDArray], outdata, frames, status) -> None:
        """The callback: fills the output, whatever happens, and never raises."""
        self._last_call = perf_counter()
        outdata.fill(0)
        self._count(status)
        if frames != self.engine.block:
            self.stats.other_lengths += 1
            return
        try:
            if self._unsettled:
                self.engine.forget()
                self._unsettled = False
            x = heard()
            before = perf_counter()
            played = self.engine.process(x)
            outdata[:, self._outs] = played.audio[:, None]
            self.stats.add(perf_counter() - before, played)
            if self.recorder is not None:
                self.recorder.put(played)
        except Exception as error:
            outdata.fill(0)
            self._unsettled = True  # a step that failed has consumed its state
            self.stats.faults += 1
            self.stats.fault = f"{type(error).__name__}: {error}"

    def _count(self, status) -> None:
        if status:
            self.stats.underflows += status.input_underflow + status.output_underflow
            self.stats.overflows += status.input_overflow + status.output_overflow

    def _mono(self, indata) -> NDArray[np.float32]:
        if len(self._ins) == 1:
            return indata[:, self._ins[0]].copy()  # the buffer is PortAudio's
        with np.errstate(invalid="ignore", over="ignore"):
            return indata[:, self._ins].mean(axis=1, dtype=np.float32)

    def _next_of_source(self) -> NDArray[np.float32]:
        assert self._source is not None
        block = self.engine.block
        piece = self._source[self._position : self._position + block]
        self._position += block
        return np.pad(piece, (0, block - len(piece))) if len(piece) < block else piece

    def _next_in_queue(self) -> NDArray[np.float32]:
        if self._queue:
            return self._queue.popleft()
        self.stats.starved += 1
        return np.zeros(self.engine.block, np.float32)


def _channels(
    wanted: Sequence[int] | None, device: dict[str, Any], kind: str, usual: int
) -> list[int]:
    """Channels counted from 0. ValueError for those that the device has not."""
    there = device[f"max_{kind}_channels"]
    if wanted is None:
        return list(range(min(usual, there)))
    if not wanted or not all(1 <= c <= there for c in wanted):
        raise ValueError(
            f"{kind} device {device['name']!r} has no channels "
            f"{', '.join(map(str, wanted)) or '(none)'}; it has 1 to {there}"
        )
    return sorted({c - 1 for c in wanted})


def leave(status: int) -> NoReturn:
    """End the process at once, where a dead sound server would hang or abort it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
