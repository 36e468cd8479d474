"""The check of a synth: what it finds in broken ones, and the synth to begin with."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsnare import ParamSet, ParamSpec, Synth, render
from jaxsnare.check import LAWS, Corners, check
from jaxsnare.cli import main
from jaxsnare.commands import TARGET
from jaxsnare.design import data, words
from jaxsnare.dsp.envelopes import decay
from jaxsnare.new_synth import file_name, new_synth
from jaxsnare.report import save_moves
from jaxsnare.synths import find_synth

RATE = 48_000


class Tick(Synth):
    """Noise that dies away: as little as a synth can be."""

    @property
    def specs(self):
        return ParamSet(
            (
                ParamSpec("fall", "ms", 10.0, 500.0, 50.0),
                ParamSpec("loud", "", 0.0, 1.0, 0.5),
            )
        )

    def voice_init(self, dtype):
        return jnp.zeros((), dtype)

    def voice(self, p, state, n, white):
        return state, p["loud"] * decay(n, p["fall"], self.sample_rate) * white()


class Early(Tick):
    def voice(self, p, state, n, white):
        return state, p["loud"] * white()


class Moving(Tick):
    """Its state counts, before the hit as well."""

    def voice(self, p, state, n, white):
        return state + 1.0, super().voice(p, state, n, white)[1]


class Blocky(Tick):
    """It begins anew with every block."""

    def voice(self, p, state, n, white):
        at = jnp.arange(len(n)).astype(jnp.float32)
        state, audio = super().voice(p, state, n, white)
        return state, audio * jnp.where(n < 0, 0.0, jnp.exp(-0.01 * at))


class Unkept(Tick):
    """What it has counted so far depends on how the blocks were cut."""

    def voice(self, p, state, n, white):
        state = jnp.where(n[0] > 0, state + 1.0, state)
        return state, super().voice(p, state, n, white)[1]


class Random(Tick):
    """Noise that is drawn anew whenever it is compiled."""

    def voice(self, p, state, n, white):
        drawn = DRAWN.uniform(-1, 1, len(n)).astype(np.float32)
        return state, super().voice(p, state, n, white)[1] * drawn


DRAWN = np.random.default_rng(0)


class Weak(Tick):
    """Its state begins as another type than it goes on with."""

    def voice_init(self, dtype) -> Any:
        return 0.0

    def voice(self, p, state, n, white):
        state, audio = super().voice(p, state, n, white)
        return state + jnp.zeros((), jnp.float32), audio


class Stopped(Tick):
    """A filter whose state takes no gradient along."""

    def voice(self, p, state, n, white):
        def smooth(y, x):
            y = y + 0.01 * (x - y)
            return y, y

        _, audio = super().voice(p, state, n, white)
        return jax.lax.scan(smooth, jax.lax.stop_gradient(state), audio)


SILENT, PARTITION, LIVE, GRADIENT, ONCE = list(LAWS)[1:]


@pytest.mark.parametrize(
    ("kind", "law", "words"),
    [
        (Early, SILENT, "sounds where n < 0"),
        (Moving, SILENT, "the state moves where n < 0"),
        pytest.param(
            Blocky,
            PARTITION,
            "in blocks of 7 samples it sounds other than in one",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            Random,
            PARTITION,
            "the same hit sounds other each time",
            marks=pytest.mark.slow,
        ),
        (Blocky, LIVE, "in the middle of a block sounds other than a render"),
        pytest.param(
            Unkept,
            PARTITION,
            "after blocks of 7 samples its state is another",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            Stopped,
            GRADIENT,
            "is another in blocks of 112 samples than in one",
            marks=pytest.mark.slow,
        ),
        (Weak, ONCE, "it was compiled 3 times for blocks of one length"),
    ],
)
def test_a_broken_synth_is_told_what_is_broken(kind, law, words):
    assert words in LAWS[law](kind(RATE))
    assert LAWS[law](Tick(RATE)) == ""


class Steep(Tick):
    """A root whose gradient is infinite at one end, a knob that does nothing, one that
    is rounded, and a division by nothing."""

    @property
    def specs(self):
        return ParamSet(
            (
                ParamSpec("fall", "ms", 10.0, 500.0, 50.0),
                ParamSpec("root", "", 0.0, 1.0, 0.5),
                ParamSpec("idle", "", 0.0, 1.0, 0.5),
                ParamSpec("steps", "", 0.0, 8.0, 4.2),
                ParamSpec("over", "", 0.0, 1.0, 1.0),
            )
        )

    def voice(self, p, state, n, white):
        tone = decay(n, p["fall"], self.sample_rate) * white() * jnp.sqrt(p["root"])
        return state, tone * jnp.round(p["steps"]) / p["over"]


@pytest.mark.slow
def test_the_ends_of_the_ranges_are_tried():
    corners = Corners(Steep(RATE))
    sound, gradients = corners.laws
    assert not sound.holds
    assert "with over at 0" in sound.words
    assert "with root at 0: root" in gradients.words
    idle, steps = corners.notes
    assert idle.startswith("idle: moves no feature")
    assert steps.startswith("steps: is heard, but its gradient is 0")
    # twice as loud is 6 dB more
    louder = Corners(Tick(RATE))
    assert all(law.holds for law in louder.laws)
    assert louder.notes == []
    assert louder.moves[1][0] > 60  # loudness, from nothing to full


class Short(Tick):
    def voice(self, p, state, n, white):
        assert len(n) < 999, "too long"
        return super().voice(p, state, n, white)


def test_a_check_of_what_does_not_run_for_a_second(monkeypatch, tmp_path):
    """No traceback, and what could not be measured is no number."""
    monkeypatch.setattr("jaxsnare.check.LAWS", {})
    found = check(Short, RATE)
    ranges, second = found.laws
    assert "it runs over its ranges" in ranges.name
    for law in (ranges, second):
        assert "AssertionError: too long" in law.words
        assert "test_check.py:" in law.words
    text = words(found)
    assert "2 of 2 laws fail" in text
    assert "fall                    -      -" in text
    assert "A block of" not in text
    plain = data(found)
    json.dumps(plain, allow_nan=False)
    assert plain["block_us"] is plain["moves"]["fall"]["SPL_S"] is None
    save_moves(
        tmp_path / "moves.png",
        audio=np.full(100, np.nan),
        sample_rate=RATE,
        moves=found.moves,
        parameter_names=found.synth.specs.names,
        feature_names=TARGET.names,
        feature_units=TARGET.units,
        title="Short",
    )
    assert (tmp_path / "moves.png").exists()


def test_new_synth_writes_a_synth_that_works(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new-synth", "RimShot", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"file": "rim_shot.py", "synth": "rim_shot.py:RimShot"}
    assert "--out my-rim-shot --synth rim" in Path("rim_shot.py").read_text()
    synth = find_synth("rim_shot.py:RimShot")(RATE)
    audio = np.asarray(render(synth, synth.specs.defaults, seconds=0.5))
    assert 0.2 < np.abs(audio).max() <= 1.0
    assert LAWS[SILENT](synth) == ""
    for argv, message in (
        (["RimShot"], "rim_shot.py exists already"),
        (["rimShot"], "'rimShot' is no name of a class"),
        (["Sine"], "Sine is what the file imports: choose another name"),
        (["RimShot", "--out", "x.txt"], "'.txt' names no format"),
    ):
        assert main(["new-synth", *argv]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_check_synth_says_what_holds_and_what_not(tmp_path, monkeypatch, capsys):
    """Of the synth to begin with, broken: that whole ones hold is in test_compose."""
    monkeypatch.chdir(tmp_path)
    source = new_synth("Bell", "bell.py")
    broken = source.replace(
        'tanh_drive(tone + noise, p["drive"])', "tone + noise + 0.1 * white()"
    )
    assert broken != source
    (tmp_path / "bell.py").write_text(broken)
    assert main(["check-synth", "bell.py:Bell", "--rate", "16000"]) == 1
    out = capsys.readouterr().out
    assert "FAILS  it is silent before it is hit" in out
    assert "3 of 8 laws fail" in out  # with the two that follow from it
    assert "note: drive: moves no feature" in out


def test_the_file_is_named_after_the_class():
    assert [file_name(n) for n in ("Clap", "RimShot", "FMBell")] == [
        "clap.py",
        "rim_shot.py",
        "f_m_bell.py",
    ]
