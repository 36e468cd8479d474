"""The command line: what can be typed, and how it fails.

What the commands do is in `commands`, `listings` and `demo`. They import JAX, so they
are imported when a command runs; its options are declared when it is named.
"""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    from jaxsnare.params import ParamSet

OK, FAILED, INTERRUPTED = 0, 2, 130


class _Parser(argparse.ArgumentParser):
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


def _knobs(parser: _Parser, title: str, specs: "ParamSet", default: str = "") -> None:
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


def _synth_options(parser: _Parser) -> None:
    parser.add_argument(
        "--synth", default="Snare808", help="see jaxsnare synths (default Snare808)"
    )
    parser.add_argument(
        "--preset",
        metavar="NAME|FILE",
        help="one of jaxsnare presets, 'default', or a .json file "
        "(default 808_snare_1; of another synth: default)",
    )
    _set_option(parser)


def _set_option(parser: _Parser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        type=assignment,
        default=[],
        metavar="NAME=VALUE",
        help="change a parameter of the preset, in its unit, as in osc1.freq=200; may "
        "come more than once; for names and ranges see jaxsnare synths",
    )


def _overwrite(parser: _Parser) -> None:
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what is there already"
    )


def _demo(parser: _Parser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("jaxsnare-demo"),
        metavar="DIR",
        help="folder to make (default jaxsnare-demo)",
    )
    usual = "as many as make a short demo"
    _range(parser, "--epochs", "passes over the hits", 1, 100_000, usual=usual)
    _overwrite(parser)


def _train(parser: _Parser) -> None:
    from jaxsnare.mapping import HIDDEN
    from jaxsnare.onset import ONSET_SPECS

    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="recordings of many hits, or folders of single hits (one a file)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="MODEL", help="folder to make"
    )
    _synth_options(parser)
    parser.add_argument(
        "--damping",
        action="append",
        type=assignment,
        default=[],
        metavar="NAME=VALUE",
        help="how far hits may move a parameter, 0 (not at all) to 1; may come more "
        "than once",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE.png",
        help="where the picture goes (default MODEL/report.png)",
    )
    _overwrite(parser)
    _knobs(parser, "hearing hits, in training and in playing", ONSET_SPECS)

    recipe = parser.add_argument_group("training")
    recipe.add_argument(
        "--mapping",
        default="mlp",
        help=f"network: {', '.join(HIDDEN)} (default mlp)",
    )
    window = "what is heard of a hit before it is answered: longer follows better"
    _range(recipe, "--window", window, 32, 8192, "samples", 256)
    _range(recipe, "--epochs", "passes over the hits", 1, 100_000, default=250)
    _rate(recipe, usual="that of the first recording if 44100 or 48000, else 48000")
    _range(recipe, "--batch", "hits per step", 1, 4096, default=16)
    recipe.add_argument(
        "--learning-rate",
        type=_number,
        metavar="X",
        help="of Adam, between 0 and 1 (default 0.0005; linear: 0.005)",
    )
    recipe.add_argument(
        "--weights",
        default="balanced",
        choices=("balanced", "none"),
        help="balanced: every feature counts by its range over the hits; none: the "
        "published loss (default balanced)",
    )
    recipe.add_argument(
        "--reference",
        default="median_vector",
        choices=("median_vector", "median_loudness"),
        help="which hit stands for the drum: the most ordinary in all features, or of "
        "ordinary loudness (default median_vector)",
    )
    _seed(recipe, "of the split into training and test hits and of the first weights")


def _rate(parser: Any, default: int | None = None, usual: str = "") -> None:
    _range(parser, "--rate", "sample rate", 8_000, 192_000, "Hz", default, usual)


def _seed(parser: Any, words: str) -> None:
    _range(parser, "--seed", f"{words}: the same, the same result", 0, 2**31 - 1, "", 0)


