"""Differentiable synthesis in JAX: trained offline, played live."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from jaxsnare.detector import HitDetector
    from jaxsnare.features import OnsetFeatures, TargetFeatures
    from jaxsnare.losses import feature_difference, multi_resolution_stft
    from jaxsnare.onset import OnsetDetector, find_onsets
    from jaxsnare.params import ParamSet, ParamSpec
    from jaxsnare.performance import remap
    from jaxsnare.presets import load_preset, read_preset
    from jaxsnare.remapper import Remapper
    from jaxsnare.synths import FMDrumSynth, SimpleDrumSynth, Snare808, Synth, render

_MODULES = {
    "detector": ("HitDetector",),
    "features": ("OnsetFeatures", "TargetFeatures"),
    "losses": ("feature_difference", "multi_resolution_stft"),
    "onset": ("OnsetDetector", "find_onsets"),
    "params": ("ParamSet", "ParamSpec"),
    "presets": ("load_preset", "read_preset"),
    "performance": ("remap",),
    "remapper": ("Remapper",),
    "synths": ("FMDrumSynth", "SimpleDrumSynth", "Snare808", "Synth", "render"),
}

__all__ = [
    "FMDrumSynth",
    "HitDetector",
    "OnsetDetector",
    "OnsetFeatures",
    "ParamSet",
    "ParamSpec",
    "Remapper",
    "SimpleDrumSynth",
    "Snare808",
    "Synth",
    "TargetFeatures",
    "feature_difference",
    "find_onsets",
    "load_preset",
    "multi_resolution_stft",
    "read_preset",
    "remap",
    "render",
]


def __getattr__(name: str) -> Any:
    """Import what is used: the command line answers before JAX is there (PEP 562)."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"jaxsnare.{module}"), name)
    if name[:1].isupper():  # the other synths that ship
        from jaxsnare.synths.registry import SHIPPED

        if name in SHIPPED:
            return getattr(import_module(SHIPPED[name]), name)
    raise AttributeError(f"module 'jaxsnare' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
