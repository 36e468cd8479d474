"""The live engine, its knobs and its recorder; no audio device is needed."""

import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from playing import blocks_of, joined, play, starts

from jaxsnare.drummer import SnareDrum, groove
from jaxsnare.lessons import MANY
from jaxsnare.live.controls import Controls
from jaxsnare.live.engine import Engine
from jaxsnare.performance import remap
from jaxsnare.presets import read_preset
from jaxsnare.remapper import KNOB_MS

RATE = 48_000
GROOVE = groove(RATE).audio[: 3 * RATE]


@pytest.fixture(scope="module")
def model(random_model):
    return random_model(second_look=1024)


@pytest.fixture(scope="module")
def engines(model):
    """engines(block): compiled once, back at its first sample, with its knobs."""
    made = {}

    def get(block: int) -> tuple[Engine, Controls]:
        if block not in made:
            made[block] = Engine(model.remapper(), model.params(), block)
        made[block].reset()
        made[block].bad_input = made[block].bad_output = 0
        return made[block], Controls(made[block], model)

    return get


@pytest.mark.parametrize("block", [64, pytest.param(441, marks=pytest.mark.slow)])
def test_an_engine_plays_what_remap_renders_bit_for_bit(engines, model, block):
    engine, _ = engines(block)
    played = play(engine, GROOVE)
    wanted = remap(model.remapper(), model.params(), GROOVE, block=block)
    whole = len(played) * block
    assert np.array_equal(joined(played), wanted.audio[:whole])
    assert np.array_equal(joined(played, "synth"), wanted.synth[:whole])
    hits = [hit for p in played for hit in p.hits]
    assert [hit.sample for hit in hits] == wanted.triggers[: len(hits)].tolist()
    assert len(hits) >= len(wanted.triggers) - 1 >= 5
    for hit, row in zip(hits, np.asarray(wanted.hits.values), strict=False):
        assert np.array_equal(hit.values, row)
    assert sum(p.onsets for p in played) == np.sum(wanted.onsets < whole)


SETTLED = """
import resource
import sys
import numpy as np
from jaxsnare.live.engine import Engine, settle
from jaxsnare.model import Model
settle()
folder, block, heard, result = sys.argv[1:]
model, audio = Model.load(folder), np.load(heard)
engine = Engine(model.remapper(48_000), model.params(), int(block))
blocks = audio[: len(audio) // engine.block * engine.block].reshape(-1, engine.block)
before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
played = [engine.process(x).audio for x in blocks]
waits = (resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before) / len(played)
np.savez(result, audio=np.concatenate(played), hlo=engine.hlo, waits=waits)
"""


@pytest.mark.parametrize("block", [64, pytest.param(1024, marks=pytest.mark.slow)])
def test_a_process_that_plays_compiles_one_function_of_the_same_sound(
    random_model, tmp_path, block, error_db
):
    """And it waits for no other thread, which an idle core takes 100 us to begin."""
    pytest.importorskip("resource", reason="counts how often a thread waits")
    model = random_model(rate=44_100, second_look=1024)
    mapping = replace(model.mapping, told=(MANY, 13))
    weights = mapping.init(jax.random.key(0))
    second = replace(model.second, weights=weights)
    model = replace(model, mapping=mapping, weights=weights, second=second)
    model.save(tmp_path / "model")
    np.save(tmp_path / "heard.npy", GROOVE)
    names = "model", str(block), "heard.npy", "result.npz"
    command = [sys.executable, "-c", SETTLED, *names]
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    subprocess.run(command, cwd=tmp_path, check=True, env=environment)
    result = np.load(tmp_path / "result.npz")
    program = str(result["hlo"])
    entry = program[program.index("\nENTRY") :]
    assert " call(" in entry
    assert " while(" not in entry
    assert result["waits"] < 0.1
    wanted = remap(model.remapper(RATE), model.params(), GROOVE).audio
    assert error_db(result["audio"], wanted[: len(result["audio"])]) < -80


@pytest.mark.slow
@pytest.mark.parametrize("block", [64, pytest.param(441, marks=pytest.mark.slow)])
def test_the_block_length_changes_no_hit_and_no_sound(engines, model, block, error_db):
    played = play(engines(block)[0], GROOVE)
    wanted = remap(model.remapper(), model.params(), GROOVE)
    whole = len(played) * block
    assert starts(played) == [t for t in wanted.triggers if t < whole]
    assert error_db(joined(played), wanted.audio[:whole]) < -80


