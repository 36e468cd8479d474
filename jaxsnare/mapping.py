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

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "silu": jax.nn.silu}


@dataclass(frozen=True)
class Mapping:
    """A network from onset features [F] to a modulation [P] within [-1, 1].

    hidden: width of each hidden layer, each followed by LayerNorm (epsilon 1e-5, no
    affine) and `activation`; tanh at the output. With no hidden layer: a linear map
    without bias, clamped to [-1, 1]. Weights start normally distributed with
    `init_std`, biases at 0 (Shier et al. 2024).

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

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(unknown("activation", self.activation, list(ACTIVATIONS)))
        sizes = (self.inputs, *self.hidden, self.outputs)
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            raise ValueError(f"layer sizes must be whole numbers > 0, got {sizes}")

    def init(self, key: Array) -> dict[str, Any]:
        """Fresh weights from a random key."""
        from flax import nnx

        return nnx.to_pure_dict(nnx.split(_network(self, nnx.Rngs(key)))[1])

    def apply(
        self, params: dict[str, Any], x: Float[Array, "*batch F"]
    ) -> Float[Array, "*batch P"]:
        """The modulation, within [-1, 1]."""
        from flax import nnx

        graph, state = nnx.split(nnx.eval_shape(lambda: _network(self, nnx.Rngs(0))))
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)(x)

    def shapes(self) -> dict[str, Any]:
        """Shapes and dtypes of the weights, in the structure of `init`."""
        return jax.eval_shape(lambda: self.init(jax.random.key(0)))


def _network(mapping: Mapping, rngs: Any) -> Any:
    """Linear layers, each but the last with LayerNorm and activation."""
    from flax import nnx

    def linear(inputs: int, outputs: int, use_bias: bool) -> nnx.Linear:
        init = jax.nn.initializers.normal(mapping.init_std)
        return nnx.Linear(
            inputs, outputs, use_bias=use_bias, kernel_init=init, rngs=rngs
        )

    layers: list[Any] = []
    inputs = mapping.inputs
    for width in mapping.hidden:
        norm = nnx.LayerNorm(
            width, epsilon=1e-5, use_bias=False, use_scale=False, rngs=rngs
        )
        activation = ACTIVATIONS[mapping.activation]
        layers += [linear(inputs, width, use_bias=True), norm, activation]
        inputs = width
    layers.append(linear(inputs, mapping.outputs, use_bias=bool(mapping.hidden)))
    layers.append(jnp.tanh if mapping.hidden else _clamp)
    return nnx.Sequential(*layers)


def _clamp(x: Array) -> Array:
    return jnp.clip(x, -1.0, 1.0)


HIDDEN: dict[str, tuple[int, ...]] = {
    "linear": (),
    "mlp": (32,),
    "mlp_large": (64, 64, 64),
}
"""The published mappings by name: the widths of their hidden layers."""


def make_mapping(
    name: str,
    inputs: int,
    outputs: int,
    hidden: tuple[int, ...] | None = None,
    activation: str = "relu",
) -> Mapping:
    """A published mapping by name, or with other hidden layers.

    Raises ValueError that names the choices if the name is unknown.
    """
    if name not in HIDDEN:
        raise ValueError(unknown("mapping", name, list(HIDDEN)))
    hidden = HIDDEN[name] if hidden is None else hidden
    return Mapping(inputs, outputs, hidden, 1e-3 if hidden else 1e-6, activation)


class MapParams(NamedTuple):
    """What a mapping from onset features to synth values needs."""

    preset: Float[Array, " P"]  # in the unit interval
    damping: Float[Array, " P"]
    weights: Any
    normaliser: Normaliser
    centre: Float[Array, " F"]  # normalised features of the reference hit
    scale: Float[Array, " F"]  # of the feature differences, before the mapping
    shift: Float[Array, " F"]  # added to them


class Modulation(NamedTuple):
    """What a hit became."""

    features: Float[Array, " F"]  # what the mapping saw
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
    differences to the reference hit, scaled and shifted as a performer wants
    ("latent controls", Shier et al. 2025).
    """
    features = (normalised - params.centre) * params.scale + params.shift
    raw = mapping.apply(params.weights, features)
    modulation = sensitivity * params.damping * raw
    unit = jnp.clip(params.preset + modulation, 0.0, 1.0)
    return Modulation(features, modulation, specs.to_physical(unit))
