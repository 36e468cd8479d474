"""Differentiable synthesis in JAX: trained offline, played live."""

__version__ = "0.1.0"

from jaxsnare.params import ParamSet, ParamSpec
from jaxsnare.presets import load_preset
from jaxsnare.synths import FMDrumSynth, SimpleDrumSynth, Snare808, render

__all__ = [
    "FMDrumSynth",
    "ParamSet",
    "ParamSpec",
    "SimpleDrumSynth",
    "Snare808",
    "load_preset",
    "render",
]
