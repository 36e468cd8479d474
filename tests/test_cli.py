"""The command line: what is typed, what comes out, and how it fails."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import soundfile

from jaxsnare import Snare808, __version__, load_preset
from jaxsnare.cli import COMMANDS, _parse, main
from jaxsnare.commands import chosen_recipe
from jaxsnare.detector import HitDetector
from jaxsnare.drummer import SnareDrum, practice
from jaxsnare.gate import Examples, examples_of, no_examples
from jaxsnare.knobs import HIT_SPECS, PLAY_SPECS
from jaxsnare.lessons import Job
from jaxsnare.model import Model
from jaxsnare.onset import ONSET_SPECS, OnsetDetector, find_onsets
from jaxsnare.presets import read_preset
from jaxsnare.recipe import Recipe
from jaxsnare.train import listen, saved_state

ROOT = Path(__file__).resolve().parents[1]
RATE = 48_000
PERIOD_S = 0.5  # of the strokes in `strokes`

MODULE = [sys.executable, "-m", "jaxsnare"]


def strokes(rate: int = RATE, count: int = 3, silence: float = 0.2) -> np.ndarray:
    """Equal strokes, PERIOD_S apart, the first after a silence in seconds."""
    hit = SnareDrum(rate).strike(0.9)[: round(PERIOD_S * rate)]
    before = np.zeros(round(silence * rate), np.float32)
    return np.concatenate([before, *[hit] * count])


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A folder with a recording and what Python needs to find things."""
    folder = tmp_path_factory.mktemp("cli")
    recording = practice(RATE, seconds=8)
    soundfile.write(folder / "practice.wav", recording.audio, RATE)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return types.SimpleNamespace(folder=folder, environment=environment)


