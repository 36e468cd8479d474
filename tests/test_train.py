"""Training: what is learned, what is kept, and that it can be repeated."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsnare.audio import write_audio
from jaxsnare.data import Split
from jaxsnare.descent import losses_and_gradients
from jaxsnare.direct import Settings, reach_many
from jaxsnare.drummer import practice
from jaxsnare.features import TargetFeatures, TrainingFeatures
from jaxsnare.features.normalise import Normaliser, normalise
from jaxsnare.fitting import (
    Case,
    Examples,
    Problem,
    mean_losses,
)
from jaxsnare.lessons import Job, _balance, _by_range, _see, look_again, prepare
from jaxsnare.losses import RANGE_FLOORS
from jaxsnare.mapping import MapParams, make_mapping, map_features
from jaxsnare.presets import read_preset
from jaxsnare.recipe import Recipe
from jaxsnare.rehearsal import rehearse
from jaxsnare.synths import Snare808, render
from jaxsnare.told import tell, told
from jaxsnare.train import fit_many, listen, saved_state, train

RATE = 44_100
SYNTH = Snare808(sample_rate=RATE)
PRESET = read_preset("808_snare_1", SYNTH)
ONCE = Recipe(epochs=2, seed=3, early_decay=0.0)
TWICE = replace(ONCE, second_look=1024)


@pytest.fixture(scope="module", autouse=True)
def _standard_promotion():
    """optax mixes dtypes implicitly, which strict promotion forbids."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def hits(tmp_path_factory):
    """Two dozen hits of the embedded drummer."""
    path = tmp_path_factory.mktemp("practice") / "practice.wav"
    write_audio(path, practice(RATE, seconds=12).audio, RATE)
    return listen([path], RATE)


@pytest.fixture(scope="module")
def short(hits):
    """A training of two epochs."""
    return train(hits, SYNTH, PRESET, ONCE)


@pytest.fixture(scope="module")
def twice(hits):
    """The same, and two epochs of a second look."""
    return train(hits, SYNTH, PRESET, TWICE)


@pytest.mark.slow
def test_a_real_drum_is_followed(shared):
    hits = listen([shared / "data/snare/real/gogodze2_snare"], RATE)
    training = train(hits, SYNTH, PRESET)
    test = training.model.training["test"]
    assert test["mean_ratio"] < 0.8
    assert training.table["SPL_T"]["ratio"] < 0.6
    assert training.table["SPL_S"]["ratio"] < 0.7


def test_the_same_seed_gives_the_same_model(hits, short):
    again = train(hits, SYNTH, PRESET, ONCE)
    jax.tree.map(
        np.testing.assert_array_equal, short.model.weights, again.model.weights
    )
    assert short.model.training == again.model.training
    other = train(hits, SYNTH, PRESET, replace(ONCE, seed=4))
    assert not np.array_equal(
        short.model.weights["layers"][0]["kernel"],
        other.model.weights["layers"][0]["kernel"],
    )


def test_errors_and_baseline_are_those_of_the_test_hits(short):
    wanted = short.wanted[short.split.test]
    achieved = short.achieved[short.split.test]
    for k, row in enumerate(short.table.values()):
        assert row["baseline"] == pytest.approx(np.abs(wanted[:, k]).mean(), rel=1e-5)
        error = np.abs(achieved[:, k] - wanted[:, k]).mean()
        assert row["error"] == pytest.approx(error, rel=1e-5)
        assert row["ratio"] == pytest.approx(row["error"] / row["baseline"], rel=1e-5)
    assert short.reference in short.split.train
    np.testing.assert_array_equal(short.wanted[short.reference], 0)


def test_the_reference_hit_is_answered_by_nearly_the_preset(short):
    """Its difference is none; of the answers, its own is among the nearest to that."""
    weighted = np.abs(short.achieved) * short.model.training["loss_weights"]
    moved = weighted.mean(axis=1)
    assert moved[short.reference] < 0.5 * np.median(moved)
    assert moved[np.argmax(short.loudness)] > np.median(moved)


