"""Parameters declared once, and the preset files that hold their values."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsnare import FMDrumSynth, ParamSet, ParamSpec, Snare808, load_preset
from jaxsnare.presets import parse_preset, preset_names, read_preset

SPECS = ParamSet(
    (
        ParamSpec("osc.freq", "Hz", 20.0, 2000.0, 200.0, "log"),
        ParamSpec("osc.mod", "ratio", -1.0, 2.0, 0.4),
        ParamSpec("gain.gain", "dB", -60.0, 6.0, 0.0),
    )
)
VALUES = {"osc.freq": 440.0, "osc.mod": 0.25, "gain.gain": -12.0}
SNARE = Snare808(44_100)


# ranges


def test_unit_and_physical_are_inverse_and_as_declared():
    unit = np.linspace(0, 1, 11)[:, None].repeat(3, axis=1).astype(np.float32)
    got = np.asarray(SPECS.to_physical(jnp.asarray(unit)))
    u = unit.astype(float)
    wanted = [20 * 100 ** u[:, 0], -1 + 3 * u[:, 1], -60 + 66 * u[:, 2]]
    np.testing.assert_allclose(got, np.transpose(wanted), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(SPECS.to_unit(jnp.asarray(got)), unit, atol=1e-6)


def test_unit_and_physical_take_a_vector_or_a_batch():
    batch = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 4, 3)), jnp.float32)
    whole = SPECS.to_physical(batch)
    np.testing.assert_array_equal(whole[1, 2], SPECS.to_physical(batch[1, 2]))


def test_pack_is_by_name_whatever_the_order():
    vector = SPECS.pack(VALUES)
    assert vector.tolist() == [440.0, 0.25, -12.0]
    assert SPECS.pack(dict(reversed(VALUES.items()))).tolist() == vector.tolist()
    assert {k: float(v) for k, v in SPECS.unpack(vector).items()} == VALUES


def test_pack_follows_the_dtype_of_arrays(x64):
    for dtype in (jnp.float32, jnp.float64):
        values = {name: jnp.asarray(value, dtype) for name, value in VALUES.items()}
        assert SPECS.pack(values).dtype == dtype
    # Python numbers go along with them, ints too
    mixed = VALUES | {"osc.mod": jnp.asarray(0.25, jnp.float32), "gain.gain": -12}
    assert SPECS.pack(mixed).dtype == jnp.float32
    assert SPECS.pack(VALUES).dtype == jnp.float64


def test_a_table_holds_all_of_a_set():
    rows = json.loads(json.dumps(SPECS.table()))
    assert ParamSet.from_table(rows) == SPECS
    assert rows[0] == {
        "name": "osc.freq",
        "unit": "Hz",
        "lo": 20.0,
        "hi": 2000.0,
        "default": 200.0,
        "scale": "log",
        "about": "",
    }


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (("f", "Hz", 2000.0, 20.0, 100.0), "'f': the range must rise.* lo 2000 and hi"),
        (("f", "Hz", 20.0, 20.0, 20.0), "'f': the range must rise"),
        (("f", "Hz", 20.0, 2000.0, 10.0), "default 10 lies outside 20..2000 Hz"),
        (("f", "Hz", 0.0, float("inf"), 1.0), "must be finite numbers, got 0.0, inf"),
        (("f", "Hz", 0.0, float("nan"), 1.0), "must be finite numbers, got 0.0, nan"),
        (("f", "Hz", 0.0, 1.0, 0.5, "log"), "a log scale needs lo > 0, got 0"),
        (("f", "Hz", 0.0, 1.0, 0.5, "cubic"), "'linear' or 'log', got 'cubic'"),
    ],
)
def test_bad_declarations_are_refused(declared, message):
    with pytest.raises(ValueError, match=message):
        ParamSpec(*declared)


def test_a_name_is_declared_once():
    spec = ParamSpec("f", "Hz", 0.0, 1.0, 0.5)
    with pytest.raises(ValueError, match="parameter 'f' is declared twice"):
        ParamSet((spec, spec))


BAD_VALUES = [
    ({"osc.frq": 1.0}, "unknown parameter 'osc.frq': did you mean 'osc.freq'"),
    ({"osc.mod": 2.5}, "parameter 'osc.mod' is 2.5, allowed is -1..2 ratio"),
    ({"osc.freq": 19.9}, r"parameter 'osc.freq' is 19.9, allowed is 20..2000 Hz"),
    ({"osc.mod": float("nan")}, "'osc.mod' must be a finite number, got nan"),
    ({"osc.mod": float("inf")}, "'osc.mod' must be a finite number, got inf"),
    ({"osc.mod": "0.5"}, "'osc.mod' must be a number, got '0.5'"),
    ({"osc.mod": True}, "'osc.mod' must be a number, got True"),
    ({"osc.mod": None}, "'osc.mod' must be a number, got None"),
    ({"osc.mod": [0.5, 0.5]}, r"'osc.mod' must be a number, got \[0.5, 0.5\]"),
]


@pytest.mark.parametrize(("change", "message"), BAD_VALUES)
def test_bad_values_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SPECS.check(VALUES | change)


def test_missing_values_are_named():
    few = {"osc.mod": 0.25}
    for method in (SPECS.check, SPECS.pack):
        with pytest.raises(ValueError, match=r"missing parameter: osc.freq, gain.gain"):
            method(few)
    with pytest.raises(ValueError, match=r"unknown parameter 'osc\.fre'"):
        SPECS.pack(VALUES | {"osc.fre": 1.0})
    with pytest.raises(ValueError, match="expected 3 parameter values, got 2"):
        SPECS.unpack(jnp.zeros(2))
    with pytest.raises(ValueError, match="'nothing like it': choices are osc"):
        SPECS["nothing like it"]


def test_good_values_come_out_as_floats():
    given = VALUES | {"osc.mod": 2, "osc.freq": np.float32(20)}
    assert SPECS.check(given) == {"osc.freq": 20.0, "osc.mod": 2.0, "gain.gain": -12.0}


# presets: system.md, section 2

NAMES = (
    *("osc1.freq", "osc1.mod", "osc2.freq", "osc2.mod", "freq_env.decay"),
    *("osc1_env.decay", "osc2_env.decay", "noise_env.decay"),
    *("noise_filter.freq", "noise_filter.q"),
    *("osc1_gain.gain", "osc2_gain.gain", "noise_gain.gain", "tanh.in_gain"),
)
OPEN = (135, 0.43, 236, 0.53, 119, 558, 43, 100, 10000, 1.2, -10, -14, -53, -3)
SNARE_1 = (180, 0.4, 240, 0.3, 50, 200, 150, 200, 2500, 2.0, -6, -12, -4, -12)
SNARE_2 = (179, 0.1, 366, 0.34, 21.59, 133, 106.5, 108, 2295, 0.5, -18, -20, -10, 1)
SNARE_3 = (
    *(173, 0.66, 351, 0.24, 33.19, 152.07, 91.15, 269, 1500, 1.0, -14, -13, -44, -3.5),
)
NOISY = (500, 0.42, 700, 1.0, 787, 100, 200, 1949, 3915, 6.0, -50, -50, -25, 13)
PUBLISHED = {
    "808_snare_1": SNARE_1,
    "808_snare_2": SNARE_2,
    "808_snare_3": SNARE_3,
    "808_noisy_snare": NOISY,
    "808_open_snare": OPEN,
    "808_tom_1": OPEN,
}


def test_the_published_presets_ship(golden):
    assert SNARE.specs.names == NAMES
    assert set(preset_names(SNARE)) == set(PUBLISHED)
    assert preset_names(FMDrumSynth(44_100)) == []
    data = golden("snare808")
    for name, values in PUBLISHED.items():
        preset = read_preset(name, SNARE)
        assert preset.values == dict(zip(NAMES, map(float, values), strict=True))
        assert load_preset(name, SNARE) == preset.values
        row = list(data["preset_names"]).index(name)
        np.testing.assert_allclose(
            [preset.values[n] for n in data["param_names"]], data["preset_phys"][row]
        )
        damping = [preset.damping[n] for n in data["param_names"]]
        np.testing.assert_allclose(damping, data["preset_damping"][row], rtol=1e-6)


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_ranges_and_the_unit_interval_are_the_published_ones(golden, rate):
    data, specs = golden("snare808"), Snare808(rate).specs
    ranges = [(s.lo, s.hi) for s in specs]
    np.testing.assert_array_equal(ranges, data[f"ranges_{rate}"])
    unit = specs.to_unit(jnp.asarray(data["preset_phys"], jnp.float32))
    np.testing.assert_allclose(unit, data[f"preset_norm_{rate}"], atol=1e-6)


@pytest.fixture
def write(tmp_path):
    """Write a preset file; its path."""

    def write(content) -> str:
        path = tmp_path / "mine.json"
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text)
        return str(path)

    return write


GOOD = {"preset": dict(zip(NAMES, SNARE_2, strict=True))}


def test_a_file_loads_whatever_the_order_of_its_keys(write):
    path = write({"damping": {"osc2.freq": 0.5}, **GOOD})
    reverse = dict(reversed(GOOD["preset"].items()))
    wanted = read_preset(path, SNARE)
    assert wanted.damping == dict.fromkeys(NAMES, 1.0) | {"osc2.freq": 0.5}
    again = write({"preset": reverse, "damping": {"osc2.freq": 0.5}})
    assert read_preset(again, SNARE) == wanted
    assert load_preset(again, SNARE) == load_preset("808_snare_2", SNARE)


def test_default_stands_for_the_declared_defaults():
    preset = read_preset("default", SNARE)
    assert preset.values == SNARE.specs.defaults
    assert set(preset.damping.values()) == {1.0}


def changed(**change):
    return {"preset": GOOD["preset"] | change}


BAD_FILES = [
    ("{not json", "not JSON"),
    ("", "not JSON"),
    ([1, 2], 'expected {"preset"'),
    ({"osc1.freq": 180.0}, 'expected {"preset"'),
    ({"preset": [1, 2]}, 'expected {"preset"'),
    (changed(**{"osc1.frq": 1.0}), "'osc1.frq': did you mean 'osc1.freq'"),
    ({"preset": {"osc1.freq": 180.0}}, "missing parameter: osc1.mod, osc2.freq"),
    (changed(**{"osc1.freq": 2001}), "'osc1.freq' is 2001, allowed is 20..2000 Hz"),
    (changed(**{"osc1.freq": float("nan")}), "'osc1.freq' must be a finite number"),
    (changed(**{"osc1.freq": "loud"}), "'osc1.freq' must be a number, got 'loud'"),
    (changed(**{"osc1.freq": None}), "'osc1.freq' must be a number, got None"),
    (GOOD | {"damping": {"osc.freq": 1}}, "unknown parameter in damping 'osc.freq'"),
    (GOOD | {"damping": {"osc1.freq": 2}}, "'osc1.freq' is 2, allowed is 0..1"),
    (GOOD | {"damping": {"osc1.freq": -0.1}}, "'osc1.freq' is -0.1, allowed is 0..1"),
    (GOOD | {"damping": {"osc1.freq": "x"}}, "osc1.freq.* must be a number, got 'x'"),
    (GOOD | {"damping": [1]}, r'"damping" must be an object, got \[1\]'),
]


@pytest.mark.parametrize(("content", "message"), BAD_FILES)
def test_bad_files_are_refused_and_named(write, content, message):
    path = write(content)
    with pytest.raises(ValueError, match=message) as raised:
        read_preset(path, SNARE)
    assert path in str(raised.value)


def test_unknown_names_and_missing_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'808_snare1': did you mean '808_snare_1'"):
        read_preset("808_snare1", SNARE)
    missing = tmp_path / "none.json"
    with pytest.raises(ValueError, match=r"none\.json: no such file"):
        read_preset(missing, SNARE)
    with pytest.raises(ValueError, match=r"_1: unknown parameter 'osc1\.freq'"):
        read_preset("808_snare_1", FMDrumSynth(44_100))


def test_a_binary_file_is_no_preset(tmp_path):
    path = tmp_path / "binary.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"binary\.json: not JSON"):
        read_preset(path, SNARE)


def test_ranges_of_another_rate_are_checked():
    """10 kHz does not fit a synth at 16 kHz."""
    with pytest.raises(ValueError, match=r"10000, allowed is 20\.\.8000 Hz"):
        read_preset("808_open_snare", Snare808(16_000))
    content = {"preset": load_preset("808_snare_1", SNARE)}
    assert parse_preset(content, SNARE.specs).values == content["preset"]
