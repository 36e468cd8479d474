"""What a model learns where it is played: the room's noise, and the other instruments.

Recordings are as the microphone gives them, at the model's rate, before the trim.
"""

from dataclasses import replace

import numpy as np

from jaxsnare.data import cut_hits
from jaxsnare.detector import detector_specs, find_detector
from jaxsnare.gate import NEUTRAL, NO_HITS, OTHERS_LATE_MS, examples_of
from jaxsnare.knobs import PLAY_SPECS
from jaxsnare.model import Model
from jaxsnare.onset import find_onsets, pre_roll_samples
from jaxsnare.params import as_params

MIN_OTHERS = 8
"""Fewer sounds than this do not tell how the others sound."""

FLOOR_STEP_DB, HIGHEST_FLOOR_DB = 5.0, -50.0
"""Steps in which the detector's floor is raised, and its end: then it is no noise."""

MARGIN_STEP_DB, MARGIN_STEPS = 1.0, 4
"""Steps in which the margin above tracked noise is raised before that, and how many."""

MIN_ROOM_S, START_S = 1.0, 0.1


def learn_bleed(model: Model, audio: np.ndarray) -> tuple[Model, int]:
    """The model with a gate that knows the others, and how many sounds of them.

    audio: [T] the others playing, without the drum. What the detector takes for hits
    there become the examples of what is none, in the place of older ones, and the gate
    is set to let play what is likelier a hit. ValueError for a model without examples
    of hits, and for less than 8 sounds.
    """
    if len(model.examples.hits) == 0:
        raise ValueError(f"{NO_HITS}: train it again to learn bleed")
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

    audio: [T] the room while no one plays, a second or more. Noise that is always
    there is tracked, and needs no floor, which would hide soft hits as well; what comes
    and goes, as through a noise gate, does. A stray hit in tracked noise only takes a
    wider margin above it, which is raised first, in steps; where that does not do, the
    margin is as before, and the floor is raised from the usual one, until the detector
    hears no hit. ValueError where that takes more than -50 dBFS: someone plays.
    """
    name, margin = "onset.floor", "onset.noise"
    rate, specs = model.sample_rate, detector_specs(model.hears)
    spec = specs[name]
    if len(audio) < MIN_ROOM_S * rate:
        raise ValueError(
            f"the room is {len(audio) / rate:.2f} s long; to learn its noise takes "
            f"{MIN_ROOM_S:g} s"
        )
    settings = model.onset | {name: min(spec.default, model.onset[name])}
    highest = min(HIGHEST_FLOOR_DB + trim_db(model), spec.hi)
    room = _trimmed(model, audio)
    detector = find_detector(model.hears, rate)
    begun = START_S * rate  # a recording that begins in noise is no hit either

    def heard(settings):
        return np.any(find_onsets(detector, as_params(settings), room) >= begun)

    if margin in specs.names and heard(settings):
        usual = settings[margin]
        for more in range(1, MARGIN_STEPS + 1):
            wider = min(usual + MARGIN_STEP_DB * more, specs[margin].hi)
            if not heard(settings | {margin: wider}):
                settings[margin] = wider
                break
    while heard(settings):
        settings[name] += FLOOR_STEP_DB
        if settings[name] > highest:
            raise ValueError(
                f"the room holds hits of more than {HIGHEST_FLOOR_DB:g} dBFS: record "
                "it while no one plays, or lower the input's gain"
            )
    return replace(model, onset=settings), settings[name]


def trim_db(model: Model) -> float:
    """The trim that a model plays with."""
    return model.play.get("trim", PLAY_SPECS["trim"].default)


def _trimmed(model: Model, audio: np.ndarray) -> np.ndarray:
    """A recording as the detector hears it."""
    return np.asarray(audio * 10 ** (trim_db(model) / 20), np.float32)
