"""Mappings fitted together: the loss of many models, an epoch, and where it runs.

Models lie along a leading axis M of everything: their networks are vmapped, and the
sounds that all of them ask for in a step make one list. Sounds are by far most of the
work; those that do not count (padding, models with fewer hits) are never made.
"""

from abc import ABC, abstractmethod
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
    ) -> Float[Array, " K"]:
        """The K target features of a hit with those values, in physical units.

        before: what it starts with (in the unit interval), where they are revised.
        """
        return self.target(self._sound(values, before, self.target.samples))

    def sound_slopes(
        self, unit: Float[Array, " P"], before: Float[Array, " P"]
    ) -> tuple[Float[Array, " K"], Float[Array, "K P"]]:
        """The same of values in the unit interval, and the slopes to each of them.

        What is over early is pulled back through a short sound: the slopes of thirteen
        features cost about three gradients of the loss.
        """

        def heard(ear, samples):
            def features(unit):
                values = self.specs.to_physical(unit)
                found = ear(self._sound(values, before, samples))
                return found, found

            slopes, found = jax.jacrev(features, has_aux=True)(unit)
            return found, slopes

        parts = self.target.parts
        found = [heard(part.hear, part.samples) for part in parts]
        places = [place for part in parts for place in part.places]
        order = jnp.argsort(jnp.asarray(places))
        features, slopes = (jnp.concatenate(a)[order] for a in zip(*found, strict=True))
        return features, slopes

    def _sound(self, values, before, samples):
        if self.revised is None or before is None:
            return render(self.synth, self.specs.unpack(values), samples=samples)
        start = self.specs.to_physical(before)
        return play_revised(self.synth, start, values, self.revised, samples)


class Case(NamedTuple):
    """What is fixed about a model."""

    params: MapParams  # without weights
    preset_features: Float[Array, " K"]
    balance: Float[Array, " K"]  # weights of the features in the loss
    rate: Any  # of learning, at the start
    patience: Any  # epochs without a better loss before the rate is halved
    decay: Any = 0.0  # price of the squared weights


class Examples(NamedTuple):
    """Hits as the training sees them; those that are not used are padding."""

    normalised: Float[Array, "N F"]  # onset features
    before: Float[Array, "N P"]  # what each plays without the mapping, unit interval
    wanted: Float[Array, "N K"]  # feature differences to the reference hit
    used: Bool[Array, " N"]


class Progress(NamedTuple):
    """Where the training of a model stands after an epoch."""

    epoch: int
    epochs: int
    train_loss: float
    validation_loss: float
    best_loss: float
    look: int = 1  # which of the looks at a hit is trained
    looks: int = 1


class Best(NamedTuple):
    """The weights with the least validation loss so far, of M models."""

    weights: Any
    loss: Any  # [M]
    epoch: Any

    def updated(self, epoch: Any, weights: Any, loss: Any) -> "Best":
        better = loss < self.loss
        candidate = Best(weights, loss, epoch)
        return choose(better, candidate, self)


class FitState(NamedTuple):
    """Where M models stand: all that the next epoch needs."""

    epoch: Any  # [M], epochs done
    weights: Any  # [M, ...]
    own: Any  # what a method keeps besides
    best: Best


class Method(ABC):
    """How weights are moved, an epoch at a time. Subclasses are frozen dataclasses."""

    @abstractmethod
    def start(self, weights: Any, used: Bool[np.ndarray, "M N"]) -> Any:
        """What it keeps besides the weights, at the beginning.

        used: which places of the training set hold hits.
        """

    @abstractmethod
    def order(self, counts: Sequence[int], seeds: Sequence[int], epoch: int) -> Any:
        """What an epoch needs to know that is drawn, by model [M, ...]."""

    @abstractmethod
    def epoch(
        self,
        problem: Problem,
        state: FitState,
        cases: Case,
        train_set: "Examples",
        validation_set: "Examples",
        order: Any,
    ) -> tuple[FitState, Float[Array, " M"], Float[Array, " M"]]:
        """The state after the epoch, and the losses of training and validation.

        Models are independent of each other.
        """

    def finished(self, state: FitState) -> bool:
        """Whether no further epoch can bring anything."""
        return False


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