@pytest.mark.parametrize(
    "x",
    [
        np.zeros(64),
        np.zeros(64, np.int16),
        np.zeros(32, np.float32),
        np.zeros(0, np.float32),
        np.zeros((64, 1), np.float32),
    ],
)
def test_a_block_of_another_shape_or_type_is_refused(engines, x):
    engine, _ = engines(64)
    with pytest.raises(TypeError, match=r"a block is float32\[64\], got"):
        engine.process(x)
    assert engine.samples == 0


@pytest.mark.parametrize("block", [0, -1, 8193])
def test_a_block_length_out_of_range_is_refused(model, block):
    with pytest.raises(ValueError, match=r"allowed is 1\.\.8192 samples"):
        Engine(model.remapper(), model.params(), block)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_input_counts_as_a_block_of_silence(engines, bad):
    engine, _ = engines(64)
    silent, poisoned = GROOVE.copy(), GROOVE.copy()
    silent[64 * 500 : 64 * 501] = 0
    poisoned[64 * 500 + 3] = bad
    wanted = joined(play(engine, silent))
    engine.reset()
    assert np.array_equal(joined(play(engine, poisoned)), wanted)
    assert (engine.bad_input, engine.bad_output) == (1, 0)


def test_bad_output_becomes_silence_and_the_engine_recovers(engines):
    engine, _ = engines(64)
    wanted = joined(play(engine, GROOVE))
    engine.reset()
    good, engine.vector = engine.vector, np.full_like(engine.vector, np.nan)
    assert not engine.process(GROOVE[:64]).audio.any()
    assert engine.bad_output == 1
    engine.vector = good
    assert np.array_equal(joined(play(engine, GROOVE)), wanted)
    assert engine.samples == 64 + len(GROOVE) // 64 * 64


def test_every_knob_moves_one_number_and_is_heard(engines):
    engine, controls = engines(64)
    hit = SnareDrum(RATE).strike(0.8)[: RATE // 8]
    strokes = np.concatenate([np.zeros(64, np.float32), hit, 0.5 * hit])

    def heard():
        engine.reset()
        played = play(engine, strokes)
        return np.append(joined(played), [p.level_db for p in played])

    usual, before = heard(), engine.vector
    for spec in controls.specs:
        differences = []
        for value in (spec.lo, spec.hi):
            controls.set(spec.name, value)
            assert controls[spec.name] == value
            assert np.sum(engine.vector != before) <= 1, spec.name
            differences.append(np.abs(heard() - usual).max())
        controls.set(spec.name, spec.default)
        assert max(differences) > 1e-4, spec.name
    assert np.array_equal(engine.vector, before)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mix": 0.5, "gain": 25.0}, r"gain.*25.*-60.*24"),
        ({"mix": 0.5, "osc1.freq": float("nan")}, r"osc1\.freq"),
        ({"mix": 0.5, "osc1.frq": 200.0}, r"osc1\.frq.*osc1\.freq"),
        ({"mix": 0.5, "damping.osc1.freq": 1.5}, r"damping\.osc1\.freq.*1\.5"),
    ],
)
def test_a_wrong_knob_is_refused_and_nothing_is_turned(engines, values, message):
    engine, controls = engines(64)
    before = engine.vector
    with pytest.raises(ValueError, match=message):
        controls.set_many(values)
    assert engine.vector is before
    assert controls["mix"] == 1.0


class Hammer(threading.Thread):
    """Turns knobs about 1000 times a second, to a random place each."""

    def __init__(self, controls, ranges):
        super().__init__(daemon=True)
        self.controls, self.ranges = controls, ranges
        self.rng, self.done, self.sets = np.random.default_rng(0), False, 0

    def run(self):
        begun = time.monotonic()
        while not self.done:
            name, lo, hi = self.ranges[self.rng.integers(len(self.ranges))]
            self.controls.set(name, self.rng.uniform(lo, hi))
            self.sets += 1
            time.sleep(max(begun + self.sets / 1000 - time.monotonic(), 0))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done = True
        self.join()


def test_all_knobs_hammered_while_playing(engines, caplog):
    engine, controls = engines(64)
    step = engine._step
    with jax.log_compiles(True), caplog.at_level(logging.WARNING):
        with Hammer(controls, [(s.name, s.lo, s.hi) for s in controls.specs]) as hammer:
            while hammer.sets < 500:
                for x in blocks_of(GROOVE[:RATE], 64):
                    played = engine.process(x)
                    assert np.isfinite(played.audio).all()
                    assert np.abs(played.audio).max() <= 1
        assert "ompil" not in caplog.text
        jax.jit(lambda x: x + 1)(jnp.ones(3))
        assert "ompil" in caplog.text  # so a compilation would have shown
    assert engine._step is step
    assert (engine.bad_input, engine.bad_output) == (0, 0)


