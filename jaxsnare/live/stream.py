"""The engine in the callback of a sound device."""

import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from math import ceil
from threading import Event, Thread
from time import perf_counter
from typing import Any, NamedTuple, NoReturn, Protocol, cast

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
from jaxsnare.live.engine import Engine, Played, Shape
from jaxsnare.live.stats import Stats

__all__ = ["Device", "Latency", "Player", "devices", "find_device", "leave"]

JACK = "JACK Audio Connection Kit"
PERIOD_S = 1.0  # within which a JACK server asks for the first samples
SILENT_S, SILENT_BLOCKS = 1.5, 8  # without a callback: the device is gone
QUEUE_S = 0.02  # between two streams, at most; and a few blocks at least
QUEUE_BLOCKS = 4


class Latency(NamedTuple):
    """Samples from a stroke's onset to its answer, and where they go."""

    trigger: int  # from the detected onset to the voice: exact
    device: int  # buffering in and out, as stated by the device
    sample_rate: int

    @property
    def samples(self) -> int:
        return self.trigger + self.device

    @property
    def ms(self) -> float:
        return 1e3 * self.samples / self.sample_rate


Heard = Callable[[slice], NDArray[np.float32]]
"""What is to be played on, for a part of the samples that the device asks for."""


class Taker(Protocol):
    """What may be recorded to, without ever blocking."""

    def put(self, played: Played) -> None: ...