def test_the_best_weights_are_kept(hits):
    """Adam at a rate at which it gets worse again."""
    seen = []
    recipe = Recipe.named("published", epochs=6, learning_rate=0.3, patience=1)
    training = train(hits, SYNTH, PRESET, recipe, progress=seen.append)
    losses = [p.validation_loss for p in seen]
    best = training.model.training["best"]
    assert best["validation_loss"] <= min(losses)
    # The kept weights have the loss that the record says: computed here anew.
    model, split = training.model, training.split
    wanted, achieved = (
        a[split.validation] for a in (training.wanted, training.achieved)
    )
    weights = np.array(model.training["loss_weights"])
    loss = (np.abs(achieved - wanted) * weights).mean()
    assert loss == pytest.approx(best["validation_loss"], rel=1e-3)


def test_the_published_recipe_is_the_published_one():
    recipe = Recipe.named("published", seed=4)
    assert (recipe.passes, recipe.batch, recipe.patience) == (250, 16, 20)
    assert (recipe.optimiser, recipe.mapping) == ("adam", "mlp")
    assert (recipe.weights, recipe.reference) == ("none", "median_loudness")
    assert recipe.second_look == recipe.early_decay == 0
    for mapping, rate in (("linear", 5e-3), ("mlp", 5e-4), ("mlp_large", 5e-4)):
        assert Recipe.named("published", mapping=mapping).start_rate == rate
    assert recipe.seed == 4
    assert Recipe.named("usual") == Recipe()
    assert Recipe.named("single") == Recipe(early_decay=0.0, rehearsals=0)
    with pytest.raises(ValueError, match="did you mean 'published'"):
        Recipe.named("publishd")


def test_the_early_decay_counts_in_place_of_what_is_sustained():
    wanted = np.ones((4, 13), np.float32)
    counts = _balance(Recipe(weights="none", early_decay=0.3), wanted)
    sustained = np.tile([1, 0.4], 3)
    np.testing.assert_allclose(counts, [*sustained, 1, *[0.3] * 6], rtol=1e-6)
    counts = _balance(Recipe.named("published"), wanted[:, :7])
    np.testing.assert_array_equal(counts, 1)


@pytest.mark.slow
def test_the_early_decay_counts_and_the_target_features_are_judged(hits):
    """The validation loss is that of all features, heard and weighted here anew."""
    training = train(hits, SYNTH, PRESET, replace(ONCE, early_decay=0.25))
    split, ear = training.split, jax.jit(TrainingFeatures(RATE))
    preset = np.asarray(SYNTH.specs.to_unit(SYNTH.specs.pack(PRESET.values)))

    def answer(modulation):
        unit = np.clip(preset + modulation, 0.0, 1.0).astype(np.float32)
        values = SYNTH.specs.unpack(SYNTH.specs.to_physical(unit))
        return np.asarray(ear(render(SYNTH, values, samples=35_328)))

    drum = np.stack([ear(audio) for audio in hits.audio])
    wanted = drum - drum[training.reference]
    rows = training.modulation[split.validation]
    achieved = np.stack([answer(row) for row in rows]) - answer(0 * preset)
    floors = np.array([10, 10, 1, 1, 10, 10, 5, *[10, 1, 10] * 2])
    weights = 1 / np.maximum(np.ptp(wanted[split.train], axis=0), floors)
    weights[7:] *= 0.25
    weights[[1, 3, 5]] *= 0.5
    loss = (weights * np.abs(achieved - wanted[split.validation])).mean()
    record = training.model.training
    assert loss == pytest.approx(record["best"]["validation_loss"], rel=1e-3)
    assert weights[7:].min() * 20 > weights[:7].min()  # they do count
    assert record["loss_weights"] == pytest.approx(weights[:7].tolist(), abs=1e-5)
    assert list(training.table) == list(TargetFeatures(RATE).names)
    np.testing.assert_allclose(training.wanted, wanted[:, :7], atol=1e-3)


