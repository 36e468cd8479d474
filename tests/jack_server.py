"""A JACK server without a sound card, and clients that play into the stream."""

import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

try:
    import jack
except (ImportError, OSError):
    jack = None

RATE, PERIOD = 48_000, 64
MISSING = (
    "JACK-Client is not installed"
    if jack is None
    else "jackd is not installed"
    if shutil.which("jackd") is None
    else ""
)
needs_jack = [
    pytest.mark.realtime,
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
]


@contextmanager
def jackd(name: str):
    """A server without a sound card, as the default one of this process.

    Names are fixed: JACK keeps the places of killed servers, of which it has eight,
    until a server of the same name starts.
    """
    assert jack is not None
    jack.set_error_function(lambda message: None)
    jack.set_info_function(lambda message: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JACK_DEFAULT_SERVER", name)
        patch.setenv("JACK_NO_START_SERVER", "1")
        command = ["jackd", "-n", name, "-d", "dummy", "-r", str(RATE)]
        server = subprocess.Popen(
            [*command, "-p", str(PERIOD)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(lambda: server.poll() is not None or runs(), 10)
            assert server.poll() is None, f"a server {name!r} is there already"
            yield server
        finally:
            server.terminate()
            try:
                server.wait(3)
            except subprocess.TimeoutExpired:
                server.kill()


def look_again() -> None:
    """Let PortAudio find the server as it is now: it looks only when it begins."""
    import sounddevice as sd

    sd._terminate()
    sd._initialize()


def runs() -> bool:
    """Asked from outside: one process cannot be a client of two servers."""
    ask = "import jack; jack.Client('probe', no_start_server=True).close()"
    return not subprocess.run(
        [sys.executable, "-c", ask], capture_output=True
    ).returncode


def wait_for(condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {condition}"
        time.sleep(0.02)


@contextmanager
def period(samples: int):
    """The server at another period."""
    assert jack is not None
    client = jack.Client("period")
    before, client.blocksize = client.blocksize, samples
    look_again()
    try:
        yield
    finally:
        client.blocksize = before
        client.close()
        look_again()


class Studio:
    """Client A plays a signal into the stream, client B records what comes out.

    What B hears is put in place by JACK's clock, so that cycles that a client misses
    are holes and shift nothing. `heard[t]` belongs to `signal[t]`.
    """

    def __init__(self, audio: np.ndarray, seconds: float):
        assert jack is not None
        self.a, self.b = jack.Client("A"), jack.Client("B")
        self.period = self.a.blocksize
        cycles = int(seconds * RATE) // self.period
        self.audio = audio
        self.heard = np.zeros(cycles * self.period, np.float32)
        self.sent = np.zeros(cycles, bool)  # of A
        self.recorded = self.sent.copy()  # of B
        self.playing = False
        self.start = -1
        self.last = -1  # sample up to which B has heard
        self.out: Any = self.a.outports.register("out")
        self.into: Any = self.b.inports.register("in")
        self.a.set_process_callback(self.play)
        self.b.set_process_callback(self.record)

    def play(self, frames):
        buffer = self.out.get_array()
        buffer[:] = 0
        if not self.playing:
            return
        if self.start < 0:
            self.start = self.a.last_frame_time
        at = self.a.last_frame_time - self.start
        self.fill(buffer, at)
        self.sent[at // self.period : at // self.period + 1] = True

    def fill(self, buffer, at: int) -> None:
        piece = self.audio[at : at + len(buffer)]
        buffer[: len(piece)] = piece

    def record(self, frames):
        if self.start < 0:
            return
        at = self.b.last_frame_time - self.start
        if 0 <= at < len(self.recorded) * self.period:
            self.take(self.into.get_array(), at)
            self.recorded[at // self.period] = True
            self.last = at + frames

    def take(self, heard, at: int) -> None:
        self.heard[at : at + len(heard)] = heard

    def connect(self) -> None:
        """A to the stream, unless PortAudio has done so, and the stream to B."""
        assert jack is not None
        into, *_ = self.a.get_ports("PortAudio:in_", is_input=True)
        out, *_ = self.a.get_ports("PortAudio:out_", is_output=True)
        if into not in self.a.get_all_connections(self.out):
            self.a.connect(self.out, into)
        self.b.connect(out, self.into)
        self.stream_in, self.stream_out = into, out

    def disconnect(self) -> None:
        self.a.disconnect(self.out, self.stream_in)
        self.b.disconnect(self.stream_out, self.into)

    def __enter__(self):
        self.a.activate()
        self.b.activate()
        self.connect()
        return self

    def __exit__(self, *_):
        for client in (self.a, self.b):
            client.deactivate()
            client.close()

    def run(self, freewheel: bool):
        if freewheel:
            self.a.set_freewheel(True)
        self.playing = True
        end = (len(self.recorded) - 1) * self.period
        wait_for(lambda: self.last >= end, 60 + 2 * end / RATE)
        if freewheel:
            self.a.set_freewheel(False)
