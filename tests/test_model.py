"""A saved model: the same again, or a refusal that says what is wrong."""

import json
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsnare import Snare808
from jaxsnare.dsp.noise import BufferNoise, SeededNoise
from jaxsnare.features import OnsetFeatures
from jaxsnare.features.normalise import Normaliser
from jaxsnare.mapping import Mapping
from jaxsnare.model import Model, SecondLook
from jaxsnare.onset import ONSET_SPECS
from jaxsnare.params import ParamSpec
from jaxsnare.performance import remap
from jaxsnare.presets import read_preset
from jaxsnare.synths import ranges

RATE = 44_100
SYNTH = Snare808(RATE, noise=SeededNoise(seed=3))
MAPPING = Mapping(3, 14, (4,), init_std=0.3)
MODEL = Model(
    SYNTH,
    SYNTH.specs,
    read_preset("808_snare_2", SYNTH),
    MAPPING,
    jax.tree.map(np.asarray, MAPPING.init(jax.random.key(0))),
    OnsetFeatures(RATE, 256),
    Normaliser(jnp.array([-40.1, 60.0, -30.0]), jnp.array([-3.3, 130.0, -0.1])),
    jnp.array([0.7, 1 / 3, 0.5]),
    ONSET_SPECS.defaults | {"onset.on": 10.0},
    play={"trim": 3.5},
    training={"hits": 60, "recipe": {"epochs": 3}, "test": {"mean_ratio": 0.5}},
    second=SecondLook(
        OnsetFeatures(RATE, 1024),
        jax.tree.map(np.asarray, MAPPING.init(jax.random.key(1))),
        Normaliser(jnp.array([-45.1, 61.0, -33.0]), jnp.array([-4.3, 129.0, -0.2])),
        jnp.array([0.6, 1 / 7, 0.4]),
    ),
)


def clicks():
    """Two hits, a soft one and a loud one."""
    n = np.arange(4096)
    noise = np.random.default_rng(0).uniform(-1, 1, len(n))
    hits = sum(
        (n >= at) * level * 0.99 ** np.maximum(n - at, 0)
        for at, level in ((100, 0.2), (2000, 0.9))
    )
    return (noise * hits).astype(np.float32)


def play(model, **turned):
    return remap(model.remapper(), model.params(**turned), clicks(), block=64)


@pytest.fixture
def folder(tmp_path):
    MODEL.save(tmp_path / "model")
    return tmp_path / "model"


def edit(folder, change):
    """Change the record of a saved model by a function of it."""
    path = folder / "model.json"
    record = json.loads(path.read_text())
    record = change(record) or record
    path.write_text(json.dumps(record))


def rewrite(folder, change):
    """Change the weights of a saved model by a function of them."""
    with np.load(folder / "weights.npz") as archive:
        weights = dict(archive)
    change(weights)
    np.savez(folder / "weights.npz", **weights)


def put(value, *path):
    """A change of a record: the value at a path of keys; None: without it."""

    def change(record):
        place = record
        for key in path[:-1]:
            place = place[key]
        if value is None:
            del place[path[-1]]
        else:
            place[path[-1]] = value

    return change


def same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


# the same again


def test_a_model_comes_back_bit_for_bit(folder):
    model = Model.load(folder)
    for name in ("synth", "specs", "preset", "mapping", "features", "onset"):
        assert getattr(model, name) == getattr(MODEL, name), name
    assert model.training == MODEL.training
    for name in ("weights", "normaliser", "centre"):
        assert jax.tree.all(
            jax.tree.map(same, getattr(model, name), getattr(MODEL, name))
        ), name
    ours, wanted = model.second, MODEL.second
    assert ours
    assert wanted
    assert ours.features == wanted.features
    assert jax.tree.all(jax.tree.map(same, ours.params, wanted.params))
    got, wanted = play(model), play(MODEL)
    assert len(wanted.triggers) == 2
    assert jax.tree.all(jax.tree.map(same, got, wanted))


def test_a_model_of_before_the_regression_comes_back(folder):
    """Its record says nothing of bands and of what is told."""
    edit(folder, put(None, "mapping", "told"))
    for place in ((), ("second",)):
        edit(folder, put(None, *place, "features", "edges_hz"))
    model = Model.load(folder)
    assert model.remapper() == MODEL.remapper()
    assert jax.tree.all(jax.tree.map(same, model.map_params(), MODEL.map_params()))