def test_what_was_trained_is_what_the_model_plays(short):
    """Its answers to all hits, from their windows alone."""
    model, hits = short.model, short.hits
    heard = jax.jit(jax.vmap(model.features))(jnp.asarray(hits.windows))
    answer = partial(map_features, model.mapping, model.specs, model.map_params())
    played = jax.jit(jax.vmap(answer))(normalise(model.normaliser, heard))
    np.testing.assert_allclose(played.modulation, short.modulation, atol=2e-5)
    assert np.abs(short.modulation).max() > 0.1
    # what the network is told of a hit is near to what it was
    loudness = played.features[:, 0] / _by_range(short.wanted[short.split.train])[0]
    error = np.abs(loudness - short.wanted[:, 0]).mean()
    assert error < 0.3 * np.abs(short.wanted[:, 0]).mean()


def test_the_network_is_trained_as_if_each_hit_were_new():
    """Of a training hit it sees what the others tell; test hits have no say."""
    rng = np.random.default_rng(0)
    heard = rng.normal(size=(20, 3)).astype(np.float32)
    wanted = rng.normal(size=(20, 7)).astype(np.float32)
    wanted[:, 0] += 9 * heard[:, 0]
    train = np.arange(16)
    split = Split(train, np.array([16, 17]), np.array([18, 19]))
    ears, seen = _see(Recipe(), split, 3, heard, wanted, None)

    differences = (heard - heard[3]) / np.ptp(heard[:16], axis=0)
    found = told(differences[:16], wanted[:16])
    ranges = np.maximum(np.ptp(wanted[:16], axis=0), RANGE_FLOORS)
    all_told = np.asarray(tell(found.regression, jnp.asarray(differences)))
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
    close(seen.played, all_told / ranges)
    close(seen.aimed[:16], found.left_out)
    close(seen.trained[:16], found.left_out / ranges)
    assert np.abs(found.left_out - all_told[:16]).max() > 0.3  # which is another thing

    heard[16:], wanted[16:] = -99.0, 99.0
    again, seen_again = _see(Recipe(), split, 3, heard, wanted, None)
    jax.tree.map(np.testing.assert_array_equal, ears, again)
    np.testing.assert_array_equal(seen.trained[:16], seen_again.trained[:16])


def prepared(hits, **settings):
    """Problem, job and lesson of a recipe."""
    recipe = Recipe(seed=3, early_decay=0.0, **settings)
    mapping = recipe.make_mapping(7, len(SYNTH.specs))
    problem = Problem(SYNTH, SYNTH.specs, mapping, recipe.target(RATE))
    job = Job(hits, PRESET, recipe)
    return problem, job, prepare(problem, [job])[0]


def told_with(hits, lesson, heard, window, rounds):
    """The regression of the training hits, heard by themselves and within playing."""
    train, ears = lesson.split.train, Recipe().ears(RATE, window)
    again = rehearse(hits, train, rounds, 3, window)

    def seen(windows):
        features = jax.jit(jax.vmap(ears))(jnp.asarray(windows))
        differences = np.asarray(normalise(lesson.ears.normaliser, features))
        return differences - np.asarray(lesson.ears.centre)

    places = np.array([train.tolist().index(hit) for hit in again.hits])
    wanted = lesson.wanted[train]
    found = told(seen(heard[train]), wanted, (places, seen(again.windows)))
    return found.regression.times(_by_range(wanted)).stored()


def check_regression(got, wanted):
    """Both say the same, of places near the hits and between them."""
    assert got is not None
    assert (got.by != 0).any(axis=1).sum() == (wanted.by != 0).any(axis=1).sum()
    x = jnp.asarray(np.random.default_rng(0).normal(0, 0.5, (20, 9)), jnp.float32)
    np.testing.assert_allclose(tell(got, x), tell(wanted, x), rtol=0.02, atol=2e-3)


