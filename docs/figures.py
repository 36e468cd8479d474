"""Makes the pictures of the documentation: python docs/figures.py [NAME...]"""

import importlib.util
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from jaxsnare.audio import write_audio
from jaxsnare.cli import main
from jaxsnare.component import run_blocks
from jaxsnare.detector import HitDetector
from jaxsnare.drummer import groove
from jaxsnare.model import Model
from jaxsnare.onset import pre_roll_samples
from jaxsnare.performance import remap
from jaxsnare.presets import load_preset, preset_names
from jaxsnare.synths import SHIPPED, Snare808, find_synth, render

RATE = 44_100
WINDOW = 256
DOCS = Path(__file__).resolve().parent
IMAGES = DOCS / "images"


def one_stroke() -> None:
    """A stroke, what the detector makes of it, the window, and the voice."""
    audio = groove(RATE).audio
    detector = HitDetector(RATE)
    heard = run_blocks(detector, detector.defaults, audio)
    onset = int(np.flatnonzero(heard.fired)[3])
    begin = onset - pre_roll_samples(RATE)
    starts = begin + WINDOW
    cut = slice(begin - 200, begin + 1000)
    ms = (np.arange(len(audio))[cut] - onset) / RATE * 1000
    synth = Snare808(RATE)
    voice = np.zeros(len(audio), np.float32)
    sound = np.asarray(render(synth, load_preset("808_snare_1", synth), samples=4000))
    voice[starts : starts + len(sound)] = sound
    figure, (drum, level, answer) = plt.subplots(
        3, sharex=True, figsize=(8, 5), layout="constrained"
    )
    drum.plot(ms, audio[cut], "k", lw=0.8)
    drum.axvspan(ms[200], ms[200 + WINDOW], color="C1", alpha=0.3, lw=0)
    drum.set_ylabel("drum")
    drum.text(3.0, 0.8 * np.abs(audio[cut]).max(), "window", color="C1")
    level.plot(ms, heard.level[cut], label="rise")
    level.plot(ms, heard.threshold[cut], "--", label="threshold")
    level.legend(frameon=False)
    level.set_ylabel("detector, dB")
    answer.plot(ms, voice[cut], "C2", lw=0.8)
    answer.set_ylabel("synth")
    answer.set_xlabel("ms after the hit was detected")
    for axes in (drum, level, answer):
        axes.axvline(0, color="0.6", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(IMAGES / "one-stroke.png", dpi=130)


def law() -> None:
    """A synth whole and in blocks: what differs, in dB."""
    synth = Snare808(RATE)
    preset = load_preset("808_snare_1", synth)
    whole = np.asarray(render(synth, preset, samples=RATE // 2))
    trigger = np.zeros(len(whole), bool)
    trigger[0] = True
    figure, (sound, error) = plt.subplots(
        2, sharex=True, figsize=(8, 4), layout="constrained"
    )
    ms = np.arange(len(whole)) / RATE * 1000
    sound.plot(ms, whole, "k", lw=0.5)
    sound.set_ylabel("one hit")
    for block in (1, 64, 441):
        step, state, parts = jax.jit(synth.step), synth.init(), []
        for at in range(0, len(whole) // block * block, block):
            state, out = step(preset, state, jnp.asarray(trigger[at : at + block]))
            parts.append(np.asarray(out))
        played = np.concatenate(parts)
        off = np.abs(played - whole[: len(played)])
        smooth = np.sqrt(np.convolve(off**2, np.ones(441) / 441, "same"))
        label = f"blocks of {block}"
        error.plot(ms[: len(played)], 20 * np.log10(smooth + 1e-12), label=label)
    error.set_ylabel("difference to the\nwhole, dB re 1")
    error.set_ylim(-250, 0)
    error.set_xlabel("ms")
    error.legend(frameon=False, ncols=3)
    for axes in (sound, error):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(IMAGES / "law.png", dpi=130)


def drums() -> None:
    """Spectrograms of the presets of the drum machines."""
    kinds = [name for name in SHIPPED if len(preset_names(find_synth(name)(RATE))) == 3]
    figure, axes = plt.subplots(
        3, len(kinds), sharex=True, sharey=True, figsize=(12, 5.4), layout="constrained"
    )
    for column, kind in zip(axes.T, kinds, strict=True):
        synth = find_synth(kind)(RATE)
        for place, name in zip(column, preset_names(synth), strict=True):
            sound = np.asarray(render(synth, load_preset(name, synth), seconds=0.6))
            heard = np.concatenate([np.zeros(512), sound])
            heard += np.random.default_rng(0).normal(0, 1e-6, len(heard))  # no log of 0
            place.specgram(heard, NFFT=512, Fs=RATE, noverlap=448, vmin=-120, vmax=-30)
            place.set(yscale="symlog", ylim=(40, 20_000))
            place.set_title(name, fontsize=9)
            place.set_yticks([100, 1000, 10_000], ["100", "1k", "10k Hz"])
            place.tick_params(labelsize=7)
    figure.supxlabel("seconds", fontsize=8)
    figure.savefig(IMAGES / "drums.png", dpi=56)


def demo_report() -> None:
    """The report of the demo."""
    with elsewhere():
        run("demo")
        shrunk("jaxsnare-demo/report.png", "demo-report", 1260)


def moves() -> None:
    """What the parameters of the tutorial's cowbell move."""
    page = (DOCS / "compose-a-synth.md").read_text("utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    with elsewhere():
        Path("cowbell.py").write_text(code, "utf-8")
        run("check-synth", "cowbell.py:Cowbell", "--plot", "moves.png")
        shrunk("moves.png", "moves", 1000)


def onsets() -> None:
    """What the detector makes of some bars of the groove."""
    with elsewhere():
        write_audio("practice.wav", groove(RATE).audio[: 5 * RATE], RATE)
        run("onsets", "practice.wav", "--plot", "onsets.png")
        shrunk("onsets.png", "onsets", 1200)


def blocks() -> None:
    """Time for a block of the whole chain, as the page on performance has it."""
    page = (DOCS / "performance.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| (\d+) us \|", page, re.MULTILINE)
    lengths, taken_us = np.array(rows, float).T
    figure, axes = plt.subplots(figsize=(8, 2.2), layout="constrained")
    places = np.arange(len(lengths))
    axes.barh(places, lengths / 48_000 * 1e3, color="0.88", label="the block lasts")
    axes.barh(places, taken_us / 1e3, label="the step takes")
    axes.set_yticks(places, [f"{n:.0f} samples" for n in lengths])
    axes.invert_yaxis()
    axes.set_xlabel("ms")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(IMAGES / "blocks.png", dpi=110)


def music() -> None:
    """A preset that follows the groove: what is heard, and hit by hit."""
    study, model = load("experiments/musical/run.py"), taught()
    drum = groove(RATE).audio
    played = remap(model.remapper(), model.params(), drum)
    with elsewhere():
        pages = []
        for name, sound, at in (
            ("drum", drum, played.onsets),
            ("synth", played.synth, played.triggers),
        ):
            figure = study.waveform_and_spectrogram(sound, at)
            figure.axes[0].set_title(name, loc="left")
            figure.savefig(f"{name}.png", dpi=100)
            pages.append(np.asarray(Image.open(f"{name}.png")))
        Image.fromarray(np.concatenate(pages)).save("both.png")
        shrunk("both.png", "music", 900)
        figure = study.trajectories(played, drum, model.remapper().latency)
        figure.savefig("features.png", dpi=100)
        shrunk("features.png", "trajectories", 1000)


def taught() -> Model:
    """The first preset of the page on music, as it is trained for its sounds."""
    sounds = load("docs/sounds.py")
    return sounds.taught(sounds.PRESETS[:1])[0]


def load(name: str) -> Any:
    """A script of the repository as a module."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, DOCS.parent / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def elsewhere() -> Iterator[None]:
    """In a folder that is gone afterwards, so that names in pictures are short."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        yield


def run(*words: str) -> None:
    """A command, which must not fail."""
    if status := main(list(words)):
        sys.exit(status)


def shrunk(path: str, name: str, width: int) -> None:
    """A picture of a command as one of the documentation, small enough to ship."""
    image = Image.open(path).convert("RGB")
    height = round(image.height * width / image.width)
    small = image.resize((width, height), Image.Resampling.LANCZOS)
    small.quantize(64).save(IMAGES / f"{name}.png", optimize=True)


FIGURES = one_stroke, law, drums, demo_report, moves, onsets, blocks, music

if __name__ == "__main__":
    for make in FIGURES:
        if not sys.argv[1:] or make.__name__ in sys.argv[1:]:
            make()
