"""Direct optimisation: no mapping, but the best modulation of each hit by itself.

What is left of the error then is what the preset cannot do: no mapping of any onset
features can follow closer (as far as gradient descent finds it). Source: the
experiment of arXiv 2407.04547, whose "direct" may bend parameters that damping holds;
ours honours the damping.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsnare.features import TargetFeatures
from jaxsnare.fitting import Problem, at_once, each_used
from jaxsnare.interrupt import patient_ctrl_c
from jaxsnare.lessons import Job, check_jobs, describe, prepare
from jaxsnare.losses import feature_difference
from jaxsnare.mapping import make_mapping
from jaxsnare.saved import Saved
from jaxsnare.synths import Synth
from jaxsnare.train import errors

STEPS_AT_ONCE = 10


@dataclass(frozen=True)
class Settings:
    """Of Adam on the modulation; the defaults are the published ones."""

    steps: int = 1000
    learning_rate: float = 5e-3
    patience: int = 50  # steps without a better loss before the rate is halved
    hits: Literal["test", "all"] = "test"

    def __post_init__(self) -> None:
        for name in ("steps", "patience"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"{name} is {value!r}; allowed: whole numbers from 1 on"
                )
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning rate is {self.learning_rate}, allowed is 0..1")
        if self.hits not in ("test", "all"):
            raise ValueError(f"hits is {self.hits!r}; allowed: 'test', 'all'")


class Reach(NamedTuple):
    """How near a preset can come to a drum's hits."""

    hits: np.ndarray  # [N] which of the hits
    wanted: np.ndarray  # [N, 7] feature differences to the reference hit
    achieved: np.ndarray  # [N, 7] to the preset
    modulation: np.ndarray  # [N, P] damped, of the unit interval
    test: dict[str, Any]  # error, baseline and ratio by feature
    interrupted: bool


class Row(NamedTuple):
    """One hit, and the preset that is to answer it."""

    preset: Any  # [P], in the unit interval
    damping: Any
    preset_features: Any  # [7]
    wanted: Any
    balance: Any
    start: Any  # [P], the modulation before the damping


class _State(NamedTuple):
    """Where the modulations of R hits stand."""

    step: Any
    modulation: Any  # [R, P], before the damping, within [-1, 1]
    adam: Any
    halved: Any  # [R], how often the learning rate was halved
    best: Any  # modulation of the least loss
    best_loss: Any
    waited: Any  # steps since then, or since the rate was halved


def reach_many(
    jobs: Sequence[Job],
    synth: Synth,
    settings: Settings | None = None,
    progress: Callable[[int, int, float], Any] | None = None,
    state: str | Path | None = None,
    aims: Sequence[np.ndarray] | None = None,
    starts: Sequence[np.ndarray] | None = None,
) -> list[Reach]:
    """Optimise the modulation of each hit of all jobs, all at once.

    Reference and split are those of each job's recipe, and so is whether the seven
    features count by their ranges; early decay does not count. progress: called with
    steps done, all steps and the mean loss. KeyboardInterrupt keeps the best so far.
    state: a folder from which it goes on if it was killed, as of `fit_many`.
    aims: by job, the differences [N, 7] that its hits are bent to, if not to their own;
    they are judged by their own all the same. starts: by job, the damped modulations
    [N, P] that they begin with, if not with the preset. Raises ValueError for other
    shapes, and where there is a state as well.
    """
    settings = settings or Settings()
    check_jobs(jobs, synth)
    if state is not None and (aims is not None or starts is not None):
        raise ValueError(
            "a state is kept of hits that are bent from the preset to their own sounds"
        )
    mapping = make_mapping("linear", 1, len(synth.specs))  # of which none is made
    problem = Problem(synth, synth.specs, mapping, TargetFeatures(synth.sample_rate))
    saved = None
    if state is not None:
        saved = Saved(state, describe(jobs, synth) | {"direct": asdict(settings)})
        saved.check()
    with patient_ctrl_c() as stop_if_asked:
        # Nothing is made of onset features or of the early decay.
        plain = {"targets": "heard", "early_decay": 0.0}
        heard = [replace(job, recipe=replace(job.recipe, **plain)) for job in jobs]
        lessons = prepare(problem, heard)
        chosen = [
            one.split.test if settings.hits == "test" else np.arange(len(one.wanted))
            for one in lessons
        ]
        own = [one.wanted for one in lessons]
        still = [np.zeros_like(one.before) for one in lessons]
        aims = _checked("aims", aims, own)
        starts = _checked("starts", starts, still)
        rows = jax.tree.map(
            lambda *a: jnp.concatenate(a), *map(_rows, lessons, chosen, aims, starts)
        )
        last, interrupted = optimise(
            problem, settings, rows, progress, saved, stop_if_asked
        )
        features, modulation = map(np.asarray, answers(problem, rows, last.best))
    found, begin = [], 0
    for one, hits in zip(lessons, chosen, strict=True):
        part = slice(begin, begin := begin + len(hits))
        achieved = features[part] - one.case.preset_features
        wanted = one.wanted[hits]
        test = errors(problem.target.names, wanted, achieved) | {"hits": len(hits)}
        found.append(Reach(hits, wanted, achieved, modulation[part], test, interrupted))
    return found


