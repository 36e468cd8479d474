"""The options of the commands that need no sound device, declared when one is named."""

import argparse
from pathlib import Path
from typing import Any

from jaxsnare.arguments import (
    Parser,
    assignment,
    hearing,
    hearing_knobs,
    knobs,
    number,
    overwrite,
    ranged,
    rate,
    seed,
    set_option,
    synth_option,
    synth_options,
)


def demo(parser: Parser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("jaxsnare-demo"),
        metavar="DIR",
        help="folder to make (default jaxsnare-demo)",
    )
    synth_option(parser)
    usual = "those of a whole training"
    ranged(parser, "--epochs", "passes over the hits", 1, 100_000, usual=usual)
    overwrite(parser)


def _inputs(parser: Parser) -> None:
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="recordings of many hits, or folders of single hits (one a file)",
    )


def _damping(parser: Parser) -> None:
    parser.add_argument(
        "--damping",
        action="append",
        type=assignment,
        default=[],
        metavar="NAME=VALUE",
        help="how far hits may move a parameter, 0 (not at all) to 1; may come more "
        "than once",
    )


def _judging(group: Any) -> None:
    """How hits are compared and split."""
    group.add_argument(
        "--recipe",
        default="usual",
        choices=("usual", "single", "published"),
        help="published: network, optimiser, loss, ear and reference hit of the "
        "published system; usual: --mapping smooth --optimiser proximal --weights "
        "balanced --early-decay 0.3 --reference median_vector --ear bands --targets "
        "told --rehearsals 4; single: the usual one for hits that ring out by "
        "themselves, --early-decay 0 --rehearsals 0 (default usual)",
    )
    group.add_argument(
        "--weights",
        choices=("balanced", "none"),
        help="balanced: every feature counts by its range over the hits; none: the "
        "published loss (default: of the recipe)",
    )
    group.add_argument(
        "--reference",
        choices=("median_vector", "median_loudness"),
        help="which hit stands for the drum: the most ordinary in all features, or of "
        "ordinary loudness, as published (default: of the recipe)",
    )
    rate(group, usual="that of the first recording if 44100 or 48000, else 48000")


def train(parser: Parser) -> None:
    from jaxsnare.mapping import MAPPINGS
    from jaxsnare.recipe import EPOCHS, Recipe

    _inputs(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="MODEL", help="folder to make"
    )
    synth_options(parser)
    _damping(parser)
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE.png",
        help="where the picture goes (default MODEL/report.png)",
    )
    overwrite(parser)
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="begin anew where a training that was killed or interrupted could go on "
        "from MODEL.training, which holds its state",
    )
    hearing(parser)

    recipe = parser.add_argument_group("training")
    recipe.add_argument(
        "--mapping",
        help=f"network: {', '.join(MAPPINGS)} (default: of the recipe)",
    )
    window = "what is heard of a hit before it is answered: longer follows better"
    ranged(recipe, "--window", window, 32, 8192, "samples", 256)
    again = "a longer window, after which what plays already is revised (0: none)"
    ranged(recipe, "--second-look", again, 0, 8192, "samples", 0)
    recipe.add_argument(
        "--optimiser",
        choices=tuple(EPOCHS),
        help="proximal: few large steps, by linear models of how the sounds change; "
        "adam: many small ones, by gradients (default: of the recipe)",
    )
    passes = "passes over the hits, for each look"
    usual = ", ".join(f"{name}: {count}" for name, count in EPOCHS.items())
    ranged(recipe, "--epochs", passes, 1, 100_000, usual=usual)
    words, usual = "of proximal, the price of large weights", f"{Recipe().decay:g}"
    ranged(recipe, "--decay", words, 0.0, 1.0, usual=usual)
    ranged(recipe, "--batch", "of adam, hits per step", 1, 4096, usual="16")
    recipe.add_argument(
        "--learning-rate",
        type=number,
        metavar="X",
        help="of adam, between 0 and 1 (default 0.0005; linear: 0.005)",
    )
    recipe.add_argument(
        "--ear",
        choices=("bands", "published"),
        help="bands: a hit is also measured by the levels of bands, which tells more; "
        "published: by RMS, centroid and flatness alone, as the TorchDrum plugin "
        "measures it (default: of the recipe)",
    )
    recipe.add_argument(
        "--targets",
        choices=("told", "heard"),
        help="told: onset features first tell how a hit sounds, by regression, and "
        "the network plays that; heard: the network is given the onset features, and "
        "trained for what each hit was, chance included, as published (default: of "
        "the recipe)",
    )
    words = "times that told hears each training hit again within playing, late and on "
    words += "what still rings, at most; 0: only by itself"
    ranged(recipe, "--rehearsals", words, 0, 100, usual="of the recipe")
    words = "weight of loudness, centroid and flatness of 23 to 128 ms, and the same of"
    words += " 93 to 313 ms after the onset: what is heard before the next stroke; "
    words += "sustained loudness, centroid and flatness count 1 less twice that"
    ranged(recipe, "--early-decay", words, 0.0, 0.5, usual="of the recipe")
    _judging(recipe)
    seed(recipe, "of the split into training and test hits and of the first weights")


def reach(parser: Parser) -> None:
    _inputs(parser)
    synth_options(parser)
    _damping(parser)
    hearing(parser)
    group = parser.add_argument_group("optimisation, by Adam")
    ranged(group, "--steps", "steps", 1, 1_000_000, default=1000)
    group.add_argument(
        "--learning-rate",
        type=number,
        default=5e-3,
        metavar="X",
        help="between 0 and 1 (default 0.005)",
    )
    words = "steps without a better loss before the learning rate is halved"
    ranged(group, "--patience", words, 1, 1_000_000, default=50)
    group.add_argument(
        "--all",
        action="store_true",
        help="all hits, not just the test hits of a training with the same seed",
    )
    _judging(group)
    seed(group, "of the split into training and test hits")


