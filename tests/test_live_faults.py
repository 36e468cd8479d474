"""`jaxsnare live` as a program of its own, on a JACK server: how it ends."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from jack_server import RATE, jackd, needs_jack

from jaxsnare.audio import write_audio
from jaxsnare.drummer import groove
from jaxsnare.live.recorder import TRACKS

GROOVE = groove(RATE).audio[: 3 * RATE]
GONE = "jaxsnare: the sound device has gone"
pytestmark = needs_jack


@pytest.fixture(scope="module")
def folder(random_model, tmp_path_factory):
    """A model, a performance, and a cache for what is compiled."""
    folder = tmp_path_factory.mktemp("live")
    random_model().save(folder / "model")
    write_audio(folder / "groove.wav", GROOVE, RATE)
    return folder


@pytest.fixture
def server():
    with jackd("jaxsnare-faults") as process:
        yield process


class Program:
    """A running `jaxsnare live`."""

    def __init__(self, folder: Path, *words: str):
        source = Path(__file__).parents[1]
        paths = {"PYTHONPATH": str(source), "XDG_CACHE_HOME": str(folder / "cache")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jaxsnare", "live", str(folder / "model"), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | paths,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def ready(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if "ready in" in line:
                return
        raise AssertionError(f"it ended: {self.process.communicate()}")

    def end(self, timeout: float = 10) -> tuple[int, str, str]:
        """Status, output and errors, once it has ended."""
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err


def recorded_s(take: Path) -> float:
    """Length of the tracks, which must be readable and equal."""
    tracks = [soundfile.read(take / f"{track}.wav")[0] for track in TRACKS]
    assert all(np.isfinite(track).all() for track in tracks)
    assert len({len(track) for track in tracks}) == 1
    return len(tracks[0]) / RATE


def test_a_file_is_played_to_its_end_and_recorded(folder, server, tmp_path):
    take = tmp_path / "take"
    words = "--play", str(folder / "groove.wav"), "--record", str(take), "--json"
    with Program(folder, *words) as program:
        status, out, err = program.end(timeout=60)
    assert status == 0, err
    said = json.loads(out)
    assert said["ended"] == "over"
    assert said["hits"] == said["recording"]["hits"] >= 4
    assert said["recording"]["error"] == ""
    assert (said["faults"], said["bad_input_blocks"]) == (0, 0)
    assert said["latency_samples"] == 239 + 2 * 64
    assert recorded_s(take) == pytest.approx(said["recording"]["seconds"])
    heard, _ = soundfile.read(take / "input.wav", dtype="float32")
    np.testing.assert_allclose(heard[: len(GROOVE)], GROOVE, atol=2e-5)
    hits = [json.loads(line) for line in (take / "hits.jsonl").read_text().splitlines()]
    synth, _ = soundfile.read(take / "synth.wav", dtype="float32")
    assert len(hits) == said["hits"]
    assert np.flatnonzero(synth)[0] in (hits[0]["sample"], hits[0]["sample"] + 1)


# SIGINT is sent where the disk is full
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_a_summary(folder, server, tmp_path, number):
    take = tmp_path / "take"
    with Program(folder, "--record", str(take), "--duration", "60") as program:
        program.ready()
        time.sleep(1)
        program.process.send_signal(number)
        status, out, err = program.end(timeout=3)
    assert status == 0
    assert out.startswith("Played ")
    assert f"to {take}" in out
    assert "Traceback" not in err
    assert 0.3 < recorded_s(take) < 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_goes_ends_it_in_time(folder, server, tmp_path, number):
    """Callbacks just stop then, and closing the stream would hang."""
    take = tmp_path / "take"
    with Program(folder, "--record", str(take), "--json") as program:
        program.ready()
        time.sleep(1)
        server.send_signal(number)
        sent = time.monotonic()
        status, out, err = program.end()
        took = time.monotonic() - sent
    assert status == 1
    assert took < 3
    assert err.splitlines()[-1].startswith(GONE)
    said = json.loads(out)
    assert said["ended"] == "gone"
    assert recorded_s(take) == pytest.approx(said["recording"]["seconds"])
    assert recorded_s(take) == pytest.approx(said["seconds"], abs=1e-3)
    assert said["seconds"] > 0.3


def test_what_was_recorded_outlives_a_killed_program(folder, server, tmp_path):
    take = tmp_path / "take"
    with Program(folder, "--record", str(take)) as program:
        program.ready()
        time.sleep(1.5)
        program.process.kill()
        assert program.end()[0] == -signal.SIGKILL
    assert recorded_s(take) > 0.5


def test_a_full_disk_ends_the_recording_and_not_the_playing(folder, server, tmp_path):
    words = "--record", str(tmp_path / "take"), "--json"
    with Program(folder, *words) as program:
        program.ready()
        limits = 200_000, resource.RLIM_INFINITY  # a second is 192 000 bytes
        resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, limits)
        time.sleep(2.5)
        assert program.process.poll() is None
        program.process.send_signal(signal.SIGINT)
        status, out, err = program.end(timeout=5)
    assert status == 0
    assert err.count("jaxsnare: recording has ended: ") == 1
    said = json.loads(out)
    assert str(tmp_path) in said["recording"]["error"]
    assert said["recording"]["seconds"] < said["seconds"] - 0.5
    assert soundfile.info(tmp_path / "take" / "mix.wav").duration > 0.5
