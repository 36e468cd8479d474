"""Training: a mapping learns to carry a drum's feature differences to a synth."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from jaxsnare.data import Hits, Split, collect_hits
from jaxsnare.descent import Descent
from jaxsnare.detector import detector_specs, find_detector
from jaxsnare.features import TARGETS, TargetFeatures
from jaxsnare.features.normalise import Normaliser
from jaxsnare.fitting import (
    FitState,
    Method,
    Models,
    Problem,
    Progress,
    make_examples,
    optimise,
)
from jaxsnare.gate import no_examples
from jaxsnare.interrupt import patient_ctrl_c
from jaxsnare.lessons import Ears, Job, check_jobs, describe, look_again, prepare
from jaxsnare.mapping import Mapping
from jaxsnare.model import Model, SecondLook
from jaxsnare.onset import find_onsets, pre_roll_samples
from jaxsnare.params import as_params
from jaxsnare.presets import Preset
from jaxsnare.proximal import Proximal
from jaxsnare.recipe import Recipe
from jaxsnare.saved import STAGES, Saved
from jaxsnare.synths import Synth


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
    state: str | Path | None = None,
) -> Training:
    """Train a mapping on hits that `listen` found: `fit_many` of one.

    progress: called after each epoch. The weights with the best validation loss are
    kept; KeyboardInterrupt ends the training early and keeps them too. The same seed
    gives the same result. state: see `fit_many`. Raises ValueError where the hits were
    cut for another rate or window.
    """
    job = Job(hits, preset, recipe or Recipe())
    first = None if progress is None else lambda rows: progress(rows[0])
    return fit_many([job], synth, first, state)[0]


def fit_many(
    jobs: Sequence[Job],
    synth: Synth,
    progress: Callable[[list[Progress]], Any] | None = None,
    state: str | Path | None = None,
    mesh: Mesh | None = None,
) -> list[Training]:
    """Train many models at once, with the results of training them one by one.

    jobs: of recipes with the same mapping, optimiser (of adam, the same batch), epochs,
    ear, targets, early decay and second look (with one, the same window); all else may
    differ, the number of hits too. progress: called after each epoch with the progress
    of every model. KeyboardInterrupt, as Ctrl-C or from `progress`, ends the training
    after the epoch and keeps the best weights so far.

    state: a folder that holds the state after each epoch, and from which the training
    goes on if it was killed; `saved_state(...).remove()` forgets it.
    mesh: devices among which the models are shared out (None: all there are, but one
    for a single model); of several hosts, once jax.distributed.initialize was called in
    every process and each makes this same call with a `state` that all of them see.

    Raises ValueError where hits were cut for another rate or window, where jobs do not
    go together, and where `state` holds another training.
    """
    check_jobs(jobs, synth)
    alike = ["mapping", "hidden", "activation", "optimiser", "passes", "second_look"]
    alike += ["early_decay", "ear", "targets"]
    alike += ["batch"] if jobs[0].recipe.optimiser == "adam" else []
    alike += ["window"] if jobs[0].recipe.second_look else []
    for name in alike:
        values = sorted({str(getattr(job.recipe, name)) for job in jobs})
        if len(values) > 1:
            raise ValueError(
                f"{name} of the recipes is {' and '.join(values)}; models that are "
                "trained at once must have the same"
            )
    specs, recipe = synth.specs, jobs[0].recipe
    target = recipe.target(synth.sample_rate)
    told = recipe.targets == "told"
    inputs = target.names if told else recipe.ears(synth.sample_rate).names
    mapping = recipe.make_mapping(len(inputs), len(specs))
    problem = Problem(synth, specs, mapping, target)
    if mesh is None and len(jax.devices()) > 1 and len(jobs) > 1:
        mesh = jax.make_mesh((len(jax.devices()),), ("models",))
    saved = second_saved = None
    if state is not None:
        about = describe(jobs, synth)
        saved, second_saved = (Saved(state, about, stage) for stage in STAGES)
        saved.check()  # another training's is refused before any work

    with patient_ctrl_c() as stop_if_asked:

        def fit_stage(problem, lessons, progress, saved, which):
            return _fit_stage(
                Models(problem, len(jobs), mesh),
                jobs,
                lessons,
                [_weights_key(job.recipe.seed, which) for job in jobs],
                progress,
                saved,
                stop_if_asked,
            )

        lessons = prepare(problem, jobs)
        if not recipe.second_look:
            first = fit_stage(problem, lessons, progress, saved, 0)
            return _trainings(problem, jobs, lessons, first)
        first = fit_stage(problem, lessons, _shown(progress, 1), saved, 0)
        if first.interrupted:
            return _trainings(problem, jobs, lessons, first)
        again = replace(problem, revised=recipe.second_look - recipe.window)
        later = [
            look_again(again, job, one, moved)
            for job, one, (_, moved) in zip(jobs, lessons, first.answers, strict=True)
        ]
        second = fit_stage(again, later, _shown(progress, 2), second_saved, 1)
        return _trainings(problem, jobs, lessons, first, later, second)


class _Stage(NamedTuple):
    """What one fit of all models came to."""

    last: FitState
    interrupted: bool
    answers: list[tuple[np.ndarray, np.ndarray]]  # features and modulation of all hits


def _fit_stage(models, jobs, lessons, keys, progress, saved, stop_if_asked) -> _Stage:
    recipe, mapping = jobs[0].recipe, models.problem.mapping

    def stacked(trees):
        return jax.tree.map(lambda *a: np.stack(a), *trees)

    def train_rows(one):
        return one.seen.trained, one.before, one.seen.aimed

    def validation_rows(one):
        return one.seen.played, one.before, one.wanted

    def examples(name, rows):
        chosen = [
            [row[getattr(one.split, name)] for row in rows(one)] for one in lessons
        ]
        return make_examples(*zip(*chosen, strict=True))

    cases = stacked([one.case for one in lessons])
    last, interrupted = optimise(
        models,
        _method(recipe),
        stacked([mapping.init(key) for key in keys]),
        cases,
        examples("train", train_rows),
        examples("validation", validation_rows),
        epochs=recipe.passes,
        seeds=[job.recipe.seed for job in jobs],
        progress=progress,
        saved=saved,
        stop_if_asked=stop_if_asked,
    )
    hits = [one.seen.played for one in lessons], [one.before for one in lessons]
    return _Stage(last, interrupted, models.answers(last.best.weights, cases, *hits))


def _method(recipe: Recipe) -> Method:
    return Descent(recipe.batch) if recipe.optimiser == "adam" else Proximal()


def _shown(progress, look: int):
    """The progress of one look of two."""
    if progress is None:
        return None
    return lambda rows: progress([row._replace(look=look, looks=2) for row in rows])


def saved_state(jobs: Sequence[Job], synth: Synth, folder: str | Path) -> Saved:
    """Where the state of `fit_many` is kept, to remove it."""
    return Saved(folder, describe(jobs, synth))


def _weights_key(seed: int, which: int = 0) -> Array:
    return jax.random.split(jax.random.key(seed))[which]


def _trainings(problem, jobs, lessons, first, later=None, second=None):
    """What is left of every job after one stage or two."""

    def of(stage, m):
        last = jax.tree.map(lambda a: a[m], stage.last._replace(own=()))
        return last, stage.interrupted, stage.answers[m]

    found = []
    for m, (job, one) in enumerate(zip(jobs, lessons, strict=True)):
        again = (later[m], *of(second, m)) if later and second else None
        found.append(_training(problem, job, one, *of(first, m), again))
    return found


def _stage_record(last, interrupted) -> dict[str, Any]:
    return {
        "epochs": int(last.epoch),
        "interrupted": interrupted,
        "best": {
            "epoch": int(last.best.epoch),
            "validation_loss": float(last.best.loss),
        },
    }


def _training(problem, job, lesson, last, interrupted, answers, again) -> Training:
    """What is left of a job: the model and its record.

    again: lesson, last state, interrupted and answers of a second look, if any.
    """
    hits, recipe, split, case = job.hits, job.recipe, lesson.split, lesson.case
    names = problem.target.names[:TARGETS]
    wanted = lesson.wanted[:, :TARGETS]

    def judged(features):
        achieved = (features - case.preset_features)[:, :TARGETS]
        test = errors(names, wanted[split.test], achieved[split.test])
        return achieved, test | {"hits": len(split.test)}

    features, modulation = answers
    achieved, test = judged(features)
    stages: dict[str, Any] = _stage_record(last, interrupted)
    look = None
    if again is not None:
        later, last_again, interrupted, (features, moved) = again
        record = _stage_record(last_again, interrupted) | {"test_before": test}
        stages |= {"interrupted": interrupted, "second_look": record}
        achieved, test = judged(features)
        modulation = later.before + moved - case.params.preset
        look = SecondLook(
            recipe.ears(problem.synth.sample_rate, recipe.second_look),
            *_learnt(last_again.best.weights, later.ears),
        )
    record = {
        "recipe": _recipe_record(recipe),
        "hits": len(hits.audio),
        "sources": sorted(set(hits.sources)),
        "split": {k: v.tolist() for k, v in split._asdict().items()},
        "reference": {
            "hit": int(lesson.reference),
            "source": hits.sources[lesson.reference],
        },
        "loss_weights": case.balance[:TARGETS].astype(float).round(6).tolist(),
        **stages,
        "test": test,
    }
    weights, normaliser, centre = _learnt(last.best.weights, lesson.ears)
    model = Model(
        problem.synth,
        problem.specs,
        job.preset,
        _whole_mapping(problem.mapping, lesson.ears),
        weights,
        recipe.ears(problem.synth.sample_rate),
        normaliser,
        centre,
        dict(hits.onset),
        training=record,
        examples=no_examples()._replace(hits=lesson.heard.examples),
        second=look,
    )
    loudness = lesson.heard.features[:, 0]
    return Training(
        model, hits, split, lesson.reference, wanted, achieved, modulation, loudness
    )


def _whole_mapping(network: Mapping, ears: Ears) -> Mapping:
    """The network, and before it the regression that tells what it is given."""
    if ears.regression is None:
        return network
    return replace(network, inputs=len(ears.centre), told=ears.regression.by.shape)


def _learnt(weights: Any, ears: Ears) -> tuple[Any, Normaliser, Array]:
    """What a model has of a fit: weights, normaliser, centre."""
    if ears.regression is not None:
        weights = weights | {"told": ears.regression._asdict()}
    normaliser = jax.tree.map(jnp.asarray, ears.normaliser)
    return weights, normaliser, jnp.asarray(ears.centre)


def _recipe_record(recipe: Recipe) -> dict[str, Any]:
    """What was done: defaults in numbers, and nothing that was not."""
    record = asdict(recipe) | {"epochs": recipe.passes}
    if recipe.targets == "heard":
        del record["rehearsals"]
    if recipe.optimiser == "adam":
        del record["decay"]
        return record | {"learning_rate": recipe.start_rate}
    for name in ("batch", "learning_rate", "patience"):
        del record[name]
    return record


def errors(names, wanted, achieved) -> dict[str, Any]:
    """Mean absolute errors per feature beside those without modulation."""
    error = np.abs(achieved - wanted).mean(axis=0)
    baseline = np.abs(wanted).mean(axis=0)
    ratio = error / np.maximum(baseline, 1e-9)
    rows = {
        name: {"error": float(e), "baseline": float(b), "ratio": float(r)}
        for name, e, b, r in zip(names, error, baseline, ratio, strict=True)
    }
    return {"features": rows, "mean_ratio": float(ratio.mean())}
