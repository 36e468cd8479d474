"""Differentiable synthesis in JAX: trained offline, played live."""

__version__ = "0.1.0"

from jaxsnare.features import OnsetFeatures, TargetFeatures
from jaxsnare.losses import feature_difference, multi_resolution_stft
from jaxsnare.onset import OnsetDetector, find_onsets
from jaxsnare.params import ParamSet, ParamSpec
from jaxsnare.presets import load_preset, read_preset
from jaxsnare.remap import Remapper, remap
from jaxsnare.synths import FMDrumSynth, SimpleDrumSynth, Snare808, Synth, render

__all__ = [
    "FMDrumSynth",
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
