"""What the README says to type can be typed."""

import re
import shlex
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxsnare.audio import write_audio
from jaxsnare.cli import _parse
from jaxsnare.drummer import practice
from jaxsnare.model import Model

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
LINES = re.findall(r"^    (jaxsnare .*?)(?:\s+#.*)?$", README, re.MULTILINE)
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_readme_has_commands_and_snippets():
    assert len(LINES) >= 8
    assert len(BLOCKS) == 2


@pytest.mark.parametrize("line", LINES)
def test_a_command_has_the_options_that_the_readme_gives_it(line):
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
