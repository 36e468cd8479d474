"""Training: a mapping learns to carry a drum's feature differences to a synth."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsnare.data import Hits, Split, collect_hits, reference_hit, split_hits
from jaxsnare.detector import detector_specs, find_detector
from jaxsnare.features import OnsetFeatures, TargetFeatures
from jaxsnare.features.normalise import fit, normalise
from jaxsnare.gate import examples_of, no_examples
from jaxsnare.losses import difference_weights, feature_difference
from jaxsnare.mapping import HIDDEN, MapParams, Mapping, make_mapping, map_features
from jaxsnare.model import Model
from jaxsnare.onset import find_onsets, pre_roll_samples
from jaxsnare.params import ParamSet, as_params, unknown
from jaxsnare.presets import Preset
from jaxsnare.synths import Synth, render

LEARNING_RATES = {"linear": 5e-3}
DEFAULT_LEARNING_RATE = 5e-4
AT_ONCE = 4
"""Sounds alive at once: of more, the signals of a step fall out of the cache."""


@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults are the published ones, but for the loss weights.

    window: samples that a hit is measured on. learning_rate: of Adam; None: the
    published one of the mapping. It is halved after `patience` epochs without a better
    validation loss. weights: "balanced" makes every feature count by its range over
    the training hits, "none" is the published loss. reference: the rule that picks
    the reference hit.
    """

    mapping: str = "mlp"
    window: int = 256
    epochs: int = 250
    batch: int = 16
    learning_rate: float | None = None
    patience: int = 20
    weights: Literal["balanced", "none"] = "balanced"
    reference: Literal["median_vector", "median_loudness"] = "median_vector"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 1), ("patience", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(
                    f"{name} is {value!r}; allowed: whole numbers from {least} on"
                )
        if self.mapping not in HIDDEN:
            raise ValueError(unknown("mapping", self.mapping, list(HIDDEN)))
        if not isinstance(self.window, int) or not 32 <= self.window <= 8192:
            raise ValueError(f"window is {self.window} samples, allowed is 32..8192")
        if self.learning_rate is not None and not 0 < self.learning_rate < 1:
            raise ValueError(f"learning rate is {self.learning_rate}, allowed is 0..1")
        for name, choices in (
            ("weights", ("balanced", "none")),
            ("reference", ("median_vector", "median_loudness")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(unknown(name, getattr(self, name), choices))

    @property
    def start_rate(self) -> float:
        """The learning rate of the first epoch."""
        if self.learning_rate is not None:
            return self.learning_rate
        return LEARNING_RATES.get(self.mapping, DEFAULT_LEARNING_RATE)


@dataclass(frozen=True)
class Problem:
    """What is static about a training: the synth, its ranges, the mapping, the ear."""

    synth: Synth
    specs: ParamSet
    mapping: Mapping
    target: TargetFeatures

    def difference(
        self,
        params: MapParams,
        preset_features: Float[Array, "7"],
        normalised: Float[Array, " F"],
    ) -> Float[Array, "7"]:
        """Feature difference to the preset of the sound that answers a hit."""
        hit = map_features(self.mapping, self.specs, params, normalised)
        return self.sound_features(self.specs.unpack(hit.values)) - preset_features

    def sound_features(self, values: dict[str, Array]) -> Float[Array, "7"]:
        """Target features of a hit with those values."""
        audio = render(self.synth, values, samples=self.target.samples)
        return self.target(audio)


class Examples(NamedTuple):
    """Hits as the training sees them."""

    normalised: Float[Array, "N F"]  # onset features
    wanted: Float[Array, "N 7"]  # feature differences to the reference hit


class Progress(NamedTuple):
    """Where a training stands after an epoch."""

    epoch: int
    epochs: int
    train_loss: float
    validation_loss: float
    best_loss: float
    learning_rate: float


@dataclass(frozen=True)
class Training:
    """What a training leaves: the model, and what a report shows of it."""

    model: Model
    hits: Hits
    split: Split
    reference: int
    wanted: np.ndarray  # [N, 7] feature differences of all hits to the reference hit
    achieved: np.ndarray  # [N, 7] of the synth to the preset, by the best weights
    modulation: np.ndarray  # [N, P]
    loudness: np.ndarray  # [N] transient loudness of the hits, LKFS

    @property
    def table(self) -> dict[str, dict[str, float]]:
        """Error, baseline (no modulation) and their ratio by feature, on test hits."""
        return self.model.training["test"]["features"]


def listen(
    inputs: Sequence[str | Path],
    sample_rate: int,
    window: int = 256,
    onset: dict[str, float] | None = None,
    progress: Callable[..., Any] | None = None,
    detector: str = "adaptive",
) -> Hits:
    """The hits of recordings and folders, found and cut as the live chain does it.

    onset: settings of the detector that differ from the default ones. detector: its
    name, "adaptive" or "published".
    """
    specs = detector_specs(detector)
    settings = specs.check(specs.defaults | (onset or {}))
    if window <= pre_roll_samples(sample_rate):
        raise ValueError(
            f"window is {window} samples; at {sample_rate} Hz it must be more than "
            f"{pre_roll_samples(sample_rate)}, which lie before an onset"
        )
    return collect_hits(
        inputs,
        sample_rate,
        partial(find_onsets, find_detector(detector, sample_rate), as_params(settings)),
        window=window,
        pre_roll=pre_roll_samples(sample_rate),
        samples=TargetFeatures(sample_rate).samples,
        onset=settings,
        progress=progress,
    )


def train(
    hits: Hits,
    synth: Synth,
    preset: Preset,
    recipe: Recipe | None = None,
    progress: Callable[[Progress], Any] | None = None,
) -> Training:
    """Train a mapping on hits that `listen` found.

    progress: called after each epoch. The weights with the best validation loss are
    kept; KeyboardInterrupt ends the training early and keeps them too. The same seed
    gives the same result. Raises ValueError where the hits were cut for another rate or
    window.
    """
    recipe = recipe or Recipe()
    rate = synth.sample_rate
    if not isinstance(preset, Preset):
        raise TypeError(
            f"preset is a {type(preset).__name__}; wanted: values and damping, as "
            "read_preset gives them"
        )
    if hits.sample_rate != rate:
        raise ValueError(
            f"the hits are at {hits.sample_rate} Hz and the synth is at {rate} Hz; "
            "listen at the synth's rate"
        )
    if hits.windows.shape[1] != recipe.window:
        raise ValueError(
            f"the hits have windows of {hits.windows.shape[1]} samples and the recipe "
            f"of {recipe.window}; listen with the recipe's window"
        )
    heard = OnsetFeatures(rate, recipe.window)
    specs, target = synth.specs, TargetFeatures(rate)
    mapping = make_mapping(recipe.mapping, len(heard.names), len(specs))
    problem = Problem(synth, specs, mapping, target)

    features = _in_pieces(target, hits.audio)
    onset_features = _in_pieces(heard, hits.windows)
    loudness = features[:, 0]
    reference = reference_hit(features, rule=recipe.reference, loudness=loudness)
    split = split_hits(loudness, reference, recipe.seed)
    wanted = features - features[reference]

    normaliser = fit(jnp.asarray(onset_features[split.train]))
    normalised = normalise(normaliser, jnp.asarray(onset_features))
    weights_key, order_key = jax.random.split(jax.random.key(recipe.seed))
    preset_unit = specs.to_unit(specs.pack(preset.values))
    params = MapParams(
        preset_unit,
        specs.pack(preset.damping),
        None,
        normaliser,
        normalised[reference],
        jnp.ones(len(heard.names)),
        jnp.zeros(len(heard.names)),
    )
    preset_features = _preset_features(problem, specs.pack(preset.values))
    balance = jnp.ones(len(target.names))
    if recipe.weights == "balanced":
        balance = difference_weights(jnp.asarray(wanted[split.train]))

    examples = Examples(normalised, jnp.asarray(wanted))
    fixed = (params, preset_features, balance)
    start = mapping.init(weights_key)
    weights, history, interrupted = _optimise(
        problem, recipe, start, fixed, examples, split, order_key, progress
    )
    params = params._replace(weights=weights)
    achieved, modulation = _answers(problem, params, preset_features, normalised)

    test = _errors(target.names, wanted[split.test], achieved[split.test])
    best = min(history, key=lambda p: p.validation_loss)
    record = {
        "recipe": asdict(recipe) | {"learning_rate": recipe.start_rate},
        "hits": len(hits.audio),
        "sources": sorted(set(hits.sources)),
        "split": {k: np.asarray(v).tolist() for k, v in split._asdict().items()},
        "reference": {"hit": int(reference), "source": hits.sources[reference]},
        "loss_weights": np.asarray(balance, float).round(6).tolist(),
        "epochs": history[-1].epoch,
        "interrupted": interrupted,
        "best": {"epoch": best.epoch, "validation_loss": best.validation_loss},
        "test": test | {"hits": len(split.test)},
    }
    model = Model(
        synth,
        specs,
        preset,
        mapping,
        jax.tree.map(np.asarray, weights),
        heard,
        normaliser,
        normalised[reference],
        dict(hits.onset),
        training=record,
        examples=no_examples()._replace(
            hits=examples_of(hits.audio, recipe.window, rate)
        ),
    )
    return Training(
        model, hits, split, reference, wanted, achieved, modulation, loudness
    )


def _optimise(problem, recipe, weights, fixed, examples, split, order_key, progress):
    """The best weights, the progress of every epoch, and whether it was interrupted."""
    import optax

    train_set = jax.tree.map(lambda a: a[split.train], examples)
    validation_set = jax.tree.map(lambda a: a[split.validation], examples)
    rate = recipe.start_rate
    state = optax.scale_by_adam().init(weights)

    loss = float(mean_loss(problem, weights, fixed, validation_set))
    history = [Progress(0, recipe.epochs, loss, loss, loss, rate)]
    best, best_loss, waited, interrupted = weights, loss, 0, False
    try:
        for epoch in range(1, recipe.epochs + 1):
            weights, state, train_loss, loss = _epoch(
                problem,
                recipe.batch,
                weights,
                state,
                jnp.float32(rate),
                jax.random.fold_in(order_key, epoch),
                fixed,
                train_set,
                validation_set,
            )
            loss = float(loss)
            waited += 1
            if loss < best_loss:
                best, best_loss, waited = weights, loss, 0
            history.append(
                Progress(epoch, recipe.epochs, float(train_loss), loss, best_loss, rate)
            )
            if progress is not None:
                progress(history[-1])
            if waited > recipe.patience:
                rate, waited = rate / 2, 0
    except KeyboardInterrupt:
        interrupted = True
    return best, history, interrupted


def _loss(problem, weights, fixed, example):
    """Weighted feature difference of one hit and its answer."""
    params, preset_features, balance = fixed
    params = params._replace(weights=weights)
    got = problem.difference(params, preset_features, example.normalised)
    return feature_difference(got, example.wanted, balance)


@partial(jax.jit, static_argnums=(0,))
def mean_loss(problem, weights, fixed, examples):
    """Mean loss over a set of any size."""
    losses = jax.lax.map(
        lambda example: _loss(problem, weights, fixed, example),
        examples,
        batch_size=AT_ONCE,
    )
    return jnp.mean(losses)


def loss_and_gradient(problem, weights, fixed, examples, used):
    """Mean loss of a batch [B] and its gradient, AT_ONCE examples at a time.

    used: Bool[B], False for padding; B is a multiple of AT_ONCE.
    """

    def total(weights, chunk, used):
        losses = jax.vmap(lambda e: _loss(problem, weights, fixed, e))(chunk)
        return jnp.sum(jnp.where(used, losses, 0.0)) / count

    def add(sums, chunk):
        more = jax.value_and_grad(total)(weights, *chunk)
        return jax.tree.map(jnp.add, sums, more), None

    count = jnp.sum(used).astype(fixed[-1].dtype)
    chunks = jax.tree.map(
        lambda a: a.reshape(-1, AT_ONCE, *a.shape[1:]), (examples, used)
    )
    nothing = (jnp.zeros_like(count), jax.tree.map(jnp.zeros_like, weights))
    return jax.lax.scan(add, nothing, chunks)[0]


@partial(jax.jit, static_argnums=(0, 1))
def _epoch(problem, batch, weights, state, rate, key, fixed, train_set, validation_set):
    """All batches of an epoch in one scan, then the validation loss."""
    import optax

    adam = optax.scale_by_adam()
    count = train_set.wanted.shape[0]
    batch = min(batch, count)
    batches = -(-count // batch)
    # The last batch, and every batch to a multiple of AT_ONCE, is filled up with
    # examples that do not count.
    order = jnp.pad(
        jax.random.permutation(key, count), (0, batches * batch - count)
    ).reshape(batches, batch)
    used = (jnp.arange(batches * batch) < count).reshape(batches, batch)
    order, used = (jnp.pad(a, ((0, 0), (0, -batch % AT_ONCE))) for a in (order, used))

    def update(carry, chosen):
        weights, state = carry
        index, used = chosen
        examples = jax.tree.map(lambda a: a[index], train_set)
        loss, gradient = loss_and_gradient(problem, weights, fixed, examples, used)
        step, state = adam.update(gradient, state)
        weights = jax.tree.map(lambda w, s: w - rate * s, weights, step)
        return (weights, state), loss

    (weights, state), losses = jax.lax.scan(update, (weights, state), (order, used))
    loss = mean_loss(problem, weights, fixed, validation_set)
    return weights, state, jnp.mean(losses), loss


@partial(jax.jit, static_argnums=(0,))
def _preset_features(problem, values):
    return problem.sound_features(problem.specs.unpack(values))


@partial(jax.jit, static_argnums=(0,))
def _answers_jit(problem, params, preset_features, normalised):
    def one(normalised):
        hit = map_features(problem.mapping, problem.specs, params, normalised)
        features = problem.sound_features(problem.specs.unpack(hit.values))
        return features - preset_features, hit.modulation

    return jax.lax.map(one, normalised, batch_size=AT_ONCE)


def _answers(problem, params, preset_features, normalised):
    """Feature differences and modulation of the answers to all hits."""
    return tuple(
        np.asarray(v)
        for v in _answers_jit(problem, params, preset_features, normalised)
    )


def _in_pieces(function: Any, rows: np.ndarray) -> np.ndarray:
    """A feature extractor over rows [N, T], some at a time, as [N, K]."""
    return np.asarray(_map_rows(function, jnp.asarray(rows)))


@partial(jax.jit, static_argnums=(0,))
def _map_rows(function, rows):
    return jax.lax.map(function, rows, batch_size=AT_ONCE)


def _errors(names, wanted, achieved) -> dict[str, Any]:
    """Mean absolute errors per feature beside those without modulation."""
    error = np.abs(achieved - wanted).mean(axis=0)
    baseline = np.abs(wanted).mean(axis=0)
    ratio = error / np.maximum(baseline, 1e-9)
    rows = {
        name: {"error": float(e), "baseline": float(b), "ratio": float(r)}
        for name, e, b, r in zip(names, error, baseline, ratio, strict=True)
    }
    return {"features": rows, "mean_ratio": float(ratio.mean())}