def test_training_hits_are_heard_within_playing(hits):
    """Those alone, and in the second look within its longer window."""
    problem, job, lesson = prepared(hits, second_look=1024)
    by_all = told_with(hits, lesson, hits.windows, 256, 4)
    check_regression(lesson.ears.regression, by_all)
    by_some = told_with(hits, lesson, hits.windows, 256, 1)
    assert by_some.by.shape != by_all.by.shape

    again = look_again(problem, job, lesson, np.zeros_like(lesson.before))
    heard = hits.audio[:, :1024]
    check_regression(again.ears.regression, told_with(hits, again, heard, 1024, 4))


def test_hits_are_heard_again_as_often_as_there_is_room(hits, monkeypatch):
    train = prepared(hits, rehearsals=0)[2].split.train
    for room, rounds in ((2, 1), (3, 2), (99, 4)):
        monkeypatch.setattr("jaxsnare.lessons.MANY", room * len(train))
        lesson = prepared(hits)[2]
        wanted = told_with(hits, lesson, hits.windows, 256, rounds)
        check_regression(lesson.ears.regression, wanted)
    monkeypatch.setattr("jaxsnare.lessons.MANY", 2 * len(train) - 1)
    regression = prepared(hits)[2].ears.regression
    assert regression is not None
    assert (regression.by != 0).any(axis=1).sum() == len(train)


def test_a_training_is_of_hits_as_one_detector_heard_them(hits, tmp_path):
    """What is heard within playing depends on its settings: no state serves both."""
    job, state = Job(hits, PRESET, ONCE), tmp_path / "state"
    saved_state([job], SYNTH, state).save(1, np.zeros(1))
    wider = hits._replace(onset=hits.onset | {"onset.range": 40.0})
    with pytest.raises(ValueError, match=r"onset\.range is 35\.0 there and 40\.0"):
        train(wider, SYNTH, PRESET, ONCE, state=state)


def test_of_very_many_hits_some_tell_of_all(monkeypatch):
    monkeypatch.setattr("jaxsnare.lessons.MANY", 30)
    rng = np.random.default_rng(0)
    heard = rng.normal(size=(70, 3)).astype(np.float32)
    wanted = (heard @ rng.normal(size=(3, 7)) * 9).astype(np.float32)
    split = Split(np.arange(60), np.arange(60, 65), np.arange(65, 70))
    ears, seen = _see(Recipe(), split, 3, heard, wanted, None)
    assert ears.regression is not None
    assert (ears.regression.by != 0).any(axis=1).sum() == 30
    error = np.abs(seen.aimed - wanted).mean() / np.abs(wanted).mean()
    assert error < 0.05  # of hits that are not among them as well


@pytest.mark.slow
def test_a_second_look_begins_where_the_first_ends(short, twice):
    """The first look is that of a training without a second, and is then revised."""
    jax.tree.map(
        np.testing.assert_array_equal, short.model.weights, twice.model.weights
    )
    record = twice.model.training
    assert record["second_look"]["test_before"] == short.model.training["test"]
    assert record["test"] != short.model.training["test"]
    before, after = (
        np.abs((t.achieved - t.wanted)[t.split.validation]).mean(axis=0)
        for t in (short, twice)
    )
    weights = np.array(record["loss_weights"])
    loss = (after * weights).mean()
    assert loss == pytest.approx(
        record["second_look"]["best"]["validation_loss"], rel=1e-3
    )
    assert loss < (before * weights).mean()


@pytest.mark.slow
@pytest.mark.parametrize("look", [1, 2])
def test_a_killed_training_goes_on_in_the_look_where_it_was(
    hits, twice, tmp_path, look
):
    class Killed(Exception):
        pass

    def kill(progress):
        if (progress.look, progress.epoch) == (look, 1):
            raise Killed

    state = tmp_path / "state"
    with pytest.raises(Killed):
        train(hits, SYNTH, PRESET, TWICE, kill, state)
    seen = []
    again = train(hits, SYNTH, PRESET, TWICE, seen.append, state)
    looks = [(p.look, p.epoch) for p in seen]
    assert looks == ([(1, 2), (2, 1), (2, 2)] if look == 1 else [(2, 2)])
    ours, theirs = again.model.second, twice.model.second
    assert ours
    assert theirs
    jax.tree.map(
        np.testing.assert_array_equal, again.model.weights, twice.model.weights
    )
    jax.tree.map(np.testing.assert_array_equal, ours.weights, theirs.weights)
    saved_state([Job(hits, PRESET, TWICE)], SYNTH, state).remove()
    assert not state.exists()


