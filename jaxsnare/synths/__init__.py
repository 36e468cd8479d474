"""The synths that ship, and how one is found by name."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jaxsnare.synths.registry import (
    SHIPPED,
    find_synth,
    name_of,
    package_of,
    source_of,
    synth_names,
)
from jaxsnare.synths.synth import Synth, SynthState, render

if TYPE_CHECKING:
    from jaxsnare.synths.fm_drum import FMDrumSynth
    from jaxsnare.synths.simple_drum import SimpleDrumSynth
    from jaxsnare.synths.snare808 import Snare808

__all__ = [
    "SHIPPED",
    "FMDrumSynth",
    "SimpleDrumSynth",
    "Snare808",
    "Synth",
    "SynthState",
    "find_synth",
    "name_of",
    "package_of",
    "render",
    "source_of",
    "synth_names",
]


def __getattr__(name: str) -> Any:
    """A synth that ships is imported when it is used."""
    if name in SHIPPED:
        return getattr(import_module(SHIPPED[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
