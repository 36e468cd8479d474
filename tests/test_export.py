"""Models in other programs' formats, read back and compared with ours."""

import json
import sys
import warnings
from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxsnare.cli import main
from jaxsnare.drummer import practice
from jaxsnare.export import load_stablehlo, save_stablehlo, save_torchscript
from jaxsnare.features import OnsetFeatures
from jaxsnare.live.engine import Engine
from jaxsnare.mapping import map_features
from jaxsnare.synths import Kick808


@pytest.mark.parametrize(
    ("hidden", "activation", "layer_norm"),
    [
        ((), "relu", True),
        ((32,), "relu", True),
        ((64, 64, 64), "silu", True),
        ((32,), "tanh", True),
        ((32,), "tanh", False),
    ],
)
@pytest.mark.parametrize("told", [None, (64, 5)])
def test_torchscript_maps_as_the_model_does(
    random_model, tmp_path, hidden, activation, layer_norm, told
):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for category in (FutureWarning, DeprecationWarning):  # of loading, as of saving
        warnings.filterwarnings("ignore", category=category)
    model = random_model(hidden=hidden, init_std=2.0)
    changed = replace(
        model.mapping, activation=activation, layer_norm=layer_norm, told=told
    )
    rng = np.random.default_rng(1)  # what is not trained may begin as zero
    weights = jax.tree.map(
        lambda w: w + rng.normal(0, 0.5, w.shape).astype(np.float32),
        changed.init(jax.random.key(0)),
    )
    if told:
        weights["told"]["rate"] = -np.ones(5, np.float32)
    model = replace(model, mapping=changed, weights=weights)
    save_torchscript(model, tmp_path / "model.pt")
    loaded = torch.jit.load(tmp_path / "model.pt")
    params = model.map_params()
    for features in np.random.default_rng(0).random((8, 3), np.float32):
        got = loaded(torch.tensor(features[None])).detach().numpy()
        wanted = map_features(model.mapping, model.specs, params, features)
        assert got.shape == (2, 14)
        np.testing.assert_allclose(got[0], np.clip(wanted.modulation, -1, 1), atol=1e-5)
        np.testing.assert_allclose(got[1], params.preset, atol=1e-6)
        assert np.abs(got[0]).max() > 0.5
    with pytest.raises(ValueError, match="cannot be written"):
        save_torchscript(model, tmp_path / "no" / "model.pt")


@pytest.mark.slow
def test_stablehlo_plays_as_the_engine_does(random_model, tmp_path):
    model = random_model(second_look=1024)
    save_stablehlo(model, tmp_path / "step", block=64)  # a name is as it is given
    assert [path.name for path in tmp_path.iterdir()] == ["step"]
    exported = load_stablehlo(tmp_path / "step")
    assert exported.record["sample_rate"] == 48_000
    engine = Engine(model.remapper(), model.params(sensitivity=0.5), 64)
    params, state = exported.params.copy(), exported.state
    params[exported.record["params"]["sensitivity"]] = 0.5
    audio = practice(48_000, seconds=3).audio
    step, hits = jax.jit(exported.step), 0
    first, last = exported.record["out"]["audio"]
    for x in audio[: len(audio) // 64 * 64].reshape(-1, 64):
        state, out = step(params, state, x)
        played = engine.process(x)
        hits += len(played.hits)
        np.testing.assert_allclose(out[first:last], played.audio, atol=1e-5)
    assert hits > 1


def test_a_file_that_is_none_is_said(tmp_path):
    (tmp_path / "step.npz").write_text("no archive")
    with pytest.raises(ValueError, match=r"step\.npz: is no exported live step"):
        load_stablehlo(tmp_path / "step.npz")


@pytest.mark.slow
def test_the_command_writes_one_file_or_none(
    random_model, tmp_path, capsys, monkeypatch
):
    folder, out = tmp_path / "model", tmp_path / "out.npz"
    random_model().save(folder)
    asked = ["export", str(folder), str(out), "--format", "stablehlo", "--json"]
    assert main([*asked, "--block", "32"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["bytes"] == out.stat().st_size
    assert load_stablehlo(out).record["block"] == 32
    assert main(asked) == 2
    assert "out.npz exists already" in capsys.readouterr().err
    wrong = ["export", str(folder), str(tmp_path / "out.pt"), "--format"]
    assert main([*wrong, "stablehlo"]) == 2
    assert "allowed: .npz" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main([*wrong, "torchscript"]) == 2
    error = capsys.readouterr().err
    assert 'pip install "jaxsnare[torchdrum]"' in error
    assert error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"model", "out.npz"}


def test_the_plugin_plays_only_the_snare(random_model, tmp_path):
    model = random_model()
    kick = Kick808(48_000)
    other = replace(model, synth=kick, specs=kick.specs)
    with pytest.raises(ValueError, match=r"plays Snare808 .* this model is of Kick808"):
        save_torchscript(other, tmp_path / "model.pt")
    longer = replace(model, features=OnsetFeatures(48_000, 512))
    with pytest.raises(ValueError, match=r"of 256 samples; .* RMS, SC, SF of 512"):
        save_torchscript(longer, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="train one with --ear published --window 256"):
        save_torchscript(random_model(told=64), tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []
