"""Synths of files and of installed packages: found, checked, saved, sent on."""

import json
import pickle
import shutil
import time
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
import soundfile

from jaxsnare import Snare808, Synth, render
from jaxsnare.cli import main
from jaxsnare.live.engine import Engine
from jaxsnare.live.rack import Rack
from jaxsnare.mapping import Mapping
from jaxsnare.model import Model
from jaxsnare.presets import read_preset
from jaxsnare.synths import find_synth, registry

RATE = 48_000

BLIP = '''
from dataclasses import dataclass

from jaxsnare import ParamSet, ParamSpec, Synth
from jaxsnare.dsp.envelopes import attack_decay
from jaxsnare.dsp.noise import white


@dataclass(frozen=True)
class Blip(Synth):
    """Noise that dies away."""

    loud: float = 0.5

    specs = ParamSet(
        (
            ParamSpec("env.decay", "ms", 10.0, 500.0, 100.0),
            ParamSpec("noise.gain", "dB", -40.0, 0.0, -6.0),
        )
    )

    def voice_init(self, dtype):
        return ()

    def voice(self, p, state, n, white):
        decay = attack_decay(n, p["env.decay"], self.sample_rate)
        return (), self.loud * white() * decay * 10 ** (p["noise.gain"] / 20)
'''


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def blip(here):
    (here / "blip.py").write_text(BLIP)
    return find_synth("blip.py:Blip")


def untrained(random_model, synth):
    """A model of a synth with weights that no one trained."""
    like = random_model()
    mapping = Mapping(3, len(synth.specs), (4,), 0.05)
    return replace(
        like,
        synth=synth,
        specs=synth.specs,
        preset=read_preset("default", synth),
        mapping=mapping,
        weights=mapping.init(jax.random.key(0)),
    )


# found