def test_what_a_model_is_told_by_comes_back(random_model, tmp_path):
    saved = random_model(told=64, second_look=1024)
    saved.save(tmp_path / "told")
    model = Model.load(tmp_path / "told")
    assert model.remapper() == saved.remapper()
    assert jax.tree.all(jax.tree.map(same, model.map_params(), saved.map_params()))
    assert model.second
    assert saved.second
    got, wanted = model.second.params, saved.second.params
    assert jax.tree.all(jax.tree.map(same, got, wanted))
    edit(tmp_path / "told", put([128, 7], "mapping", "told"))
    with pytest.raises(ValueError, match=r"told\.by is float32\[64, 7\], the mapping"):
        Model.load(tmp_path / "told")


def test_a_saved_model_is_json_and_arrays_without_pickle(folder):
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "weights.npz"]
    record = json.loads((folder / "model.json").read_text())
    assert record["format"] == 1
    assert record["versions"]["jaxsnare"]
    assert record["synth"]["noise"] == {"seed": 3, "per_hit": False}
    with np.load(folder / "weights.npz", allow_pickle=False) as archive:
        assert sum(archive[name].size for name in archive.files) == 2 * 86


def test_the_saved_ranges_are_the_ones_that_count(folder, monkeypatch):
    """A later change of range in the code changes neither preset nor playing."""
    wanted = play(MODEL)
    narrow = ranges.osc_freq

    def wide(name, default=200.0):
        return replace(narrow(name, default), hi=8000.0)

    monkeypatch.setattr(ranges, "osc_freq", wide)
    assert SYNTH.specs["osc1.freq"].hi == 8000.0
    model = Model.load(folder)
    assert model.specs["osc1.freq"].hi == 2000.0
    got = play(model)
    assert jax.tree.all(jax.tree.map(same, got, wanted))


@pytest.mark.slow
def test_ranges_beyond_the_codes_are_kept(folder):
    """The file may have been written with wider ranges than the code has now."""
    edit(folder, put(4000.0, "specs", 0, "hi"))
    edit(folder, put(3000.0, "preset", "osc1.freq"))
    model = Model.load(folder)
    assert model.specs["osc1.freq"] == ParamSpec("osc1.freq", "Hz", 20, 4000, 180)
    values = play(model, sensitivity=0.0).hits.values
    np.testing.assert_allclose(values[:, 0], 3000.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("turned", "message"),
    [
        ({"sensitivity": 5.0}, r"'sensitivity' is 5, allowed is 0\.\.4"),
        ({"mix": -0.1}, r"'mix' is -0.1, allowed is 0\.\.1"),
        ({"gain": float("nan")}, "'gain' must be a finite number"),
        ({"sensitivty": 1.0}, "'sensitivty': did you mean 'sensitivity'"),
    ],
)
def test_what_is_turned_is_checked(turned, message):
    with pytest.raises(ValueError, match=message):
        MODEL.params(**turned)


# what is wrong


def no_rise(record):
    record["specs"][0]["lo"], record["specs"][0]["hi"] = 2000.0, 20.0


