"""What a training is given: jobs, and what is heard in their hits, in numbers."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsnare.data import Hits, Split, reference_hit, split_hits
from jaxsnare.features import LATE, TARGETS
from jaxsnare.features.normalise import Normaliser, fit, normalise
from jaxsnare.fitting import Case, Problem, at_once
from jaxsnare.gate import examples_of
from jaxsnare.losses import RANGE_FLOORS, difference_weights
from jaxsnare.mapping import MapParams
from jaxsnare.model_files import synth_record
from jaxsnare.presets import Preset
from jaxsnare.recipe import Recipe
from jaxsnare.rehearsal import rehearse
from jaxsnare.remapper import check_second_look
from jaxsnare.synths import Synth, not_finite
from jaxsnare.told import Regression, tell, told

MANY = 512
"""Sounds of which a regression is made, at most: of more training hits so many are
drawn, and hits are heard again as often as there is room."""


@dataclass(frozen=True)
class Job:
    """One model to be trained: on which hits, around which preset, and how."""

    hits: Hits
    preset: Preset
    recipe: Recipe = field(default_factory=Recipe)


def check_jobs(jobs: Sequence[Job], synth: Synth) -> None:
    """An error unless preset, hits and recipe of every job go with the synth."""
    if not jobs:
        raise ValueError("there is no job; wanted: one or more models to train")
    for job in jobs:
        _check(job, synth)


def _check(job: Job, synth: Synth) -> None:
    rate, hits, recipe = synth.sample_rate, job.hits, job.recipe
    if not isinstance(job.preset, Preset):
        raise TypeError(
            f"preset is a {type(job.preset).__name__}; wanted: values and damping, as "
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
    if recipe.second_look:  # what could not be played is not trained
        check_second_look(recipe.window, recipe.second_look, rate)


def describe(jobs: Sequence[Job], synth: Synth) -> dict[str, Any]:
    """All that the result of jobs depends on, as plain values."""
    return {
        "synth": synth_record(synth),
        "models": [
            {
                "recipe": asdict(job.recipe),
                "preset": job.preset._asdict(),
                "hits": len(job.hits.audio),
                "fingerprint of the hits": _fingerprint(job.hits),
                "onset": job.hits.onset,
            }
            for job in jobs
        ],
    }


def _fingerprint(hits: Hits) -> str:
    """The same for the same hits: 64 bits, as 16 digits."""
    digest = hashlib.sha256()
    for sounds in (hits.windows, hits.audio):
        digest.update(sounds.tobytes())
    return digest.hexdigest()[:16]


class _Heard(NamedTuple):
    """What is heard in hits, whatever is made of it."""

    onset_features: np.ndarray  # [N, F]
    features: np.ndarray  # [N, K], the first seven the target features
    examples: np.ndarray  # [M, G], for the gate


class Ears(NamedTuple):
    """How a model comes from the onset features of a hit to what its network sees."""

    normaliser: Normaliser
    centre: np.ndarray  # [F] normalised features of the reference hit
    regression: Regression | None  # of what they tell


class Seen(NamedTuple):
    """What the network sees of hits, and what it is to make of them."""

    played: np.ndarray  # [N, S] as the model that is trained here plays them
    trained: np.ndarray  # [N, S] of the training hits as if they were not among them
    aimed: np.ndarray  # [N, K] what training hits are trained for


class _Studied(NamedTuple):
    """What jobs of the same hits and recipe have in common."""

    reference: int
    split: Split
    wanted: np.ndarray  # [N, K]
    ears: Ears
    seen: Seen


class _Again(NamedTuple):
    """What is heard of hits within playing."""

    hits: np.ndarray  # [M] which hit it is
    onset_features: np.ndarray  # [M, F]


class Lesson(NamedTuple):
    """A job in numbers."""

    heard: _Heard
    reference: int
    split: Split
    ears: Ears
    seen: Seen
    before: np.ndarray  # [N, P] what is bent, in the unit interval
    wanted: np.ndarray  # [N, K]
    case: Case


def prepare(problem: Problem, jobs: Sequence[Job]) -> list[Lesson]:
    """Every job in numbers; hits that several jobs share are heard once."""
    heard: dict[tuple[int, str], _Heard] = {}
    studied: dict[tuple[int, Recipe], _Studied] = {}
    lessons = []
    for job in jobs:
        key = id(job.hits), job.recipe.ear
        if key not in heard:
            heard[key] = _hear(problem, job)
        alike = id(job.hits), job.recipe
        if alike not in studied:
            studied[alike] = _study(problem, job, heard[key])
        lessons.append(_prepare(problem, job, heard[key], studied[alike]))
    return lessons


def _hear(problem: Problem, job: Job) -> _Heard:
    rate, hits = problem.synth.sample_rate, job.hits
    return _Heard(
        _in_pieces(job.recipe.ears(rate), hits.windows),
        _in_pieces(problem.target, hits.audio),
        examples_of(hits.audio, job.recipe.window, rate),
    )


def _study(problem: Problem, job: Job, heard: _Heard) -> _Studied:
    """Reference hit, split and what is seen, whatever the preset."""
    recipe = job.recipe
    loudness = heard.features[:, 0]
    targets = heard.features[:, :TARGETS]
    reference = reference_hit(targets, rule=recipe.reference, loudness=loudness)
    split = split_hits(loudness, reference, recipe.seed)
    wanted = heard.features - heard.features[reference]
    again = _hear_again(problem, job, split, recipe.window)
    features = heard.onset_features
    ears, seen = _see(recipe, split, reference, features, wanted, again)
    return _Studied(reference, split, wanted, ears, seen)


def _prepare(problem: Problem, job: Job, heard: _Heard, studied: _Studied) -> Lesson:
    """What is bent, the preset's features and balance of a job."""
    specs, recipe = problem.specs, job.recipe
    reference, split, wanted, ears, seen = studied
    values = specs.pack(job.preset.values)
    inputs = seen.played.shape[1]
    params = MapParams(
        specs.to_unit(values),
        specs.pack(job.preset.damping),
        None,
        # What is seen is normalised and centred.
        Normaliser(jnp.zeros(inputs), jnp.ones(inputs)),
        jnp.zeros(inputs),
        jnp.ones(inputs),
        jnp.zeros(inputs),
    )
    preset_features = _features(problem, values)
    if not np.isfinite(preset_features).all():
        raise not_finite(problem.synth)
    case = Case(
        params,
        preset_features,
        jnp.asarray(_balance(recipe, wanted[split.train])),
        recipe.start_rate,
        recipe.patience,
        recipe.decay,
    )
    case = jax.tree.map(np.asarray, case)
    before = np.tile(case.params.preset, (len(wanted), 1))
    return Lesson(heard, reference, split, ears, seen, before, wanted, case)


