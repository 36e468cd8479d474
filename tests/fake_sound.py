"""A sound library that makes no sound, and an engine to play through it."""

import sys
import types
from typing import Any

import numpy as np
import pytest

from jaxsnare.live.engine import Played
from jaxsnare.live.stream import Player

RATE, BLOCK = 48_000, 4


class Status:
    input_underflow = input_overflow = output_underflow = output_overflow = False

    def __bool__(self):
        return self.output_underflow or self.input_overflow


class PortAudioError(Exception):
    pass


def device(index, name, inputs, outputs):
    return {
        "index": index,
        "name": name,
        "hostapi": 0,
        "max_input_channels": inputs,
        "max_output_channels": outputs,
        "default_samplerate": float(RATE),
        "default_low_input_latency": 0.001,
        "default_low_output_latency": 0.002,
    }


class Stream:
    def __init__(self, **settings):
        self.settings, self.callback = settings, settings["callback"]
        self.latency = (0.001, 0.002)

    def start(self):
        pass

    stop = close = start

    def __enter__(self):
        """A server that asks for 8 samples at once."""
        out = np.ones((8, 1), np.float32)
        self.callback(out, 8, 0, Status())
        assert not out.any()

    def __exit__(self, *_):
        pass


@pytest.fixture
def api():
    """The name of the host API, in a list."""
    return ["Fake"]


@pytest.fixture
def sound(monkeypatch, api):
    """A microphone, two loudspeakers of one name and a card; 0 and 1 are default."""
    present = [
        device(0, "Microphone", 4, 0),
        device(1, "Speaker (USB)", 0, 2),
        device(2, "Speaker (HDMI)", 0, 8),
        device(3, "Card", 2, 2),
    ]

    def query(index=None, kind=None):
        if kind is not None:
            return present[{"input": 0, "output": 1}[kind]]
        return present if index is None else present[index]

    def check(samplerate, **_):
        if samplerate != RATE:
            raise PortAudioError("Invalid sample rate")

    fake = types.SimpleNamespace(
        PortAudioError=PortAudioError,
        query_devices=query,
        query_hostapis=lambda: [{"name": api[0]}],
        check_input_settings=check,
        check_output_settings=check,
        Stream=Stream,
        InputStream=Stream,
        OutputStream=Stream,
    )
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return present


class Doubler:
    """An engine that doubles, and fails on request."""

    remapper = types.SimpleNamespace(sample_rate=RATE, latency=240)
    block = BLOCK

    def __init__(self):
        self.fails, self.forgot = False, 0

    def process(self, x):
        if self.fails:
            raise RuntimeError("by intent")
        return Played(2 * x, 2 * x, x, 1.0, 0, ())

    def forget(self):
        self.forgot += 1

    def take_over(self, other):
        self.before = other


def make_player(engine: Any = None, **options) -> Player:
    engine = engine or Doubler()
    return Player(engine, **options)


def call(player, indata, frames=BLOCK, status=None, channels=2):
    """A duplex callback: what the output becomes."""
    out = np.full((frames, channels), np.nan, np.float32)
    status = Status() if status is None else status
    player._streams[0].callback(np.asarray(indata, np.float32), out, frames, 0, status)
    return out
