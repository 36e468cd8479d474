"""Mappings fitted together: the loss of many models, an epoch, and where it runs.

Models lie along a leading axis M of everything: their networks are vmapped, and the
sounds that all of them ask for in a step make one list. Sounds are by far most of the
work; those that do not count (padding, models with fewer hits) are never made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float

from jaxsnare.features import TargetFeatures
from jaxsnare.losses import feature_difference
from jaxsnare.mapping import MapParams, Mapping, map_features
from jaxsnare.params import ParamSet
from jaxsnare.saved import Saved
from jaxsnare.synths.synth import Synth, play_revised, render


def at_once() -> int:
    """Sounds made at once by a device.

    Of more than 4, the signals of a step fall out of a processor's cache; an
    accelerator takes as many as keep it busy. Either way it bounds the memory.
    """
    return 4 if jax.default_backend() == "cpu" else 512


@dataclass(frozen=True)
class Problem:
    """What is static about a training: the synth, its ranges, the mapping, the ear.

    revised: samples after its trigger at which a voice takes the values of the mapping,
    if it does not start with them.
    """

    synth: Synth
    specs: ParamSet
    mapping: Mapping
    target: TargetFeatures
    revised: int | None = None

    def sound_features(
        self, values: Float[Array, " P"], before: Float[Array, " P"] | None = None
    ) -> Float[Array, "7"]:
        """Target features of a hit with those values, in physical units.

        before: what it starts with (in the unit interval), where they are revised.
        """
        samples = self.target.samples
        if self.revised is None or before is None:
            named = self.specs.unpack(values)
            return self.target(render(self.synth, named, samples=samples))
        start = self.specs.to_physical(before)
        sound = play_revised(self.synth, start, values, self.revised, samples)
        return self.target(sound)


class Case(NamedTuple):
    """What is fixed about a model."""

    params: MapParams  # without weights
    preset_features: Float[Array, "7"]
    balance: Float[Array, "7"]  # weights of the features in the loss
    rate: Any  # of learning, at the start
    patience: Any  # epochs without a better loss before the rate is halved


class Examples(NamedTuple):
    """Hits as the training sees them; those that are not used are padding."""

    normalised: Float[Array, "N F"]  # onset features
    before: Float[Array, "N P"]  # what each plays without the mapping, unit interval
    wanted: Float[Array, "N 7"]  # feature differences to the reference hit
    used: Bool[Array, " N"]


class FitState(NamedTuple):
    """Where M models stand: all that the next epoch needs."""

    epoch: Any  # [M], epochs done
    weights: Any  # [M, ...]
    adam: Any
    halved: Any  # [M], how often the learning rate was halved
    best: Any  # weights with the least validation loss
    best_loss: Any
    best_epoch: Any
    waited: Any  # epochs since then, or since the rate was halved


class Progress(NamedTuple):
    """Where the training of a model stands after an epoch."""

    epoch: int
    epochs: int
    train_loss: float
    validation_loss: float
    best_loss: float
    learning_rate: float
    look: int = 1  # which of the looks at a hit is trained
    looks: int = 1


def each_used(function: Callable[[Any], Any], rows: Any, used: Bool[Array, " R"]):
    """`function` of every row that is used, `at_once` rows at a time; else zeros.

    rows: a pytree of arrays [R, ...]. Nothing is computed for rows that are not used,
    but to fill up the last few.
    """
    several = at_once()
    count = used.shape[0]
    order = jnp.argsort(~used, stable=True)
    order = jnp.pad(order, (0, -count % several), constant_values=count)
    sample = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), rows)
    shapes = jax.eval_shape(function, sample)
    out = jax.tree.map(lambda s: jnp.zeros((count, *s.shape), s.dtype), shapes)

    def some(i, out):
        index = jax.lax.dynamic_slice_in_dim(order, several * i, several)
        chosen = jax.tree.map(lambda a: jnp.take(a, index, 0, mode="clip"), rows)
        found = jax.vmap(function)(chosen)
        return jax.tree.map(lambda o, v: o.at[index].set(v, mode="drop"), out, found)

    times = -(-jnp.sum(used) // several)
    out = jax.lax.fori_loop(0, times, some, out)

    def mask(a):
        wide = used.reshape(-1, *[1] * (a.ndim - 1))
        return jnp.where(jnp.broadcast_to(wide, a.shape), a, jnp.zeros_like(a))

    return jax.tree.map(mask, out)


def _map(problem, weights, cases, normalised, before):
    """What the hits [M, N, F] of M models become: modulation and values [M, N, P]."""

    def answer(weights, case, x, before):
        params = case.params._replace(weights=weights, preset=before)
        return map_features(problem.mapping, problem.specs, params, x)

    per_hit = jax.vmap(answer, (None, None, 0, 0))
    return jax.vmap(per_hit)(weights, cases, normalised, before)


def _sound_losses(problem, cases, examples, values, gradient=False):
    """Loss [M, N] of each answer, and its gradient to the values [M, N, P] if wanted.

    The values are differentiated inside of the loop over sounds, which may then end
    where the used ones end.
    """
    models, hits = examples.used.shape

    def loss(values, row):
        wanted, before, preset_features, balance = row
        got = problem.sound_features(values, before) - preset_features
        return feature_difference(got, wanted, balance)

    def by_hit(a):
        wide = jnp.broadcast_to(a[:, None], (models, hits, *a.shape[1:]))
        return wide.reshape(-1, *a.shape[1:])

    fixed = (
        examples.wanted.reshape(-1, examples.wanted.shape[-1]),
        examples.before.reshape(-1, examples.before.shape[-1]),
        by_hit(cases.preset_features),
        by_hit(cases.balance),
    )
    rows = values.reshape(-1, values.shape[-1]), fixed
    function = jax.value_and_grad(loss) if gradient else loss
    found = each_used(lambda r: function(*r), rows, examples.used.reshape(-1))
    return jax.tree.map(lambda a: a.reshape(models, hits, *a.shape[1:]), found)


def mean_losses(problem, weights, cases, examples) -> Float[Array, " M"]:
    """Mean loss of each of M models over its examples [M, N]."""
    values = _map(problem, weights, cases, examples.normalised, examples.before).values
    return _mean(_sound_losses(problem, cases, examples, values), examples.used)


def losses_and_gradients(
    problem, weights, cases, examples
) -> tuple[Float[Array, " M"], Any]:
    """Mean loss of each of M models over its examples [M, N], and its gradient."""
    values, pull = jax.vjp(
        lambda w: _map(problem, w, cases, examples.normalised, examples.before).values,
        weights,
    )
    losses, slopes = _sound_losses(problem, cases, examples, values, gradient=True)
    count = jnp.maximum(jnp.sum(examples.used, axis=1), 1).astype(slopes.dtype)
    slopes = slopes / jnp.broadcast_to(count[:, None, None], slopes.shape)
    return _mean(losses, examples.used), pull(slopes)[0]


def _mean(losses, used):
    count = jnp.maximum(jnp.sum(used, axis=-1), 1).astype(losses.dtype)
    return jnp.sum(losses, axis=-1) / count


def _choose(condition, if_true, if_false):
    """By model [M], of two pytrees with leading axis M."""

    def one(a, b):
        wide = condition.reshape(-1, *[1] * (a.ndim - 1))
        return jnp.where(jnp.broadcast_to(wide, a.shape), a, b)

    return jax.tree.map(one, if_true, if_false)


def _adam():
    import optax

    return optax.scale_by_adam()


def _take_epoch(problem, state, cases, train_set, validation_set, order):
    """Every batch once, the validation loss, and what follows from it.

    order: [M, S, B] hits of each batch, -1 for none. Returns the state, and training
    and validation losses [M]. Models are independent of each other.
    """

    rates = jnp.ldexp(cases.rate, -state.halved)

    def update(carry, chosen):
        weights, adam = carry
        index = jnp.maximum(chosen, 0)
        take = jax.vmap(lambda a, i: a[i])
        batch = jax.tree.map(lambda a: take(a, index), train_set)
        batch = batch._replace(used=chosen >= 0)
        active = batch.used.any(axis=1)
        losses, gradients = losses_and_gradients(problem, weights, cases, batch)
        steps, moved = jax.vmap(_adam().update)(gradients, adam)
        rate = jnp.where(active, rates, 0.0)

        def descend(w, s):
            wide = rate.reshape(-1, *[1] * (w.ndim - 1))
            return w - jnp.broadcast_to(wide, w.shape) * s

        weights = jax.tree.map(descend, weights, steps)
        return (weights, _choose(active, moved, adam)), (losses, active)

    carry, (losses, active) = jax.lax.scan(
        update, (state.weights, state.adam), jnp.moveaxis(order, 1, 0)
    )
    weights, adam = carry
    loss = mean_losses(problem, weights, cases, validation_set)
    epoch = state.epoch + 1
    better = loss < state.best_loss
    waited = jnp.where(better, 0, state.waited + 1)
    lower = waited > cases.patience
    state = FitState(
        epoch,
        weights,
        adam,
        state.halved + lower.astype(state.halved.dtype),
        _choose(better, weights, state.best),
        jnp.where(better, loss, state.best_loss),
        jnp.where(better, epoch, state.best_epoch),
        jnp.where(lower, 0, waited),
    )
    return state, _mean(losses.T, active.T), loss


@partial(jax.jit, static_argnums=(0, 1))
def _epoch(problem, mesh, *arguments):
    return _sharded(partial(_take_epoch, problem), mesh)(*arguments)


@partial(jax.jit, static_argnums=(0, 1))
def _losses(problem, mesh, *arguments):
    return _sharded(partial(mean_losses, problem), mesh)(*arguments)


@partial(jax.jit, static_argnums=(0, 1))
def _answers(problem, mesh, *arguments):
    def answers(weights, cases, normalised, before, used):
        hits = _map(problem, weights, cases, normalised, before)
        rows = jax.tree.map(lambda a: a.reshape(-1, a.shape[-1]), (hits.values, before))
        features = each_used(
            lambda row: problem.sound_features(*row), rows, used.reshape(-1)
        )
        return features.reshape(*used.shape, -1), hits.modulation

    return _sharded(answers, mesh)(*arguments)


def _sharded(function, mesh):
    """A function of models, each device of a mesh working on its share of them."""
    if mesh is None:
        return function
    spec = P(mesh.axis_names)
    return jax.shard_map(
        function, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
    )


class Models:
    """M models on the devices of a mesh: put there, worked on, and fetched again.

    mesh: None for one device. M is filled up to a multiple of the devices by models
    without examples.
    """

    def __init__(self, problem: Problem, count: int, mesh: Mesh | None = None):
        self.problem, self.count, self.mesh = problem, count, mesh
        self.filled = count + -count % (mesh.size if mesh else 1)

    def put(self, tree: Any, filling: Callable[[np.ndarray], Any] | None = None):
        """Arrays [M, ...], filled up by repeating the first model."""

        def one(a):
            a = np.asarray(a)
            more = np.repeat(a[:1], self.filled - self.count, axis=0)
            more = filling(more) if filling else more
            a = np.concatenate([a, more])
            if self.mesh is None:
                return jnp.asarray(a)
            return jax.device_put(a, NamedSharding(self.mesh, P(self.mesh.axis_names)))

        return jax.tree.map(one, tree)

    def put_examples(self, examples: Examples) -> Examples:
        used = self.put(examples.used, np.zeros_like)
        return self.put(examples)._replace(used=used)

    def fetch(self, tree: Any) -> Any:
        """Arrays [M, ...] as NumPy's, in every process."""

        def one(a):
            if not a.is_fully_addressable:
                from jax.experimental import multihost_utils

                a = multihost_utils.process_allgather(a, tiled=True)
            return np.asarray(a)[: self.count]

        return jax.tree.map(one, tree)

    def answers(
        self,
        weights: Any,
        cases: Case,
        normalised: list[np.ndarray],
        before: list[np.ndarray],
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Features [N, 7] and modulation [N, P] of the answers to each model's hits."""
        counts = [len(rows) for rows in normalised]
        used = _used(counts)
        found = _answers(
            self.problem,
            self.mesh,
            self.put(weights),
            self.put(cases),
            self.put(_stacked(normalised, used.shape[1])),
            self.put(_stacked(before, used.shape[1])),
            self.put(used, np.zeros_like),
        )
        features, modulation = self.fetch(found)
        return [(features[m, :n], modulation[m, :n]) for m, n in enumerate(counts)]


def _stacked(rows: Sequence[np.ndarray], length: int) -> np.ndarray:
    """[N, ...] of M models with different N as [M, length, ...], zeros at the end."""
    out = np.zeros((len(rows), length, *rows[0].shape[1:]), rows[0].dtype)
    for m, row in enumerate(rows):
        out[m, : len(row)] = row
    return out


def _used(counts: Sequence[int]) -> np.ndarray:
    return np.arange(max(counts))[None, :] < np.asarray(counts)[:, None]


def make_examples(
    normalised: Sequence[np.ndarray],
    before: Sequence[np.ndarray],
    wanted: Sequence[np.ndarray],
) -> Examples:
    """Examples of M models as one, each with hits of its own [N, F], [N, P], [N, 7]."""
    used = _used([len(rows) for rows in wanted])
    found = [_stacked(rows, used.shape[1]) for rows in (normalised, before, wanted)]
    return Examples(*map(jnp.asarray, (*found, used)))


def batches(counts: Sequence[int], seeds: Sequence[int], epoch: int, batch: int):
    """Which hits each step of an epoch takes, [M, S, B] with -1 for none.

    A model's order depends on its seed, the epoch and its number of hits alone.
    """
    size = min(batch, max(counts))
    steps = -(-max(counts) // size)
    order = np.full((len(counts), steps * size), -1, np.int32)
    for m, (count, seed) in enumerate(zip(counts, seeds, strict=True)):
        shuffled = np.random.default_rng([seed, epoch]).permutation(count)
        # batches of a model are whole but for the last, as if it were alone
        order[m, :count] = shuffled
    return order.reshape(len(counts), steps, size)


def optimise(
    models: Models,
    weights: Any,
    cases: Case,
    train_set: Examples,
    validation_set: Examples,
    *,
    epochs: int,
    batch: int,
    seeds: Sequence[int],
    progress: Callable[[list[Progress]], Any] | None = None,
    saved: Saved | None = None,
    stop_if_asked: Callable[[], None] = lambda: None,
) -> tuple[FitState, bool]:
    """The last state (fetched), and whether KeyboardInterrupt ended the fit early.

    weights: [M, ...] at the start; the seeds fix the order of the hits. With `saved`
    the state is kept there after each epoch, and taken up from there.
    stop_if_asked: called after each epoch; KeyboardInterrupt ends the fit there.
    """
    problem, mesh, count = models.problem, models.mesh, models.count
    counts = np.asarray(train_set.used).sum(axis=1).tolist()
    train_set, validation_set = map(models.put_examples, (train_set, validation_set))
    start_rates = np.asarray(cases.rate, np.float64)
    cases = models.put(cases._replace(rate=start_rates.astype(np.float32)))

    whole = models.put(weights)
    loss = _losses(problem, mesh, whole, cases, validation_set)
    start = FitState(
        np.zeros(count, np.int32),
        weights,
        jax.vmap(_adam().init)(jax.tree.map(jnp.asarray, weights)),
        np.zeros(count, np.int32),
        weights,
        models.fetch(loss),
        np.zeros(count, np.int32),
        np.zeros(count, np.int32),
    )
    last = (saved.load(start) if saved else None) or start
    state, interrupted = models.put(last), False
    try:
        for epoch in range(int(last.epoch[0]) + 1, epochs + 1):
            order = batches(counts, seeds, epoch, batch)
            state, train_loss, loss = _epoch(
                problem,
                mesh,
                state,
                cases,
                train_set,
                validation_set,
                models.put(order, lambda a: np.full_like(a, -1)),
            )
            rates = start_rates / 2.0**last.halved
            last, train_loss, loss = models.fetch((state, train_loss, loss))
            if saved and jax.process_index() == 0:
                saved.save(epoch, last)
            if progress is not None:
                rows = zip(train_loss, loss, last.best_loss, rates, strict=True)
                progress(
                    [
                        Progress(epoch, epochs, float(a), float(b), float(c), float(d))
                        for a, b, c, d in rows
                    ]
                )
            stop_if_asked()
    except KeyboardInterrupt:
        interrupted = True
    return last, interrupted
