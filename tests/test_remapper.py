"""What is trained is what is played: the one step, on real performances."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from jaxsnare import Snare808, render
from jaxsnare.features import OnsetFeatures, TargetFeatures
from jaxsnare.features.normalise import fit, normalise
from jaxsnare.mapping import Mapping, map_features
from jaxsnare.model import SecondLook
from jaxsnare.onset import ONSET_SPECS
from jaxsnare.performance import remap
from jaxsnare.recipe import Recipe
from jaxsnare.remapper import Remapper
from jaxsnare.synths.synth import play_revised
from jaxsnare.told import Regression, tell, told
from jaxsnare.train import listen

RATE = 44_100
LATENCY = 240  # 256 samples of window less 16 before the onset
FADE = 88
SYNTH = Snare808(RATE)


@pytest.fixture(scope="module")
def groove(performance):
    return performance("gogodze2_snare__groove")


@pytest.fixture(scope="module")
def heard(shared):
    """The hits that a training on the groove would see."""
    path = shared / "data" / "snare" / "performances" / "gogodze2_snare__groove.flac"
    return listen([path], RATE, window=256)


def measured(features, windows):
    return np.asarray(jax.jit(jax.vmap(features))(windows))


EARS = Recipe().ears(RATE)


@pytest.fixture(scope="module")
def model(heard, random_model):
    """Untrained, with weights so large that every hit becomes another sound.

    Only what the onset features tell, in fractions of its range, is learned of the
    hits.
    """
    model = random_model(seed=3, hidden=(8,), rate=RATE, init_std=0.2)
    values = measured(EARS, heard.windows)
    normaliser = fit(jnp.asarray(values))
    unit = np.asarray(normalise(normaliser, jnp.asarray(values)))
    centre = unit[len(unit) // 2]
    sounds = measured(TargetFeatures(RATE), heard.audio)
    wanted = (sounds - sounds[len(unit) // 2]) / np.ptp(sounds, axis=0)
    regression = told(unit - centre, wanted).regression.stored()
    mapping = replace(model.mapping, inputs=9, told=regression.by.shape)
    weights = mapping.init(jax.random.key(3)) | {"told": regression._asdict()}
    return replace(
        model,
        mapping=mapping,
        weights=weights,
        features=EARS,
        normaliser=normaliser,
        centre=jnp.asarray(centre),
    )


@pytest.fixture(scope="module")
def played(model, groove):
    """The groove in live blocks; so soft that two voices never reach the limiter."""
    return remap(model.remapper(), model.params(gain=-7.0), groove, block=64)


@pytest.mark.parametrize("told", [7, 10, 13])
def test_models_that_are_told_less_keep_their_names(model, told):
    """Knobs of a saved model are known by them."""
    names = ["SPL_T", "SPL_S", "SC_T", "SC_S", "SF_T", "SF_S", "TC"]
    names += ["SPL_D", "SC_D", "SF_D", "SPL_R", "SC_R", "SF_R"]
    mapping = replace(model.mapping, told=(64, told))
    remapper = replace(model, mapping=mapping).remapper()
    assert list(remapper.seen_names) == names[:told]


def test_hits_become_voices_after_the_latency(model, played, heard):
    assert model.remapper().latency == LATENCY
    assert len(played.onsets) >= 20
    np.testing.assert_array_equal(played.triggers, played.onsets + LATENCY)
    np.testing.assert_array_equal(played.onsets, heard.onsets)


@pytest.mark.slow
def test_large_blocks_play_the_same(model, groove, played, error_db):
    got = remap(model.remapper(), model.params(gain=-7.0), groove, block=8192)
    np.testing.assert_array_equal(got.onsets, played.onsets)
    np.testing.assert_array_equal(got.triggers, played.triggers)
    assert error_db(got.audio, played.audio) < -80
    assert error_db(got.synth, played.synth) < -80
    assert np.abs(got.level - played.level).max() < 1e-3
    np.testing.assert_allclose(got.hits.values, played.hits.values, rtol=1e-4)


def test_single_samples_play_the_same(model, performance, error_db):
    """A piece of a roll, sample by sample."""
    piece = performance("fs_14x05_maple__roll")[22_500:28_500]
    params = model.params(gain=-7.0)
    got = remap(model.remapper(), params, piece, block=1)
    wanted = remap(model.remapper(), params, piece, block=64)
    assert len(got.triggers) == 2
    np.testing.assert_array_equal(got.onsets, wanted.onsets)
    np.testing.assert_array_equal(got.triggers, wanted.triggers)
    assert error_db(got.audio, wanted.audio) < -80
    np.testing.assert_allclose(got.hits.values, wanted.hits.values, rtol=1e-4)


def test_a_live_hit_is_its_offline_render(model, played, error_db):
    """From its first sample where nothing sounded before, else after the old fade."""
    whole = jax.jit(lambda v: render(SYNTH, model.specs.unpack(v), samples=RATE))
    ends = np.append(played.triggers[1:], len(played.synth))
    for i, (start, end) in enumerate(zip(played.triggers, ends, strict=True)):
        end = min(end, start + RATE)
        alone = start + (FADE if i else 0)
        wanted = 10 ** (-7 / 20) * np.asarray(whole(played.hits.values[i]))
        got = played.synth[alone:end]
        assert error_db(got, wanted[alone - start : end - start]) < -80, i
    different = np.unique(np.round(played.hits.values, 3), axis=0)
    assert len(different) > 10


def test_what_is_heard_live_is_what_is_trained_on(model, played, heard):
    """Features, and the values that answer them, of the windows cut for training."""
    normalised = normalise(
        model.normaliser, jnp.asarray(measured(model.features, heard.windows))
    )
    answer = partial(map_features, model.mapping, model.specs, model.map_params())
    wanted = jax.jit(jax.vmap(answer))(normalised)
    assert played.hits.features.shape == wanted.features.shape == (len(heard.audio), 7)
    np.testing.assert_allclose(played.hits.features, wanted.features, atol=1e-4)
    np.testing.assert_allclose(played.hits.modulation, wanted.modulation, atol=1e-3)
    assert np.abs(wanted.modulation).max() > 0.3


@pytest.fixture(scope="module")
def twice(model, heard):
    """The model, which looks again at 1024 samples."""
    ears = Recipe().ears(RATE, 1024)
    values = jnp.asarray(measured(ears, heard.audio[:, :1024]))
    normaliser = fit(values)
    centre = normalise(normaliser, values[len(values) // 2])
    weights = model.mapping.init(jax.random.key(8)) | {"told": model.weights["told"]}
    return replace(model, second=SecondLook(ears, weights, normaliser, centre))


@pytest.mark.slow
@pytest.mark.parametrize("block", [64, pytest.param(441, marks=pytest.mark.slow)])
def test_a_hit_looked_at_twice_is_what_is_trained(
    twice, groove, played, heard, error_db, block
):
    """The voice of each hit, against the sound that the loss of the second look is of.

    The same window, features and mapping, cut and computed as training does it.
    """
    params = twice.params(gain=-7.0)
    got = remap(twice.remapper(), params, groove, block)
    np.testing.assert_array_equal(got.triggers, played.triggers)
    np.testing.assert_allclose(got.hits.values, played.hits.values, rtol=1e-4)

    @jax.jit
    def sound(values, window):
        x = normalise(twice.second.normaliser, twice.second.features(window))
        bent = twice.map_params()._replace(
            preset=twice.specs.to_unit(values), **twice.second.params._asdict()
        )
        later = map_features(twice.mapping, twice.specs, bent, x).values
        return play_revised(SYNTH, values, later, 1024 - 256, RATE)

    ends = np.append(got.triggers[1:], len(got.synth))
    for i, (start, end) in enumerate(zip(got.triggers, ends, strict=True)):
        end = min(end, start + RATE)
        alone = start + (FADE if i else 0)
        wanted = 10 ** (-7 / 20) * np.asarray(
            sound(jnp.asarray(got.hits.values[i]), heard.audio[i, :1024])
        )
        part = wanted[alone - start : end - start]
        # values are rounded in another order, and what is told is steep here
        assert error_db(got.synth[alone:end], part) < -60, i
    assert error_db(got.synth, played.synth) > -20


@pytest.mark.slow
def test_the_next_onset_forbids_a_second_look(twice, model, groove, heard, error_db):
    """It is heard before the second look is due, and plays after it would have been."""
    start, apart, again = heard.onsets[0], 2000, 2048 - 256
    stroke = groove[start - 16 :]
    x = np.concatenate(
        [np.zeros(441, np.float32), 0.05 * stroke[:apart], stroke[:6_000]]
    )
    late = replace(twice.second, features=Recipe().ears(RATE, 2048))
    once, twice = (
        remap(m.remapper(), m.params(gain=-7.0), x, block=64)
        for m in (model, replace(twice, second=late))
    )
    first, second = once.triggers
    assert first + again < second < first + again + LATENCY
    np.testing.assert_array_equal(twice.triggers, once.triggers)
    same = slice(0, second + again)
    np.testing.assert_array_equal(twice.synth[same], once.synth[same])
    assert error_db(twice.synth, once.synth) > -20


def test_a_model_plays_at_another_rate(model, groove, played, heard):
    """Published onset features within 0.05 of their range, and what all tell of a hit
    within 0.1: the levels of bands in half a window differ more where an onset is heard
    0.2 ms later.

    Resampled by Fourier transform, which keeps all of the band as a recording at
    48 kHz would; what soxr leaves out above 21 kHz, flatness hears (0.06).
    """
    remapper = model.remapper(48_000)
    assert remapper.window == 279  # 256 * 48 / 44.1, rounded up
    assert remapper.latency == 279 - 17
    there = np.asarray(scipy.signal.resample(groove, len(groove) * 160 // 147))
    got = remap(remapper, model.params(gain=-7.0), there)
    apart = np.abs(got.onsets[None] / 48_000 - played.onsets[:, None] / RATE)
    mine, theirs = np.nonzero(apart < 1e-3)
    assert len(mine) >= 0.95 * len(played.onsets)
    error = np.abs(got.hits.features[theirs] - played.hits.features[mine])
    assert np.median(error) < 0.01
    assert error.max() < 0.1

    starts = got.onsets[theirs] - 17
    windows = np.stack([there[start : start + 279] for start in starts])
    again = measured(
        lambda window: EARS(remapper.at_model_rate(window)), windows.astype(np.float32)
    )
    ours = measured(EARS, heard.windows)
    error = np.abs(again - ours[mine]) / np.ptp(ours, axis=0)
    assert np.median(error) < 0.01
    assert error[:, :3].max() < 0.05
    assert error.max() < 0.1


def test_without_sensitivity_it_plays_the_preset(model, groove):
    got = remap(model.remapper(), model.params(sensitivity=0.0), groove, block=441)
    preset = np.asarray(model.specs.pack(model.preset.values))
    wanted = np.broadcast_to(preset, got.hits.values.shape)
    np.testing.assert_allclose(got.hits.values, wanted, rtol=1e-5)
    assert not got.hits.modulation.any()


def test_the_mix_goes_from_the_input_to_the_synth(model, groove, played):
    remapper = model.remapper()
    dry = remap(remapper, model.params(mix=0.0), groove, block=441)
    np.testing.assert_array_equal(dry.audio, groove)
    wet = remap(remapper, model.params(mix=1.0), groove, block=441)
    np.testing.assert_array_equal(wet.audio, wet.synth)
    half = remap(remapper, model.params(mix=0.5, gain=-7.0), groove, block=441)
    wanted = np.sqrt(0.5) * (played.synth + groove)
    np.testing.assert_allclose(half.audio, wanted, atol=1e-4)
    loud = remap(remapper, model.params(gain=24.0), groove, block=441)
    assert 0.9 < np.abs(loud.audio).max() <= 1.0


@pytest.mark.slow
def test_a_running_normaliser_follows_what_is_played(model, groove, heard):
    remapper = model.remapper(running_normaliser=True)
    got = remap(remapper, model.params(), groove, block=441)
    values = measured(model.features, heard.windows).astype(float)
    lo, hi = np.full(9, np.inf), np.full(9, -np.inf)
    regression = Regression(**model.weights["told"])
    for x, features in zip(values, got.hits.features, strict=True):
        lo, hi = np.minimum(lo, x), np.maximum(hi, x)
        more = np.maximum(1.0 - (hi - lo), 0) / 2  # ranges are at least 1 unit
        unit = (x - (lo - more)) / (hi - lo + 2 * more) - np.asarray(model.centre)
        wanted = tell(regression, jnp.asarray(unit, jnp.float32))
        np.testing.assert_allclose(features, wanted, atol=1e-3)


@pytest.mark.slow
def test_many_voices_wait_at_once(model):
    """A window of 2048 samples and onsets 160 samples apart: 12 voices wait."""
    long = replace(model, features=Recipe().ears(RATE, 2048))
    rng = np.random.default_rng(0)
    x = np.zeros(6000, np.float32)
    x[500:5700:160] = rng.uniform(0.3, 0.9, 33)
    turned = {"wait": 0.0, "on": 0.5, "off": 50.0, "fast_down": 0.1, "fast_up": 0.01}
    onset = ONSET_SPECS.defaults | {
        f"onset.{name}": value for name, value in turned.items()
    }
    long = replace(long, onset=onset)
    got = remap(long.remapper(), long.params(), x, block=441)
    assert len(got.onsets) >= 30
    inside = got.onsets[got.onsets + 2032 < len(x)]
    waiting = max(np.sum((inside >= o) & (inside < o + 2032)) for o in inside)
    assert waiting >= 12
    np.testing.assert_array_equal(got.triggers, inside + 2032)
    windows = np.stack([np.pad(x, (16, 0))[o : o + 2048] for o in inside])
    wanted = measured(long.features, windows)
    lo, hi = map(np.asarray, long.normaliser)
    wanted = (wanted - lo) / (hi - lo) - np.asarray(model.centre)
    wanted = tell(Regression(**model.weights["told"]), jnp.asarray(wanted))
    np.testing.assert_allclose(got.hits.features, wanted, atol=1e-4)


def test_silence_plays_nothing(model):
    got = remap(model.remapper(), model.params(), np.zeros(3000, np.float32), 441)
    assert not got.audio.any()
    assert len(got.triggers) == len(got.onsets) == len(got.hits.values) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"specs": Snare808(RATE).specs.from_table([])}, "ranges are of other"),
        ({"mapping": Mapping(3, 13)}, "13 outputs for 14 parameters"),
        ({"mapping": Mapping(2, 14)}, "2 inputs for 3 onset features"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, message):
    parts = {
        "synth": SYNTH,
        "specs": SYNTH.specs,
        "mapping": Mapping(3, 14),
        "features": OnsetFeatures(RATE),
    }
    with pytest.raises(ValueError, match=message):
        Remapper(**(parts | change))