@pytest.fixture(scope="session")
def trained(home):
    """A model trained by the command line in a process of its own, and its answer."""
    words = ["practice.wav", "--out", "model", "--report", "model/learned.png"]
    done = subprocess.run(
        [*MODULE, "train", *words, "--recipe", "published", "--epochs", "2", "--json"],
        cwd=home.folder,
        env=home.environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no terminal: no progress
    return home.folder / "model", json.loads(done.stdout)


@pytest.fixture(scope="session")
def model(trained):
    return trained[0]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def answer(capsys):
    """Run a command that succeeds: its JSON and its notes."""

    def run(*argv):
        status = main([*map(str, argv), "--json"])
        out, err = capsys.readouterr()
        assert status == 0, err
        return json.loads(out), err

    return run


@pytest.fixture
def refused(capsys, here):
    """Run a command that fails as it must: the line that it says."""

    def files():
        return {p: p.stat().st_mtime_ns for p in here.rglob("*")}

    def run(*argv):
        before = files()
        status = main([*map(str, argv)])
        out, err = capsys.readouterr()
        assert status == 2
        assert out == ""
        assert err.startswith("jaxsnare: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        assert files() == before  # nothing left, nothing touched
        return err

    return run


# What is typed


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "--json" in text
    assert f"example: jaxsnare {command}" in text


def test_help_tells_the_range_and_unit_of_every_knob(capsys):
    with pytest.raises(SystemExit):
        main(["remap", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    own = [s for s in ONSET_SPECS if s.name not in HIT_SPECS.names]
    specs = (*PLAY_SPECS, *HIT_SPECS, *own)
    for spec in specs:
        assert " ".join(f"{spec.lo:g} to {spec.hi:g} {spec.unit}".split()) in text
    assert all(spec.about for spec in specs)


def test_nothing_typed_shows_the_commands(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"jaxsnare {__version__}\n"


def test_the_installed_entry_point():
    script = shutil.which("jaxsnare", path=str(Path(sys.executable).parent))
    if script is None:
        pytest.skip("jaxsnare is not installed here: pip install -e .")
    done = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"jaxsnare {__version__}\n")


def test_help_starts_without_the_heavy_parts(home):
    code = (
        "import sys, jaxsnare.cli\n"
        "jaxsnare.cli.main([])\n"
        "print(*{'flax', 'optax', 'matplotlib', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=home.environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["trian"], "did you mean 'train'"),
        (["train", "x.wav"], "--out"),
        (["render", "x.wav", "--overwrit"], "--overwrit"),
        (["render", "x.wav", "--seconds", "0"], "0.001 to 60 s"),
        (["render", "x.wav", "--seconds", "nan"], "0.001 to 60 s"),
        (["render", "x.wav", "--rate", "7999"], "8000 to 192000 Hz"),
        (["render", "x.wav", "--rate", "44100.5"], "whole numbers"),
        (["render", "x.wav", "--set", "osc1.freq"], "NAME=VALUE"),
        (["render", "x.wav", "--set", "osc1.freq=high"], "'high' is not a number"),
        (["render", "x.wav", "--set", "osc1.frq=3"], "did you mean 'osc1.freq'"),
        (["render", "x.wav", "--set", "osc1.freq=5000"], "20..2000 Hz"),
        (["render", "x.wav", "--set", "osc1.freq=nan"], "finite"),
        (["onsets", "x.wav", "--onset-on", "999"], "0.5..150 dB"),
        (["train", "x.wav", "--out", "m", "--epochs", "0"], "1 to 100000"),
        (["train", "x.wav", "--out", "m", "--learning-rate", "2"], "learning rate"),
        (["train", "x.wav", "--out", "m", "--weights", "some"], "balanced"),
        (["train", "x.wav", "--out", "m", "--mapping", "mpl"], "mlp_large"),
        (["train", "x.wav", "--out", "m", "--onset", "10"], "jaxsnare train --help"),
        (["show", "m", "--onset-on"], "jaxsnare show --help"),
        (["bench", "everything"], "render"),
    ],
)
def test_wrong_options(refused, argv, named):
    assert named in refused(*argv)


# What comes out


def test_train_answers(trained):
    folder, data = trained
    assert data["sample_rate"] == RATE
    assert data["hits"] == len(practice(RATE, seconds=8).onsets)
    assert (data["epochs"], data["interrupted"]) == (2, False)
    rows = data["test"]["features"]
    assert data["test"]["mean_ratio"] == pytest.approx(
        np.mean([row["error"] / row["baseline"] for row in rows.values()])
    )
    assert sorted(p.name for p in folder.iterdir()) == [
        "learned.png",
        "model.json",
        "weights.npz",
    ]


def test_show(model, answer, capsys):
    data, _ = answer("show", model)
    assert data["synth"]["name"] == "Snare808"
    assert main(["show", str(model)]) == 0
    text = capsys.readouterr().out
    assert "590 weights" in text
    assert "error / preset alone" in text
    assert "Calibrated" not in text


def test_show_tells_what_was_calibrated(model, capsys):
    known = Model.load(model)
    others = known.examples.hits[:3]
    known = replace(
        known,
        play={"gate": 0.5, "trim": 2.0},
        examples=known.examples._replace(others=others),
    )
    known.save("calibrated")
    assert main(["show", "calibrated"]) == 0
    text = capsys.readouterr().out
    words = text[text.index("Calibrated:") :].splitlines()[0]
    assert "gate 0.5" in words
    assert "trim 2 dB" in words
    assert "3 examples of how the others sound" in words
    assert "the gate is open" not in words
    replace(known, examples=no_examples()).save("older")
    assert main(["show", "older"]) == 0
    text = capsys.readouterr().out
    assert "gate 0.5, but no example of its hits: the gate is open." in text


def test_hits_that_the_gate_refuses_are_told_apart(model, answer):
    known = Model.load(model)
    audio = strokes(RATE)
    soundfile.write("in.wav", audio, RATE)
    # the others sound as these hits do
    window, pre = known.features.window, 16
    at = find_onsets(HitDetector(RATE), HitDetector(RATE).defaults, audio)
    pieces = np.stack([audio[t - pre : t + window + RATE // 100] for t in at])
    others = examples_of(pieces, window, RATE)
    replace(known, examples=Examples(others + np.float32(60.0), others)).save(
        "refusing"
    )
    data, notes = answer("remap", "refusing", "in.wav", "out.wav", "--gate", 0.5)
    assert data["refused_by_gate"] == len(data["onsets"]) >= 3
    assert data["triggers"] == []
    assert "onsets refused by the gate" in notes


def test_a_gate_without_examples_is_said_to_be_open(model, answer):
    known = Model.load(model)
    replace(known, play={"gate": 0.5}, examples=no_examples()).save("older")
    soundfile.write("in.wav", strokes(RATE), RATE)
    data, notes = answer("remap", "older", "in.wav", "out.wav")
    assert data["refused_by_gate"] == 0
    assert notes.count("\n") == 1
    assert "the model keeps no examples of its hits" in notes
    assert "every hit plays" in notes
    _, notes = answer("remap", "older", "in.wav", "out2.wav", "--gate", 0)
    assert notes == ""


def test_remap_keeps_rate_and_length(model, answer):
    audio = strokes(44_100)
    soundfile.write("in.flac", audio, 44_100)
    data, notes = answer("remap", model, "in.flac", "out.wav", "--mix", 0.5)
    assert notes == ""
    assert len(data["triggers"]) == 3
    assert data["refused_by_gate"] == 0
    assert len(data["onsets"]) == 3
    info = soundfile.info("out.wav")
    assert (info.samplerate, info.frames) == (44_100, len(audio))


def test_onsets_of_either_detector_and_a_picture(answer):
    audio = strokes()
    soundfile.write("in.wav", audio, RATE)
    data, _ = answer("onsets", "in.wav", "--plot", "onsets.png")
    assert Path("onsets.png").read_bytes().startswith(b"\x89PNG")
    found = find_onsets(HitDetector(RATE), HitDetector(RATE).defaults, audio)
    np.testing.assert_allclose(data["in.wav"], found, atol=1)
    data, _ = answer("onsets", "in.wav", "--detector", "published", "--onset-off", 4.0)
    published = OnsetDetector(RATE)
    params = published.defaults | {"onset.off": np.float32(4.0)}
    wanted = find_onsets(published, params, audio)
    np.testing.assert_allclose(data["in.wav"], wanted, atol=1)


def test_settings_of_the_other_detector_are_refused(capsys):
    soundfile.write("in.wav", strokes(), RATE)
    assert main(["onsets", "in.wav", "--onset-off", "4"]) == 2
    error = capsys.readouterr().err
    assert "--onset-off is a setting of the published detector" in error
    assert "add --detector published" in error
    arguments = ["in.wav", "--detector", "published", "--onset-mask", "4"]
    assert main(["onsets", *arguments]) == 2
    assert "--onset-mask is a setting of the adaptive" in capsys.readouterr().err


@pytest.mark.slow
def test_remap_turns_what_it_is_told(model, answer):
    soundfile.write("in.wav", strokes(), RATE)
    sounds = {}
    for name, options in {
        "plain": [],
        "soft": ["--gain", "-20"],
        "dull": ["--set", "noise_gain.gain=-60", "--sensitivity", "0"],
        "deaf": ["--onset-on", "150"],
        "running": ["--running-normaliser"],
        "dry": ["--mix", "0"],
    }.items():
        answer("remap", model, "in.wav", f"{name}.wav", *options)
        sounds[name] = soundfile.read(f"{name}.wav")[0]
    assert np.ptp(sounds["soft"]) < 0.2 * np.ptp(sounds["plain"])
    assert not np.allclose(sounds["dull"], sounds["plain"], atol=1e-3)
    assert not sounds["deaf"].any()
    assert not np.allclose(sounds["running"], sounds["plain"], atol=1e-3)
    np.testing.assert_allclose(sounds["dry"], soundfile.read("in.wav")[0], atol=1e-4)


def test_render_renders_the_preset(answer):
    data, _ = answer("render", "a.wav", "--seconds", 0.2, "--rate", 44_100)
    assert data["values"] == load_preset("808_snare_1", Snare808(44_100))
    audio, rate = soundfile.read("a.wav")
    assert (len(audio), rate) == (8820, 44_100)
    answer("render", "b.wav", "--seconds", 0.2, "--rate", 44_100, "--seed", 1)
    assert not np.array_equal(audio, soundfile.read("b.wav")[0])
    options = ["--synth", "fmdrumsynth", "--set", "osc.freq=99", "--seconds", 0.1]
    data, _ = answer("render", "a.wav", "--overwrite", *options)
    assert (data["synth"], data["values"]["osc.freq"]) == ("FMDrumSynth", 99)


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (RATE, 6), (192_000, 1)])
def test_onsets_at_any_rate_and_of_any_channels(answer, rate, channels):
    wide = np.repeat(strokes(max(rate, 16_000))[:, None], channels, axis=1)
    soundfile.write("in.wav", wide[:: max(16_000 // rate, 1)], rate)
    data, notes = answer("onsets", "in.wav")
    assert notes == ""
    expected = (0.2 + PERIOD_S * np.arange(3)) * rate
    np.testing.assert_allclose(data["in.wav"], expected, atol=0.02 * rate)


def test_onsets_as_a_table_in_seconds(capsys):
    soundfile.write("in.wav", strokes(), RATE)
    assert main(["onsets", "in.wav"]) == 0
    first = capsys.readouterr().out.splitlines()[2].split()
    assert float(first[1]) == pytest.approx(0.2, abs=0.02)


def test_features_of_a_hit(answer, capsys):
    hit = strokes(count=1)
    soundfile.write("loud.wav", hit, RATE)
    soundfile.write("soft.wav", 0.1 * hit, RATE)
    soundfile.write("none.wav", np.zeros(RATE), RATE)
    data, notes = answer("features", "loud.wav", "soft.wav", "none.wav")
    assert "none.wav: no hit found" in notes
    assert data["files"]["none.wav"]["onset_sample"] is None
    loud, soft = (data["files"][f"{name}.wav"] for name in ("loud", "soft"))
    assert loud["target"]["SPL_T"] - soft["target"]["SPL_T"] == pytest.approx(20, 0.1)
    assert loud["onset"]["RMS"] - soft["onset"]["RMS"] == pytest.approx(20, 0.1)
    assert data["units"]["target"]["SPL_T"] == "LKFS"
    assert main(["features", "loud.wav"]) == 0
    assert "transient loudness" in capsys.readouterr().out


def test_presets_and_synths(answer, capsys):
    data, _ = answer("presets", "--synth", "Snare808")
    assert data["Snare808"]["808_snare_1"]["damping"]["osc1.freq"] == 0.01
    low, err = answer("presets", "--synth", "HiHat808", "--rate", "8000")
    assert list(low["HiHat808"]) == ["default"]
    assert "'bandpass.freq' is 7100, allowed is 20..4000 Hz" in err
    data, _ = answer("synths")
    assert data["Snare808"] == Snare808(RATE).specs.table()
    assert main(["presets"]) == main(["synths"]) == 0
    assert "noise_filter.freq" in capsys.readouterr().out


def test_bench_prints_what_the_benchmark_found(monkeypatch, capsys, answer):
    bench: Any = types.ModuleType("jaxsnare.bench")
    bench.run = lambda kind, seconds, progress, synth, **_: {
        "kind": kind,
        "synth": synth,
    }
    bench.text = lambda result: f"measured {result['kind']}"
    monkeypatch.setitem(sys.modules, "jaxsnare.bench", bench)
    monkeypatch.setattr("jaxsnare.bench", bench, raising=False)
    assert answer("bench", "train", "--synth", "FMDrumSynth")[0] == {
        "kind": "train",
        "synth": "FMDrumSynth",
    }
    settled = []
    monkeypatch.setattr("jaxsnare.live.engine.settle", lambda: settled.append(True))
    assert main(["bench", "render"]) == 0
    assert capsys.readouterr().out == "measured render\n"
    assert settled == [True]


# Audio that cannot be used, or only just


def make_missing(path):
    pass


def make_folder(path):
    path.mkdir()


def make_empty(path):
    path.touch()


def make_truncated(path):
    soundfile.write(path, strokes(), RATE)
    path.write_bytes(path.read_bytes()[:20_000])


def make_text(path):
    path.write_text("this is no audio\n" * 99)


def make_without_samples(path):
    soundfile.write(path, np.zeros(0), RATE)


def make_nan(path):
    audio = strokes()
    audio[100] = np.nan
    soundfile.write(path, audio, RATE, "FLOAT")


def make_infinite(path):
    audio = strokes()
    audio[100] = np.inf
    soundfile.write(path, audio, RATE, "FLOAT")


UNUSABLE = {
    make_missing: "no such file",
    make_folder: "folder",
    make_empty: "0 bytes",
    make_truncated: "truncated",
    make_text: "cannot be read as audio",
    make_without_samples: "no samples",
    make_nan: "NaN or infinite",
    make_infinite: "NaN or infinite",
}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--batch", "8"],
            "--batch is a setting of --optimiser adam; --optimiser is proximal",
        ),
        (["--decay", "0.1", "--optimiser", "adam"], "--decay is a setting of --optimi"),
        (
            ["--rehearsals", "2", "--recipe", "published"],
            "--rehearsals is a setting of --targets told; --targets is heard",
        ),
        (["--learning-rate", "0.001"], "the optimiser is 'proximal', which has none"),
    ],
)
def test_settings_of_what_is_not_used_are_refused(refused, options, message):
    """Before anything is listened to."""
    assert message in refused("train", "x.wav", "--out", "m", *options)


def test_options_change_the_recipe_that_was_named():
    names = "epochs", "weights", "reference", "rehearsals", "early_decay", "seed"

    def chosen(*options):
        argv = ["train", "x.wav", "--out", "m", *options]
        args = _parse(argv)
        assert args is not None
        return chosen_recipe(args, *names)

    assert chosen() == Recipe()
    assert chosen("--recipe", "published") == Recipe.named("published")
    published = Recipe.named("published")
    given = "--recipe", "published", "--weights", "balanced", "--seed", "3"
    assert chosen(*given) == replace(published, weights="balanced", seed=3)
    given = "--rehearsals", "0", "--early-decay", "0"
    assert chosen(*given) == chosen("--recipe", "single") == Recipe.named("single")
    assert published.early_decay == 0  # it hears the published features alone


@pytest.mark.parametrize("command", ["train", "remap", "onsets", "features"])
@pytest.mark.parametrize("make", UNUSABLE)
def test_unusable_audio(request, refused, here, make, command):
    make(here / "bad.wav")
    argv = {
        "train": ["train", "bad.wav", "--out", "m"],
        "remap": ["remap", "MODEL", "bad.wav", "out.wav"],
        "onsets": ["onsets", "bad.wav"],
        "features": ["features", "bad.wav"],
    }[command]
    if command == "remap":
        argv[1] = str(request.getfixturevalue("model"))
    error = refused(*argv)
    assert "bad.wav" in error
    assert UNUSABLE[make] in error


def test_silence(answer, refused, model):
    soundfile.write("silent.wav", np.zeros(RATE), RATE)
    assert "silent" in refused("train", "silent.wav", "--out", "m")
    data, notes = answer("onsets", "silent.wav")
    assert data == {"silent.wav": []}
    assert "no hit found" in notes
    data, notes = answer("remap", model, "silent.wav", "out.wav")
    assert data["onsets"] == []
    assert data["peak_dbfs"] is None
    assert "no hit found" in notes


def test_too_few_hits(refused):
    soundfile.write("few.wav", strokes(count=5), RATE)
    error = refused("train", "few.wav", "--out", "m")
    assert "found 5 hits" in error
    assert "at least 8" in error
    assert "record more" in error


def test_one_sample(answer, refused, model):
    soundfile.write("one.wav", np.array([0.5]), RATE)
    assert len(answer("onsets", "one.wav")[0]["one.wav"]) <= 1
    values = answer("features", "one.wav")[0]["files"]["one.wav"]
    assert np.isfinite([*values["target"].values(), *values["onset"].values()]).all()
    assert answer("remap", model, "one.wav", "out.wav")[0]["samples"] == 1
    assert "at least 8" in refused("train", "one.wav", "--out", "m")


@pytest.mark.slow
@pytest.mark.parametrize("rate", [8_000, 192_000])
def test_remap_at_the_ends_of_the_rates(answer, model, rate):
    audio = strokes(max(rate, 16_000))[:: max(16_000 // rate, 1)]
    soundfile.write("in.wav", audio, rate)
    data, _ = answer("remap", model, "in.wav", "out.wav")
    assert len(data["onsets"]) == 3
    info = soundfile.info("out.wav")
    assert (info.samplerate, info.frames) == (rate, len(audio))


def test_remap_of_six_channels(answer, model):
    audio = strokes()
    soundfile.write("in.wav", np.repeat(audio[:, None], 6, axis=1), RATE)
    soundfile.write("mono.wav", audio, RATE)
    for name in ("in", "mono"):
        answer("remap", model, f"{name}.wav", f"{name}-out.wav")
    six, mono = (soundfile.read(f"{name}-out.wav")[0] for name in ("in", "mono"))
    np.testing.assert_allclose(six, mono, atol=1e-4)


# Presets, names, models, destinations


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"osc1.frq": 100.0}, "did you mean 'osc1.freq'"),
        ({"osc1.freq": None}, "osc1.freq"),
        ({"osc1.freq": 5000.0}, "20..2000 Hz"),
        ({"osc1.freq": "high"}, "must be a number"),
        ({"osc1.freq": float("nan")}, "finite"),
    ],
)
@pytest.mark.parametrize("command", ["train", "render"])
def test_bad_presets(refused, here, change, named, command):
    preset = load_preset("808_snare_1", Snare808(RATE)) | change
    Path("mine.json").write_text(json.dumps({"preset": preset}))
    argv = {
        "train": ["train", "practice.wav", "--out", "m"],
        "render": ["render", "x.wav"],
    }[command]
    shutil.copy(soundfile_of_strokes(here), "practice.wav")
    error = refused(*argv, "--preset", "mine.json")
    assert "mine.json" in error
    assert named in error


def soundfile_of_strokes(folder: Path) -> Path:
    path = folder / "strokes.wav"
    soundfile.write(path, strokes(), RATE)
    return path


def test_a_preset_that_lacks_a_parameter(refused):
    preset = load_preset("808_snare_1", Snare808(RATE))
    del preset["tanh.in_gain"]
    Path("mine.json").write_text(json.dumps({"preset": preset}))
    error = refused("render", "x.wav", "--preset", "mine.json")
    assert "missing parameter: tanh.in_gain" in error


@pytest.mark.parametrize(
    ("option", "near"),
    [
        (["--synth", "Snare880"], "Snare808"),
        (["--preset", "808_snare_9"], "808_snare_1"),
        (["--preset", "nowhere.json"], "no such file"),
        (["--mapping", "mlp_larg"], "mlp_large"),
        (["--damping", "osc1.freq=2"], "0..1"),
        (["--damping", "osc9.freq=1"], "osc1.freq"),
    ],
)
def test_unknown_names_tell_the_choices(refused, here, option, near):
    path = soundfile_of_strokes(here)
    assert near in refused("train", path, "--out", "m", *option)


def edit_record(folder: Path, **changes) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def break_weights(folder: Path) -> None:
    path = folder / "weights.npz"
    with np.load(path) as stored:
        weights = dict(stored)
    name = next(iter(weights))
    np.savez(path, allow_pickle=False, **(weights | {name: np.zeros(3, np.float32)}))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (shutil.rmtree, "no such folder"),
        (lambda m: (m / "model.json").unlink(), "model.json is missing"),
        (lambda m: (m / "weights.npz").unlink(), "weights.npz is missing"),
        (lambda m: (m / "weights.npz").write_bytes(b"PK"), "cannot be read"),
        (lambda m: (m / "model.json").write_text("{"), "cannot be read"),
        (lambda m: edit_record(m, format=99), "format is 99"),
        (break_weights, "the mapping needs"),
    ],
)
def test_broken_models(refused, model, here, damage, named):
    shutil.copytree(model, "m")
    damage(here / "m")
    soundfile_of_strokes(here)
    for argv in (["show", "m"], ["remap", "m", "strokes.wav", "out.wav"]):
        error = refused(*argv)
        assert "model m" in error
        assert named in error