def map_hits(problem, weights, cases, normalised, before):
    """What the hits [M, N, F] of M models become: modulation and values [M, N, P]."""

    def answer(weights, case, x, before):
        params = case.params._replace(weights=weights, preset=before)
        return map_features(problem.mapping, problem.specs, params, x)

    per_hit = jax.vmap(answer, (None, None, 0, 0))
    return jax.vmap(per_hit)(weights, cases, normalised, before)


def sound_losses(problem, cases, examples, values, gradient=False):
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
    heard = cases, examples.normalised, examples.before
    values = map_hits(problem, weights, *heard).values
    return mean_used(sound_losses(problem, cases, examples, values), examples.used)


def mean_used(losses, used):
    count = jnp.maximum(jnp.sum(used, axis=-1), 1).astype(losses.dtype)
    return jnp.sum(losses, axis=-1) / count


def choose(condition, if_true, if_false):
    """By model [M], of two pytrees with leading axis M."""

    def one(a, b):
        wide = condition.reshape(-1, *[1] * (a.ndim - 1))
        return jnp.where(jnp.broadcast_to(wide, a.shape), a, b)

    return jax.tree.map(one, if_true, if_false)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _epoch(method, problem, mesh, *arguments):
    return _sharded(partial(method.epoch, problem), mesh)(*arguments)


@partial(jax.jit, static_argnums=(0, 1))
def _losses(problem, mesh, *arguments):
    return _sharded(partial(mean_losses, problem), mesh)(*arguments)


@partial(jax.jit, static_argnums=(0, 1))
def _answers(problem, mesh, *arguments):
    def answers(weights, cases, normalised, before, used):
        hits = map_hits(problem, weights, cases, normalised, before)
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
            a = a.astype(jax.dtypes.canonicalize_dtype(a.dtype))
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
        """Features [N, K] and modulation [N, P] of the answers to each model's hits."""
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
    """Examples of M models as one, each with hits of its own [N, F], [N, P], [N, K]."""
    used = _used([len(rows) for rows in wanted])
    found = [_stacked(rows, used.shape[1]) for rows in (normalised, before, wanted)]
    return Examples(*map(jnp.asarray, (*found, used)))


def optimise(
    models: Models,
    method: Method,
    weights: Any,
    cases: Case,
    train_set: Examples,
    validation_set: Examples,
    *,
    epochs: int,
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
    used = np.asarray(train_set.used)
    counts = used.sum(axis=1).tolist()
    own = jax.tree.map(np.asarray, method.start(weights, used))
    train_set, validation_set = map(models.put_examples, (train_set, validation_set))
    cases = models.put(cases)

    whole, none = models.put(weights), np.zeros(count, np.int32)
    loss = models.fetch(_losses(problem, mesh, whole, cases, validation_set))
    start = FitState(none, weights, own, Best(weights, loss, none))
    last = (saved.load(start) if saved else None) or start
    state, interrupted = models.put(last), False
    try:
        for epoch in range(int(last.epoch[0]) + 1, epochs + 1):
            if method.finished(last):
                break
            order = method.order(counts, seeds, epoch)
            order = models.put(order, lambda a: np.full_like(a, -1))
            state, train_loss, loss = _epoch(
                method, problem, mesh, state, cases, train_set, validation_set, order
            )
            last, train_loss, loss = models.fetch((state, train_loss, loss))
            if saved and jax.process_index() == 0:
                saved.save(epoch, last)
            if progress is not None:
                rows = zip(train_loss, loss, last.best.loss, strict=True)
                progress(
                    [
                        Progress(epoch, epochs, float(a), float(b), float(c))
                        for a, b, c in rows
                    ]
                )
            stop_if_asked()
    except KeyboardInterrupt:
        interrupted = True
    return last, interrupted