def _remap(parser: _Parser) -> None:
    from jaxsnare.onset import ONSET_SPECS
    from jaxsnare.remap import PLAY_SPECS

    parser.add_argument("model", type=Path, metavar="MODEL", help="a trained model")
    parser.add_argument("input", type=Path, metavar="INPUT", help="a performance")
    parser.add_argument(
        "output",
        type=Path,
        metavar="OUTPUT",
        help="audio file to make, .wav, .flac, .aiff or .ogg; of the input's sample "
        "rate and length",
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
    _knobs(parser, "hearing hits", ONSET_SPECS, "the model's")


def _render(parser: _Parser) -> None:
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


def _files(parser: _Parser) -> None:
    from jaxsnare.onset import ONSET_SPECS

    parser.add_argument("files", nargs="+", metavar="FILE", help="audio files")
    _knobs(parser, "hearing hits", ONSET_SPECS)


def _features(parser: _Parser) -> None:
    window = "what the onset features are measured on"
    _range(parser, "--window", window, 32, 8192, "samples", 256)
    _files(parser)


def _show(parser: _Parser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="a trained model")


def _presets(parser: _Parser) -> None:
    parser.add_argument("--synth", help="only those of this synth")


def _synths(parser: _Parser) -> None:
    _rate(parser, 48_000)


def _bench(parser: _Parser) -> None:
    parser.add_argument("kind", choices=("train", "render"), help="what to measure")
    words = "time for each measurement"
    _range(parser, "--seconds", words, 0.1, 3600.0, "s", usual="enough")


class _Command(NamedTuple):
    module: str  # of jaxsnare, with the function run_<command>
    words: str
    options: Callable[[_Parser], None]
    example: str = ""


COMMANDS = {
    "demo": _Command(
        "demo",
        "hear it in a minute: plays a drum, trains on it, remaps a groove",
        _demo,
    ),
    "train": _Command(
        "commands",
        "teach a synth to follow a drum",
        _train,
        "my_snare.wav --out my_snare --preset 808_snare_2",
    ),
    "remap": _Command(
        "commands",
        "play a performance on the synth",
        _remap,
        "my_snare groove.wav synth.wav --mix 0.5 --set osc1.freq=220",
    ),
    "render": _Command(
        "commands",
        "one hit of a synth as a file",
        _render,
        "hit.wav --preset 808_snare_2 --set osc1.freq=200 --set noise_gain.gain=-6",
    ),
    "onsets": _Command(
        "listings",
        "where the hits of recordings are",
        _files,
        "groove.wav --onset-on 10",
    ),
    "features": _Command(
        "listings", "what is heard in single hits", _features, "soft.wav loud.wav"
    ),
    "show": _Command("listings", "what is in a trained model", _show, "my_snare"),
    "presets": _Command(
        "listings", "the presets that ship", _presets, "--synth Snare808"
    ),
    "synths": _Command(
        "listings", "the synths, their parameters, units and ranges", _synths
    ),
    "bench": _Command("listings", "how fast this machine is", _bench, "train"),
}


def _parse(argv: list[str]) -> argparse.Namespace | None:
    """The command and its options; None if there is nothing but to print the help."""
    parser = _Parser(
        prog="jaxsnare",
        description="A synth that follows a drummer. Begin with: jaxsnare demo",
        epilog="jaxsnare COMMAND --help tells the options of a command.",
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    chosen = argv[0] if argv else ""
    if chosen and not chosen.startswith("-") and chosen not in COMMANDS:
        from jaxsnare.params import unknown

        raise ValueError(unknown("command", chosen, list(COMMANDS)))
    for name, (_, words, options, example) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=words,
            description=words[0].upper() + words[1:] + ".",
            epilog=f"example: jaxsnare {name} {example}".rstrip(),
        )
        if name == chosen:
            options(command)
            command.add_argument(
                "--json",
                action="store_true",
                help="print the result as one JSON object, and nothing else",
            )
            command.add_argument(
                "--quiet", action="store_true", help="no progress bars and no notes"
            )
    args = parser.parse_args(argv)
    if args.version:
        from jaxsnare import __version__

        print(f"jaxsnare {__version__}")
    elif args.command:
        return args
    else:
        parser.print_help()
    return None


def _keep_compilations() -> None:
    """Let the second run start fast: compiled programs stay in the user's cache.

    A training spends most of its first minute in the compiler. A cache that cannot be
    read or written is as good as none. JAX_COMPILATION_CACHE_DIR moves it.
    """
    import platform

    import jax

    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    # By machine: what one compiled may not run on another that shares the home.
    folder = Path(base).expanduser() / "jaxsnare" / (platform.node() or "local")
    warnings.filterwarnings("ignore", "Error (read|writ)ing persistent compilation")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 2 for errors, 130 for Ctrl-C."""
    try:
        args = _parse(list(sys.argv[1:] if argv is None else argv))
        if args is None:
            return OK
        _keep_compilations()
        module = import_module(f"jaxsnare.{COMMANDS[args.command].module}")
        data, text = getattr(module, f"run_{args.command}")(args)
        print(json.dumps(data, indent=2, allow_nan=False) if args.json else text)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone, as in: jaxsnare synths | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ValueError as error:
        return _complain(str(error), FAILED)
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        return _complain(f"{named}{error.strerror or error}", FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    return OK


def _complain(message: str, status: int) -> int:
    print(f"jaxsnare: {' '.join(message.splitlines())}", file=sys.stderr)
    return status