def test_existing_outputs_ask_for_overwrite(refused, answer, model, here):
    path = soundfile_of_strokes(here)
    Path("there.wav").write_text("mine")
    Path("there.png").write_text("mine")
    Path("mine").mkdir()
    shutil.copytree(model, "m")
    for argv in (
        ["render", "there.wav"],
        ["remap", model, path, "there.wav"],
        ["train", path, "--out", "m"],
        ["train", path, "--out", "new", "--report", "there.png"],
        ["demo", "--out", "m"],
    ):
        assert "add --overwrite" in refused(*argv)
    # Not even then: what is no model, no demo, or the input itself.
    assert "is no model" in refused("train", path, "--out", "mine", "--overwrite")
    assert "it holds" in refused("demo", "--out", "m", "--overwrite")
    assert "no folder" in refused("demo", "--out", "there.wav", "--overwrite")
    assert "is the input" in refused("remap", model, path, path, "--overwrite")
    answer("render", "there.wav", "--overwrite", "--seconds", 0.1)
    assert soundfile.info("there.wav").frames == 4800


def unwritable() -> list[str]:
    """Names of outputs where none can be made."""
    names = ["nowhere/out", "file/out"]
    if sys.platform == "linux":
        names.append("/proc/out")  # refuses root, too
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        names.append("readonly/out")
    return names


