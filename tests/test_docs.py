"""What README and documentation say to type can be typed, and does what they say."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jack_server import MISSING, jackd

from jaxsnare.audio import read_audio, write_audio
from jaxsnare.cli import _parse, main
from jaxsnare.drummer import practice
from jaxsnare.model import Model

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINES = [
    pytest.param(line, id=f"{page.stem}: {line}")
    for page in PAGES
    for line in re.findall(
        r"^ {4,}(jaxsnare .*?)(?:\s+#.*)?$", page.read_text("utf-8"), re.MULTILINE
    )
]
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_readme_has_commands_and_snippets():
    assert len(LINES) >= 8
    assert len(BLOCKS) == 2


@pytest.mark.parametrize("line", LINES)
def test_a_command_has_the_options_that_are_given_to_it(line):
    args = _parse(shlex.split(line)[1:])
    assert args is not None
    assert args.command == line.split()[1]


@pytest.mark.slow
def test_the_snippets_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_audio("practice.wav", practice(48_000, seconds=8).audio, 48_000)
    names: dict = {}
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        exec(BLOCKS[0], names)
        short = BLOCKS[1].replace("Recipe(", "Recipe(epochs=1, ")
        exec(short.replace("(1, 2, 3)", "(1,)").replace("(5)", "(1)"), names)
    # the quieter oscillator of two: turning it up by 1 dB adds less than 1 dB
    assert 0 < float(names["grads"]["osc1_gain.gain"]) < 1
    assert "LKFS per dB" in capsys.readouterr().out
    assert names["audio"].shape == names["played"].audio.shape == (48_000,)
    assert np.isfinite(names["played"].audio).all()
    assert Model.load("my-model").sample_rate == 48_000


LIVE = "devices", "live", "calibrate"  # none of them runs without a device


@pytest.mark.slow
def test_the_commands_of_the_documentation_run_in_their_order(
    tmp_path, monkeypatch, capsys
):
    """From a recording to a played performance, as a newcomer types it."""
    monkeypatch.chdir(tmp_path)
    lesson = practice(44_100, seconds=12)
    write_audio("practice.wav", lesson.audio, 44_100)
    song = practice(44_100, seconds=4, seed=1).audio
    write_audio("song.wav", song, 44_100)
    (tmp_path / "samples").mkdir()
    for start in lesson.onsets:
        hit = lesson.audio[max(start - 100, 0) : start + 20_000]
        write_audio(f"samples/{start}.wav", hit, 44_100)
    (tmp_path / "take1").mkdir()
    write_audio("take1/input.wav", song, 44_100)
    names = ("index", "train-well", "parity", "troubleshooting")
    lines = [line.values[0] for line in LINES if str(line.id).split(":")[0] in names]
    # `reach` is long, and test_cli looks at what it finds
    left_out = {*LIVE, "bench", "reach"}
    ran = []
    with jax.numpy_dtype_promotion("standard"):
        for line in dict.fromkeys(map(str, lines)):
            command, *words = shlex.split(line)[1:]
            if command in left_out or "torchscript" in line:
                continue
            words += ["--epochs", "1"] if command == "train" else []
            again = command in ("train", "onsets") and "--overwrite" not in words
            words += ["--overwrite"] if again else []
            assert main([command, *words]) == 0, (line, capsys.readouterr().err)
            ran.append(command)
    assert {"onsets", "train", "remap", "show", "export"} <= set(ran)
    assert (tmp_path / "report.png").stat().st_size > 10_000
    assert len(read_audio("synth.wav", 44_100)) == len(song)


@pytest.mark.realtime
@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_the_commands_that_play_run(random_model, tmp_path):
    """One of each kind; what calibrates and plays files is in other tests."""
    for name in ("my-snare", "my-rim", "my-tom", "my-bell", "both"):
        random_model().save(tmp_path / name)
    lines = [str(line.values[0]) for line in LINES]
    lines = sorted(line for line in lines if "--play" not in line)
    kinds = {re.sub(r"my-\w+|both", "MODEL", line): line for line in lines}
    ran = []
    with jackd("jaxsnare-docs"):
        for line in kinds.values():
            command, *words = shlex.split(line)[1:]
            if command not in ("devices", "live"):
                continue
            words += ["--duration", "1"] if command == "live" else []
            done = subprocess.run(
                [sys.executable, "-m", "jaxsnare", command, *words],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
            assert done.returncode == 0, (line, done.stderr)
            ran.append(command)
    assert ran.count("devices") == 1
    assert ran.count("live") >= 4
    assert (tmp_path / "take1" / "input.wav").exists()
