"""Sounds of the documentation, made while it is built: a hook of mkdocs.

A link to sounds/NAME.mp3 in a page becomes a player. Nothing of it is kept.
"""

import io
import re
import tempfile
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

if TYPE_CHECKING:
    from jaxsnare.model import Model

RATE = 44_100
PRESETS = ("808_snare_1", "808_snare_2", "808_snare_3")
EXCERPT_S = 10.0, 21.5  # of the groove: its last bars and the crescendo
STROKES = ((0.2, "head"), (1.0, "head"), (0.8, "rim"), (0.8, "crossstick"))
STROKE_S, PRESET_S, LEAD = 0.7, 0.8, 2000
LINK = re.compile(r'<a href="([^"]*sounds/[\w-]+\.mp3)">(.*?)</a>', re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """mkdocs asks for the files: these are made."""
    from mkdocs.structure.files import File

    for name, data in sounds().items():
        files.append(File.generated(config, f"sounds/{name}.mp3", content=data))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """mkdocs has made a page: links to sounds become players."""
    return LINK.sub(
        r'<span>\2</span><br><audio controls preload="none" src="\1"></audio>', html
    )


@cache  # while mkdocs serves, pages are built again and again
def sounds() -> dict[str, bytes]:
    """All sounds as MP3, by name."""
    models = taught()
    found = {**answers(models[0]), **music(models), **kit()}
    return {name: mp3(audio) for name, audio in found.items()}


def taught(presets: tuple[str, ...] = PRESETS) -> list["Model"]:
    """A model for each of some presets, trained on the embedded drummer's minute."""
    from jaxsnare.audio import write_audio
    from jaxsnare.drummer import practice
    from jaxsnare.lessons import Job
    from jaxsnare.presets import read_preset
    from jaxsnare.recipe import Recipe
    from jaxsnare.synths import Snare808
    from jaxsnare.train import fit_many, listen

    synth = Snare808(RATE)
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "practice.wav"
        write_audio(recording, practice(RATE).audio, RATE)
        hits = listen([recording], RATE)
    jobs = [Job(hits, read_preset(name, synth), Recipe()) for name in presets]
    return [training.model for training in fit_many(jobs, synth)]


def answers(model: "Model") -> dict[str, np.ndarray]:
    """A groove and its answer; and strokes, each followed by its answer."""
    from jaxsnare.drummer import SnareDrum, groove
    from jaxsnare.performance import remap

    remapper = model.remapper()
    excerpt = slice(*(round(s * RATE) for s in EXCERPT_S))
    drum = groove(RATE).audio[excerpt]
    played = {
        name: np.asarray(remap(remapper, model.params(mix=mix), drum).audio)
        for name, mix in (("synth", 1.0), ("mix", 0.5))
    }
    pairs, stroke_s = [], round(STROKE_S * RATE)
    for velocity, kind in STROKES:
        stroke = np.zeros(stroke_s, np.float32)
        hit = SnareDrum(RATE).strike(velocity, 0.3, kind)[: stroke_s - LEAD]
        stroke[LEAD : LEAD + len(hit)] = hit
        pairs += [stroke, np.asarray(remap(remapper, model.params(), stroke).audio)]
    return {"drum": drum, **played, "strokes": np.concatenate(pairs)}


def music(models: list["Model"]) -> dict[str, np.ndarray]:
    """The whole groove, and what each preset makes of it: alone, and with the drum."""
    from jaxsnare.drummer import groove
    from jaxsnare.performance import remap

    drum = groove(RATE).audio
    found = {"groove": drum}
    for name, model in zip(PRESETS, models, strict=True):
        played = remap(model.remapper(), model.params(mix=0.5), drum)
        found |= {f"{name}_synth": played.synth, f"{name}_mix": played.audio}
    return found


def kit() -> dict[str, np.ndarray]:
    """The presets of every synth, one after another."""
    from jaxsnare.presets import load_preset, preset_names
    from jaxsnare.synths import SHIPPED, find_synth, render

    found = {}
    for name in SHIPPED:
        synth = find_synth(name)(RATE)
        presets = [load_preset(preset, synth) for preset in preset_names(synth)]
        sound = jax.jit(partial(render, synth, seconds=PRESET_S))
        hits = [np.asarray(sound(p)) for p in presets or [synth.specs.defaults]]
        found[name] = np.concatenate(hits)
    return found


def mp3(audio: np.ndarray) -> bytes:
    """Audio [T] as an MP3 file, 3 dB under full scale: decoding overshoots."""
    import soundfile

    loudest = max(float(np.abs(audio).max()), 1e-9)
    file = io.BytesIO()
    quiet = audio * min(1.0, 0.7 / loudest)
    soundfile.write(file, quiet, RATE, format="MP3", compression_level=0.5)
    return file.getvalue()