RECORDS = {
    "another format": (put(2, "format"), "its format is 2, jaxsnare .* reads format 1"),
    "no format": (put(None, "format"), "its format is None"),
    "a list": (lambda record: [record], "its format is None"),
    "no specs": (put(None, "specs"), "model.json lacks 'specs'"),
    "no synth": (put(None, "synth"), "model.json lacks 'synth'"),
    "no rate": (put(None, "synth", "sample_rate"), "model.json lacks 'sample_rate'"),
    "no preset": (put(None, "preset"), "model.json lacks 'preset'"),
    "no damping": (put(None, "damping"), "model.json lacks 'damping'"),
    "no mapping": (put(None, "mapping"), "model.json lacks 'mapping'"),
    "no features": (put(None, "features"), "model.json lacks 'features'"),
    "no normaliser": (put(None, "normaliser"), "model.json lacks 'normaliser'"),
    "no hi": (put(None, "normaliser", "hi"), "model.json lacks 'hi'"),
    "no centre": (put(None, "centre"), "model.json lacks 'centre'"),
    "no onset": (put(None, "onset"), "model.json lacks 'onset'"),
    "no training": (put(None, "training"), "model.json lacks 'training'"),
    "unknown synth": (put("Snare707", "synth", "name"), "'Snare707': did you mean"),
    "another synth": (put("FMDrumSynth", "synth", "name"), "not those of FMDrumSynth"),
    "a rate of text": (put("44100", "synth", "sample_rate"), "model.json: "),
    "a rate of 100": (
        put(100, "synth", "sample_rate"),
        "sample_rate is 100 Hz; allowed",
    ),
    "reversed range": (no_rise, "'osc1.freq': the range must rise"),
    "preset out of range": (put(1e9, "preset", "osc1.freq"), "'osc1.freq' is 1e"),
    "preset of text": (put("a", "preset", "osc1.freq"), "must be a number, got 'a'"),
    "preset NaN": (put(float("nan"), "preset", "osc1.freq"), "finite number, got nan"),
    "preset lacks": (put(None, "preset", "osc1.mod"), "missing parameter: osc1.mod"),
    "damping of 2": (put(2.0, "damping", "osc1.mod"), "'osc1.mod' is 2, allowed is 0"),
    "centre too short": (put([0.5], "centre"), "centre must be 3 finite numbers"),
    "centre NaN": (put([float("nan")] * 3, "centre"), "centre must be 3 finite"),
    "normaliser flat": (put([0.0, 1, 2], "normaliser", "lo"), "does not rise"),
    "onset lacks": (put(None, "onset", "onset.on"), "missing parameter: onset.on"),
    "onset beyond": (put(99.0, "onset", "onset.on"), "'onset.on' is 99, allowed is"),
    "other features": (put(["RMS", "SC", "X"], "features", "names"), "RMS, SC, X;"),
    "told of one number": (put([64], "mapping", "told"), r"told is \(64,\); wanted: a"),
    "bands that fall": (put([9, 8], "features", "edges_hz"), "a tuple that rises"),
    "other second features": (
        put(["RMS", "SC", "X"], "second", "features", "names"),
        "RMS, SC, X;",
    ),
    "no second centre": (put(None, "second", "centre"), "model.json lacks 'centre'"),
    "no second": (put(None, "second"), "holds more than the mapping: second.layers"),
    "a second window too near": (
        put(300, "second", "features", "window"),
        "windows of 256 and 300 samples leave no room for a fade",
    ),
    "a window of 0": (put(0, "features", "window"), "window is 0 samples"),
    "other inputs": (put(4, "mapping", "inputs"), "weights.npz: .*kernel is float32"),
    "other outputs": (put(9, "mapping", "outputs"), "weights.npz: .* needs float32"),
    "no hidden layers": (put([], "mapping", "hidden"), "weights.npz: "),
    "hidden of text": (put(["x"], "mapping", "hidden"), "model.json: "),
    "a seed of text": (put("x", "synth", "noise", "seed"), "model.json: "),
    "a seed of a list": (put([1], "synth", "noise", "seed"), "model.json: "),
    "a huge window": (put(10**30, "features", "window"), "no room for a fade"),
    "features of numbers": (put([1, 2, 3], "features", "names"), "model.json: "),
    "extra mapping key": (put(1, "mapping", "depth"), "model.json: .*'depth'"),
}


@pytest.mark.parametrize("fault", RECORDS)
def test_a_faulty_record_is_refused(folder, fault):
    change, message = RECORDS[fault]
    edit(folder, change)
    refuses(folder, message)


def refuses(folder, message):
    with pytest.raises(ValueError, match=message) as raised:
        Model.load(folder)
    assert str(raised.value).startswith(f"model {folder}: ")


KERNEL = "layers.0.kernel"


def nan(weights):
    weights[KERNEL][1, 2] = np.nan


WEIGHTS = {
    "missing": (lambda w: w.pop(KERNEL), "lacks 'layers.0.kernel'"),
    "extra": (lambda w: w.update(more=np.zeros(3)), "more than the mapping: more"),
    "shape": (
        lambda w: w.update({KERNEL: w[KERNEL].T}),
        r"layers.0.kernel is float32\[4, 3\], the mapping needs float32\[3, 4\]",
    ),
    "dtype": (
        lambda w: w.update({KERNEL: w[KERNEL].astype(np.float64)}),
        r"layers.0.kernel is float64\[3, 4\], the mapping needs float32\[3, 4\]",
    ),
    "NaN": (nan, "layers.0.kernel holds NaN or Inf"),
    "pickle": (
        lambda w: w.update({KERNEL: np.array([print, None], object)}),
        "weights.npz cannot be read .*pickle",
    ),
}


