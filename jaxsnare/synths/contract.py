"""What a synth class must be, and what its code raises in a designer's words."""

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsnare.component import SUB_BLOCK
from jaxsnare.params import ParamSet
from jaxsnare.synths.synth import Synth

TRIED_RATE = 48_000
METHODS = {"voice_init": ("dtype",), "voice": ("p", "state", "n", "white")}


@cache
def check_contract(kind: Any, path: Path) -> None:
    """What a synth class must be, asked before it makes a sound.

    path: of the file that its errors are to name. Raises ValueError.
    """
    name = getattr(kind, "__name__", repr(kind))

    def refuse(words: str) -> ValueError:
        return Refused(f"{path}: {name} {words}")

    if not (isinstance(kind, type) and issubclass(kind, Synth)):
        raise refuse("is no synth: write `class Name(Synth)`")
    lacking = sorted(getattr(kind, "__abstractmethods__", ()))
    if lacking:
        raise refuse(
            f"lacks {' and '.join(lacking)}: a synth has specs, voice_init and voice"
        )
    own = inspect.get_annotations(kind)
    if own and "__dataclass_fields__" not in vars(kind):
        raise refuse(
            f"has settings ({', '.join(own)}): write @dataclass(frozen=True) above it"
        )
    if inspect.isfunction(inspect.getattr_static(kind, "specs")):
        raise refuse("has specs that are no property: write @property above `def`")
    for method, wanted in METHODS.items():
        if not callable(inspect.getattr_static(kind, method)):
            raise refuse(
                f"has a {method} that is no method: write `def {method}"
                f"({', '.join(('self', *wanted))})`, without @property"
            )
        given = tuple(inspect.signature(getattr(kind, method)).parameters)[1:]
        moved = [g for g, w in zip(given, wanted, strict=False) if g != w]
        if len(given) != len(wanted) or set(moved) & set(wanted):
            raise refuse(
                f"has {method}({', '.join(('self', *given))}); wanted: "
                f"{method}({', '.join(('self', *wanted))})"
            )

    with blaming(path):
        synth = kind(sample_rate=TRIED_RATE)
        hash(synth)
        specs = synth.specs
    if not isinstance(specs, ParamSet):
        raise refuse(f"has specs of type {type(specs).__name__}; wanted: a ParamSet")
    if not len(specs):
        raise refuse("has no parameters: there is nothing to train or to turn")
    _check_names(specs, refuse)
    with blaming(path):
        for length in (SUB_BLOCK, 1, TRIED_RATE):
            start, given = traced(synth, length)
            settings = {f.name for f in fields(synth)}
            kept = [
                k for k in vars(synth) if k not in settings and not hasattr(kind, k)
            ]
            if kept:
                raise refuse(
                    f"sets {', '.join(kept)} on itself while it sounds: a synth never "
                    "changes, what a voice must remember is its state"
                )
            if not (isinstance(given, tuple) and len(given) == 2):
                raise refuse("has a voice that ends without `return state, audio`")
            _check_voice(start, *given, length, refuse)


def traced(synth: Synth, length: int) -> tuple[Any, Any]:
    """A voice's state at its start, and the shapes and types of what it gives."""
    start = synth.voice_init(jnp.float32)
    for leaf in jax.tree.leaves(start):
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | int | float):
            raise ValueError(
                f"voice_init of {type(synth).__name__} gives {leaf!r}: a state is "
                "arrays, or tuples of them"
            )
    values = jax.ShapeDtypeStruct((len(synth.specs),), jnp.float32)
    n = jax.ShapeDtypeStruct((length,), jnp.int32)
    hit = jax.ShapeDtypeStruct((), jnp.int32)
    return start, jax.eval_shape(synth.play, values, start, n, hit)


def _check_names(specs: ParamSet, refuse: Callable[[str], ValueError]) -> None:
    """The knobs of a player share one space of names."""
    from jaxsnare.knobs import HIT_SPECS, PLAY_SPECS
    from jaxsnare.onset import ONSET_SPECS

    taken = {*PLAY_SPECS.names, *HIT_SPECS.names, *ONSET_SPECS.names}
    for name in specs.names:
        if name in taken or name.startswith(("damping.", "scale.", "shift.")):
            raise refuse(
                f"has a parameter {name!r}, which is a knob of every player: choose "
                "another name, as in osc.gain"
            )
        if not name or "=" in name or " " in name:
            raise refuse(f"has a parameter {name!r}: a name has no space and no =")


def _check_voice(
    start: Any, after: Any, audio: Any, length: int, refuse: Callable[[str], ValueError]
) -> None:
    start = jax.eval_shape(lambda: start)
    form = getattr(audio, "shape", None), getattr(audio, "dtype", None)
    if form != ((length,), jnp.float32):
        came = f"{form[1]}{list(form[0])}" if form[0] is not None else repr(audio)
        raise refuse(
            f"gives {came} for {length} samples; wanted: voice returns (state, audio) "
            f"with audio float32[{length}]"
        )
    tree, tree_after = jax.tree.structure(start), jax.tree.structure(after)
    if tree != tree_after:
        raise refuse(
            f"has a state of another structure after voice ({tree_after}) than "
            f"voice_init gives ({tree}): blocks could not follow each other"
        )
    for one, other in zip(jax.tree.leaves(start), jax.tree.leaves(after), strict=True):
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            raise refuse(
                f"has a state that begins as {one.dtype}{list(one.shape)} in "
                f"voice_init and becomes {other.dtype}{list(other.shape)} in voice: "
                "the two must be alike"
            )


class Refused(ValueError):
    """A line that says all already."""


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Within, what the code of a synth raises becomes a line with file and line.

    What it prints goes where errors go.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except Refused:
        raise
    except (Exception, SystemExit) as error:
        raise explained(error, path) from None


HINTS = {
    "TracerBoolConversionError": "the voice is compiled, its numbers are not known "
    "yet: jnp.where(condition, a, b) takes the place of `if`",
    "ConcretizationTypeError": "the voice is compiled, its numbers are not known yet: "
    "no float(), int() or range() of a parameter or a signal",
    "TracerArrayConversionError": "NumPy cannot compute what is compiled: use "
    "jax.numpy (jnp) in a voice",
    "TracerIntegerConversionError": "the voice is compiled, its numbers are not known "
    "yet: no int() or index by a parameter",
    "UnexpectedTracerError": "a voice keeps nothing but its state: no attribute and "
    "no global is set in it",
    "SystemExit": "the code of a synth does not end the program: raise ValueError with "
    "words",
    "FrozenInstanceError": "a synth never changes: what a voice must remember goes "
    "into its state",
}
"""Errors of JAX in a designer's words."""


def explained(error: BaseException, path: Path) -> ValueError:
    """What a synth's code raised as one line: file, line, and what to do."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if _same(frame.filename, path)
    ]
    if isinstance(error, SyntaxError) and _same(error.filename or "", path):
        lines.append(error.lineno)
        message = error.msg
    elif isinstance(error, KeyError):
        message = f"{error} is not there"
    else:
        message = next(iter(str(error).strip().splitlines()), "")
    at = f"{path}:{lines[-1]}" if lines and lines[-1] else str(path)
    kind = type(error).__name__
    words = message if type(error) is ValueError else f"{kind}: {message}".rstrip(": ")
    hint = HINTS.get(kind)
    return Refused(f"{at}: {words}" + (f" ({hint})" if hint else ""))


def _same(file: str, path: Path) -> bool:
    return os.path.abspath(file) == os.path.abspath(path)
