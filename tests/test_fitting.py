"""Many models at once are as good as one by one; states survive; nothing is mixed up.

Most of this needs no sound: the synth is replaced by a cheap function of its values.
"""

import os
import socket
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsnare import direct
from jaxsnare.descent import Descent, batches
from jaxsnare.features import TargetFeatures, TrainingFeatures
from jaxsnare.features.normalise import Normaliser
from jaxsnare.fitting import (
    Case,
    Models,
    Problem,
    at_once,
    each_used,
    make_examples,
    optimise,
)
from jaxsnare.mapping import MapParams, make_mapping
from jaxsnare.proximal import PATIENCE, Proximal
from jaxsnare.saved import Saved
from jaxsnare.synths import Snare808

SYNTH = Snare808(44_100)
SPECS = SYNTH.specs
COUNTS = 24, 5, 13
RATES = 0.01, 0.3, 0.003


@pytest.fixture(scope="module", autouse=True)
def _standard_promotion():
    """optax mixes dtypes implicitly, which strict promotion forbids."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@dataclass(frozen=True)
class Toy(Problem):
    """Sounds whose features are a smooth function of the values."""

    def sound_features(self, values, before=None):
        unit = SPECS.to_unit(values)
        return 10.0 * jnp.tanh(unit[:7] - unit[7:]) + jnp.sin(5.0 * unit[:7])

    def sound_slopes(self, unit, before):
        def features(unit):
            return self.sound_features(SPECS.to_physical(unit))

        return features(unit), jax.jacrev(features)(unit)


TARGET = TargetFeatures(44_100)
PROBLEM = Toy(SYNTH, SPECS, make_mapping("mlp", 3, len(SPECS)), TARGET)
SMOOTH = replace(PROBLEM, mapping=make_mapping("smooth", 3, len(SPECS)))


def make(chosen, problem=PROBLEM, seeds=(0, 1, 2)):
    """Weights, cases, and sets for training and validation of the chosen models."""
    cases, hits = [], []
    for m in chosen:
        rng = np.random.default_rng(m)
        params = MapParams(
            jnp.asarray(rng.uniform(0.3, 0.7, len(SPECS)), jnp.float32),
            jnp.ones(len(SPECS)),
            None,
            Normaliser(jnp.zeros(3), jnp.ones(3)),
            jnp.full(3, 0.5),
            jnp.ones(3),
            jnp.zeros(3),
        )
        preset = PROBLEM.sound_features(SPECS.to_physical(params.preset))
        cases.append(Case(params, preset, jnp.ones(7), RATES[m], 1 + m, 3e-4))
        count = COUNTS[m] + 4
        hits.append(
            (
                rng.uniform(0, 1, (count, 3)).astype(np.float32),
                np.tile(params.preset, (count, 1)),
                rng.normal(0, 3, (count, 7)).astype(np.float32),
            )
        )

    def stack(*arrays):
        return np.stack(arrays)

    keys = [jax.random.key(seeds[m]) for m in chosen]
    weights = jax.tree.map(stack, *[problem.mapping.init(key) for key in keys])
    sets = (
        make_examples(
            *([rows[part] for rows in kind] for kind in zip(*hits, strict=True))
        )
        for part in (slice(4, None), slice(4))
    )
    return weights, jax.tree.map(stack, *cases), *sets


METHODS = {"adam": Descent(4), "proximal": Proximal()}


def fit(chosen, epochs=6, mesh=None, progress=None, saved=None, method="adam"):
    problem = PROBLEM if method == "adam" else SMOOTH
    return optimise(
        Models(problem, len(chosen), mesh),
        METHODS[method],
        *make(chosen, problem),
        epochs=epochs,
        seeds=[10 + m for m in chosen],
        progress=progress,
        saved=saved,
    )


@pytest.fixture(scope="module")
def together():
    return fit([0, 1, 2])[0]


@pytest.mark.slow
def test_together_is_as_one_by_one(together):
    """Of three the one with the fewest hits, most of whose places are empty."""
    m, seen = 1, []
    alone, interrupted = fit([m], progress=seen.append)
    assert not interrupted
    # in float32, of batched and of single products
    for mine, theirs in zip(
        jax.tree.leaves(alone), jax.tree.leaves(together), strict=True
    ):
        np.testing.assert_allclose(mine[0], theirs[m], rtol=1e-3, atol=1e-5)
    assert alone.epoch[0] == len(seen) == 6
    losses = [rows[0].validation_loss for rows in seen]
    assert alone.best.loss[0] <= min(losses)
    assert alone.best.loss[0] < losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("m", range(3))
def test_together_is_as_one_by_one_by_linear_models_too(m):
    """Losses of the first epochs; later, rounding decides how a step is shortened."""
    alone, together = [], []
    fit([m], 2, progress=alone.append, method="proximal")
    fit([0, 1, 2], 2, progress=together.append, method="proximal")
    for one, all_of_them in zip(alone, together, strict=True):
        np.testing.assert_allclose(one[0], all_of_them[m], rtol=0.05)


def test_linear_models_learn_in_few_epochs_what_batches_learn_in_many():
    """The loss of the training hits never rises, and falls below that of Adam's."""
    rows: list = []
    fit([0, 2], epochs=8, progress=rows.append, method="proximal")
    losses = np.array([[row.train_loss for row in epoch] for epoch in rows])
    assert (np.diff(losses, axis=0) <= 1e-6).all()
    fit([0, 2], epochs=200, progress=rows.append)
    assert (losses[-1] < [row.train_loss for row in rows[-1]]).all()