# A ramp's fastest change of slope, per unit of the level that changes; a knob that
# jumps changes the slope by 1.
BEND = 1000 / KNOB_MS / RATE
SINE = (0.5 * np.sin(2 * np.pi * 100 / RATE * np.arange(RATE))).astype(np.float32)
SINE[:4800] *= np.linspace(0, 1, 4800, dtype=np.float32)  # no onset
TOP = 377 * 64  # a block that begins near a top of the sine


def bends(audio: np.ndarray) -> float:
    return float(np.abs(np.diff(audio, 2)).max())


@pytest.mark.parametrize(
    ("name", "full", "none"),
    [("mix", 0.0, 1.0), ("mix", 1.0, 0.0), ("trim", 0.0, -40.0)],
)
def test_a_knob_turned_at_once_makes_no_click(engines, name, full, none):
    engine, controls = engines(64)
    controls.set_many({"onset.on": 150.0, "mix": 0.0} | {name: full})
    early = play(engine, SINE[:TOP])
    controls.set(name, none)
    audio = joined(early + play(engine, SINE[TOP:]))
    jump = np.concatenate([SINE[:TOP], np.zeros_like(SINE[TOP:])])
    assert bends(SINE) < bends(audio) < 1.1 * BEND * 0.5
    assert bends(audio) < bends(jump) / 100


