"""Models that take turns: which one plays is chosen by what was struck.

A head and a rim have a model each, and a small classifier hears which was hit. The
whole is a model like any other: its synth is a `Choice` of the parts' synths, its
mapping is that of the part that was chosen, all in the step that plays live. It looks
at each hit once, whether the parts look again or not.
"""

from collections.abc import Mapping as Named
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.special
from jaxtyping import Array, Float

from jaxsnare.features import OnsetFeatures
from jaxsnare.features.normalise import Normaliser, fit, normalise
from jaxsnare.features.spectral import band_powers
from jaxsnare.gate import EDGES_HZ, Examples, merged
from jaxsnare.mapping import Mapping
from jaxsnare.model import Model
from jaxsnare.params import ParamSet
from jaxsnare.presets import Preset
from jaxsnare.synths.combine import Choice

RIDGE = 1e-2  # on the weights of the classifier, of features within about 0..1
HELD_OUT = 5  # a hit of so many is left out to try the classifier on
MIN_HITS = 2 * HELD_OUT
FLOOR = 1e-9


@dataclass(frozen=True)
class StruckFeatures(OnsetFeatures):
    """The onset features, and what tells where on the drum it was struck: the shares of
    the power by band, and the first half of the window over the second."""

    @property
    def names(self) -> tuple[str, ...]:
        edges = ("0", *(f"{hz:g}" for hz in EDGES_HZ))
        return (*super().names, *(f"from {hz} Hz" for hz in edges), "attack")

    @property
    def units(self) -> tuple[str, ...]:
        return (*super().units, *("dB" for _ in range(len(EDGES_HZ) + 2)))

    def __call__(self, window: Float[Array, " window"]) -> Float[Array, " F"]:
        by_band = band_powers(window, self.sample_rate, EDGES_HZ)
        half = len(window) // 2
        parts = window[:half], window[half:]
        first, second = (jnp.mean(jnp.square(part)) for part in parts)

        def ratio_db(part, whole):
            return 10 * jnp.log10((part + FLOOR) / (whole + FLOOR))

        bands, attack = ratio_db(by_band, jnp.sum(by_band)), ratio_db(first, second)
        return jnp.concatenate([super().__call__(window), bands, attack[None]])


@dataclass(frozen=True)
class Chooser(Mapping):
    """A classifier of hits and the mappings of its parts, as one mapping.

    Weights: "classifier" (kernel [F, K], bias [K]) and "parts", a list of the parts'
    own: "weights", and "scale" and "shift" [F] from our features to theirs. The output
    has the modulation of all parts, and 1 for which.NAME of the chosen one.
    """

    parts: tuple[Mapping, ...] = ()

    def modulate(
        self, params: dict[str, Any], x: Float[Array, "*batch F"]
    ) -> Float[Array, "*batch P"]:
        outs = []
        for mapping, part in zip(self.parts, params["parts"], strict=True):
            theirs = x[..., : mapping.inputs] * part["scale"] + part["shift"]
            outs.append(mapping.apply(part["weights"], theirs))
        struck = self.struck(params, x)
        return jnp.concatenate([*outs, struck.astype(x.dtype)], axis=-1)

    def struck(self, params: dict[str, Any], x: Float[Array, "*batch F"]) -> Array:
        """True for the part that was struck, Bool[*batch, K]."""
        kernel, bias = (params["classifier"][k] for k in ("kernel", "bias"))
        scores = jnp.sum(x[..., :, None] * kernel, axis=-2) + bias
        places = jnp.arange(len(self.parts))
        return jnp.argmax(scores, axis=-1, keepdims=True) == places


class Classifier(NamedTuple):
    """Which part was struck: scores are linear in normalised, centred features."""

    kernel: np.ndarray  # [F, K]
    bias: np.ndarray  # [K]
    normaliser: Normaliser
    centre: np.ndarray  # [F], normalised

    def struck(self, features: Float[np.ndarray, "N F"]) -> np.ndarray:
        """Numbers of the parts, [N]."""
        x = np.asarray(normalise(self.normaliser, jnp.asarray(features))) - self.centre
        return np.argmax(x @ self.kernel + self.bias, axis=-1)


class Choosing(NamedTuple):
    """Models that take turns, and how well they are told apart."""

    model: Model
    right: float  # share of the hits left out that were recognised
    table: dict[str, dict[str, int]]  # of the hits left out: struck, taken for


def choose_models(
    parts: Named[str, Model], windows: Named[str, Float[np.ndarray, "N W"]]
) -> Choosing:
    """One model of several, which is chosen for each hit by a classifier.

    It is played as the parts are (trim, gate ...) where they agree, by default where
    not. windows: of hits of each part, as `train.listen` cuts them for the parts' rate
    and window. Raises ValueError where the parts do not fit together, or hits are few.
    """
    first = _check(parts)
    features = StruckFeatures(**asdict(first.features))
    for name in parts:
        if len(windows[name]) < MIN_HITS:
            raise ValueError(
                f"{name}: {len(windows[name])} hits; to tell parts apart takes "
                f"{MIN_HITS} of each"
            )
    heard = [_rows(features, windows[name]) for name in parts]
    held = [np.arange(len(rows)) % HELD_OUT == HELD_OUT - 1 for rows in heard]
    tried = fit_classifier([r[~h] for r, h in zip(heard, held, strict=True)])
    taken = [tried.struck(r[h]) for r, h in zip(heard, held, strict=True)]
    table = {
        name: {other: int((t == i).sum()) for i, other in enumerate(parts)}
        for name, t in zip(parts, taken, strict=True)
    }
    right = float(np.mean(np.concatenate([t == i for i, t in enumerate(taken)])))
    model = combined(
        parts,
        fit_classifier(heard),
        merged([part.examples for part in parts.values()]),
        dict(first.onset),
        {k: v for k, v in first.play.items() if _agree(parts, k)},
        training={"right": right, "table": table},
    )
    return Choosing(model, right, table)


