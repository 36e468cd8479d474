"""The options of the commands that play live or listen."""

from pathlib import Path

from jaxsnare.arguments import (
    Parser,
    hearing_knobs,
    knobs,
    overwrite,
    ranged,
    rate,
    set_option,
)


def live(parser: Parser) -> None:
    from jaxsnare.knobs import PLAY_SPECS

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
    ranged(parser, "--duration", "end after this time", 0.1, 1e6, "s", usual="never")
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
    knobs(parser, "playing", PLAY_SPECS, "the model's")
    words = "begin with these knobs: one of jaxsnare presets, or a .json file of yours"
    parser.add_argument("--preset", metavar="NAME|FILE", help=words)
    set_option(
        parser,
        "turn a knob from the beginning: a parameter of the synth in its unit "
        "(osc1.freq=200), how far hits may move it (damping.osc1.freq=0.5), how much a "
        "difference of hits counts (scale.SPL_T=2), or an offset to it "
        "(shift.SPL_T=0.1); may come more than once",
    )
    hearing_knobs(parser, "the model's")
    overwrite(parser)


LISTEN = Path()
"""The file of who gave an option without one: the microphone."""


def calibrate(parser: Parser) -> None:
    words = "a trained model, in which what is learned is kept"
    parser.add_argument("models", nargs=1, type=Path, metavar="MODEL", help=words)
    for flag, words in (
        ("--room", "learn the room's noise while no one plays"),
        (
            "--bleed",
            "learn how the others sound, who play without the drum: each alone, and "
            "hi-hat and kick struck together",
        ),
    ):
        words += ": from a recording, or without FILE from the microphone"
        parser.add_argument(
            flag, nargs="?", type=Path, const=LISTEN, metavar="FILE", help=words
        )
    _device_options(parser)
    hearing_knobs(parser, "the model's", ", during this calibration only")


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
    ranged(parser, "--block", "samples the device asks for", 1, 8192, "samples", 64)
    rate(parser, None, "the model's")
    parser.add_argument(
        "--play",
        type=Path,
        metavar="FILE",
        help="a recording that takes the place of the microphone, in real time",
    )


def devices(parser: Parser) -> None:
    pass
