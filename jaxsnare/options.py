"""The options of every command, declared when the command is named.

Ranges, units, defaults and words come from where a parameter is declared.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from jaxsnare.params import ParamSet


class Parser(argparse.ArgumentParser):
    """Complains with a ValueError, so that every error is one line."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _range(
    parser: Any,
    flag: str,
    words: str,
    lo: float,
    hi: float,
    unit: str = "",
    default: float | None = None,
    usual: str = "",
) -> None:
    """An option for a number from lo to hi; whole, if these are.

    usual: what help says of the default where it is None.
    """
    reach = f"{lo:.10g} to {hi:.10g} {unit}".rstrip()
    is_whole = isinstance(lo, int)

    def parse(text: str) -> float:
        value = _number(text)
        if not lo <= value <= hi or (is_whole and value != int(value)):
            allowed = f"whole numbers from {reach}" if is_whole else reach
            raise argparse.ArgumentTypeError(f"{text!r}; allowed: {allowed}")
        return int(value) if is_whole else value

    parser.add_argument(
        flag,
        type=parse,
        default=default,
        metavar=unit or "N",
        help=f"{words}; {reach} (default {usual or default})",
    )


def assignment(text: str) -> tuple[str, float]:
    """NAME=VALUE, as the type of an option."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=VALUE, as in osc1.freq=200"
        )
    return name, _number(value)


def _knobs(parser: Parser, title: str, specs: "ParamSet", default: str = "") -> None:
    """An option for every parameter of a set: onset.fast_up is --onset-fast-up."""
    group = parser.add_argument_group(title)
    for spec in specs:
        usual = default or f"{spec.default:.4g}"
        reach = f"{spec.lo:g} to {spec.hi:g} {spec.unit}".rstrip()
        group.add_argument(
            "--" + spec.name.replace(".", "-").replace("_", "-"),
            dest=spec.name,
            type=_number,
            metavar=spec.unit or "X",
            help=f"{spec.about}; {reach} (default {usual})",
        )


def _hearing(parser: Parser) -> None:
    """Which detector hears the hits, and its settings."""
    from jaxsnare.detector import DETECTORS

    usual, *_ = DETECTORS
    parser.add_argument(
        "--detector",
        choices=tuple(DETECTORS),
        default=usual,
        help="adaptive: hears soft hits at any input level; published: that of the "
        f"published system (default {usual})",
    )
    _hearing_knobs(parser)


def _hearing_knobs(parser: Parser, default: str = "") -> None:
    """The settings of all detectors; those that share a name share an option."""
    from jaxsnare.detector import HIT_SPECS
    from jaxsnare.onset import ONSET_SPECS
    from jaxsnare.params import ParamSet

    _knobs(parser, "hearing hits", HIT_SPECS, default)
    others = ParamSet(tuple(s for s in ONSET_SPECS if s.name not in HIT_SPECS.names))
    title = "hearing hits with the published detector (which has on, wait, floor too)"
    _knobs(parser, title, others, default)


def _synth_option(parser: Any, default: str | None = "Snare808", words="") -> None:
    usual = words or f"(default {default})"
    parser.add_argument(
        "--synth",
        default=default,
        metavar="NAME|FILE.py:NAME",
        help=f"one of jaxsnare synths, or a file of yours and the class in it {usual}",
    )


def _synth_options(parser: Parser) -> None:
    _synth_option(parser)
    parser.add_argument(
        "--preset",
        metavar="NAME|FILE",
        help="one of jaxsnare presets, 'default', or a .json file "
        "(default 808_snare_1; of another synth: default)",
    )
    _set_option(parser)


SET_WORDS = (
    "change a parameter of the preset, in its unit, as in osc1.freq=200; may come more "
    "than once; for names and ranges see jaxsnare synths"
)


def _set_option(parser: Parser, words: str = SET_WORDS) -> None:
    parser.add_argument(
        "--set",
        action="append",
        type=assignment,
        default=[],
        metavar="NAME=VALUE",
        help=words,
    )


def _overwrite(parser: Parser) -> None:
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what is there already"
    )


def demo(parser: Parser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("jaxsnare-demo"),
        metavar="DIR",
        help="folder to make (default jaxsnare-demo)",
    )
    _synth_option(parser)
    usual = "as many as make a short demo"
    _range(parser, "--epochs", "passes over the hits", 1, 100_000, usual=usual)
    _overwrite(parser)


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
        choices=("usual", "published"),
        help="published: loss and reference hit as in the published system; usual: "
        "--weights balanced --reference median_vector (default usual)",
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
    _rate(group, usual="that of the first recording if 44100 or 48000, else 48000")


def train(parser: Parser) -> None:
    from jaxsnare.mapping import HIDDEN

    _inputs(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="MODEL", help="folder to make"
    )
    _synth_options(parser)
    _damping(parser)
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE.png",
        help="where the picture goes (default MODEL/report.png)",
    )
    _overwrite(parser)
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="begin anew where a training that was killed or interrupted could go on "
        "from MODEL.training, which holds its state",
    )
    _hearing(parser)

    recipe = parser.add_argument_group("training")
    recipe.add_argument(
        "--mapping",
        default="mlp",
        help=f"network: {', '.join(HIDDEN)} (default mlp)",
    )
    window = "what is heard of a hit before it is answered: longer follows better"
    _range(recipe, "--window", window, 32, 8192, "samples", 256)
    _range(recipe, "--epochs", "passes over the hits", 1, 100_000, default=250)
    _range(recipe, "--batch", "hits per step", 1, 4096, default=16)
    recipe.add_argument(
        "--learning-rate",
        type=_number,
        metavar="X",
        help="of Adam, between 0 and 1 (default 0.0005; linear: 0.005)",
    )
    _judging(recipe)
    _seed(recipe, "of the split into training and test hits and of the first weights")


def reach(parser: Parser) -> None:
    _inputs(parser)
    _synth_options(parser)
    _damping(parser)
    _hearing(parser)
    group = parser.add_argument_group("optimisation, by Adam")
    _range(group, "--steps", "steps", 1, 1_000_000, default=1000)
    group.add_argument(
        "--learning-rate",
        type=_number,
        default=5e-3,
        metavar="X",
        help="between 0 and 1 (default 0.005)",
    )
    words = "steps without a better loss before the learning rate is halved"
    _range(group, "--patience", words, 1, 1_000_000, default=50)
    group.add_argument(
        "--all",
        action="store_true",
        help="all hits, not just the test hits of a training with the same seed",
    )
    _judging(group)
    _seed(group, "of the split into training and test hits")


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
    _overwrite(parser)


def _rate(parser: Any, default: int | None = None, usual: str = "") -> None:
    _range(parser, "--rate", "sample rate", 8_000, 192_000, "Hz", default, usual)


def _seed(parser: Any, words: str) -> None:
    _range(parser, "--seed", f"{words}: the same, the same result", 0, 2**31 - 1, "", 0)


def remap(parser: Parser) -> None:
    from jaxsnare.remapper import PLAY_SPECS

    parser.add_argument("model", type=Path, metavar="MODEL", help="a trained model")
    parser.add_argument("input", type=Path, metavar="INPUT", help="a performance")
    parser.add_argument(
        "output",
        type=Path,
        metavar="OUTPUT",
        help="audio file to make, .wav, .flac, .aiff or .ogg: mono, of the input's "
        "sample rate and length",
    )
    _overwrite(parser)
    _knobs(parser, "playing", PLAY_SPECS)
    _set_option(parser)
    parser.add_argument(
        "--running-normaliser",
        action="store_true",
        help="judge hits by the range played so far instead of the training hits': for "
        "a drum or a microphone that the model was not trained on",
    )
    block = "worked on at a time: changes the speed, not the sound"
    _range(parser, "--block", block, 1, 2**20, "samples", 8192)
    _hearing_knobs(parser, "the model's")


def render(parser: Parser) -> None:
    parser.add_argument(
        "output",
        type=Path,
        metavar="OUTPUT",
        help="audio file to make: .wav, .flac, .aiff or .ogg",
    )
    _synth_options(parser)
    _range(parser, "--seconds", "length", 0.001, 60.0, "s", 1.0)
    _rate(parser, 48_000)
    _seed(parser, "of the noise")
    _overwrite(parser)


def files(parser: Parser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio files")
    _hearing(parser)


def onsets(parser: Parser) -> None:
    files(parser)
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE.png",
        help="draw the recording, the detection signal, the threshold and the hits",
    )
    _overwrite(parser)


def features(parser: Parser) -> None:
    window = "what the onset features are measured on"
    _range(parser, "--window", window, 32, 8192, "samples", 256)
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
    _range(parser, "--block", "of the step in StableHLO", 1, 8192, "samples", 64)
    _overwrite(parser)


def presets(parser: Parser) -> None:
    _synth_option(parser, None, "(default all)")
    _rate(parser, 48_000)


def synths(parser: Parser) -> None:
    _synth_option(parser, None, "(default all)")
    _rate(parser, 48_000)


def new_synth(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the class, as in RimShot")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.py",
        help="file to make (default: by the name, as in rim_shot.py)",
    )
    _overwrite(parser)


def check_synth(parser: Parser) -> None:
    parser.add_argument(
        "synth",
        metavar="FILE.py:NAME",
        help="a file and the class in it, or one of jaxsnare synths",
    )
    _rate(parser, 48_000)
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw what moves what"
    )
    _overwrite(parser)


def match(parser: Parser) -> None:
    parser.add_argument("sound", type=Path, metavar="SOUND", help="a single hit")
    _synth_options(parser)
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
    _range(parser, "--seconds", "of the sound", 0.05, 10.0, "s", 1.0)
    _rate(parser, usual="that of the sound if 44100 or 48000, else 48000")
    _seed(parser, "of the candidates")
    _overwrite(parser)


def _block_lengths(text: str) -> tuple[int, ...]:
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
    _range(parser, "--seconds", words, 0.1, 3600.0, "s", usual="enough")
    _synth_option(parser, None, "(default Snare808; render: all)")
    live = parser.add_argument_group("live")
    live.add_argument(
        "--blocks",
        type=_block_lengths,
        default=(32, 64, 128, 256),
        metavar="N,N",
        help="block lengths in samples (default 32,64,128,256)",
    )
    _range(live, "--rate", "sample rate", 8_000, 192_000, "Hz", 48_000)
    live.add_argument(
        "--stream",
        action="store_true",
        help="measure through the default sound device as well, and the round trip "
        "of a click if the output leads back to the input",
    )


def live(parser: Parser) -> None:
    from jaxsnare.remapper import PLAY_SPECS

    parser.add_argument(
        "models",
        nargs="+",
        type=Path,
        metavar="MODEL",
        help="trained models; while playing, keys switch between them and load more",
    )
    _device_options(parser)
    parser.add_argument(
        "--zones",
        metavar="N,N",
        help="play all models at once, each on an input channel of its own, from 1; "
        "keys 1 to 9 choose whose knobs are turned",
    )
    _range(parser, "--duration", "end after this time", 0.1, 1e6, "s", usual="never")
    parser.add_argument(
        "--record",
        type=Path,
        metavar="DIR",
        help="record input, synth and mix there, and a log of every hit",
    )
    parser.add_argument(
        "--format",
        choices=("wav", "flac"),
        default="wav",
        help="of the recording (default wav)",
    )
    parser.add_argument(
        "--running-normaliser",
        action="store_true",
        help="judge hits by the range played so far instead of the training hits'",
    )
    _knobs(parser, "playing", PLAY_SPECS, "the model's")
    words = "begin with these knobs: one of jaxsnare presets, or a .json file of yours"
    parser.add_argument("--preset", metavar="NAME|FILE", help=words)
    _set_option(
        parser,
        "turn a knob from the beginning: a parameter of the synth in its unit "
        "(osc1.freq=200), how far hits may move it (damping.osc1.freq=0.5), how much a "
        "feature of a hit counts (scale.RMS=2), or an offset to it (shift.RMS=0.1); "
        "may come more than once",
    )
    _hearing_knobs(parser, "the model's")
    _overwrite(parser)


LISTEN = Path()
"""The file of who gave an option without one: the microphone."""


def calibrate(parser: Parser) -> None:
    words = "a trained model, in which what is learned is kept"
    parser.add_argument("models", nargs=1, type=Path, metavar="MODEL", help=words)
    for flag, words in (
        ("--room", "learn the room's noise while no one plays"),
        ("--bleed", "learn how the others sound, who play without the drum"),
    ):
        words += ": from a recording, or without FILE from the microphone"
        parser.add_argument(
            flag, nargs="?", type=Path, const=LISTEN, metavar="FILE", help=words
        )
    _device_options(parser)
    _hearing_knobs(parser, "the model's")


def _device_options(parser: Parser) -> None:
    for flag, words in (
        ("--input", "device of the microphone"),
        ("--output", "device of the speakers"),
    ):
        words += ", by name or number: see jaxsnare devices (default: the system's)"
        parser.add_argument(flag, metavar="DEVICE", help=words)
    parser.add_argument(
        "--channels",
        metavar="N,N",
        help="input channels, from 1; several are averaged (default 1)",
    )
    parser.add_argument(
        "--out-channels", metavar="N,N", help="output channels, from 1 (default 1,2)"
    )
    _range(parser, "--block", "samples the device asks for", 1, 8192, "samples", 64)
    _rate(parser, None, "the model's")
    parser.add_argument(
        "--play",
        type=Path,
        metavar="FILE",
        help="a recording that takes the place of the microphone, in real time",
    )


def nothing(parser: Parser) -> None:
    pass
