"""After many hours of playing: counters that come to their end change nothing."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from playing import joined, play, starts

from jaxsnare.drummer import groove
from jaxsnare.live.engine import Engine
from jaxsnare.synths.synth import FOREVER

RATE, BLOCK = 48_000, 64
GROOVE = groove(RATE).audio[: 2 * RATE]
PAUSE = np.zeros(8 * RATE, np.float32)  # until the loudest is forgotten
SILENT = 1e-9  # what is left of the voices before


@pytest.fixture(scope="module")
def engine(random_model):
    model = random_model()
    return Engine(model.remapper(), model.params(), BLOCK)


def aged(engine: Engine, since: int, hit: int) -> None:
    """As if the last voice had started `since` samples ago, and `hit` had been played.

    The voice itself is kept: it has long been silent.
    """
    packing = engine._state_packing
    state: Any = packing.unpack(tuple(np.asarray(v) for v in engine._state))
    voice = state.synth.voice._replace(
        n=jnp.asarray(since, jnp.int32), hit=jnp.asarray(hit, jnp.int32)
    )
    state = state._replace(synth=state.synth._replace(voice=voice))
    engine._state = packing.pack(state)


def age(engine: Engine) -> tuple[int, int]:
    state = engine._state_packing.unpack(tuple(np.asarray(v) for v in engine._state))
    return int(state.synth.voice.n), int(state.synth.voice.hit)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("since", "hit"), [(FOREVER - 100, 2**31 - 2), (FOREVER, 2**31 - 1), (FOREVER, -5)]
)
def test_counters_at_their_end_change_no_sound(engine, since, hit):
    """The longest pause, the most hits, and a stream of more than 2**31 samples."""
    engine.reset()
    play(engine, np.concatenate([GROOVE, PAUSE]))
    began = engine.samples
    played = play(engine, GROOVE)
    wanted, hits = joined(played), starts(played)
    assert len(hits) > 2

    play(engine, PAUSE)
    aged(engine, since, hit)
    silence = joined(play(engine, PAUSE[:6400]))
    assert np.abs(silence).max() < SILENT
    assert age(engine) == (FOREVER, hit)
    later = engine.samples = 2**31 - RATE
    again = play(engine, GROOVE)
    assert engine.samples > 2**31
    assert [t - later for t in starts(again)] == [t - began for t in hits]
    assert np.abs(joined(again) - wanted).max() < SILENT
    assert engine.bad_output == 0
