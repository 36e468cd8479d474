"""The tutorial: its synth trains on a real drum, plays, and obeys the laws."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from playing import joined, play

from jaxsnare import Snare808
from jaxsnare.cli import main
from jaxsnare.live.engine import Engine
from jaxsnare.model import Model
from jaxsnare.params import as_params
from jaxsnare.performance import remap
from jaxsnare.presets import read_preset
from jaxsnare.synths import find_synth, render
from jaxsnare.train import listen, train

PAGE = Path(__file__).parents[1] / "docs" / "compose-a-synth.md"
SYNTH, COMBINED = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
RATE = 48_000


@pytest.fixture
def cowbell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cowbell.py").write_text(SYNTH)
    return find_synth("cowbell.py:Cowbell")


def test_it_is_60_lines_and_sounds(cowbell):
    assert len(SYNTH.splitlines()) <= 60
    synth = cowbell(RATE)
    audio = np.asarray(render(synth, synth.specs.defaults, seconds=0.5))
    assert 0.1 < np.abs(audio).max() <= 1.0
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    loudest = np.fft.rfftfreq(len(audio), 1 / RATE)[np.argsort(spectrum)[-8:]]
    partials = [k * hz for hz in (540.0, 800.0) for k in (1, 3)]
    near = [min(abs(hz - partial) for partial in partials) for hz in loudest]
    assert max(near) < 10.0


def test_the_combinations_of_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("both.py").write_text(COMBINED)
    assert find_synth("both.py:Stack")(RATE).specs.names[0].startswith("body.")
    assert "which.high" in find_synth("both.py:Either")(RATE).specs.names
    roomy = find_synth("both.py:Roomy")(RATE)
    dry, wet = (roomy.specs.defaults | {"reverb.amount": a} for a in (0.0, 0.5))
    values = as_params(Snare808(RATE).specs.defaults)
    snare = np.asarray(render(Snare808(RATE), values, samples=4800))
    one, other = (
        np.asarray(render(roomy, as_params(v), samples=4800)) for v in (dry, wet)
    )
    np.testing.assert_allclose(one, snare, atol=1e-6)
    np.testing.assert_allclose(other[:900], 0.5**0.5 * snare[:900], atol=1e-6)
    assert np.abs(other - 0.5**0.5 * snare)[2400:].max() > 1e-3


@pytest.mark.slow
def test_it_obeys_the_laws(cowbell, capsys):
    argv = ["check-synth", "cowbell.py:Cowbell", "--plot", "cowbell.png", "--json"]
    assert main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["holds"]
    assert [law for law in found["laws"] if not law["holds"]] == []
    timed = "a block of"  # on a busy machine it may take long
    assert [note for note in found["notes"] if not note.startswith(timed)] == []
    assert max(row["SPL_S"] for row in found["moves"].values()) > 1
    assert Path("cowbell.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_it_trains_on_a_real_drum_and_plays(cowbell, shared, tmp_path):
    """It follows better than one sound for every hit, and live as in a file."""
    hits = listen([shared / "data" / "snare" / "real" / "fs_14x05_maple"], RATE)
    synth = cowbell(RATE)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        training = train(hits, synth, read_preset("default", synth))
    assert training.model.training["test"]["mean_ratio"] < 0.9
    training.model.save(tmp_path / "model")
    model = Model.load(tmp_path / "model")
    assert type(model.synth) is cowbell

    engine = Engine(model.remapper(RATE), model.params(), 64)
    audio = hits.audio[:3].reshape(-1)
    live = joined(play(engine, audio))
    wanted = remap(model.remapper(), model.params(), audio).audio[: len(live)]
    np.testing.assert_allclose(live, wanted, atol=1e-5)
    assert np.abs(live).max() > 0.01