def test_an_interrupted_training_keeps_what_it_has(hits):
    def stop(progress):
        if progress.epoch == 2:
            raise KeyboardInterrupt

    training = train(hits, SYNTH, PRESET, Recipe(epochs=50), progress=stop)
    record = training.model.training
    assert record["interrupted"]
    assert record["epochs"] == 2
    assert record["best"]["epoch"] <= 2


@pytest.mark.slow
def test_a_padded_batch_is_the_mean_over_its_examples():
    """Loss and gradient of 5 examples in a batch of 8, against one at a time."""
    specs = SYNTH.specs
    mapping = make_mapping("mlp", 3, len(specs))
    problem = Problem(SYNTH, specs, mapping, TargetFeatures(RATE))
    weights = jax.tree.map(lambda w: 30 * w[None], mapping.init(jax.random.key(0)))
    params = MapParams(
        specs.to_unit(specs.pack(PRESET.values)),
        specs.pack(PRESET.damping),
        None,
        Normaliser(jnp.zeros(3), jnp.ones(3)),
        jnp.full(3, 0.5),
        jnp.ones(3),
        jnp.zeros(3),
    )
    case = Case(params, jnp.zeros(7), jnp.ones(7), 5e-4, 20)
    cases = jax.tree.map(lambda a: jnp.asarray(a)[None], case)
    rng = np.random.default_rng(0)
    examples = Examples(
        jnp.asarray(rng.uniform(0, 1, (1, 8, 3)), jnp.float32),
        jnp.broadcast_to(params.preset, (1, 8, len(specs))),
        jnp.asarray(rng.normal(size=(1, 8, 7)), jnp.float32),
        jnp.arange(8)[None] < 5,
    )
    batch = jax.jit(lambda e: losses_and_gradients(problem, weights, cases, e))
    (loss,), gradient = batch(examples)
    first = jax.tree.map(lambda a: a[:, :5], examples)

    @jax.jit
    def mean(weights):
        return mean_losses(problem, weights, cases, first)[0]

    assert float(loss) == pytest.approx(float(mean(weights)), rel=1e-5)
    # what lies in the padding does not matter
    spoilt = examples._replace(
        normalised=examples.normalised.at[:, 5:].set(9.0),
        wanted=examples.wanted.at[:, 5:].set(1e3),
    )
    (other_loss,), other_gradient = batch(spoilt)
    assert float(other_loss) == float(loss)
    jax.tree.map(np.testing.assert_array_equal, gradient, other_gradient)
    # a finite difference along the gradient, in the direction of steepest descent
    norm = sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(gradient))
    step = 1e-3 / norm
    moved = [
        jax.tree.map(lambda w, g, s=sign: w + s * step * g, weights, gradient)
        for sign in (1, -1)
    ]
    up, down = (float(mean(w)) for w in moved)
    assert (up - down) / 2 == pytest.approx(1e-3, rel=0.05)


