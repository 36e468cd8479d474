"""The command line: what can be typed, and how it fails.

What can be given is declared in `options` and `live.options`. What the commands do is
in `commands`, `playing`, `listings`, `design`, `export`, `demo` and `live.commands`,
which are imported when a command runs.
"""

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from jaxsnare import options
from jaxsnare.arguments import Parser
from jaxsnare.live import options as live_options

OK, FAILED, INTERRUPTED = 0, 2, 130
STARTED = time.monotonic()


class _Command(NamedTuple):
    module: str  # of jaxsnare, with the function run_<command>
    words: str
    declare: Callable[[Parser], None]  # its options
    example: str = ""


COMMANDS = {
    "demo": _Command(
        "demo",
        "hear it in a minute: plays a drum, trains on it, remaps a groove",
        options.demo,
    ),
    "train": _Command(
        "commands",
        "teach a synth to follow a drum",
        options.train,
        "my_snare.wav --out my_snare --preset 808_snare_2",
    ),
    "reach": _Command(
        "commands",
        "how near a preset can come to a drum at all, whatever the mapping",
        options.reach,
        "my_snare.wav --preset 808_snare_2",
    ),
    "choose": _Command(
        "commands",
        "let models take turns by what is struck, as head and rim",
        options.choose,
        "--part head my_head head_hits/ --part rim my_rim rim_hits/ --out both",
    ),
    "remap": _Command(
        "playing",
        "play a performance on the synth",
        options.remap,
        "my_snare groove.wav synth.wav --mix 0.5 --set osc1.freq=220",
    ),
    "live": _Command(
        "live.commands",
        "play from the microphone: the synth answers every hit",
        live_options.live,
        "my_snare --record take1 --sensitivity 1.5",
    ),
    "calibrate": _Command(
        "live.commands",
        "learn the microphone's level from ten hits, or the room, or what bleeds",
        live_options.calibrate,
        "my_snare",
    ),
    "devices": _Command("live.commands", "the sound devices", live_options.devices),
    "render": _Command(
        "playing",
        "one hit of a synth as a file",
        options.render,
        "hit.wav --preset 808_snare_2 --set osc1.freq=200 --set noise_gain.gain=-6",
    ),
    "match": _Command(
        "design",
        "find the parameters of a synth that come nearest to a sound",
        options.match,
        "clap.wav --synth Snare808 --out clap.json --plot clap.png --audio both.wav",
    ),
    "onsets": _Command(
        "listings",
        "where the hits of recordings are",
        options.onsets,
        "groove.wav --plot groove.png",
    ),
    "features": _Command(
        "listings",
        "what is heard in single hits",
        options.features,
        "soft.wav loud.wav",
    ),
    "show": _Command(
        "listings", "what is in a trained model", options.show, "my_snare"
    ),
    "export": _Command(
        "export",
        "a model for other programs: TorchScript for the TorchDrum plugin, StableHLO",
        options.export,
        "my_snare my_snare.pt --format torchscript",
    ),
    "presets": _Command(
        "listings", "the presets that ship", options.presets, "--synth Snare808"
    ),
    "synths": _Command(
        "listings", "the synths, their parameters, units and ranges", options.synths
    ),
    "new-synth": _Command(
        "design",
        "begin a synth of your own: a file that works, to be changed",
        options.new_synth,
        "RimShot",
    ),
    "check-synth": _Command(
        "design",
        "try the laws on a synth, and what its parameters move",
        options.check_synth,
        "rim_shot.py:RimShot --plot moves.png",
    ),
    "bench": _Command("listings", "how fast this machine is", options.bench, "train"),
}


def _parse(argv: list[str]) -> argparse.Namespace | None:
    """The command and its options; None if there is nothing but to print the help."""
    parser = Parser(
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
    for name, (_, words, declare, example) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=words,
            description=words[0].upper() + words[1:] + ".",
            epilog=f"example: jaxsnare {name} {example}".rstrip(),
        )
        if name == chosen:
            declare(command)
            command.add_argument(
                "--json",
                action="store_true",
                help="print the result as one JSON object, and nothing else",
            )
            command.add_argument(
                "--quiet", action="store_true", help="no progress bars and no notes"
            )
    args, unknown_words = parser.parse_known_args(argv)
    if unknown_words:
        about = commands.choices.get(args.command, parser)
        about.error(f"unrecognized arguments: {' '.join(unknown_words)}")
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
        base = os.environ.get("XDG_CACHE_HOME", "")
        base = base if os.path.isabs(base) else "~/.cache"
    # By machine: what one compiled may not run on another that shares the home.
    try:
        folder = Path(base).expanduser() / "jaxsnare" / (platform.node() or "local")
    except RuntimeError:  # no home: a container's nameless user
        return
    warnings.filterwarnings("ignore", "Error (read|writ)ing persistent compilation")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status.

    0; 1 where a law that was asked about fails; 2 for errors; 130 for Ctrl-C.
    """
    try:
        args = _parse(list(sys.argv[1:] if argv is None else argv))
        if args is None:
            return OK
        _keep_compilations()
        module = import_module(f"jaxsnare.{COMMANDS[args.command].module}")
        run = getattr(module, f"run_{args.command.replace('-', '_')}")
        data, text, status = run(args)
        print(json.dumps(data, indent=2, allow_nan=False) if args.json else text)
        sys.stdout.flush()
        return status
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
