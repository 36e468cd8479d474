"""Several zones at once: each hears its own channel, and their sounds are summed."""

import argparse
import types
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from fake_sound import BLOCK, Doubler, Status, call
from playing import joined, play

from jaxsnare.drummer import SnareDrum
from jaxsnare.dsp.followers import Limiter
from jaxsnare.live.commands import _source, _zones
from jaxsnare.live.controls import Controls
from jaxsnare.live.engine import Engine, Hit, Names, Played
from jaxsnare.live.session import CALIBRATION_HITS, Session
from jaxsnare.live.stats import Stats
from jaxsnare.live.stream import Player
from jaxsnare.live.zones import ZoneRack, Zones
from jaxsnare.remapper import PEAK_RELEASE_MS

RATE = 48_000
NAMES = Names((), ())


class Scaler(Doubler):
    def __init__(self, factor, latency=240):
        super().__init__()
        self.factor, self.bad_input = factor, 1
        self.remapper = types.SimpleNamespace(sample_rate=RATE, latency=latency)

    def process(self, x):
        assert x.shape == (BLOCK,)
        hit = Hit(0, x, x, x, self.factor, NAMES)
        return Played(self.factor * x, x, x, self.factor, 1, (hit,))


def zones(*factors) -> Any:
    engines: Any = [Scaler(factor, 200 + factor) for factor in factors]
    return Zones(engines)


def test_each_zone_hears_its_channel(sound):
    player = Player(zones(2.0, 3.0), input=0, output=1, zones=(4, 2))
    assert player.engine.remapper.latency == 203  # the latest
    x = np.arange(4.0 * BLOCK).reshape(BLOCK, 4) / 100
    heard = player._mono(x.astype(np.float32))
    assert np.array_equal(heard, x[:, [3, 1]].T.astype(np.float32))
    played = player.engine.process(heard)
    np.testing.assert_allclose(played.audio, 2 * x[:, 3] + 3 * x[:, 1], rtol=1e-6)
    np.testing.assert_allclose(played.input, x[:, [3, 1]].mean(axis=1), rtol=1e-6)
    assert (played.level_db, played.onsets) == (3.0, 2)
    assert [(hit.level_db, hit.zone) for hit in played.hits] == [(2.0, 0), (3.0, 1)]
    assert player.engine.bad_input == 2
    loud = player.engine.process(np.ones((2, BLOCK), np.float32))
    assert np.array_equal(loud.audio, np.ones(BLOCK))  # within full scale
    after = player.engine.process(np.full((2, BLOCK), 0.1, np.float32))
    assert 0.1 < after.audio[0] < 0.11  # the limiter lets go in its time: 0.5 / 5
    assert player._next_in_queue(slice(0, 0)).shape == (2, BLOCK)
    with pytest.raises(ValueError, match="has no channels 4, 9; it has 1 to 4"):
        Player(zones(2.0, 3.0), input=0, output=1, zones=(4, 9))


def test_zones_play_through_one_card(sound):
    player = Player(zones(2.0, 3.0), input=3, output=3, zones=(2, 1))
    x = np.linspace(0, 0.1, 2 * BLOCK).reshape(BLOCK, 2)
    out = call(player, x)
    np.testing.assert_allclose(out[:, 0], 2 * x[:, 1] + 3 * x[:, 0], rtol=1e-6)


def given(**changes):
    usual = {"zones": "1,2", "models": ["a", "b"], "play": None, "channels": None}
    return argparse.Namespace(**usual | changes)


def test_zones_play_the_channels_of_a_file(sound, tmp_path):
    x = np.linspace(-0.1, 0.1, 3 * 10).reshape(10, 3).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", x, RATE, subtype="FLOAT")
    source = _source(given(zones="3,1", play=tmp_path / "x.wav"), RATE)
    assert source.shape == (2, 10 + RATE)  # the last hit rings
    player = Player(zones(2.0, 3.0), output=1, zones=(3, 1), source=source[:, :10])
    out = np.zeros((3 * BLOCK, 2), np.float32)
    for start in range(0, len(out), BLOCK):
        part = out[start : start + BLOCK]
        player._streams[0].callback(part, BLOCK, 0, Status())
    np.testing.assert_allclose(out[:10, 0], 2 * x[:, 2] + 3 * x[:, 0], rtol=1e-6)
    assert player.source_ended
    with pytest.raises(ValueError, match="has 3 channels; --zones asks for 4"):
        _source(given(zones="1,4", play=tmp_path / "x.wav"), RATE)


def test_a_zone_is_calibrated_by_its_own_hits(random_model):
    stats, none, model = Stats(), np.zeros(0, np.float32), random_model()
    controls = Controls(Engine(model.remapper(), model.params(), BLOCK), model)
    rack: Any = types.SimpleNamespace(zone=1, controls=controls)
    player: Any = types.SimpleNamespace(stats=stats, zones=[0, 1])
    session = Session(argparse.Namespace(), player, rack)
    session._typed("c")
    assert session.calibration is not None
    for zone in (0, 1, 0):
        stats.hits += 1
        stats.last_hit = Hit(stats.hits, none, none, none, -20.0, NAMES, zone)
        session._follow_hits()
    assert session.calibration.missing == CALIBRATION_HITS - 1


def test_what_does_not_fit():

    assert _zones(given()) == [1, 2]
    assert _zones(given(zones=None)) == []
    with pytest.raises(ValueError, match="3 channels for 2 models; wanted: one for"):
        _zones(given(zones="1,2,3"))
    with pytest.raises(ValueError, match="--zones and --channels do not go together"):
        _zones(given(channels="1"))


@pytest.mark.slow
def test_each_zone_plays_as_its_model_does_alone(tmp_path, random_model):
    models = {"one": random_model(seed=1), "two": random_model(seed=2)}
    for name, model in models.items():
        model.save(tmp_path / name)
    rack = ZoneRack([tmp_path / name for name in models], RATE, 64)
    rack.compile()
    stroke = SnareDrum(RATE).strike(0.9)[:9600]
    x = np.zeros((2, 24_000), np.float32)
    x[0, 2000:11_600] = stroke
    x[1, 9000:18_600] = stroke
    x = x[:, : 24_000 // 64 * 64]
    blocks = np.moveaxis(x.reshape(2, -1, 64), 1, 0)
    got = np.concatenate([rack.engine.process(b).audio for b in blocks])
    wanted = np.zeros_like(got)
    for row, model in zip(x, models.values(), strict=True):
        alone = Engine(model.remapper(RATE), model.params(), 64)
        wanted += joined(play(alone, row))
    assert np.abs(wanted).max() > 0.01
    limiter = Limiter(RATE)
    release_ms, both = jnp.float32(PEAK_RELEASE_MS), jnp.asarray(wanted)
    _, wanted = limiter.step(release_ms, limiter.init(), both)
    np.testing.assert_allclose(got, wanted, atol=1e-6)

    assert rack.choose(1).endswith("two")
    before = [engine.vector.copy() for engine in rack.engines()]
    rack.controls.set("mix", 0.5)
    changed = [
        not np.array_equal(engine.vector, vector)
        for engine, vector in zip(rack.engines(), before, strict=True)
    ]
    assert changed == [False, True]
    assert rack.poll() == ""
    with pytest.raises(ValueError, match="zones play the models that they began with"):
        rack.add(tmp_path / "one")