def fit_classifier(heard: Sequence[Float[np.ndarray, "N F"]]) -> Classifier:
    """Logistic regression of the features of each part's hits, all parts alike."""
    rows = np.concatenate(heard)
    normaliser = fit(jnp.asarray(rows))
    unit = np.asarray(normalise(normaliser, jnp.asarray(rows)), np.float64)
    centre = np.median(unit, axis=0)
    x = unit - centre
    label = np.repeat(np.arange(len(heard)), [len(r) for r in heard])
    wanted = np.eye(len(heard))[label]
    weight = (1.0 / np.array([len(r) for r in heard]))[label, None] / len(heard)
    shape = x.shape[1], len(heard)

    def loss(flat):
        kernel, bias = flat[: -shape[1]].reshape(shape), flat[-shape[1] :]
        scores = x @ kernel + bias
        scores = scores - scipy.special.logsumexp(scores, axis=1, keepdims=True)
        error = weight * (np.exp(scores) - wanted)
        slope = np.append(x.T @ error + RIDGE * kernel, error.sum(axis=0))
        return (
            0.5 * RIDGE * np.sum(kernel**2) - np.sum(weight * wanted * scores),
            slope,
        )

    start = np.zeros(shape[0] * shape[1] + shape[1])
    best = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B").x
    kernel, bias = (
        np.asarray(v, np.float32)
        for v in (best[: -shape[1]].reshape(shape), best[-shape[1] :])
    )
    return Classifier(kernel, bias, normaliser, centre.astype(np.float32))


def combined(
    parts: Named[str, Model],
    classifier: Classifier,
    examples: Examples,
    onset: dict[str, float],
    play: dict[str, float] | None = None,
    training: dict[str, Any] | None = None,
) -> Model:
    """The model of parts that a classifier chooses from."""
    first = _check(parts)
    features = StruckFeatures(**asdict(first.features))
    synth = Choice(
        first.sample_rate,
        noise=first.synth.noise,
        parts=tuple((name, part.synth) for name, part in parts.items()),
    )
    own = [
        replace(spec, name=f"{name}.{spec.name}")
        for name, part in parts.items()
        for spec in part.specs
    ]
    specs = ParamSet((*own, *list(synth.specs)[-len(parts) :]))
    which = {f"which.{name}": 0.0 for name in parts}
    values, damping = (
        {
            f"{name}.{key}": value
            for name, part in parts.items()
            for key, value in part.preset[i].items()
        }
        for i in range(2)
    )
    preset = Preset(values | which, damping | dict.fromkeys(which, 1.0))
    mapping = Chooser(
        len(features.names),
        len(specs),
        (),
        parts=tuple(p.mapping for p in parts.values()),
    )
    weights = {
        "classifier": {"kernel": classifier.kernel, "bias": classifier.bias},
        "parts": [_part_weights(part, classifier) for part in parts.values()],
    }
    return Model(
        synth,
        specs,
        preset,
        mapping,
        weights,
        features,
        classifier.normaliser,
        jnp.asarray(classifier.centre),
        onset,
        play or {},
        training or {},
        examples,
        tuple(parts.items()),
    )


def _agree(parts: Named[str, Model], knob: str) -> bool:
    return len({part.play.get(knob) for part in parts.values()}) == 1


def _part_weights(part: Model, classifier: Classifier) -> dict[str, Any]:
    """A part's weights, and the way from our normalised features to its own."""
    count = len(part.features.names)
    lo, hi = (np.asarray(v, np.float64)[:count] for v in classifier.normaliser)
    centre = np.asarray(classifier.centre, np.float64)[:count]
    their_lo, their_hi = (np.asarray(v, np.float64) for v in part.normaliser)
    scale = (hi - lo) / (their_hi - their_lo)
    shift = (lo + centre * (hi - lo) - their_lo) / (their_hi - their_lo)
    shift = shift - np.asarray(part.centre, np.float64)
    return {
        "weights": part.weights,
        "scale": scale.astype(np.float32),
        "shift": shift.astype(np.float32),
    }


def _check(parts: Named[str, Model]) -> Model:
    """The first of parts that fit together."""
    if len(parts) < 2:
        raise ValueError("a choice is between two models or more")
    first = next(iter(parts.values()))
    for name, part in parts.items():
        if part.parts:
            raise ValueError(f"{name}: is a choice of models itself")
    for name, part in list(parts.items())[1:]:
        for what, ours, theirs in (
            ("sample rate", first.sample_rate, part.sample_rate),
            ("window", first.features, part.features),
            ("detector", first.hears, part.hears),
            ("noise", first.synth.noise, part.synth.noise),
        ):
            if ours != theirs:
                raise ValueError(
                    f"{name}: has another {what} ({theirs}) than {next(iter(parts))} "
                    f"({ours}): train them alike"
                )
    return first


def _rows(features: StruckFeatures, windows: np.ndarray) -> np.ndarray:
    return np.asarray(jax.jit(jax.vmap(features))(jnp.asarray(windows)))
