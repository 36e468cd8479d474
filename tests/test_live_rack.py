"""Models loaded while another one plays."""

import time
from dataclasses import replace

import numpy as np
import pytest
from playing import blocks_of, joined, play

from jaxsnare.drummer import SnareDrum, groove
from jaxsnare.live.controls import Controls
from jaxsnare.live.engine import Engine
from jaxsnare.live.rack import Rack
from jaxsnare.performance import remap

RATE = 48_000
BLOCK = 64


@pytest.fixture
def folders(tmp_path, random_model):
    """Models in folders: "first", "like it" in shapes, and "other" than it."""
    models = {
        "first": random_model(),
        "like it": replace(random_model(seed=1), play={"trim": -3.0, "mix": 0.9}),
        "other": random_model(seed=2, hidden=(16,)),
    }
    for name, model in models.items():
        model.save(tmp_path / name)
    return tmp_path


@pytest.fixture
def rack(folders):
    return made([folders / "first"])


def made(folders, **options) -> Rack:
    rack = Rack(folders, RATE, BLOCK, **options)
    rack.compile()
    return rack


def ready(rack: Rack, number: int) -> None:
    slot, end = rack.slots[number], time.monotonic() + 60
    while slot.busy:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_a_model_of_the_same_shapes_shares_the_engine(rack, folders):
    rack.controls.set_many({"mix": 0.5, "osc1.freq": 300.0})
    number = rack.add(folders / "like it")
    ready(rack, number)
    engine, before = rack.engine, rack.engine.vector
    assert rack.slots[number].controls.engine is engine
    assert rack.engine.vector is before  # nothing of it is heard yet
    assert rack.choose(number) == f"playing {folders / 'like it'}"
    assert rack.engine is engine
    # turned by hand: stays; not turned: as this model says
    assert [rack.controls[k] for k in ("mix", "trim", "osc1.freq")] == [0.5, -3, 180]
    alone = Controls(
        Engine(engine.remapper, rack.controls.model.params(), BLOCK),
        rack.controls.model,
    )
    alone.set("mix", 0.5)
    assert np.array_equal(engine.vector, alone.engine.vector)
    # its own knobs are there again when the first comes back, and not what has since
    # been turned back
    rack.controls.set("mix", 0.9)
    rack.choose(0)
    assert (rack.controls["osc1.freq"], rack.controls["mix"]) == (300.0, 1.0)
    rack.slots[number].controls.set("gain", -6.0)  # not playing: not heard
    assert rack.controls["gain"] == 0.0


@pytest.mark.slow
def test_another_model_is_compiled_by_another_process(
    rack, folders, error_db, tmp_path, monkeypatch
):
    """Twice, with a cache of compiled programs, which cannot be sent on."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    ready(rack, rack.add(folders / "other"))
    number = rack.add(folders / "other")
    assert "as soon as" in rack.choose(number)
    assert rack.controls is rack.slots[0].controls
    ready(rack, number)
    assert rack.poll() == f"playing {folders / 'other'}"
    assert rack.poll() == ""
    audio = groove(RATE).audio[: 3 * RATE]
    played = joined(play(rack.engine, audio))
    model = rack.controls.model
    wanted = remap(model.remapper(RATE), model.params(), audio).audio[: len(played)]
    assert np.abs(wanted).max() > 0.1
    assert error_db(played, wanted) < -80


@pytest.mark.slow
def test_what_cannot_be_loaded_is_said_and_the_first_plays_on(rack, folders):
    missing = rack.add(folders / "nothing")
    ready(rack, missing)
    assert rack.choose(missing) == f"model {folders / 'nothing'}: no such folder"
    assert rack.controls is rack.slots[0].controls
    # once it is there, it is read again, and keeps its number
    (folders / "like it").rename(folders / "nothing")
    assert rack.add(folders / "nothing") == missing
    ready(rack, missing)
    assert rack.choose(missing).startswith("playing")
    # and where it is gone once more, what was read before plays on
    (folders / "nothing").rename(folders / "moved")
    assert rack.add(folders / "nothing") == missing
    ready(rack, missing)
    assert rack.choose(missing).endswith("no such folder")
    rack.choose(0)
    assert rack.choose(missing).startswith("playing")


@pytest.mark.slow
def test_knobs_are_turned_from_the_beginning(folders):
    knobs = {"mix": 0.25, "osc1.freq": 250.0, "scale.RMS": 2.0, "damping.osc1.mod": 0.1}
    rack = made([folders / "first", folders / "like it"], knobs=knobs)
    for number in (0, 1):
        rack.choose(number)
        assert {name: rack.controls[name] for name in knobs} == knobs
    index = rack.engine.index
    assert rack.engine.vector[index.play["mix"]] == 0.25
    assert rack.engine.vector[index.map.scale[0]] == 2.0
    with pytest.raises(ValueError, match="'mix' is 3, allowed is"):
        made([folders / "first"], knobs={"mix": 3.0})
    with pytest.raises(ValueError, match=r"osc1\.frq"):
        made([folders / "first"], knobs={"osc1.frq": 3.0})


def test_what_is_told_of_a_hit_is_scaled_and_shifted(random_model):
    """Knobs carry the names of the target features, and act on those."""
    model = random_model(told=64)
    engine = Engine(model.remapper(), model.params(), BLOCK)
    controls = Controls(engine, model)
    stroke = np.pad(SnareDrum(sample_rate=RATE).strike(0.8, seed=0), (1000, 0))

    def told():
        engine.reset()
        return next(hit for p in play(engine, stroke[:8000]) for hit in p.hits)

    usual = told()
    assert usual.names.features[:3] == ("SPL_T", "SPL_S", "SC_T")
    controls.set_many({"scale.SPL_T": 2.0, "shift.TC": 0.25})
    turned = told()
    wanted = usual.features * [2, 1, 1, 1, 1, 1, 1] + [0, 0, 0, 0, 0, 0, 0.25]
    np.testing.assert_allclose(turned.features, wanted, rtol=1e-5, atol=1e-6)
    assert np.abs(turned.modulation - usual.modulation).max() > 1e-3
    with pytest.raises(ValueError, match=r"scale\.RMS"):
        controls.set("scale.RMS", 2.0)


@pytest.mark.slow
def test_an_engine_that_takes_over_hears_no_hit_twice_and_misses_none(random_model):
    """The switch lies between an onset and its voice, in the middle of a ringing."""
    stroke = SnareDrum(sample_rate=RATE).strike(0.8, seed=0)
    audio = np.zeros(RATE // 2, np.float32)
    audio[1000 : 1000 + len(stroke)] = stroke[: len(audio) - 1000]
    other = random_model(seed=2, hidden=(16,))
    engines = [Engine(m.remapper(), m.params(), BLOCK) for m in (random_model(), other)]
    alone = [hit for p in play(engines[1], audio) for hit in p.hits]
    for at in (1100, 1400, 4000):
        for engine in engines:
            engine.reset()
        hits, engine = [], engines[0]
        for k, x in enumerate(blocks_of(audio, BLOCK)):
            if k == at // BLOCK:
                engines[1].take_over(engines[0])
                engine = engines[1]
            hits += engine.process(x).hits
        assert [hit.sample for hit in hits] == [hit.sample for hit in alone]
        if at < alone[0].sample:
            np.testing.assert_allclose(hits[0].values, alone[0].values, rtol=1e-5)