def test_linear_models_end_where_nothing_is_gained():
    seen: list = []
    state, _ = fit([1], epochs=999, progress=seen.append, method="proximal")
    assert state.own.stalled[0] == PATIENCE < len(seen) < 100
    before, after = (seen[i][0].train_loss for i in (-1 - PATIENCE, -1))
    assert after == pytest.approx(before)


@pytest.mark.slow
@pytest.mark.parametrize("revised", [None, 300])
def test_slopes_of_a_sound_are_those_of_its_features(x64, revised):
    """Each pulled back through the whole sound, and not through a short one."""
    ears = TrainingFeatures(44_100)
    problem = Problem(SYNTH, SPECS, PROBLEM.mapping, ears, revised)
    unit, before = (
        jnp.asarray(np.random.default_rng(s).uniform(0.2, 0.6, len(SPECS)))
        for s in range(2)
    )
    features, slopes = jax.jit(problem.sound_slopes)(unit, before)

    def heard(unit):
        return problem.sound_features(SPECS.to_physical(unit), before)

    wanted, pull = jax.vjp(heard, unit)
    np.testing.assert_allclose(features, wanted, rtol=1e-9)
    for row, one in zip(slopes, jnp.eye(13), strict=True):
        (gradient,) = jax.jit(pull)(one)
        np.testing.assert_allclose(row, gradient, atol=1e-9 * np.abs(gradient).max())


def test_each_model_has_its_own_schedule(together):
    """The one that learns too fast gets worse, and is slowed down."""
    assert together.own.halved[1] > together.own.halved[0]
    assert len({tuple(w.ravel()) for w in together.weights["layers"][0]["kernel"]}) == 3


def test_only_sounds_that_count_are_made():
    made = []

    def look(row):
        jax.debug.callback(lambda a: made.append(a), row)
        return row + 1.0

    used = jnp.array([True, False, False, True, False, False, False, False, True])
    rows = jnp.arange(9.0).at[1].set(jnp.nan)
    out = jax.jit(lambda r, u: each_used(look, r, u))(rows, used)
    jax.effects_barrier()
    assert out.tolist() == [1.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0, 9.0]
    assert len(made) == at_once()  # of nine rows, three used