def test_the_synth_gain_turned_at_once_makes_no_click(engines):
    """A low, pure voice, cut by its gain in the middle of its decay."""
    engine, controls = engines(64)
    only_tone = {"osc1.freq": 60.0, "osc1.mod": 0.0, "osc1_env.decay": 2000.0}
    silent = {"osc2_gain.gain": -60.0, "noise_gain.gain": -60.0, "sensitivity": 0.0}
    controls.set_many(only_tone | silent)
    click = np.zeros(RATE // 2, np.float32)
    click[100:140] = np.hanning(40)  # a single sample is no hit
    undisturbed = joined(play(engine, click))
    engine.reset()
    early = play(engine, click[: RATE // 4])
    controls.set("gain", -60.0)
    audio = joined(early + play(engine, click[RATE // 4 :]))
    after = slice(RATE // 4 - 64, None)
    level = np.abs(undisturbed[after]).max()
    assert level > 0.05
    assert bends(audio[after]) < bends(undisturbed[after]) + 2 * BEND * level
    assert np.abs(audio[-100:]).max() < 2e-3 * level


def test_hammered_level_knobs_make_no_clicks(engines):
    engine, controls = engines(64)
    controls.set_many({"onset.on": 150.0, "mix": 0.0})
    ranges = [("mix", 0.0, 1.0), ("gain", -60.0, 0.0), ("trim", -20.0, 0.0)]
    with Hammer(controls, ranges) as hammer:
        played = []
        while hammer.sets < 300:
            played += play(engine, SINE[4800:])
    # The recording is periodic, so that it may be repeated.
    assert bends(joined(played)) < 2 * 2 * BEND * 0.5


def test_another_model_takes_over_at_a_block_boundary(engines, random_model):
    engine, controls = engines(64)
    others = Controls(engine, random_model(seed=1, second_look=1024), active=False)
    own = [h for p in play(engine, GROOVE) for h in p.hits]
    controls.set("sensitivity", 1.0)
    engine.reset()
    others.take_over(controls)
    wanted = [h for p in play(engine, GROOVE) for h in p.hits]
    controls.take_over(others)
    engine.reset()
    half = len(GROOVE) // 128 * 64
    first = play(engine, GROOVE[:half])
    others.take_over(controls)
    hits = [h for p in first + play(engine, GROOVE[half:]) for h in p.hits]
    assert [h.sample for h in hits] == [h.sample for h in own]
    assert {h.sample < half for h in hits} == {True, False}
    for hit, a, b in zip(hits, own, wanted, strict=True):
        assert np.array_equal(hit.values, a.values if hit.sample < half else b.values)
        assert not np.array_equal(a.values, b.values)


def test_what_is_played_stays_when_a_model_is_loaded(engines, random_model):
    engine, controls = engines(64)
    controls.set_many({"mix": 0.5, "osc1.freq": 300.0})
    others = Controls(engine, random_model(seed=1, second_look=1024), active=False)
    others.take_over(controls)
    assert others["mix"] == 0.5
    assert others["osc1.freq"] == 180.0


def test_a_model_of_other_shapes_is_refused(engines, random_model):
    engine, _ = engines(64)
    before = engine.vector
    with pytest.raises(ValueError, match="another synth, range, window or mapping"):
        Controls(engine, random_model(hidden=(16,)))
    assert engine.vector is before


def level_db(x) -> float:
    return float(10 * np.log10(np.mean(np.square(x, dtype=float)) + 1e-20))


@pytest.mark.parametrize("amount", [0.0, 0.5, 1.0])
def test_the_voices_level_follows_the_strokes(engines, amount):
    engine, controls = engines(64)
    controls.set_many({"sensitivity": 0.0, "gain": -24.0, "loudness_follow": amount})
    drum = SnareDrum(RATE)
    strokes = [drum.strike(v)[: RATE // 2] for v in np.linspace(0.2, 1, 9)]
    silence = np.zeros(RATE // 10, np.float32)
    played = play(engine, np.concatenate([silence, *strokes]))
    synth, window = joined(played, "synth"), engine.remapper.window
    at = starts(played)
    assert len(at) == 9
    sound = joined(played, "input")
    heard = [level_db(sound[t - window : t]) for t in at]
    answered = [level_db(synth[t : t + RATE // 10]) for t in at]
    slope, _ = np.polyfit(heard, answered, 1)
    assert np.ptp(heard) > 15
    assert slope == pytest.approx(amount, abs=0.01)


DELAY = 16  # blocks from the speaker back into the microphone: 21 ms
SENSITIVE = {"onset.sensitivity": 6.0}


def loop(engine: Engine, audio: np.ndarray, level_db: float | None) -> list[int]:
    """Voices that start while our output comes back into the input."""
    share = np.float32(0 if level_db is None else 10 ** (level_db / 20))
    past = [np.zeros(engine.block, np.float32)] * DELAY
    at = []
    engine.reset()
    for x in blocks_of(audio, 64):
        played = engine.process(x + share * past.pop(0))
        past.append(played.audio)
        at += [hit.sample for hit in played.hits]
    return at


def extra(at: list[int], wanted: list[int]) -> list[int]:
    """Those of `at` that have no partner within 5 ms."""
    return [t for t in at if min(abs(np.subtract(wanted, t))) > 0.005 * RATE]


@pytest.mark.parametrize("level", [pytest.param(-20.0, marks=pytest.mark.slow), -10.0])
def test_the_guard_keeps_our_own_sound_from_triggering(engines, level):
    engine, controls = engines(64)
    audio = groove(RATE).audio[: 5 * RATE]  # of which the softest may drown
    controls.set_many(SENSITIVE)
    undisturbed = loop(engine, audio, None)
    assert extra(loop(engine, audio, level), undisturbed)  # what it is there for
    controls.set("guard", level + 6)
    alone = loop(engine, audio, None)
    guarded = loop(engine, audio, level)
    assert not extra(guarded, undisturbed)
    assert not extra(guarded, alone)
    assert len(guarded) >= 0.9 * len(alone)
    assert len(alone) >= 0.6 * len(undisturbed)


def test_a_saved_preset_plays_the_same(engines, model, tmp_path, error_db):
    engine, controls = engines(64)
    controls.set_many(
        {"osc1.freq": 222.0, "tanh.in_gain": -3.3, "damping.osc2.freq": 0.2}
    )
    wanted = joined(play(engine, GROOVE))
    controls.save_preset(tmp_path / "mine.json")
    again = replace(model, preset=read_preset(tmp_path / "mine.json", model.synth))
    assert again.preset.values["osc1.freq"] == 222.0
    audio = remap(again.remapper(), again.params(), GROOVE, block=64).audio
    assert error_db(audio[: len(wanted)], wanted) < -80
    with pytest.raises(ValueError, match="cannot be written"):
        controls.save_preset(tmp_path / "no" / "mine.json")


def test_a_twin_shares_what_was_compiled_and_nothing_else(engines, model):
    engine, controls = engines(64)
    whole = joined(play(engine, GROOVE))
    engine.reset()
    half = len(GROOVE) // 128 * 64
    first = play(engine, GROOVE[:half])
    twin = engine.twin(model.params(gain=-20.0))
    softer = joined(play(twin, GROOVE))
    assert np.array_equal(joined(first + play(engine, GROOVE[half:])), whole)
    controls.set("gain", -20.0)
    engine.reset()
    assert np.array_equal(joined(play(engine, GROOVE)), softer)
    assert not np.array_equal(softer, whole)
