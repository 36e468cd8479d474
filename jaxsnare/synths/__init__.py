"""The synths that ship, and how one is found by name."""

from jaxsnare.params import unknown
from jaxsnare.synths.fm_drum import FMDrumSynth
from jaxsnare.synths.simple_drum import SimpleDrumSynth
from jaxsnare.synths.snare808 import Snare808
from jaxsnare.synths.synth import Synth, SynthState, render

SYNTHS: dict[str, type[Synth]] = {
    synth.__name__: synth for synth in (Snare808, SimpleDrumSynth, FMDrumSynth)
}


def find_synth(name: str) -> type[Synth]:
    """The synth class of that name; ValueError that names the choices if none is."""
    for known, synth in SYNTHS.items():
        if known.lower() == name.lower():
            return synth
    raise ValueError(unknown("synth", name, list(SYNTHS)))


__all__ = [
    "SYNTHS",
    "FMDrumSynth",
    "SimpleDrumSynth",
    "Snare808",
    "Synth",
    "SynthState",
    "find_synth",
    "render",
]
