"""What a model learns where it is played: the room's noise, and the other instruments.

Recordings are as the microphone gives them, at the model's rate, before the trim.
"""

from dataclasses import replace

import numpy as np

from jaxsnare.data import cut_hits
from jaxsnare.detector import detector_specs, find_detector
from jaxsnare.gate import NEUTRAL, OTHERS_LATE_MS, examples_of
from jaxsnare.model import Model
from jaxsnare.onset import find_onsets, pre_roll_samples
from jaxsnare.params import as_params
from jaxsnare.remapper import PLAY_SPECS

MIN_OTHERS = 8
"""Fewer sounds than this do not tell how the others sound."""

FLOOR_STEP_DB, HIGHEST_FLOOR_DB = 5.0, -50.0
"""Steps in which the detector's floor is raised, and its end: then it is no noise."""

SILENCE_S = 0.1


def learn_bleed(model: Model, audio: np.ndarray) -> tuple[Model, int]:
    """The model with a gate that knows the others, and how many sounds of them.

    audio: [T] the others playing, without the drum. What the detector takes for hits
    there become the examples of what is none, in the place of older ones, and the gate
    is set to let play what is likelier a hit. ValueError for a model without examples
    of hits, and for less than 8 sounds.
    """
    if len(model.examples.hits) == 0:
        raise ValueError(
            "the model keeps no examples of its hits (it was trained by an older "
            "jaxsnare): train it again to learn bleed"
        )
    rate, window = model.sample_rate, model.features.window
    onsets = find_onsets(
        find_detector(model.hears, rate), as_params(model.onset), _trimmed(model, audio)
    )
    if len(onsets) < MIN_OTHERS:
        raise ValueError(
            f"heard {len(onsets)} sounds of the others, learning takes {MIN_OTHERS}: "
            "record more of them (what is not taken for a hit needs no gate)"
        )
    late = [round(ms * rate / 1000) for ms in OTHERS_LATE_MS]
    sounds, _ = cut_hits(
        np.pad(audio, (-late[0], 0)),
        onsets,
        window=window + late[-1] - late[0],
        pre_roll=pre_roll_samples(rate),
        samples=1,
    )
    others = examples_of(sounds, window, rate, OTHERS_LATE_MS)
    return replace(
        model,
        examples=model.examples._replace(others=others),
        play=model.play | {"gate": NEUTRAL},
    ), len(onsets)


def learn_room(model: Model, audio: np.ndarray) -> tuple[Model, float]:
    """The model with a floor under which the room's noise is no hit, and the floor.

    audio: [T] the room while no one plays. Noise is tracked anyway; the floor counts
    before the detector has heard enough of it, as where a noise gate opens. It is
    raised from the model's, in steps, until the detector hears no hit in the room nor
    where the room begins after silence. ValueError where that takes more than -50 dB:
    someone plays.
    """
    name = "onset.floor"
    rate, settings = model.sample_rate, dict(model.onset)
    highest = min(HIGHEST_FLOOR_DB, detector_specs(model.hears)[name].hi)
    silence = np.zeros(round(SILENCE_S * rate), np.float32)
    heard = _trimmed(model, audio)
    middle = len(heard) // 2
    room = np.concatenate([heard, silence, heard[middle:], silence, heard[:middle]])
    detector = find_detector(model.hears, rate)
    while len(find_onsets(detector, as_params(settings), room)):
        settings[name] += FLOOR_STEP_DB
        if settings[name] > highest:
            raise ValueError(
                f"the room holds hits, even with {name} at {highest:g} dB: record it "
                "while no one plays, or lower the input's gain"
            )
    return replace(model, onset=settings), settings[name]


def _trimmed(model: Model, audio: np.ndarray) -> np.ndarray:
    """A recording as the detector hears it."""
    trim = model.play.get("trim", PLAY_SPECS["trim"].default)
    return np.asarray(audio * 10 ** (trim / 20), np.float32)
