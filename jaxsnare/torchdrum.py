"""A model's mapping as a PyTorch module, as the TorchDrum plugin loads it."""

import jax
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]

from jaxsnare.model import Model

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}


class Tell(nn.Module):
    """Centred onset features [1, 3] to what they tell [1, K], as `told.tell`."""

    hits: Tensor
    scale: Tensor
    rate: Tensor
    by: Tensor
    slope: Tensor
    offset: Tensor

    def __init__(self, parts: dict[str, jax.Array]) -> None:
        super().__init__()
        for name, part in parts.items():
            self.register_buffer(name, _tensor(part))

    def forward(self, x: Tensor) -> Tensor:
        apart = torch.square((x - self.hits) * self.scale).sum(dim=1, keepdim=True)
        by_hits = (torch.exp(apart * self.rate) * self.by).sum(dim=0, keepdim=True)
        return by_hits + x @ self.slope + self.offset


class PluginMapping(nn.Module):
    """Normalised onset features [1, 3] to modulation and preset [2, 14]."""

    centre: Tensor
    damping: Tensor
    preset: Tensor

    def __init__(
        self, network: nn.Module, centre: Tensor, damping: Tensor, preset: Tensor
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("centre", centre)
        self.register_buffer("damping", damping)
        self.register_buffer("preset", preset)

    def forward(self, features: Tensor) -> Tensor:
        modulation = self.damping * self.network(features - self.centre)
        return torch.cat([modulation.clamp(-1.0, 1.0), self.preset], dim=0)


def plugin_mapping(model: Model) -> PluginMapping:
    """The mapping of a model, its weights copied."""
    params = model.map_params()
    dense = [layer for _, layer in sorted(model.weights["layers"].items())]
    modules: list[nn.Module] = []
    if model.mapping.told:
        modules.append(Tell(model.weights["told"]))
    for layer in dense:
        kernel = _tensor(layer["kernel"]).T.contiguous()
        linear = nn.Linear(kernel.shape[1], kernel.shape[0], bias="bias" in layer)
        linear.weight = nn.Parameter(kernel)
        if "bias" in layer:
            linear.bias = nn.Parameter(_tensor(layer["bias"]))
        modules.append(linear)
        if layer is dense[-1]:
            modules.append(nn.Tanh() if model.mapping.hidden else nn.Hardtanh())
            break
        if model.mapping.layer_norm:
            width = kernel.shape[0]
            modules.append(nn.LayerNorm(width, eps=1e-5, elementwise_affine=False))
        modules.append(ACTIVATIONS[model.mapping.activation]())
    network = nn.Sequential(*modules)
    rows = (params.centre, params.damping, params.preset)
    return PluginMapping(network, *(_tensor(row)[None] for row in rows)).eval()


def _tensor(values: jax.Array) -> Tensor:
    return torch.tensor(np.asarray(values))