@pytest.mark.parametrize("fault", WEIGHTS)
def test_faulty_weights_are_refused(folder, fault):
    change, message = WEIGHTS[fault]
    rewrite(folder, change)
    refuses(folder, message)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-200])


def flipped(path):
    data = bytearray(path.read_bytes())
    data[data.index(b"\x93NUMPY") + 140] ^= 0xFF  # inside the first array
    path.write_bytes(bytes(data))


def bare_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


FILES = {
    "no record": ("model.json", lambda p: p.unlink(), "model.json is missing"),
    "no weights": ("weights.npz", lambda p: p.unlink(), "weights.npz is missing"),
    "not JSON": ("model.json", lambda p: p.write_text("{"), "model.json cannot be"),
    "binary": ("model.json", lambda p: p.write_bytes(b"\xff\x00"), "model.json cannot"),
    "empty": ("weights.npz", lambda p: p.write_bytes(b""), "weights.npz cannot be"),
    "text": ("weights.npz", lambda p: p.write_text("hi"), "weights.npz cannot be read"),
    "truncated": ("weights.npz", truncated, "weights.npz cannot be read"),
    "damaged": ("weights.npz", flipped, "weights.npz cannot be read"),
    "no archive": ("weights.npz", bare_array, "weights.npz cannot be read"),
}


@pytest.mark.parametrize("fault", FILES)
def test_faulty_files_are_refused(folder, fault):
    name, damage, message = FILES[fault]
    damage(folder / name)
    refuses(folder, message)


@pytest.mark.slow
def test_any_damaged_byte_of_the_weights_is_refused_or_harmless(folder):
    path = folder / "weights.npz"
    good = path.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(good), 120):
        data = bytearray(good)
        data[at] ^= 1 << int(at) % 8
        path.write_bytes(bytes(data))
        try:
            loaded = Model.load(folder).weights
        except ValueError as error:
            loaded = str(error)
        if isinstance(loaded, str):
            assert loaded.startswith(f"model {folder}: weights.npz")
        else:  # a byte that no one reads: a date, say
            assert jax.tree.all(jax.tree.map(same, loaded, MODEL.weights))


def test_a_missing_folder_is_named(tmp_path):
    refuses(tmp_path / "none", "no such folder")
    (tmp_path / "file").write_text("")
    refuses(tmp_path / "file", "no such folder")


# writing


def test_nothing_is_overwritten_unless_asked(folder, tmp_path):
    other = replace(MODEL, training={"hits": 7})
    with pytest.raises(ValueError, match="exists already: add --overwrite"):
        other.save(folder)
    assert Model.load(folder).training == MODEL.training
    other.save(folder, overwrite=True)
    assert Model.load(folder).training == {"hits": 7}
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_only_models_are_overwritten(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "diary.txt").write_text("dear")
    (tmp_path / "file").write_text("dear")
    for name in ("precious", "file"):
        with pytest.raises(ValueError, match="is no model: it is not overwritten"):
            MODEL.save(tmp_path / name, overwrite=True)
    assert (tmp_path / "precious" / "diary.txt").read_text() == "dear"
    assert (tmp_path / "file").read_text() == "dear"
    with pytest.raises(ValueError, match=r"cannot write model .*no folder"):
        MODEL.save(tmp_path / "none" / "model")


def test_a_model_is_written_whole_or_not_at_all(folder, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(ValueError, match=r"cannot write model .*No space left"):
        MODEL.save(tmp_path / "new")
    with pytest.raises(ValueError, match="No space left"):
        replace(MODEL, training={}).save(folder, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert Model.load(folder).training == MODEL.training


def test_noise_from_a_buffer_is_not_saved(tmp_path):
    model = replace(MODEL, synth=Snare808(RATE, noise=BufferNoise(np.zeros(4))))
    with pytest.raises(ValueError, match="noise from a given buffer cannot be saved"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_moved_model_loads(folder, tmp_path):
    shutil.move(folder, tmp_path / "elsewhere")
    assert Model.load(tmp_path / "elsewhere").training == MODEL.training
