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
    write_audio("practice.wav", practice(48_000, seconds=10).audio, 48_000)
    names: dict = {}
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        exec(BLOCKS[0], names)
        short = BLOCKS[1].replace("Recipe(", "Recipe(epochs=1, ").replace("(5)", "(1)")
        exec(short, names)
    # the quieter oscillator of two: turning it up by 1 dB adds less than 1 dB
    assert 0 < float(names["grads"]["osc1_gain.gain"]) < 1
    assert "LKFS per dB" in capsys.readouterr().out
    assert names["audio"].shape == names["played"].audio.shape == (48_000,)
    assert np.isfinite(names["played"].audio).all()
    assert Model.load("my-model").sample_rate == 48_000


# None of them runs without a device; how the others may end.
LIVE = {
    "devices": [],
    "live": ["--duration", "1", "--overwrite"],
    "calibrate": ["--play", "practice.wav"],
}
HEARD = {"--room": ("--room", "quiet.wav"), "--bleed": ("--bleed", "practice.wav")}
"""In place of the microphone, which hears nothing."""


@pytest.mark.slow
def test_the_commands_of_the_documentation_run_in_their_order(
    tmp_path, monkeypatch, capsys
):
    """From a recording to a played performance, as a newcomer types it."""
    monkeypatch.chdir(tmp_path)
    write_audio("practice.wav", practice(44_100, seconds=12).audio, 44_100)
    song = practice(44_100, seconds=4, seed=1).audio
    write_audio("song.wav", song, 44_100)
    (tmp_path / "samples").mkdir()
    for k, start in enumerate(range(0, 100_000, 10_000)):
        write_audio(f"samples/{k}.wav", song[start:], 44_100)
    (tmp_path / "take1").mkdir()
    write_audio("take1/input.wav", song, 44_100)
    names = ("index", "train-well", "parity", "troubleshooting")
    lines = [line.values[0] for line in LINES if str(line.id).split(":")[0] in names]
    ran = []
    with jax.numpy_dtype_promotion("standard"):
        for line in map(str, lines):
            command, *words = shlex.split(line)[1:]
            if command in {*LIVE, "bench"} or "torchscript" in line:
                continue
            words += ["--epochs", "1"] if command == "train" else []
            words += ["--steps", "1"] if command == "reach" else []
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
    for name in ("my-snare", "my-rim", "my-tom", "my-bell", "both"):
        random_model().save(tmp_path / name)
    write_audio(tmp_path / "practice.wav", practice(48_000, seconds=12).audio, 48_000)
    write_audio(tmp_path / "song.wav", practice(48_000, seconds=3).audio, 48_000)
    hiss = 1e-4 * np.random.default_rng(0).normal(size=48_000)
    write_audio(tmp_path / "quiet.wav", hiss.astype(np.float32), 48_000)
    lines = {str(line.values[0]) for line in LINES}
    ran = []
    with jackd("jaxsnare-docs"):
        for line in sorted(lines):
            command, *words = shlex.split(line)[1:]
            if command not in LIVE:
                continue
            heard = [w for word in words for w in HEARD.get(word, (word,))]
            words = heard if heard != words else [*words, *LIVE[command]]
            done = subprocess.run(
                [sys.executable, "-m", "jaxsnare", command, *words],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
            assert done.returncode == 0, (line, done.stderr)
            ran.append(command)
    assert set(ran) == set(LIVE)
    assert (tmp_path / "take1" / "input.wav").exists()