def choose(parser: Parser) -> None:
    parser.add_argument(
        "--part",
        action="append",
        nargs=3,
        required=True,
        metavar=("NAME", "MODEL", "HITS"),
        help="a trained model, and hits of what it is for: a recording, or a folder of "
        "single hits; two or more",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="MODEL", help="folder to make"
    )
    overwrite(parser)


def remap(parser: Parser) -> None:
    from jaxsnare.knobs import PLAY_SPECS

    parser.add_argument("model", type=Path, metavar="MODEL", help="a trained model")
    parser.add_argument("input", type=Path, metavar="INPUT", help="a performance")
    parser.add_argument(
        "output",
        type=Path,
        metavar="OUTPUT",
        help="audio file to make, .wav, .flac, .aiff or .ogg: mono, of the input's "
        "sample rate and length",
    )
    overwrite(parser)
    knobs(parser, "playing", PLAY_SPECS)
    set_option(parser)
    parser.add_argument(
        "--running-normaliser",
        action="store_true",
        help="judge hits by the range played so far instead of the training hits': for "
        "a drum or a microphone that the model was not trained on",
    )
    block = "worked on at a time: changes the speed, not the sound"
    ranged(parser, "--block", block, 1, 2**20, "samples", 8192)
    hearing_knobs(parser, "the model's")


def render(parser: Parser) -> None:
    parser.add_argument(
        "output",
        type=Path,
        metavar="OUTPUT",
        help="audio file to make: .wav, .flac, .aiff or .ogg",
    )
    synth_options(parser)
    ranged(parser, "--seconds", "length", 0.001, 60.0, "s", 1.0)
    rate(parser, 48_000)
    seed(parser, "of the noise")
    overwrite(parser)


def files(parser: Parser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio files")
    hearing(parser)


def onsets(parser: Parser) -> None:
    files(parser)
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE.png",
        help="draw the recording, the detection signal, the threshold and the hits",
    )
    overwrite(parser)


def features(parser: Parser) -> None:
    window = "what the onset features are measured on"
    ranged(parser, "--window", window, 32, 8192, "samples", 256)
    files(parser)


def show(parser: Parser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="a trained model")


def export(parser: Parser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="a trained model")
    parser.add_argument(
        "output", type=Path, metavar="OUT", help="file to make, .pt or .npz"
    )
    parser.add_argument(
        "--format",
        choices=("torchscript", "stablehlo"),
        required=True,
        help="torchscript: the mapping, as the TorchDrum plugin loads it (.pt, needs "
        "PyTorch); stablehlo: the whole live step (.npz)",
    )
    ranged(parser, "--block", "of the step in StableHLO", 1, 8192, "samples", 64)
    overwrite(parser)


def presets(parser: Parser) -> None:
    synth_option(parser, None, "(default all)")
    rate(parser, 48_000)


def synths(parser: Parser) -> None:
    synth_option(parser, None, "(default all)")
    rate(parser, 48_000)


def new_synth(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the class, as in RimShot")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.py",
        help="file to make (default: by the name, as in rim_shot.py)",
    )
    overwrite(parser)


def check_synth(parser: Parser) -> None:
    parser.add_argument(
        "synth",
        metavar="FILE.py:NAME",
        help="a file and the class in it, or one of jaxsnare synths",
    )
    rate(parser, 48_000)
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw what moves what"
    )
    overwrite(parser)


def match(parser: Parser) -> None:
    parser.add_argument("sound", type=Path, metavar="SOUND", help="a single hit")
    synth_options(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE.json", help="preset file to make"
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE.png",
        help="draw the sound, the synth before and after",
    )
    parser.add_argument(
        "--audio",
        type=Path,
        metavar="FILE.wav",
        help="audio file to make: the sound, the synth before, and after",
    )
    parser.add_argument(
        "--loss",
        default="stft",
        help="what counts: stft (multi-resolution spectrograms), features (those of "
        "training), both (default stft)",
    )
    ranged(parser, "--seconds", "of the sound", 0.05, 10.0, "s", 1.0)
    rate(parser, usual="that of the sound if 44100 or 48000, else 48000")
    seed(parser, "of the candidates")
    overwrite(parser)


def _whole_numbers(text: str) -> tuple[int, ...]:
    """N,N as the type of an option."""
    lengths = tuple(int(part) for part in text.split(",") if part.isdecimal())
    if len(lengths) != len(text.split(",")) or not all(1 <= n <= 8192 for n in lengths):
        raise argparse.ArgumentTypeError(
            f"{text!r}; allowed: whole numbers from 1 to 8192, as in 64,128"
        )
    return lengths


def bench(parser: Parser) -> None:
    kinds = ("train", "render", "live")
    parser.add_argument("kind", choices=kinds, help="what to measure")
    words = "time for each measurement"
    ranged(parser, "--seconds", words, 0.1, 3600.0, "s", usual="enough")
    synth_option(parser, None, "(default Snare808; render: all)")
    parser.add_argument_group("train").add_argument(
        "--batches",
        type=_whole_numbers,
        default=(16, 64),
        metavar="N,N",
        help="hits per step (default 16,64)",
    )
    live = parser.add_argument_group("live")
    live.add_argument(
        "--blocks",
        type=_whole_numbers,
        default=(32, 64, 128, 256),
        metavar="N,N",
        help="block lengths in samples (default 32,64,128,256)",
    )
    ranged(live, "--rate", "sample rate", 8_000, 192_000, "Hz", 48_000)
    live.add_argument(
        "--stream",
        action="store_true",
        help="measure through the default sound device as well, and the round trip "
        "of a click if the output leads back to the input",
    )