def _checked(name, given, usual):
    """Arrays by job as they are given, or the usual ones."""
    if given is None:
        return usual
    shapes = [np.shape(one) for one in given], [one.shape for one in usual]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"{name} are of {shapes[0]}; wanted: a row for each hit, {shapes[1]}"
        )
    return given


def _rows(lesson, hits, aims, starts) -> Row:
    """The chosen hits of a job."""
    case = lesson.case
    damping = case.params.damping
    start = np.where(damping > 0, starts[hits] / np.where(damping > 0, damping, 1.0), 0)

    def each(a):
        return jnp.broadcast_to(jnp.asarray(a), (len(hits), *np.shape(a)))

    return Row(
        each(case.params.preset),
        each(case.params.damping),
        each(case.preset_features),
        jnp.asarray(aims[hits], case.balance.dtype),
        each(case.balance),
        jnp.asarray(start, case.balance.dtype),
    )


def optimise(problem, settings, rows, progress, saved, stop_if_asked):
    """The last state, and whether it was interrupted."""
    import optax

    count = len(rows.preset)
    last = _State(
        np.int32(0),
        rows.start,
        optax.scale_by_adam().init(rows.start),
        np.zeros(count, np.int32),
        rows.start,
        np.full(count, np.inf, np.float32),
        np.zeros(count, np.int32),
    )
    last = (saved.load(last) if saved else None) or last
    try:
        # one more than the steps: the last one only looks at where it has come to
        while (done := int(last.step)) <= settings.steps:
            more = min(STEPS_AT_ONCE, settings.steps + 1 - done)
            last = _steps(problem, settings, jnp.int32(more), rows, last)
            last = jax.tree.map(np.asarray, last)
            if saved:
                saved.save(int(last.step) // STEPS_AT_ONCE, last)
            if progress is not None:
                loss = float(last.best_loss.mean())
                progress(int(last.step) - 1, settings.steps, loss)
            stop_if_asked()
    except KeyboardInterrupt:
        return last, True
    return last, False


def _values(problem, row, modulation):
    return problem.specs.to_physical(row.preset + row.damping * modulation)


@partial(jax.jit, static_argnums=(0, 1))
def _steps(problem, settings, count, rows, state):
    """So many steps of Adam on every modulation, each within what damping allows."""
    import optax

    adam = optax.scale_by_adam()
    free = jnp.where(rows.damping > 0.0, rows.damping, 1.0)
    lo = jnp.maximum(-1.0, -rows.preset / free)
    hi = jnp.minimum(1.0, (1.0 - rows.preset) / free)

    def loss(modulation, row):
        got = problem.sound_features(_values(problem, row, modulation))
        return feature_difference(got - row.preset_features, row.wanted, row.balance)

    def step(_, state):
        losses, slopes = each_used(
            lambda r: jax.value_and_grad(loss)(*r),
            (state.modulation, rows),
            jnp.ones(len(rows.wanted), bool),
        )
        better = losses < state.best_loss
        waited = jnp.where(better, 0, state.waited + 1)
        lower = waited > settings.patience
        halved = state.halved + lower.astype(state.halved.dtype)
        moves: Any
        moves, moved = adam.update(slopes, state.adam)
        rate = jnp.ldexp(jnp.full_like(losses, settings.learning_rate), -halved)
        modulation = state.modulation - rate[:, None] * moves
        return _State(
            state.step + 1,
            jnp.clip(modulation, lo, hi),
            moved,
            halved,
            jnp.where(better[:, None], state.modulation, state.best),
            jnp.where(better, losses, state.best_loss),
            jnp.where(lower, 0, waited),
        )

    return jax.lax.fori_loop(0, count, step, state)


@partial(jax.jit, static_argnums=(0,))
def answers(problem, rows, modulation):
    """Features of the answers, and the damped modulation."""
    values = _values(problem, rows, modulation)
    features = jax.lax.map(problem.sound_features, values, batch_size=at_once())
    return features, rows.damping * modulation