def test_a_synth_of_a_file_sounds(blip, capsys, here):
    synth = blip(RATE)
    audio = np.asarray(render(synth, synth.specs.defaults, samples=4800))
    n = np.arange(4800)
    decay = np.where(n < 48, (n + 1) / 48, (1 - 6.91 / 4800) ** np.maximum(n - 48, 0))
    noise = np.asarray(synth.noise(n, np.int32(1), 0, np.float32), float)
    np.testing.assert_allclose(audio, 0.5 * 10**-0.3 * noise * decay, atol=1e-5)

    assert main(["render", "hit.wav", "--synth", "blip.py:Blip", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["synth"] == "Blip"
    assert main(["synths", "--synth", "blip.py:Blip"]) == 0
    assert "Noise that dies away" in capsys.readouterr().out
    assert main(["presets", "--synth", "blip.py:Blip", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["Blip"]["default"]["preset"]


def test_the_same_source_is_the_same_class_and_another_another(blip, here):
    assert find_synth("blip.py:Blip") is blip
    shutil.copy("blip.py", "copy.py")
    assert find_synth("copy.py:Blip") is blip
    (here / "copy.py").write_text(BLIP.replace("-6.0", "-7.0"))
    assert find_synth("copy.py:Blip") is not blip


def test_a_synth_of_an_installed_package(here, monkeypatch, capsys):
    """Entry points in the metadata of a package on the path, as pip writes them."""
    (here / "gong_package.py").write_text(BLIP.replace("Blip", "Gong"))
    monkeypatch.syspath_prepend(here)
    installed = here / "gong-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: gong\n")
    (installed / "entry_points.txt").write_text(
        f"[{registry.GROUP}]\nGong = gong_package:Gong\nLost = gong_package:Lost\n"
        "Ends = end_package:Ends\nsnare808 = gong_package:Gong\n"
    )
    (here / "end_package.py").write_text("raise SystemExit(4)")
    gong = find_synth("gong")
    assert gong.__module__ == "gong_package"
    assert registry.name_of(gong) == "Gong"
    assert registry.synth_names()[-4:] == ["Gong", "Lost", "Ends", "snare808"]
    assert find_synth("snare808") is gong
    assert find_synth("Snare808") is find_synth("SNARE808") is Snare808
    with pytest.raises(
        ValueError, match=r"synth Ends of the package .*: SystemExit: 4"
    ):
        find_synth("Ends")
    with pytest.raises(ValueError, match=r"synth Lost of the package .*: AttributeErr"):
        find_synth("Lost")
    assert main(["presets", "--json"]) == 0  # what fails does not hide the others
    listed = json.loads(capsys.readouterr().out)
    assert list(listed) == [*registry.SHIPPED, "Gong"]  # once


# refused, before it is run

WRONG = {
    "no file": ("", "", "nothing.py:Blip", r"nothing\.py: cannot be read"),
    "no class": ("class Blip(", "class Blop(", "", "no class 'Blip'; there are Blop"),
    "no name": ("", "", "blip.py", r"as in blip\.py:Clap"),
    "syntax": ("def voice_init", "def def voice_init", "", r"blip\.py:22: SyntaxErr"),
    "import": ("import white", "import whites", "", r"blip\.py:6: ImportError: cannot"),
    "exit": ("@dataclass(", "raise SystemExit(3)\n@dataclass(", "", r"blip\.py:9: Sys"),
    "no synth": ("class Blip(Synth)", "class Blip", "", "is no synth of this file"),
    "other synth": ("", "", "blip.py:Synth", "Synth is no synth of this file"),
    "no voice": ("def voice(", "def play_it(", "", "Blip lacks voice: a synth has"),
    "arguments": ("state, n, white)", "state, n)", "", r"wanted: voice\(self, p, st"),
    "settings": ("@dataclass(frozen=True)", "", "", r"settings \(loud\): write @data"),
    "not frozen": ("frozen=True", "frozen=False", "", r"blip\.py:9: TypeError: cannot"),
    "reversed": ("10.0, 500.0", "500.0, 10.0", "", r"blip\.py:17: .*range must rise"),
    "twice": ("noise.gain", "env.decay", "", r"blip\.py:15: .*declared twice"),
    "a knob": ("noise.gain", "gain", "", "'gain', which is a knob of every player"),
    "if": ("decay = ", "if p['noise.gain'] > 0: pass\n        decay = ", "", "jnp.whe"),
    "float": ("self.loud *", "float(n[0]) *", "", r"blip\.py:27: .*not known"),
    "misspelt": ('p["env.decay"]', 'p["env.dekay"]', "", r":26: KeyError: 'env\.dekay"),
    "nothing": ("return (), ", "_ = (), ", "", "ends without `return state, audio`"),
    "length": ("white() *", "white()[:9] *", "", r"blip\.py:27: TypeError"),
    "one number": ("self.loud *", "0.0 * white()[:1].sum() + 1; ", "", "gives float32"),
    "order": ("p, state, n,", "p, n, state,", "", r"voice\(self, p, n, state"),
    "property": ("    def voice(", "    @property\n    def voice(", "", "is no method"),
    "name": ('"env.decay", "ms"', '3, "ms"', "", r"py:17: a parameter is called 3"),
    "number": ("10.0, 500.0", "'10', 500.0", "", "must be numbers, got '10', 500.0"),
    "words": ("return ()\n", "return 'hi'\n", "", "voice_init of Blip gives 'hi': a"),
    "long": ("decay = ", "assert len(n) < 99\n        decay = ", "", ":26: AssertionE"),
    "leaves": ("decay = ", "raise SystemExit\n        decay = ", "", ":26: SystemExit"),
    "kept": ("decay = ", "vars(self)['k'] = n\n        decay = ", "", "sets k on it"),
    "state": ("return (), ", "return (n,), ", "", "a state of another structure"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_breaks_the_contract_is_one_line(case, here, capsys):
    old, new, reference, message = WRONG[case]
    assert old in BLIP
    if case != "no file":
        (here / "blip.py").write_text(BLIP.replace(old, new))
    reference = reference or "blip.py:Blip"
    with pytest.raises(ValueError, match=message):
        find_synth(reference)
    if case not in ("no file", "reversed", "misspelt"):
        return
    assert main(["render", "hit.wav", "--synth", reference]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("jaxsnare: ")
    assert err.count("\n") == 1
    assert [p.name for p in here.glob("*.wav")] == []


def test_code_that_raises_at_another_rate_and_prints(here, capsys):
    raises = "print('hey')\n        assert self.sample_rate == 48_000\n        decay = "
    (here / "blip.py").write_text(BLIP.replace("decay = ", raises, 1))
    render = ["render", "hit.wav", "--synth", "blip.py:Blip", "--json"]
    assert main(render) == 0
    assert json.loads(capsys.readouterr().out)["synth"] == "Blip"
    soundfile.write("tick.wav", np.hanning(4410), 44_100)
    for command in ("render x.wav", "synths", "match tick.wav"):
        argv = [*command.split(), "--synth", "blip.py:Blip", "--rate", "44100"]
        assert main(argv) == 2
        out, err = capsys.readouterr()
        assert "jaxsnare: blip.py:27: AssertionError" in err
        assert out == ""


def test_a_sound_that_is_not_finite_is_the_synths_fault(here, capsys):
    broken = BLIP.replace("self.loud *", "jnp.log(self.loud - 1.0) *")
    (here / "blip.py").write_text("import jax.numpy as jnp\n" + broken)
    soundfile.write("tick.wav", np.hanning(RATE // 10), RATE)
    for command in ("render hit.wav", "match tick.wav --out hit.json"):
        assert main([*command.split(), "--synth", "blip.py:Blip"]) == 2
        assert capsys.readouterr().err == (
            "jaxsnare: Blip gives NaN or infinite samples with these values: "
            "jaxsnare check-synth says where\n"
        )
    assert sorted(p.name for p in here.iterdir()) == ["blip.py", "tick.wav"]


# saved and sent on


def test_a_model_carries_its_synth(blip, here, random_model):
    model = untrained(random_model, blip(RATE, loud=0.25))
    model.save(here / "model")
    record = json.loads((here / "model" / "model.json").read_text())["synth"]
    assert record["settings"] == {"loud": 0.25}
    assert record["source"]["file"] == "blip.py"
    (here / "blip.py").unlink()
    again = Model.load(here / "model")
    assert again.synth == model.synth
    again.save(here / "model", overwrite=True)  # as calibrate does
    assert (here / "model" / "synth.py").read_text() == BLIP


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.unlink(), r"synth\.py is missing: it is the code of its synth"),
        (lambda p: p.write_text(BLIP + "\n"), r"synth\.py is not the code of Blip"),
    ],
)
def test_a_model_whose_synth_is_gone_or_changed(
    blip, here, random_model, damage, message
):
    untrained(random_model, blip(RATE)).save(here / "model")
    damage(here / "model" / "synth.py")
    with pytest.raises(ValueError, match=message):
        Model.load(here / "model")


def test_a_record_cannot_name_a_file(here, random_model, blip):
    """Nothing runs but what lies in the folder with its hash."""
    random_model().save(here / "model")
    path = here / "model" / "model.json"
    record = json.loads(path.read_text())
    record["synth"]["name"] = "blip.py:Blip"
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="unknown synth"):
        Model.load(here / "model")


def test_what_is_not_found_again_is_not_saved(blip, here, random_model):
    class Nameless(Snare808):
        pass

    with pytest.raises(ValueError, match=r"Nameless of .* is not found again"):
        untrained(random_model, Nameless(RATE)).save(here / "model")
    odd: Any = blip(RATE, loud=(0.1, 0.2))
    with pytest.raises(ValueError, match="loud of Blip is a tuple; a model can only"):
        untrained(random_model, odd).save(here / "model")
    assert not (here / "model").exists()


def test_a_synth_of_a_file_is_pickled_with_its_source(blip, monkeypatch):
    """What another process does that has never seen the file."""
    synth = blip(RATE, loud=0.125)
    data = pickle.dumps(synth)
    monkeypatch.delitem(registry.sys.modules, blip.__module__)
    monkeypatch.delitem(registry._FILES, blip.__module__)
    again = pickle.loads(data)
    assert type(again) is not blip
    assert (again.sample_rate, again.loud) == (RATE, 0.125)


STACK = """
from jaxsnare.synths.combine import layer
Stack = layer("Stack", one=Blip, two=Blip)
"""


def test_a_combination_of_its_own_file_is_pickled_with_it(here, monkeypatch):
    (here / "stack.py").write_text(BLIP + STACK)
    kind = find_synth("stack.py:Stack")
    data = pickle.dumps(kind(RATE))
    monkeypatch.delitem(registry.sys.modules, kind.__module__)
    monkeypatch.delitem(registry._FILES, kind.__module__)
    assert pickle.loads(data).specs == kind(RATE).specs


def test_what_takes_synths_from_another_file_is_not_saved(blip, here, random_model):
    taken = "from jaxsnare.synths import find_synth\nBlip = find_synth('blip.py:Blip')"
    (here / "far.py").write_text(taken + STACK)
    model = untrained(random_model, find_synth("far.py:Stack")(RATE))
    with pytest.raises(
        ValueError, match=r"Stack of far\.py takes synths from blip\.py"
    ):
        model.save(here / "model")


@pytest.mark.slow
def test_a_synth_of_a_file_is_loaded_while_another_plays(blip, here, random_model):
    """In the other process that compiles it, and then here."""
    random_model().save(here / "first")
    model = untrained(random_model, blip(RATE))
    model.save(here / "second")
    rack = Rack([here / "first"], RATE, 64)
    rack.compile()
    slot = rack.slots[rack.add(here / "second")]
    end = time.monotonic() + 300  # it is compiled by a process that gives way
    while slot.busy:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert slot.error == ""
    assert slot.controls is not None
    ours = Engine(model.remapper(RATE), model.params(), 64)
    noise = np.random.default_rng(0).uniform(-1, 1, 64).astype(np.float32)
    loudest = 0.0
    for block in [np.zeros(64, np.float32)] * 3 + [noise] * 30:
        wanted, got = ours.process(block), slot.controls.engine.process(block)
        np.testing.assert_allclose(got.audio, wanted.audio, atol=1e-6)
        loudest = max(loudest, np.abs(wanted.audio).max())
    assert loudest > 0.01


def test_synths_are_subclasses_of_the_contract():
    for name in registry.SHIPPED:
        kind = find_synth(name)
        assert issubclass(kind, Synth)
        assert registry.name_of(kind) == name
