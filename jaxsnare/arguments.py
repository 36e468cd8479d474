"""What the options of several commands share.

Ranges, units, defaults and words come from where a parameter is declared.
"""

import argparse
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


def number(text: str) -> float:
    """A number, as the type of an option."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def assignment(text: str) -> tuple[str, float]:
    """NAME=VALUE, as the type of an option."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=VALUE, as in osc1.freq=200"
        )
    return name, number(value)


def ranged(
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
        value = number(text)
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


def knobs(parser: Parser, title: str, specs: "ParamSet", default: str = "") -> None:
    """An option for every parameter of a set: onset.fast_up is --onset-fast-up."""
    group = parser.add_argument_group(title)
    for spec in specs:
        usual = default or f"{spec.default:.4g}"
        reach = f"{spec.lo:g} to {spec.hi:g} {spec.unit}".rstrip()
        group.add_argument(
            "--" + spec.name.replace(".", "-").replace("_", "-"),
            dest=spec.name,
            type=number,
            metavar=spec.unit or "X",
            help=f"{spec.about}; {reach} (default {usual})",
        )


def hearing(parser: Parser) -> None:
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
    hearing_knobs(parser)


def hearing_knobs(parser: Parser, default: str = "", words: str = "") -> None:
    """The settings of all detectors; those that share a name share an option."""
    from jaxsnare.knobs import HIT_SPECS
    from jaxsnare.onset import ONSET_SPECS
    from jaxsnare.params import ParamSet

    usual = "" if default else ", defaults of the adaptive detector"
    knobs(parser, f"hearing hits{words}{usual}", HIT_SPECS, default)
    others = ParamSet(tuple(s for s in ONSET_SPECS if s.name not in HIT_SPECS.names))
    shared = [s for s in ONSET_SPECS if s.name in HIT_SPECS.names]
    theirs = ", ".join(
        s.name.removeprefix("onset.") + ("" if default else f" {s.default:.4g}")
        for s in shared
    )
    title = f"the same with the published detector, which has {theirs} too"
    knobs(parser, title, others, default)


def synth_option(parser: Any, default: str | None = "Snare808", words="") -> None:
    usual = words or f"(default {default})"
    parser.add_argument(
        "--synth",
        default=default,
        metavar="NAME|FILE.py:NAME",
        help=f"one of jaxsnare synths, or a file of yours and the class in it {usual}",
    )


def synth_options(parser: Parser) -> None:
    synth_option(parser)
    parser.add_argument(
        "--preset",
        metavar="NAME|FILE",
        help="one of jaxsnare presets, 'default', or a .json file "
        "(default 808_snare_1; of another synth its first, or 'default')",
    )
    set_option(parser)


SET_WORDS = (
    "change a parameter of the preset, in its unit, as in osc1.freq=200; may come more "
    "than once; for names and ranges see jaxsnare synths"
)


def set_option(parser: Parser, words: str = SET_WORDS) -> None:
    parser.add_argument(
        "--set",
        action="append",
        type=assignment,
        default=[],
        metavar="NAME=VALUE",
        help=words,
    )


def overwrite(parser: Parser) -> None:
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what is there already"
    )


def rate(parser: Any, default: int | None = None, usual: str = "") -> None:
    ranged(parser, "--rate", "sample rate", 8_000, 192_000, "Hz", default, usual)


def seed(parser: Any, words: str) -> None:
    ranged(parser, "--seed", f"{words}: the same, the same result", 0, 2**31 - 1, "", 0)