@pytest.mark.slow
def test_hits_that_are_bent_to_nothing_are_judged_by_their_own_sounds(hits):
    job, settings = Job(hits, PRESET, ONCE), Settings(steps=2)
    (own,) = reach_many([job], SYNTH, settings)
    playing = replace(job, recipe=replace(ONCE, early_decay=0.5))  # S would not count
    (same,) = reach_many([playing], SYNTH, settings)
    np.testing.assert_array_equal(same.modulation, own.modulation)
    nothing = np.zeros((len(hits.audio), 7))
    (still,) = reach_many([job], SYNTH, settings, aims=[nothing])
    np.testing.assert_array_equal(still.wanted, own.wanted)
    assert not still.modulation.any()
    np.testing.assert_allclose(still.achieved, 0.0, atol=1e-4)
    np.testing.assert_allclose(
        [row["ratio"] for row in still.test["features"].values()], 1.0, rtol=1e-3
    )
    assert own.test["mean_ratio"] < 1.0
    where = np.zeros((len(nothing), 14))
    where[own.hits] = own.modulation
    hardly = Settings(steps=1, learning_rate=1e-6)
    (further,) = reach_many([job], SYNTH, hardly, starts=[where])
    np.testing.assert_allclose(further.modulation, own.modulation, atol=1e-5)
    assert np.abs(own.modulation).max() > 1e-3
    with pytest.raises(
        ValueError, match=r"starts are of \[\(1, 14\)\]; wanted: a row for"
    ):
        reach_many([job], SYNTH, settings, starts=[where[:1]])
    with pytest.raises(
        ValueError, match=r"aims are of \[\(1, 7\)\]; wanted: a row for"
    ):
        reach_many([job], SYNTH, settings, aims=[nothing[:1]])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs is 0; allowed: whole numbers from 1 on"),
        ({"epochs": 2.5}, "epochs is 2.5"),
        ({"seed": -1}, "seed is -1; allowed: whole numbers from 0 on"),
        ({"mapping": "mpl"}, "unknown mapping 'mpl': did you mean 'mlp'"),
        ({"window": 16}, r"window is 16 samples, allowed is 32\.\.8192"),
        ({"optimiser": "adam", "learning_rate": 2.0}, "learning rate is 2.0"),
        ({"learning_rate": 1e-3}, "0.001, and the optimiser is 'proximal', which has"),
        ({"optimiser": "adamw"}, "unknown optimiser 'adamw': did you mean 'adam'"),
        ({"decay": 2.0}, "decay is 2.0, allowed is 0..1"),
        ({"early_decay": -0.1}, r"early_decay is -0\.1, allowed is 0\.\.0\.5"),
        ({"early_decay": 0.6}, r"early_decay is 0\.6, allowed is 0\.\.0\.5"),
        ({"second_look": 9999}, "second look is 9999 samples, allowed is 0"),
        ({"weights": "loud"}, "unknown weights 'loud': choices are balanced, none"),
        ({"reference": "median"}, "unknown reference 'median': did you mean 'median_"),
        ({"ear": "band"}, "unknown ear 'band': did you mean 'bands'"),
    ],
)
def test_a_wrong_recipe_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**wrong)


def test_models_that_are_trained_at_once_listen_to_the_same(hits):
    jobs = [Job(hits, PRESET, replace(ONCE, early_decay=w)) for w in (0.0, 0.5)]
    with pytest.raises(
        ValueError, match=r"early_decay of the recipes is 0\.0 and 0\.5"
    ):
        fit_many(jobs, SYNTH)


def test_hits_of_another_rate_or_window_are_refused(hits):
    with pytest.raises(
        ValueError, match="hits are at 44100 Hz and the synth is at 48000"
    ):
        train(hits, Snare808(48_000), PRESET)
    with pytest.raises(
        ValueError, match="windows of 256 samples and the recipe of 512"
    ):
        train(hits, SYNTH, PRESET, Recipe(window=512))
    values: Any = PRESET.values
    with pytest.raises(TypeError, match="preset is a dict; wanted: values and damping"):
        train(hits, SYNTH, values)
    wrong: tuple[dict[str, Any], ...] = (
        {"second_look": 300},
        {"window": 64, "second_look": 1024},
    )
    for looks in wrong:
        recipe = Recipe(**looks)
        cut = hits._replace(windows=hits.windows[:, : recipe.window])
        with pytest.raises(ValueError, match="leave no room for a fade at 44100 Hz"):
            train(cut, SYNTH, PRESET, recipe)
    with pytest.raises(ValueError, match="window is 32 samples; at 192000 Hz it must"):
        listen(["any"], 192_000, window=32)