def _balance(recipe: Recipe, wanted: np.ndarray) -> np.ndarray:
    """What each of the features counts in the loss."""
    balance = np.ones(wanted.shape[1], wanted.dtype)
    if recipe.weights == "balanced":
        balance = _by_range(wanted)
    balance[list(LATE)] *= 1 - 2 * recipe.early_decay
    balance[TARGETS:] *= recipe.early_decay
    return balance


def _by_range(wanted: np.ndarray) -> np.ndarray:
    """Factors [K] that let features of the same range count alike."""
    floors = RANGE_FLOORS + RANGE_FLOORS[:6:2] * 2  # D and R as T
    return np.array(difference_weights(jnp.asarray(wanted), floors[: wanted.shape[1]]))


def _drawn(train: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Those of the training hits that a regression is made of."""
    if len(train) <= MANY:
        return train
    rng = np.random.default_rng(recipe.seed)
    return np.sort(rng.choice(train, MANY, replace=False))


def _hear_again(problem: Problem, job: Job, split: Split, window: int) -> _Again | None:
    """Training hits as they are heard within playing."""
    recipe = job.recipe
    some = _drawn(split.train, recipe)
    rounds = min(recipe.rehearsals, MANY // len(some) - 1)
    if recipe.targets == "heard" or rounds == 0:
        return None
    found = rehearse(job.hits, some, rounds, recipe.seed, window)
    if len(found.hits) == 0:
        return None
    ears = recipe.ears(problem.synth.sample_rate, window)
    return _Again(found.hits, _in_pieces(ears, found.windows))


def _see(
    recipe: Recipe,
    split: Split,
    reference: int,
    heard: np.ndarray,
    wanted: np.ndarray,
    again: _Again | None,
) -> tuple[Ears, Seen]:
    """Onset features [N, F] as the network sees them; test hits have no say."""
    train = split.train
    normaliser = fit(jnp.asarray(heard[train]))
    normalised = np.asarray(normalise(normaliser, jnp.asarray(heard)))
    centre = normalised[reference]
    differences = normalised - centre
    if recipe.targets == "heard":
        seen = Seen(differences, differences, wanted)
        return Ears(normaliser, centre, None), seen

    some = _drawn(train, recipe)
    factors = _by_range(wanted[train])
    more = None
    if again is not None:
        features = normalise(normaliser, jnp.asarray(again.onset_features))
        whose = np.searchsorted(some, again.hits)
        more = whose, np.asarray(features) - centre
    found = told(differences[some], wanted[some], more)
    regression = found.regression.times(factors).stored()
    played = np.asarray(tell(regression, jnp.asarray(differences)))
    trained, aimed = played.copy(), wanted.copy()
    trained[some] = found.left_out * factors
    aimed[train] = trained[train] / factors
    return Ears(normaliser, centre, regression), Seen(played, trained, aimed)


def look_again(problem: Problem, job: Job, lesson: Lesson, modulation) -> Lesson:
    """The same hits on a longer window, each played as the first mapping bends it."""
    recipe, window = job.recipe, job.recipe.second_look
    longer = recipe.ears(problem.synth.sample_rate, window)
    heard = _in_pieces(longer, job.hits.audio[:, :window])
    again = _hear_again(problem, job, lesson.split, window)
    ears, seen = _see(
        recipe, lesson.split, lesson.reference, heard, lesson.wanted, again
    )
    before = np.clip(lesson.before + modulation, 0.0, 1.0)
    return lesson._replace(ears=ears, seen=seen, before=before)


@partial(jax.jit, static_argnums=(0,))
def _features(problem, values):
    return problem.sound_features(values)


def _in_pieces(function: Any, rows: np.ndarray) -> np.ndarray:
    """A feature extractor over rows [N, T], some at a time, as [N, K]."""
    return np.asarray(_map_rows(function, jnp.asarray(rows)))


@partial(jax.jit, static_argnums=(0,))
def _map_rows(function, rows):
    return jax.lax.map(function, rows, batch_size=at_once())