def test_every_hit_comes_once_an_epoch_whatever_the_others_have():
    alone = batches([5], [7], 2, 4)[0]
    order = batches([5, 11], [7, 8], 2, 4)
    np.testing.assert_array_equal(order[0, :2], alone)
    assert (order[0, 2:] == -1).all()
    for m, count in enumerate((5, 11)):
        assert sorted(order[m][order[m] >= 0]) == list(range(count))
    assert not np.array_equal(order, batches([5, 11], [7, 8], 3, 4))
    assert batches([3], [0], 1, 256).shape == (1, 1, 3)


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_goes_on_where_it_was_killed(tmp_path, method):
    together = fit([0, 1, 2], method=method)[0]
    saved = Saved(tmp_path / "fit", {"seed": 1})
    with pytest.raises(OSError, match="killed"):
        fit([0, 1, 2], saved=saved, progress=_killed_after(4), method=method)
    assert saved.step == 4
    seen = []
    state, _ = fit([0, 1, 2], saved=saved, progress=seen.append, method=method)
    assert [rows[0].epoch for rows in seen] == [5, 6]
    jax.tree.map(np.testing.assert_array_equal, state, together)
    # what is finished is not done again
    again, _ = fit([0, 1, 2], saved=saved, method=method)
    jax.tree.map(np.testing.assert_array_equal, again, together)


def _killed_after(epoch):
    def after(rows):
        if rows[0].epoch == epoch:
            raise OSError("killed")

    return after


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone"])
def test_a_damaged_state_is_found_out_and_the_one_before_used(tmp_path, damage):
    saved, like = Saved(tmp_path / "fit", {}), {"x": np.zeros(3), "n": np.int32(0)}
    for step in (1, 2, 3):
        saved.save(step, {"x": np.full(3, float(step)), "n": np.int32(step)})
    assert saved.load(like)["n"] == 3
    newest = max((tmp_path / "fit").iterdir(), key=lambda p: p.stat().st_mtime_ns)
    content = bytearray(newest.read_bytes())
    if damage == "cut":
        newest.write_bytes(content[:-20])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
    elif damage == "empty":
        newest.write_bytes(b"")
    else:
        newest.unlink()
    assert saved.load(like)["x"].tolist() == [2.0, 2.0, 2.0]
    assert saved.step == 2
    saved.save(3, {"x": np.full(3, 9.0), "n": np.int32(3)})
    assert saved.load(like)["x"].tolist() == [9.0, 9.0, 9.0]


def test_the_state_of_another_training_is_refused(tmp_path):
    about = {"models": [{"recipe": {"seed": 0, "epochs": 9}}, {"recipe": {"seed": 1}}]}
    Saved(tmp_path / "fit", about).save(1, np.zeros(2))
    about["models"][1]["recipe"]["seed"] = 5
    other = Saved(tmp_path / "fit", about)
    message = r"fit is of another training: models\[1\].recipe.seed is 1 there and 5"
    with pytest.raises(ValueError, match=message):
        other.load(np.zeros(2))
    with pytest.raises(ValueError, match=message):
        _ = other.step
    about["models"][1]["recipe"]["seed"] = 1
    with pytest.raises(ValueError, match="another version"):
        Saved(tmp_path / "fit", about).load(np.zeros(3))
    (tmp_path / "fit" / "mine.txt").write_text("mine")
    other.remove()
    assert [p.name for p in (tmp_path / "fit").iterdir()] == ["mine.txt"]


def test_a_state_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "fit").write_text("a file")
    with pytest.raises(ValueError, match=r"fit.1: cannot be written: "):
        Saved(tmp_path / "fit", {}).save(1, np.zeros(2))
    with pytest.raises(ValueError, match=r"fit.1: cannot be written: "):
        Saved(tmp_path / "no" / "fit", {}).save(1, np.zeros(2))
    assert [p.name for p in tmp_path.iterdir()] == ["fit"]


