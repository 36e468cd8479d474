"""The synths that ship, and how one is found by name."""

from jaxsnare.params import unknown
from jaxsnare.synths.clap808 import Clap808
from jaxsnare.synths.fm_drum import FMDrumSynth
from jaxsnare.synths.fm_percussion import FMPercussion
from jaxsnare.synths.hihat808 import HiHat808
from jaxsnare.synths.kick808 import Kick808
from jaxsnare.synths.modal_drum import ModalDrum
from jaxsnare.synths.simple_drum import SimpleDrumSynth
from jaxsnare.synths.snare808 import Snare808
from jaxsnare.synths.snare909 import Snare909
from jaxsnare.synths.synth import Synth, SynthState, render

SYNTHS: dict[str, type[Synth]] = {
    synth.__name__: synth
    for synth in (
        Snare808,
        SimpleDrumSynth,
        FMDrumSynth,
        Kick808,
        Clap808,
        HiHat808,
        Snare909,
        ModalDrum,
        FMPercussion,
    )
}


def find_synth(name: str) -> type[Synth]:
    """The synth class of that name; ValueError that names the choices if none is."""
    for known, synth in SYNTHS.items():
        if known.lower() == name.lower():
            return synth
    raise ValueError(unknown("synth", name, list(SYNTHS)))


__all__ = [
    "SYNTHS",
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
    "find_synth",
    "render",
]
