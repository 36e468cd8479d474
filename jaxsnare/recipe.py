"""The settings of a training."""

from dataclasses import dataclass
from typing import Any, Literal

from jaxsnare.features import OnsetFeatures, TargetFeatures, TrainingFeatures
from jaxsnare.mapping import Mapping, make_mapping
from jaxsnare.params import unknown

LEARNING_RATES = {"linear": 5e-3}
DEFAULT_LEARNING_RATE = 5e-4
EPOCHS = {"proximal": 12, "adam": 250}
EARS: dict[str, tuple[float, ...]] = {"bands": (800.0, 4000.0), "published": ()}
"""Borders in Hz of the bands that an ear hears, beside the published features."""
RECIPES: dict[str, dict[str, Any]] = {
    "usual": {},
    "single": {"early_decay": 0.0, "rehearsals": 0},
    "published": {
        "optimiser": "adam",
        "mapping": "mlp",
        "weights": "none",
        "early_decay": 0.0,
        "reference": "median_loudness",
        "ear": "published",
        "targets": "heard",
    },
}
"""What recipes do otherwise than `Recipe()`, by name."""


@dataclass(frozen=True)
class Recipe:
    """How to train; `Recipe.named("published")` is how it was published.

    Recipe() is for playing; `Recipe.named("single")` for hits that come by themselves.

    window: samples that a hit is measured on. optimiser: "proximal" takes few large
    steps, by linear models of the sounds of all hits, and a `decay` of the weights;
    "adam" takes many small ones, by gradients of `batch` hits each, at a learning rate
    (None: the published one of the mapping) that is halved after `patience` epochs
    without a better validation loss. epochs: how often all hits are heard; None: 12 of
    proximal, 250 of adam. weights: "balanced" makes every feature count by its range
    over the training hits, "none" is the published loss. early_decay: what loudness,
    centroid and flatness of each of the two spans of the early decay count
    (`TrainingFeatures`), 0..0.5; the sustained ones count 1 - 2 early_decay.
    reference: the rule that picks the reference hit. ear: "bands" hears the levels of
    bands beside the "published" onset features. targets: "told" lets a regression tell
    the target features of a hit by its onset features, and trains the network to play
    what it is told; of a training hit, what the others tell. "heard" gives the network
    the onset features themselves and trains it for what each hit was, chance included,
    as published. rehearsals: how often, at most, the regression hears each training
    hit again within playing (`rehearsal.rehearse`).
    hidden: widths of the hidden layers, None for the mapping's. second_look: samples of
    a second, longer window, after which a second mapping revises the voice that already
    sounds; 0: each hit is heard once.
    """

    mapping: str = "smooth"
    window: int = 256
    optimiser: Literal["proximal", "adam"] = "proximal"
    epochs: int | None = None
    decay: float = 3e-4
    batch: int = 16
    learning_rate: float | None = None
    patience: int = 20
    weights: Literal["balanced", "none"] = "balanced"
    early_decay: float = 0.3
    reference: Literal["median_vector", "median_loudness"] = "median_vector"
    ear: Literal["bands", "published"] = "bands"
    targets: Literal["told", "heard"] = "told"
    rehearsals: int = 4
    seed: int = 0
    hidden: tuple[int, ...] | None = None
    activation: str | None = None
    second_look: int = 0

    def __post_init__(self) -> None:
        self.make_mapping(1, 1)
        for name, allowed in (
            ("optimiser", tuple(EPOCHS)),
            ("weights", ("balanced", "none")),
            ("reference", ("median_vector", "median_loudness")),
            ("ear", tuple(EARS)),
            ("targets", ("told", "heard")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(unknown(name, getattr(self, name), allowed))
        for name, least in (
            ("epochs", 1),
            ("batch", 1),
            ("patience", 1),
            ("rehearsals", 0),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if value is None and name == "epochs":
                continue
            if not isinstance(value, int) or value < least:
                raise ValueError(
                    f"{name} is {value!r}; allowed: whole numbers from {least} on"
                )
        if not isinstance(self.window, int) or not 32 <= self.window <= 8192:
            raise ValueError(f"window is {self.window} samples, allowed is 32..8192")
        if not isinstance(self.second_look, int) or not 0 <= self.second_look <= 8192:
            raise ValueError(
                f"second look is {self.second_look} samples, allowed is 0 (none) or a "
                "window longer than the first, up to 8192"
            )
        if self.learning_rate is not None and not 0 < self.learning_rate < 1:
            raise ValueError(f"learning rate is {self.learning_rate}, allowed is 0..1")
        if self.learning_rate is not None and self.optimiser != "adam":
            raise ValueError(
                f"learning rate is {self.learning_rate}, and the optimiser is "
                f"{self.optimiser!r}, which has none; it is a setting of 'adam'"
            )
        for name, most in (("decay", 1), ("early_decay", 0.5)):
            value = getattr(self, name)
            if not 0.0 <= value <= most:
                raise ValueError(f"{name} is {value}, allowed is 0..{most}")

    @classmethod
    def named(cls, name: str, **settings: Any) -> "Recipe":
        """A recipe of RECIPES, but for the settings given."""
        if name not in RECIPES:
            raise ValueError(unknown("recipe", name, list(RECIPES)))
        return cls(**RECIPES[name] | settings)

    def make_mapping(self, inputs: int, outputs: int) -> Mapping:
        """The network; ValueError for what cannot be one."""
        return make_mapping(self.mapping, inputs, outputs, self.hidden, self.activation)

    def ears(self, sample_rate: int, window: int | None = None) -> OnsetFeatures:
        """What a hit is measured by, of its window (None: the first one)."""
        edges = tuple(hz for hz in EARS[self.ear] if hz < sample_rate / 2)
        return OnsetFeatures(sample_rate, window or self.window, edges)

    def target(self, sample_rate: int) -> TargetFeatures:
        """What the sounds of hits and synth are measured by."""
        features = TrainingFeatures if self.early_decay else TargetFeatures
        return features(sample_rate)

    @property
    def passes(self) -> int:
        """How often all hits are heard, at most."""
        return EPOCHS[self.optimiser] if self.epochs is None else self.epochs

    @property
    def start_rate(self) -> float:
        """The learning rate of the first epoch."""
        if self.learning_rate is not None:
            return self.learning_rate
        return LEARNING_RATES.get(self.mapping, DEFAULT_LEARNING_RATE)