@pytest.mark.slow
def test_direct_optimisation_finds_what_can_be_reached():
    """Every hit by itself: wanted are features of known values within the damping."""
    rng = np.random.default_rng(0)
    preset = rng.uniform(0.4, 0.6, (5, len(SPECS))).astype(np.float32)
    damping = np.ones_like(preset)
    damping[:, 3], damping[:, 9] = 0.0, 0.01
    there = preset + damping * rng.uniform(-0.2, 0.2, preset.shape).astype(np.float32)
    features = jax.vmap(lambda unit: PROBLEM.sound_features(SPECS.to_physical(unit)))
    start = features(jnp.asarray(preset))
    wanted = features(jnp.asarray(there)) - start
    wanted = wanted.at[4, 0].set(-1e3)  # out of reach, spoils no other
    rows = direct.Row(
        jnp.asarray(preset),
        jnp.asarray(damping),
        start,
        wanted,
        jnp.ones_like(start),
        jnp.zeros_like(jnp.asarray(preset)),
    )
    settings = direct.Settings(steps=600, learning_rate=0.02, patience=20)

    def optimise(rows):
        nobody = None, None, lambda: None  # looks, keeps or stops
        return direct.optimise(PROBLEM, settings, rows, *nobody)[0]

    state = optimise(rows)
    got, moved = direct.answers(PROBLEM, rows, state.best)
    error = np.abs(got - start - wanted)
    assert error[:4].max() < 0.05 < np.abs(wanted[:4]).max()
    assert error[4, 0] > 900.0
    np.testing.assert_allclose(
        state.best_loss, error.mean(axis=1), rtol=1e-4, atol=1e-6
    )
    assert (moved[:, 3] == 0.0).all()
    assert np.abs(moved[:, 9]).max() <= 0.01
    assert np.abs(moved[4]).max() <= 1.0
    alone = optimise(jax.tree.map(lambda a: a[2:3], rows))
    np.testing.assert_allclose(alone.best_loss[0], state.best_loss[2], atol=1e-3)


SHARED_OUT = """
import sys
import jax
import numpy as np
sys.path.insert(0, sys.argv[1])
import test_fitting as t
assert len(jax.devices()) == 8
mesh = jax.make_mesh((8,), ("models",))
state = t.fit([0, 1, 2], mesh=mesh)[0]
np.savez(sys.argv[2], *jax.tree.leaves(state))
"""


@pytest.mark.slow
def test_models_shared_out_among_eight_devices_are_the_same(together, tmp_path):
    here = Path(__file__).parent
    devices = "--xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", SHARED_OUT, str(here), str(tmp_path / "state.npz")],
        env=os.environ | {"XLA_FLAGS": devices, "PYTHONPATH": str(here.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "state.npz") as found:
        for i, ours in enumerate(jax.tree.leaves(together)):
            np.testing.assert_allclose(found[f"arr_{i}"], ours, rtol=1e-3, atol=1e-5)


SEVERAL_HOSTS = """
import sys
import jax
import numpy as np
jax.distributed.initialize(sys.argv[3], 2, int(sys.argv[4]))
sys.path.insert(0, sys.argv[1])
import test_fitting as t
assert len(jax.devices()) == 2 > len(jax.local_devices())
mesh = jax.make_mesh((2,), ("models",))
state = t.fit([0, 1, 2], mesh=mesh)[0]
if jax.process_index() == 0:
    np.savez(sys.argv[2], *jax.tree.leaves(state))
"""


@pytest.mark.slow
def test_models_shared_out_among_two_processes_are_the_same(together, tmp_path):
    """As on two hosts: each process has one device, and the mesh has both."""
    here = Path(__file__).parent
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-c", SEVERAL_HOSTS, str(here)]
    processes = [
        subprocess.Popen(
            [*command, str(tmp_path / "state.npz"), address, str(number)],
            env=os.environ | {"PYTHONPATH": str(here.parent)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for process in processes:
        _, error = process.communicate(timeout=240)
        assert process.returncode == 0, error
    with np.load(tmp_path / "state.npz") as found:
        for i, ours in enumerate(jax.tree.leaves(together)):
            np.testing.assert_allclose(found[f"arr_{i}"], ours, rtol=1e-3, atol=1e-5)
