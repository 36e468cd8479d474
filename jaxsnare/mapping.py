"""From onset features to the synth's values: mapping networks, and what they modulate.

flax.nnx stops here: `Mapping` is a config like any other, its params are a dict of
arrays.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsnare.features.normalise import Normaliser
from jaxsnare.params import ParamSet, unknown
from jaxsnare.told import Regression, nothing_told, tell

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "silu": jax.nn.silu}


@dataclass(frozen=True)
class Mapping:
    """A network from onset features [F] to a modulation [P] within [-1, 1].

    hidden: width of each hidden layer, each followed by LayerNorm (epsilon 1e-5, no
    affine) and `activation`; tanh at the output. With no hidden layer: a linear map
    without bias, clamped to [-1, 1]. Weights start normally distributed with
    `init_std`, biases at 0 (Shier et al. 2024).

    Without `layer_norm` the map is smooth at the reference hit, too, where all inputs
    are 0 and LayerNorm divides by next to nothing. It starts with random hidden layers
    (weights and biases) below an output of zeros, so that every hit plays the preset.

    told: numbers of sounds N and of target features K of a regression before the
    network, which is then given what onset features tell of those (see
    `told.Regression`).

    >>> mapping = Mapping(3, 14, hidden=(32,))
    >>> params = mapping.init(jax.random.key(0))
    >>> mapping.apply(params, jnp.zeros(3)).shape
    (14,)
    """

    inputs: int
    outputs: int
    hidden: tuple[int, ...] = (32,)
    init_std: float = 1e-3
    activation: str = "relu"
    layer_norm: bool = True
    told: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(unknown("activation", self.activation, list(ACTIVATIONS)))
        pair = isinstance(self.told, tuple) and len(self.told) == 2
        if not (pair or self.told is None):
            raise ValueError(
                f"told is {self.told!r}; wanted: a pair, numbers of sounds and of "
                "target features"
            )
        sizes = (self.inputs, *(self.told or ()), *self.hidden, self.outputs)
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            raise ValueError(f"layer sizes must be whole numbers > 0, got {sizes}")

    @property
    def seen(self) -> int:
        """How many numbers the network itself is given."""
        return self.told[1] if self.told else self.inputs

    def init(self, key: Array) -> dict[str, Any]:
        """Fresh weights from a random key; of a regression, such as tell nothing."""
        from flax import nnx

        weights = nnx.to_pure_dict(nnx.split(_network(self, nnx.Rngs(key)))[1])
        if self.told:
            weights["told"] = nothing_told(*self.told, self.inputs)._asdict()
        return weights

    def tell(
        self, params: dict[str, Any], x: Float[Array, "*batch F"]
    ) -> Float[Array, "*batch K"]:
        """What the network is given of centred onset features: itself, or what they
        tell."""
        return tell(Regression(**params["told"]), x) if self.told else x

    def modulate(
        self, params: dict[str, Any], x: Float[Array, "*batch K"]
    ) -> Float[Array, "*batch P"]:
        """The network: the modulation, within [-1, 1]."""
        from flax import nnx

        graph, state = nnx.split(nnx.eval_shape(lambda: _network(self, nnx.Rngs(0))))
        nnx.replace_by_pure_dict(state, {"layers": params["layers"]})
        return nnx.merge(graph, state)(x)

    def apply(
        self, params: dict[str, Any], x: Float[Array, "*batch F"]
    ) -> Float[Array, "*batch P"]:
        """The modulation of centred onset features, within [-1, 1]."""
        return self.modulate(params, self.tell(params, x))

    def scale_outputs(
        self, params: dict[str, Any], factors: Float[Array, " P"]
    ) -> dict[str, Any]:
        """What the last layer puts out is multiplied, before its tanh or clamp."""
        layers = dict(params["layers"])
        last = max(layers)
        layers[last] = jax.tree.map(
            lambda a: a * jnp.broadcast_to(factors, a.shape), layers[last]
        )
        return params | {"layers": layers}

    def shapes(self) -> dict[str, Any]:
        """Shapes and dtypes of the weights, in the structure of `init`."""
        return jax.eval_shape(lambda: self.init(jax.random.key(0)))


def _network(mapping: Mapping, rngs: Any) -> Any:
    """Linear layers, each but the last with LayerNorm, if any, and activation."""
    from flax import nnx

    normal = jax.nn.initializers.normal(mapping.init_std)
    zeros = jax.nn.initializers.zeros
    smooth = bool(mapping.hidden) and not mapping.layer_norm

    def linear(inputs: int, outputs: int, kernel: Any, bias: Any) -> nnx.Linear:
        settings = {"kernel_init": kernel, "bias_init": bias, "rngs": rngs}
        return nnx.Linear(inputs, outputs, use_bias=bool(mapping.hidden), **settings)

    layers: list[Any] = []
    inputs = mapping.seen
    for width in mapping.hidden:
        layers.append(linear(inputs, width, normal, normal if smooth else zeros))
        if mapping.layer_norm:
            norm = {"epsilon": 1e-5, "use_bias": False, "use_scale": False}
            layers.append(nnx.LayerNorm(width, **norm, rngs=rngs))
        layers.append(ACTIVATIONS[mapping.activation])
        inputs = width
    layers.append(linear(inputs, mapping.outputs, zeros if smooth else normal, zeros))
    layers.append(jnp.tanh if mapping.hidden else _clamp)
    return nnx.Sequential(*layers)


def _clamp(x: Array) -> Array:
    return jnp.clip(x, -1.0, 1.0)


MAPPINGS: dict[str, dict[str, Any]] = {
    "smooth": {
        "hidden": (32,),
        "init_std": 1.0,
        "activation": "tanh",
        "layer_norm": False,
    },
    "linear": {"hidden": (), "init_std": 1e-6},
    "mlp": {"hidden": (32,)},
    "mlp_large": {"hidden": (64, 64, 64)},
}
"""Mappings by name; all but the first are the published ones."""


def make_mapping(
    name: str,
    inputs: int,
    outputs: int,
    hidden: tuple[int, ...] | None = None,
    activation: str | None = None,
) -> Mapping:
    """A mapping by name, or with other hidden layers or another activation.

    Raises ValueError that names the choices if the name is unknown.
    """
    if name not in MAPPINGS:
        raise ValueError(unknown("mapping", name, list(MAPPINGS)))
    settings = dict(MAPPINGS[name])
    if hidden is not None and bool(hidden) != bool(settings["hidden"]):
        name = "mlp" if hidden else "linear"
        settings = dict(MAPPINGS[name])
    if hidden is not None:
        settings["hidden"] = hidden
    if activation is not None:
        settings["activation"] = activation
    return Mapping(inputs, outputs, **settings)


class MapParams(NamedTuple):
    """What a mapping from onset features to synth values needs."""

    preset: Float[Array, " P"]  # in the unit interval
    damping: Float[Array, " P"]
    weights: Any
    normaliser: Normaliser
    centre: Float[Array, " F"]  # normalised features of the reference hit
    scale: Float[Array, " K"]  # of the differences that the network is given
    shift: Float[Array, " K"]  # added to them


class Modulation(NamedTuple):
    """What a hit became."""

    features: Float[Array, " K"]  # what the network was given
    modulation: Float[Array, " P"]  # of the unit interval, damped
    values: Float[Array, " P"]  # physical units


def map_features(
    mapping: Mapping,
    specs: ParamSet,
    params: MapParams,
    normalised: Float[Array, " F"],
    sensitivity: Float[Array, ""] | float = 1.0,
) -> Modulation:
    """Normalised onset features of a hit to the synth values that answer it.

    values = clip(preset + sensitivity * damping * mapping(features), 0, 1) in the unit
    interval, then to physical units (Shier et al. 2024, equation 1). The features are
    differences to the reference hit, or what those tell of the sound, scaled and
    shifted as a performer wants ("latent controls", Shier et al. 2025).
    """
    told = mapping.tell(params.weights, normalised - params.centre)
    features = told * params.scale + params.shift
    raw = mapping.modulate(params.weights, features)
    modulation = sensitivity * params.damping * raw
    unit = jnp.clip(params.preset + modulation, 0.0, 1.0)
    return Modulation(features, modulation, specs.to_physical(unit))
