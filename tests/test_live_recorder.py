"""The recorder: nothing lost that was written, nothing ever waits for it."""

import json
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
import soundfile

from jaxsnare.live.engine import Hit, Names, Played
from jaxsnare.live.recorder import TRACKS, Recorder

RATE, BLOCK = 48_000, 64
NAMES = Names(("RMS",), ("osc1.freq", "osc1.mod"))


def blocks(count: int) -> list[Played]:
    """Noise, synth and mix made of it, with a hit in every tenth."""
    rng = np.random.default_rng(0)
    made = []
    for k in range(count):
        x: Any = rng.uniform(-1, 1, BLOCK).astype(np.float32)
        values = np.array([180.0, 0.1], np.float32)
        hit = Hit(
            k * BLOCK + 5,
            np.array([0.25], np.float32),
            np.float32(0.01) * values,
            values,
            -20.0,
            NAMES,
        )
        hits = (hit,) if k % 10 == 0 else ()
        half = np.float32(0.5) * x
        made.append(Played(half * half, half, x, 0.0, len(hits), hits))
    return made


def recorder(folder, **options) -> Recorder:
    return Recorder(folder, RATE, **options)


def tracks(folder, suffix="wav") -> list[np.ndarray]:
    files = [folder / f"{track}.{suffix}" for track in TRACKS]
    return [soundfile.read(file, dtype="float32")[0] for file in files]


def signal(played: list[Played], field: str) -> np.ndarray:
    return np.concatenate([getattr(p, field) for p in played])


@pytest.mark.parametrize(("suffix", "tolerance"), [("wav", 0.0), ("flac", 1.3e-7)])
def test_what_was_played_is_in_the_files(tmp_path, suffix, tolerance):
    played = blocks(500)
    taking = recorder(tmp_path / "new" / "take", format=suffix)
    for p in played:
        taking.put(p)
    summary = taking.close()
    assert summary == (tmp_path / "new" / "take", 500 * BLOCK / RATE, 50, 0, "")
    found = tracks(summary.folder, suffix)
    for track, field in zip(found, ("input", "synth", "audio"), strict=True):
        np.testing.assert_allclose(track, signal(played, field), rtol=0, atol=tolerance)
    lines = (summary.folder / "hits.jsonl").read_text().splitlines()
    assert len(lines) == 50
    assert json.loads(lines[1]) == {
        "time_s": 0.013437,
        "sample": 645,
        "zone": 1,
        "features": {"RMS": 0.25},
        "modulation": {"osc1.freq": 1.8, "osc1.mod": 0.001},
        "values": {"osc1.freq": 180.0, "osc1.mod": 0.1},
    }


def test_files_are_replaced_only_on_request(tmp_path):
    recorder(tmp_path).close()
    assert list(tmp_path.iterdir()) == []  # nothing was played, nothing is left
    first = recorder(tmp_path)
    first.put(blocks(1)[0])
    first.close()
    with pytest.raises(ValueError, match=r"has input\.wav, .*: add --overwrite"):
        recorder(tmp_path)
    (tmp_path / "input.wav").unlink()
    with pytest.raises(ValueError, match=r"has synth\.wav, mix\.wav, hits\.jsonl"):
        recorder(tmp_path)
    assert not (tmp_path / "input.wav").exists()
    assert recorder(tmp_path, overwrite=True).close().error == ""


def test_what_cannot_be_recorded_to_is_refused(tmp_path):
    with pytest.raises(ValueError, match="format is 'mp3'; allowed: wav, flac"):
        recorder(tmp_path, format="mp3")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot record to .*file"):
        recorder(tmp_path / "file")


def test_a_full_buffer_drops_and_counts_and_later_blocks_keep_their_time(tmp_path):
    played = blocks(200)
    taking = recorder(tmp_path, buffer_s=50 * BLOCK / RATE)
    taking._write_waiting, write = lambda: None, taking._write_waiting  # a slow disk
    for p in played[:100]:
        taking.put(p)
    taking._write_waiting = write
    deadline = time.monotonic() + 5
    while taking._waiting and time.monotonic() < deadline:
        time.sleep(0.01)
    for p in played[100:140]:
        taking.put(p)
    summary = taking.close()
    assert (summary.dropped_blocks, summary.error) == (50, "")
    wanted = signal(played[:140], "input")
    wanted[50 * BLOCK : 100 * BLOCK] = 0
    assert np.array_equal(tracks(tmp_path)[0], wanted)


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on files there")
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_full_disk_is_reported_and_playing_goes_on(tmp_path, suffix):
    import resource

    played = blocks(2000)
    taking = recorder(tmp_path, format=suffix)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        for p in played:
            taking.put(p)
        deadline = time.monotonic() + 5
        while not taking.error and time.monotonic() < deadline:
            time.sleep(0.01)
        taking.put(played[0])
        summary = taking.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(tmp_path) in summary.error
    assert summary.dropped_blocks >= 1
    if suffix == "wav":
        found = tracks(tmp_path)[0]
        assert len(found) > 20_000
        assert np.array_equal(found, signal(played, "input")[: len(found)])


def test_a_wav_file_ends_before_its_length_overflows(tmp_path, monkeypatch):
    """The format counts bytes in 32 bits: what is beyond would not be read."""
    monkeypatch.setattr("jaxsnare.live.recorder.WAV_BYTES", 4 * 100 * BLOCK)
    for suffix, kept in ("wav", 100), ("flac", 200):
        taking = recorder(tmp_path / suffix, format=suffix)
        for played in blocks(100), blocks(100):
            for p in played:
                taking.put(p)
            deadline = time.monotonic() + 5
            while taking._waiting and not taking.error and time.monotonic() < deadline:
                time.sleep(0.01)
        summary = taking.close()
        assert ("no more than 4 GiB" in summary.error) == (suffix == "wav")
        assert summary.seconds == taking.seconds == kept * BLOCK / RATE
        assert len(tracks(summary.folder, suffix)[2]) == kept * BLOCK


KILLED = """
import os, sys, time
sys.path.insert(0, sys.argv[2])
from test_live_recorder import blocks, recorder
taking = recorder(sys.argv[1], format=sys.argv[3])
for played in blocks(1500):
    taking.put(played)
    time.sleep(0.001)
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
@pytest.mark.parametrize(("suffix", "tolerance"), [("wav", 0.0), ("flac", 1.3e-7)])
def test_a_killed_process_leaves_readable_files(tmp_path, suffix, tolerance):
    here = os.path.dirname(__file__)
    arguments = [str(tmp_path / "take"), here, suffix]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], timeout=120)
    assert done.returncode == -9
    wanted = signal(blocks(1500), "input")
    found = tracks(tmp_path / "take", suffix)
    for track in found:
        assert len(wanted) * 0.4 < len(track) <= len(wanted)
    error = np.abs(found[0] - wanted[: len(found[0])]).max()
    assert error <= tolerance
    for line in (tmp_path / "take" / "hits.jsonl").read_text().split("\n")[:-1]:
        assert json.loads(line)["values"]["osc1.freq"] == 180.0
