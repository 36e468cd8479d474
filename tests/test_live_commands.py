"""The commands that play, as far as they need no sound device; and the keys."""

import argparse
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jaxsnare.audio import write_audio
from jaxsnare.calibrate import learn_bleed, learn_room
from jaxsnare.cli import main
from jaxsnare.detector import find_detector
from jaxsnare.drummer import SnareDrum
from jaxsnare.gate import no_examples
from jaxsnare.live import commands
from jaxsnare.live.controls import Controls
from jaxsnare.live.engine import Engine, Hit, Names, Played
from jaxsnare.live.recorder import Recorder
from jaxsnare.live.session import Calibration, Session
from jaxsnare.live.stats import Stats
from jaxsnare.live.view import KEYS, TURNS, Screen, bar, keys, knob, turn
from jaxsnare.model import Model
from jaxsnare.onset import ONSET_SPECS, find_onsets
from jaxsnare.params import as_params
from jaxsnare.presets import read_preset

RATE = 48_000
NAMES = Names(("RMS", "SC", "SF"), tuple(f"p{k}" for k in range(14)))


@pytest.fixture(scope="module")
def saved(random_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("live") / "model"
    random_model().save(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A model of its own for every test."""
    return shutil.copytree(saved, tmp_path / "model")


@pytest.fixture(scope="module")
def strokes():
    """Eleven medium strokes, a quarter of a second apart."""
    drum = SnareDrum(sample_rate=RATE)
    audio = np.zeros(3 * RATE, np.float32)
    for i in range(11):
        stroke = drum.strike(0.5, seed=i)[: RATE // 4]
        audio[(i + 1) * RATE // 4 :][: len(stroke)] += stroke
    return audio


def calibrate(folder, audio, tmp_path, capsys):
    write_audio(tmp_path / "ten.wav", audio, RATE, overwrite=True)
    assert (
        main(["calibrate", str(folder), "--play", str(tmp_path / "ten.wav"), "--json"])
        == 0
    )
    return json.loads(capsys.readouterr().out)["trim_db"]


@pytest.mark.slow
def test_calibration_makes_up_for_the_level_of_the_microphone(
    folder, strokes, tmp_path, capsys
):
    loud = calibrate(folder, strokes, tmp_path, capsys)
    assert Model.load(folder).play == {"trim": loud}
    # it starts from the trim that is there: nothing is left to make up for
    assert calibrate(folder, strokes, tmp_path, capsys) == pytest.approx(loud, abs=0.11)
    soft = calibrate(folder, strokes / 4, tmp_path, capsys)
    assert soft - loud == pytest.approx(20 * np.log10(4), abs=0.3)


def learn(folder, flag, audio, tmp_path, capsys, *more):
    write_audio(tmp_path / "learned.wav", audio, RATE, overwrite=True)
    file = str(tmp_path / "learned.wav")
    assert main(["calibrate", str(folder), flag, file, "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def hats():
    """Twelve times high noise that dies away, a quarter of a second apart."""
    noise = np.random.default_rng(0).normal(size=(12, RATE // 4 + 4))
    sounds = np.diff(noise, n=4) * np.exp(-np.arange(RATE // 4) / 400)
    return np.pad(np.float32(0.01 * sounds).ravel(), (RATE // 4, 0))


def test_calibration_learns_how_the_others_sound(folder, hats, tmp_path, capsys):
    before = Model.load(folder)
    said = learn(folder, "--bleed", hats, tmp_path, capsys, "--onset-sensitivity", "3")
    assert said["others"] == 12
    after = Model.load(folder)
    assert after.play == {"gate": 0.5}
    assert after.onset == before.onset  # it was turned for hearing only
    np.testing.assert_allclose(after.examples.hits, before.examples.hits, atol=0.006)
    # every sound at four latenesses: what is high is most of its power
    assert len(after.examples.others) == 4 * 12
    assert np.median(after.examples.others[:, 7]) > -2.0


def test_calibration_learns_the_rooms_noise(folder, tmp_path, capsys):
    rng = np.random.default_rng(1)
    room = np.float32(10 ** (-50 / 20) * rng.normal(size=3 * RATE))
    silence = np.zeros(RATE // 2, np.float32)
    model = Model.load(folder)
    detector = find_detector(model.hears, RATE)
    sudden = np.concatenate([silence, room])
    assert len(find_onsets(detector, as_params(model.onset), sudden)) > 0
    # what is always there is tracked: a floor would only hide soft hits
    assert learn(folder, "--room", room, tmp_path, capsys)["floor_db"] == -100.0
    gated = np.concatenate([sudden, sudden])
    floor_db = learn(folder, "--room", gated, tmp_path, capsys)["floor_db"]
    model = Model.load(folder)
    assert model.onset == Model.load(folder).onset | {"onset.floor": floor_db}
    assert floor_db > -100.0
    assert len(find_onsets(detector, as_params(model.onset), sudden)) == 0
    # and it comes down again in another room
    assert learn(folder, "--room", room, tmp_path, capsys)["floor_db"] == -100.0


def test_a_stray_hit_in_tracked_noise_takes_a_wider_margin(random_model):
    """Not a floor, which would hide soft hits, nor an accusation."""
    rng = np.random.default_rng(1)
    room = np.asarray(10 ** (-50 / 20) * rng.normal(size=8 * RATE), np.float32)
    model = random_model()
    detector = find_detector(model.hears, RATE)

    def stray(margin):
        settings = as_params(model.onset | {"onset.noise": margin})
        return np.any(find_onsets(detector, settings, room) > 0.1 * RATE)

    margin = next(m for m in (4.0, 2.0, 0.0, -2.0, -4.0) if stray(m))
    narrow = replace(model, onset=model.onset | {"onset.noise": margin})
    learned, floor_db = learn_room(narrow, room)
    assert floor_db == model.onset["onset.floor"]
    assert margin < learned.onset["onset.noise"] <= margin + 4


@pytest.mark.slow
def test_the_level_counts_before_the_room(folder, strokes, tmp_path, capsys):
    rng = np.random.default_rng(1)
    write_audio(tmp_path / "ten.wav", strokes / 4, RATE)
    room = np.float32(10 ** (-60 / 20) * rng.normal(size=2 * RATE))
    gated = np.concatenate([np.zeros(RATE // 2, np.float32), room])
    play = ["--play", str(tmp_path / "ten.wav")]
    both = learn(folder, "--room", gated, tmp_path, capsys, *play)
    again = learn(folder, "--room", gated, tmp_path, capsys)
    assert both["floor_db"] == again["floor_db"] > -100.0
    assert both["trim_db"] > 5
    status = main(["calibrate", str(folder), "--room", *play])
    assert status == 2
    assert "give --room and --bleed a FILE as well" in capsys.readouterr().err


def test_a_quiet_room_changes_nothing(folder, tmp_path, capsys):
    before = Model.load(folder).onset
    learn(folder, "--room", np.zeros(RATE, np.float32), tmp_path, capsys)
    assert Model.load(folder).onset == before


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--bleed", "heard 3 sounds of the others, learning takes 8"),
        ("--room", "the room holds hits"),
    ],
)
def test_what_cannot_be_learned_is_said_and_changes_nothing(
    folder, strokes, tmp_path, capsys, flag, message
):
    write_audio(tmp_path / "three.wav", strokes[:RATE], RATE)
    record = (folder / "model.json").read_text()
    status = main(["calibrate", str(folder), flag, str(tmp_path / "three.wav")])
    error = capsys.readouterr().err
    assert status == 2
    assert error.count("\n") == 1
    assert message in error
    assert (folder / "model.json").read_text() == record


def test_of_two_calibrations_both_are_kept_or_none(
    folder, strokes, hats, tmp_path, capsys
):
    """And where the second fails, it is said that the first is not kept either."""
    hiss = 1e-4 * np.random.default_rng(0).normal(size=RATE)
    sounds = {"room": hiss, "three": strokes[: 7 * RATE // 4], "hats": hats}
    for name, audio in sounds.items():
        write_audio(tmp_path / f"{name}.wav", np.float32(audio), RATE)

    def calibrate(others):
        files = [str(tmp_path / f"{name}.wav") for name in ("room", others)]
        return main(["calibrate", str(folder), "--room", files[0], "--bleed", files[1]])

    record = (folder / "model.json").read_text()
    assert calibrate("three") == 2
    error = capsys.readouterr().err
    assert "of the others, learning takes" in error
    assert "nothing is kept, of what was learned before it neither" in error
    assert (folder / "model.json").read_text() == record
    assert calibrate("hats") == 0
    assert len(Model.load(folder).examples.others) > 0


class Microphone:
    """Stands for a Player: hands what it hears to the recorder, all at once."""

    rate = RATE
    engine: Any = None
    recorder: Any = None

    def __init__(self, heard):
        self.heard = heard

    def start(self):
        for start in range(0, len(self.heard) - 63, 64):
            self.recorder.put(self.engine.process(self.heard[start : start + 64]))

    def alive(self):
        return True

    def close(self):
        return True


@pytest.mark.slow
def test_without_a_file_the_microphone_is_heard(folder, hats, monkeypatch, capsys):
    heard = np.tile(hats, 5)[: 15 * RATE + 64]
    monkeypatch.setattr(commands, "_player", lambda args, shape: Microphone(heard))
    assert main(["calibrate", str(folder), "--bleed", "--json"]) == 0
    said = capsys.readouterr()
    assert "and no one the drum: 15 s from now" in said.err
    assert json.loads(said.out)["others"] > 50
    assert Model.load(folder).play == {"gate": 0.5}


def test_bleed_is_not_learned_without_examples_of_hits(random_model):
    model = replace(random_model(), examples=no_examples())
    with pytest.raises(ValueError, match="keeps no examples of its hits"):
        learn_bleed(model, np.zeros(RATE, np.float32))


def test_too_few_hits_are_said_and_change_nothing(folder, tmp_path, capsys):
    write_audio(tmp_path / "none.wav", np.zeros(RATE, np.float32), RATE)
    status = main(["calibrate", str(folder), "--play", str(tmp_path / "none.wav")])
    error = capsys.readouterr().err
    assert status == 2
    assert error.count("\n") == 1
    assert "heard 0 hits, calibration takes 10" in error
    assert Model.load(folder).play == {}


def test_a_calibration_needs_ten_hits(random_model):
    model = random_model()
    lo, hi = (np.asarray(v)[0] for v in model.normaliser)
    reference_db = lo + 0.5 * (hi - lo)
    calibration, none = Calibration(model), np.zeros(0, np.float32)
    # differences of -12, -11, ... -3 dB to the reference hit: the median is -7.5
    for k in range(10):
        # the trim is turned on the way
        hit = Hit(0, none, none, none, reference_db - 12 + k + (k > 4), NAMES)
        assert calibration.add(hit, 3.0 if k > 4 else 2.0) == (k == 9)
    assert calibration.trim == pytest.approx(9.5)


def test_every_key_that_turns_a_knob_turns_it_both_ways(random_model):
    model = random_model()
    engine = Engine(model.remapper(), model.params(), 64)
    controls = Controls(engine, model)
    for key in TURNS:
        assert f"{key}/{key.upper()}" in KEYS
        name = knob(controls, key)
        # o hears softer hits: more sensitivity
        sign = -1 if name == "onset.sensitivity" else 1
        spec = controls.specs[name]
        end = spec.hi if sign < 0 else spec.lo
        before = controls[name]
        turn(controls, key)
        down = controls[name]
        turn(controls, key.upper())
        turn(controls, key.upper())
        assert sign * down < sign * controls[name] or before == end
        for _ in range(200):  # to the end, and no further
            turn(controls, key)
        assert controls[name] == end


def test_a_detector_without_sensitivity_has_its_threshold_turned(random_model):
    model = replace(random_model(), onset=ONSET_SPECS.defaults)
    controls = Controls(Engine(model.remapper(), model.params(), 64), model)
    assert turn(controls, "o") == "onset.on 15 dB"


def test_lines_are_typed_for_knobs_and_models(random_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = random_model()
    engine = Engine(model.remapper(), model.params(), 64)
    controls, asked = Controls(engine, model), []
    rack: Any = SimpleNamespace(
        controls=controls,
        engine=engine,
        playing=tmp_path / "first",
        slots=[None],
        add=lambda folder: asked.append(folder) or 1,
        choose=lambda number: f"chose {number}",
    )
    player: Any = SimpleNamespace(switch=asked.append, stats=Stats(), engine=engine)
    session = Session(argparse.Namespace(), player, rack)

    def type_keys(text: str) -> str:
        for key in text:
            assert not session._typed(key)  # "q" is a letter like others in a line
        return session.message

    assert type_keys("=osc1.frqq\x7f\x7feq = 250\n") == "osc1.freq 250"
    assert controls["osc1.freq"] == 250
    assert "'mix' is 3, allowed is 0..1" in type_keys("=mix=3\n")
    assert "nonsense" in type_keys("=nonsense=1\n")
    assert "is not a number" in type_keys("=mix=\n")
    type_keys("=mix=0\x1b")  # Escape: nothing happens
    assert controls["mix"] == 1
    assert type_keys("nother q\n") == "chose 1"
    assert asked == [Path("other q"), engine]
    assert type_keys("u") == "chose 1"
    assert asked[2:] == [tmp_path / "first", engine]
    assert type_keys("7") == "there is no model 7: n loads another"
    assert "--running-normaliser" in type_keys("r")
    type_keys("=sensitivity=2\np")
    (saved,) = tmp_path.glob("preset-*.json")
    preset = read_preset(saved, model.synth)
    assert preset.values["osc1.freq"] == 250
    assert preset.knobs == {"sensitivity": 2.0}


@pytest.mark.parametrize("help", [False, True])
@pytest.mark.parametrize("width", [40, 50, 80, 200])
def test_the_screen_fits_the_terminal(random_model, width, help, tmp_path):
    model = random_model()
    engine = Engine(model.remapper(), model.params(), 64)
    controls = Controls(engine, model)
    taking = Recorder(tmp_path / ("a" * 60), RATE)
    player: Any = SimpleNamespace(
        engine=engine, stats=Stats(), rate=RATE, recorder=taking
    )
    features, values = np.full(3, 0.5, np.float32), np.zeros(14, np.float32)
    hit = Hit(0, features, values, values, -20.0, NAMES)
    silence = np.zeros(64, np.float32)
    player.stats.add(1e-4, Played(silence, silence, silence + 0.5, 8.0, 1, (hit,)))
    controls.set("onset.sensitivity", 3.0)
    lines = Screen(player, controls, "mine", 120.0, "a message", help).lines(width)
    taking.close()
    assert max(map(len, lines)) <= width
    assert len(lines) <= (20 if width >= 80 else 24)
    assert lines[0].startswith("input   ██")
    assert lines[0].endswith("-6.0 dBFS")
    assert lines[2].endswith(f"8.0 / {controls['onset.on'] - 0.9:.1f} dB")
    assert lines[-1] == "a message"
    text = " ".join(" ".join(lines).split())
    keys = all(words in text for words in KEYS.values())
    numbers = "RMS +0.50" in text and "0 blocks of bad input" in text
    assert (keys, numbers) == (help, not help)


@pytest.mark.skipif(sys.platform == "win32", reason="no terminals of this kind there")
def test_keys_are_all_read_and_arrows_are_none(monkeypatch):
    import pty

    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        with keys() as typed:
            assert typed() == ""
            os.write(ours, b"s\x1b[Am\x1bOSM\x1b[15~q")
            assert "".join(typed() for _ in range(3)) == "smMq"
    os.close(ours)


def test_a_meter_fills_with_the_level():
    assert bar(-120.0).count("█") == 0
    assert bar(0.0).count("█") == len(bar(0.0))
    assert bar(-30.0).count("█") == len(bar(0.0)) // 2
    assert bar(-120.0, mark=0.0)[0] == "│"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--channels", "one"], "channels 'one'; allowed: numbers from 1"),
        (["--set", "osc1.frq=3"], "did you mean 'osc1.freq'"),
        (["--onset-on", "999"], "'onset.on' is 999, allowed is 0.5..150 dB"),
        (["--block", "0"], "'0'; allowed: whole numbers from 1 to 8192 samples"),
        (["--play", "nothing.wav"], "nothing.wav"),
    ],
)
def test_wrong_options_are_one_line(folder, sound, words, message, capsys):
    assert main(["live", str(folder), *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("jaxsnare: ")
    assert message in error


def test_without_portaudio_it_is_said_what_to_install(folder, monkeypatch, capsys):
    import builtins

    real = builtins.__import__

    def fails(name, *args, **kwargs):
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fails)
    assert main(["devices"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "apt install libportaudio2" in error
    assert "brew install portaudio" in error
