"""The synths that ship, and how one is found by name."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jaxsnare.synths.registry import (
    SHIPPED,
    blaming_synth,
    find_synth,
    made,
    name_of,
    package_of,
    source_of,
    synth_names,
)
from jaxsnare.synths.synth import Synth, SynthState, not_finite, render

if TYPE_CHECKING:
    from jaxsnare.synths.clap808 import Clap808
    from jaxsnare.synths.fm_drum import FMDrumSynth
    from jaxsnare.synths.fm_percussion import FMPercussion
    from jaxsnare.synths.hihat808 import HiHat808
    from jaxsnare.synths.kick808 import Kick808
    from jaxsnare.synths.modal_drum import ModalDrum
    from jaxsnare.synths.simple_drum import SimpleDrumSynth
    from jaxsnare.synths.snare808 import Snare808
    from jaxsnare.synths.snare909 import Snare909

__all__ = [
    "SHIPPED",
    "Clap808",
    "FMDrumSynth",
    "FMPercussion",
    "HiHat808",
    "Kick808",
    "ModalDrum",
    "SimpleDrumSynth",
    "Snare808",
    "Snare909",
    "Synth",
    "SynthState",
    "blaming_synth",
    "find_synth",
    "made",
    "name_of",
    "not_finite",
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