@pytest.mark.parametrize("name", unwritable())
def test_outputs_that_cannot_be_written(refused, model, here, name):
    path = soundfile_of_strokes(here)
    Path("file").touch()
    Path("readonly").mkdir(0o555)
    for argv in (
        ["render", f"{name}.wav"],
        ["remap", model, path, f"{name}.wav"],
        ["train", path, "--out", name],
        ["train", path, "--out", "m", "--report", f"{name}.png"],
        ["demo", "--out", name],
    ):
        assert name in refused(*argv)


def test_unwritable_formats(refused, here):
    path = soundfile_of_strokes(here)
    assert ".wav, .flac" in refused("render", "x.mp3")
    assert ".png" in refused("train", path, "--out", "m", "--report", "x.jpg")


def test_errors_of_the_system_are_one_line(refused, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device", "x.wav")

    monkeypatch.setattr("jaxsnare.playing.write_audio", full)
    assert refused("render", "x.wav") == "jaxsnare: x.wav: No space left on device\n"


# Interrupted


def test_interrupt(monkeypatch, capsys, here):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxsnare.playing.write_audio", interrupted)
    assert main(["render", "x.wav"]) == 130
    assert capsys.readouterr().err == "jaxsnare: interrupted\n"
    assert list(here.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_ctrl_c_keeps_the_best_model(home, trained, answer):
    """In a terminal: the bar shows the epochs, Ctrl-C saves what was best."""
    import pty

    ours, theirs = pty.openpty()
    argv = [*MODULE, "train", "practice.wav", "--out", "kept", "--epochs", "9999"]
    running = subprocess.Popen(
        argv,
        cwd=home.folder,
        env=home.environment | {"TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    seen, asked = b"", False
    with contextlib.suppress(OSError):  # Linux's way to say that it was closed
        while chunk := os.read(ours, 4096):
            seen += chunk
            # The bar is drawn some times a second, and may leave epochs out.
            if not asked and re.search(rb"epoch [1-9]\d*/9999", seen):
                asked = True
                running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=120)
    os.close(ours)
    assert running.returncode == 0, seen
    assert "Interrupted after" in out
    assert "kept the best model" in out
    assert b"Traceback" not in seen
    record, _ = answer("show", home.folder / "kept")
    assert record["training"]["interrupted"]
    assert 1 <= record["training"]["epochs"] < 9999
    assert (home.folder / "kept.training").is_dir()  # from which it could go on


def test_the_state_of_another_training_is_refused(home, here, refused):
    """Before anything is compiled, in one line that names the difference."""
    path = home.folder / "practice.wav"
    hits = listen([path], RATE)
    synth = Snare808(RATE)
    job = Job(hits, read_preset("808_snare_1", synth), Recipe(seed=1))
    saved_state([job], synth, here / "m.training").save(3, np.zeros(2))
    error = refused("train", path, "--out", "m")
    assert "recipe.seed is 1 there and 0 here" in error
    assert "--fresh" in error


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
def test_a_killed_training_goes_on(home, trained, answer):
    """kill -9, then the same command: the model of a training that was never killed."""

    def command(name, *more):
        epochs = ["--epochs", "12", "--json", *more]
        return [*MODULE, "train", "practice.wav", "--out", name, *epochs]

    options = {"cwd": home.folder, "env": home.environment}
    running = subprocess.Popen(command("killed"), **options)
    state = home.folder / "killed.training"
    deadline = time.monotonic() + 240
    while not (state / "1").exists() or not (state / "0").exists():
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.kill()
    running.wait()
    assert not (home.folder / "killed").exists()
    results = {}
    for name in ("killed", "whole"):
        done = subprocess.run(command(name), capture_output=True, text=True, **options)
        assert done.returncode == 0, done.stderr
        results[name] = json.loads(done.stdout)
        assert ("going on after epoch" in done.stderr) == (name == "killed")
    assert results["killed"]["went_on_after"] >= 2
    assert results["killed"]["best"] == results["whole"]["best"]
    assert results["killed"]["test"] == results["whole"]["test"]
    assert not state.exists()


@pytest.mark.slow
def test_reach_goes_further_than_the_preset_alone(home, answer):
    path = home.folder / "practice.wav"
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        quick = ["--all", "--steps", 25, "--learning-rate", 0.02]
        data, _ = answer("reach", path, *quick)
    assert data["test"]["hits"] == data["hits"]
    assert data["test"]["mean_ratio"] < 0.7
    assert set(data["modulation"]) == set(Snare808(RATE).specs.names)
    assert np.abs(data["modulation"]["osc1.freq"]).max() <= 0.01  # its damping


# The demo


@pytest.mark.slow
def test_demo(here, answer, refused):
    argv = ["demo", "--epochs", 2]
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        data, _ = answer(*argv)
    folder = here / "jaxsnare-demo"
    assert sorted(p.name for p in here.iterdir()) == ["jaxsnare-demo"]
    assert sorted(data["files"]) == sorted(p.name for p in folder.iterdir())
    rate, frames = RATE, soundfile.info(folder / "input.wav").frames
    for name in ("synth.wav", "mix.wav"):
        info = soundfile.info(folder / name)
        assert (info.samplerate, info.frames) == (rate, frames)
        assert soundfile.read(folder / name)[0].any()
    assert json.loads((folder / "metrics.json").read_text())["epochs"] == 2
    assert data["strokes_heard"] > 0.9 * data["strokes"]

    assert "--overwrite" in refused(*argv)
    with jax.numpy_dtype_promotion("standard"):
        twice, _ = answer(*argv, "--overwrite")
    assert twice["test"] == data["test"]  # the same on every run


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
def test_ctrl_c_while_jax_is_imported_is_one_line(tmp_path):
    """With a JAX that presses Ctrl-C itself."""
    (tmp_path / "jax.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)"
    )
    source = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "jaxsnare", "synths"],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{source}"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (130, "jaxsnare: interrupted\n")