class Player:
    """Plays an engine on a sound device.

    input, output: devices as for `find_device`. in_channels, out_channels: channels
    from 1 on; inputs are averaged (default: the first), all outputs play the same
    (default: the first two, or the only one). source: audio [T] at the engine's rate,
    [Z, T] for zones, that is played, in real time, in place of the microphone.
    recorder: is handed every block. zones: of `Zones`, the input channel of each, from
    1 on; in_channels are then not asked for.

    The device is opened here and plays from `start()` on; a shape does for opening
    it, if `engine` is set by then. `stats` counts, `warnings`
    are sentences for the player's eyes. Raises ValueError, saying what works, for a
    device, rate or channel that does not exist.
    """

    def __init__(
        self,
        engine: Engine | Shape,
        *,
        input: str | int | None = None,
        output: str | int | None = None,
        in_channels: Sequence[int] | None = None,
        out_channels: Sequence[int] | None = None,
        source: NDArray[np.float32] | None = None,
        recorder: Taker | None = None,
        zones: Sequence[int] = (),
    ) -> None:
        sd = sounddevice()
        self.zones = [channel - 1 for channel in zones]
        self.engine, self.recorder = cast(Engine, engine), recorder
        self.rate = engine.remapper.sample_rate
        self.stats = Stats()
        self.warnings: list[str] = []
        self._last_heard = self._last_call = self._started = 0.0
        self._ended = self._unsettled = False
        self._next: Engine | None = None
        self._source = None if source is None else np.asarray(source, np.float32)
        self._position = 0
        waiting = max(QUEUE_BLOCKS, ceil(QUEUE_S * self.rate / engine.block))
        self._queue: deque[NDArray[np.float32]] = deque(maxlen=waiting)
        self.blocksize = engine.block  # that PortAudio keeps to; 0: none
        self._ports_s: float | None = None  # latency of JACK's ports

        to = self._device(sd, output, "output")
        self._outs = _channels(out_channels, to, "output", 2)
        one = {"channels": max(self._outs) + 1, "device": to["index"]}
        if source is not None:
            self._fit(sd, to)
            self._streams = [self._open(sd.OutputStream, self._from_source, **one)]
            return
        of = self._device(sd, input, "input")
        self._ins = _channels(zones or in_channels, of, "input", 1)
        other = {"channels": max(self._ins) + 1, "device": of["index"]}
        self._fit(sd, to, of)
        if of["index"] == to["index"] or self._ports_s is not None:
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
            usual = round(device["default_samplerate"])
            works = sorted({*rates_of(sd, device), usual})
            raise ValueError(
                f"{kind} device {device['name']!r} does not run at {self.rate} Hz; "
                f"it runs at {', '.join(map(str, works))} Hz: add --rate {usual}"
            )
        return device

    def _fit(
        self, sd: Any, to: dict[str, Any], of: dict[str, Any] | None = None
    ) -> None:
        """Take the blocks of a JACK server as they come, where ours divide them.

        All devices of a server have one clock, and give their samples a period at
        once. To keep to another block, PortAudio delays them by one, whatever the
        period. PortAudio's own statement leaves out a period each for input and output;
        the ports' latencies, in the records of the devices, do not.
        """
        used = [device for device in (to, of) if device is not None]
        if any(_host_api(sd, device) != JACK for device in used):
            return
        self._ports_s = to["default_low_output_latency"]
        if of is not None:
            self._ports_s += of["default_low_input_latency"]
        block, period = self.engine.block, _jack_period(sd, to["index"])
        if period and period % block == 0:
            self.blocksize = 0
        elif period:
            self.warnings.append(
                f"the JACK server plays {period} samples at once: to fit blocks of "
                f"{block} to that adds {1e3 * block / self.rate:.1f} ms; a --block "
                f"that divides {period} adds nothing"
            )

    def _open(self, kind: Callable[..., Any], callback: Any, **settings: Any) -> Any:
        sd = sounddevice()
        try:
            return kind(
                samplerate=self.rate,
                blocksize=self.blocksize,
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

        The device's part is what PortAudio states. On JACK it is the latency of the
        ports, to which a block is added where ours do not divide the server's period.
        """
        if self._ports_s is None:
            stated = sum(float(np.sum(stream.latency)) for stream in self._streams)
            device = round(stated * self.rate)
        else:
            device = round(self._ports_s * self.rate) + self.blocksize
        return Latency(self.engine.remapper.latency, device, self.rate)

    def switch(self, engine: Engine) -> None:
        """Play on with another engine, of the same rate and block, from any thread.

        It goes on where this one is, and fades in over the next block.
        """
        self._next = engine

    def start(self) -> None:
        """Begin to play. ValueError if the device refuses."""
        self._last_heard = self._last_call = self._started = perf_counter()
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
        both = len(self._streams) > 1
        last = min(self._last_call, self._last_heard) if both else self._last_call
        silent = perf_counter() - last
        return self._started > 0 and not self._ended and silent < patience

    @property
    def source_ended(self) -> bool:
        """Whether the source was played to its end."""
        return self._source is not None and self._position >= self._source.shape[-1]

    def __enter__(self) -> "Player":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _finished(self) -> None:
        self._ended = True

    def _duplex(self, indata, outdata, frames, _time, status) -> None:
        self._answer(lambda part: self._mono(indata[part]), outdata, frames, status)

    def _from_source(self, outdata, frames, _time, status) -> None:
        self._answer(self._next_of_source, outdata, frames, status)

    def _from_queue(self, outdata, frames, _time, status) -> None:
        self._answer(self._next_in_queue, outdata, frames, status)

    def _to_queue(self, indata, frames, _time, status) -> None:
        self._last_heard = perf_counter()
        self._count(status)
        if frames != self.engine.block:
            self._misfit(frames)
            return
        self.stats.dropped += len(self._queue) == self._queue.maxlen
        self._queue.append(self._mono(indata))

    def _misfit(self, frames: int) -> None:
        self.stats.other_lengths += 1
        self.stats.other_length = frames

    def _answer(self, heard: Heard, outdata, frames, status) -> None:
        """The callback: fills the output, whatever happens, and never raises."""
        self._last_call = perf_counter()
        outdata.fill(0)
        self._count(status)
        block = self.engine.block
        if frames % block:
            self._misfit(frames)
            return
        for start in range(0, frames, block):
            part = slice(start, start + block)
            try:
                self._answer_block(heard(part), outdata[part])
            except Exception as error:
                outdata[part] = 0
                self._unsettled = True  # a step that failed has consumed its state
                self.stats.faults += 1
                self.stats.fault = f"{type(error).__name__}: {error}"

    def _answer_block(self, x: NDArray[np.float32], outdata: NDArray) -> None:
        if self._unsettled:
            self.engine.forget()
            self._unsettled = False
        before = perf_counter()
        new, self._next = self._next or self.engine, None
        same = new is self.engine
        played = new.process(x) if same else self._cross(new, x)
        outdata[:, self._outs] = played.audio[:, None]
        self.stats.add(perf_counter() - before, played)
        if self.recorder is not None:
            self.recorder.put(played)

    def _cross(self, new: Engine, x: NDArray[np.float32]) -> Played:
        """A block in which a new engine fades in, and the old one out."""
        old, self.engine = self.engine, new
        new.take_over(old)
        before, after = old.process(x), new.process(x)
        rise = np.arange(1, len(x) + 1, dtype=np.float32) / len(x)
        audio, synth = (
            a + rise * (b - a)
            for a, b in ((before.audio, after.audio), (before.synth, after.synth))
        )
        return after._replace(audio=audio, synth=synth)

    def _count(self, status) -> None:
        if status:
            under = status.input_underflow + status.output_underflow
            over = status.input_overflow + status.output_overflow
            self.stats.underflows += under
            self.stats.overflows += over
            self.stats.xruns += bool(under + over)

    def _mono(self, indata) -> NDArray[np.float32]:
        """What is played on: [T], or [Z, T] for zones."""
        if self.zones:
            return np.ascontiguousarray(indata[:, self.zones].T)
        if len(self._ins) == 1:
            return indata[:, self._ins[0]].copy()  # the buffer is PortAudio's
        with np.errstate(invalid="ignore", over="ignore"):
            return indata[:, self._ins].mean(axis=1, dtype=np.float32)

    def _next_of_source(self, _: slice) -> NDArray[np.float32]:
        assert self._source is not None
        block = self.engine.block
        piece = self._source[..., self._position : self._position + block]
        self._position += block
        missing = block - piece.shape[-1]
        if not missing:
            return piece
        return np.pad(piece, ((0, 0),) * (piece.ndim - 1) + ((0, missing),))

    def _next_in_queue(self, _: slice) -> NDArray[np.float32]:
        if self._queue:
            return self._queue.popleft()
        self.stats.starved += 1
        shape = (
            (len(self.zones), self.engine.block) if self.zones else self.engine.block
        )
        return np.zeros(shape, np.float32)


def _host_api(sd: Any, device: dict[str, Any]) -> str:
    return sd.query_hostapis()[device["hostapi"]]["name"]


def _jack_period(sd: Any, index: int) -> int:
    """Samples that a JACK server asks for at once; 0 if it does not ask.

    PortAudio does not tell: they are counted in a stream that plays silence.
    """
    asked, period = Event(), []

    def callback(outdata, frames, _time, _status):
        outdata.fill(0)
        period.append(frames)
        asked.set()

    try:
        with sd.OutputStream(device=index, channels=1, callback=callback):
            asked.wait(PERIOD_S)
    except sd.PortAudioError:
        return 0  # opening it in earnest will tell why
    return period[0] if period else 0


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
