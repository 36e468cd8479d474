"""Where synths come from: those that ship, those of installed packages, and files.

A reference is a name ("Snare808": one that ships, or an entry point of the group
"jaxsnare.synths") or a file and a class in it ("path/to/clap.py:Clap"). A file is one
module of its own: it imports what is installed, and nothing that lies beside it.
"""

import copyreg
import hashlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
    redirect_stdout,
)
from dataclasses import fields
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsnare.component import SUB_BLOCK
from jaxsnare.params import ParamSet, unknown
from jaxsnare.synths.synth import Synth

GROUP = "jaxsnare.synths"
SHIPPED = {
    "Snare808": "jaxsnare.synths.snare808",
    "SimpleDrumSynth": "jaxsnare.synths.simple_drum",
    "FMDrumSynth": "jaxsnare.synths.fm_drum",
    "Kick808": "jaxsnare.synths.kick808",
    "Clap808": "jaxsnare.synths.clap808",
    "HiHat808": "jaxsnare.synths.hihat808",
    "Snare909": "jaxsnare.synths.snare909",
    "ModalDrum": "jaxsnare.synths.modal_drum",
    "FMPercussion": "jaxsnare.synths.fm_percussion",
}
"""A row for each synth: its name, and the module of its class."""

TRIED_RATE = 48_000
METHODS = {"voice_init": ("dtype",), "voice": ("p", "state", "n", "white")}


class SynthFile(NamedTuple):
    """The source of a synth: code that runs when it is loaded."""

    path: Path  # where it was read
    source: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.source).hexdigest()


_FILES: dict[str, SynthFile] = {}  # by the name of the module made of it
_LEANS: dict[str, list[Path]] = {}  # the files that a module loaded, by its name
_RUNNING: list[str] = []  # the modules that are being made


def installed() -> dict[str, EntryPoint]:
    """The synths of installed packages, by name; nothing of them is imported."""
    return {point.name: point for point in entry_points(group=GROUP)}


def synth_names() -> list[str]:
    """Those that ship, in order, and those of installed packages."""
    return [*SHIPPED, *(name for name in installed() if name not in SHIPPED)]


def find_synth(reference: str) -> type[Synth]:
    """The synth class that a reference names; what is not ours is checked.

    Raises ValueError: for an unknown name with the choices; for a file or an installed
    package with what is wrong with it, and where.
    """
    path, colon, name = reference.rpartition(":")
    if colon and path.endswith(".py"):
        return load_synth(read_source(path), name)
    if reference.endswith(".py"):
        raise ValueError(
            f"{reference}: name the class in it as well, as in {reference}:Clap"
        )
    try:
        return named_synth(reference)
    except KeyError:
        raise ValueError(
            f"{unknown('synth', reference, synth_names())}, or a file and the class in "
            "it, as in clap.py:Clap"
        ) from None


def named_synth(name: str) -> type[Synth]:
    """One that ships or is installed, by its name or, of what ships first, in any case.

    KeyError for another name.
    """
    names = synth_names()
    if name not in names:
        name = {known.lower(): known for known in reversed(names)}[name.lower()]
    if name in SHIPPED:
        return getattr(import_module(SHIPPED[name]), name)
    return _load_installed(installed()[name])


def made(reference: str, sample_rate: int, **config: Any) -> Synth:
    """The synth that a reference names, at a rate in Hz, where its code is tried."""
    return made_of(find_synth(reference), sample_rate, **config)


def made_of(kind: type[Synth], sample_rate: int, **config: Any) -> Synth:
    """A synth of a class; what is not ours is asked for a second of sound, unheard."""
    with blaming_synth(kind):
        synth = kind(sample_rate=sample_rate, **config)
        if not _ships(kind):
            _traced(synth, sample_rate)
    return synth


def source_of(kind: type[Synth]) -> SynthFile | None:
    """The file that a class was loaded from; None for what is installed."""
    return _FILES.get(kind.__module__)


def leans_on(kind: type[Synth]) -> list[Path]:
    """The other files that the file of a class took synths from."""
    return _LEANS.get(kind.__module__, [])


def code_of(kind: type) -> Path:
    """Where the code of a class lies."""
    file = _FILES.get(kind.__module__)
    module = sys.modules.get(kind.__module__)
    return file.path if file else Path(getattr(module, "__file__", None) or "")


def _ships(kind: type[Synth]) -> bool:
    return SHIPPED.get(kind.__name__) == kind.__module__


def name_of(kind: type[Synth]) -> str:
    """The name by which a class is found again.

    Raises ValueError for a class that no reference leads to: a model could not be
    loaded without it.
    """
    name = kind.__name__
    if source_of(kind) is not None:
        return name
    if _ships(kind):
        return name
    for point in installed().values():
        if point.value == f"{kind.__module__}:{kind.__qualname__}":
            return point.name
    raise ValueError(
        f"{name} of {kind.__module__} is not found again by its name: load it with "
        f'find_synth("path/to/file.py:{name}"), or install it as an entry point of '
        f"{GROUP}"
    )


def package_of(kind: type[Synth]) -> str:
    """The installed package that brings a synth, with its version; '' if none does."""
    for point in installed().values():
        if point.value == f"{kind.__module__}:{kind.__qualname__}" and point.dist:
            return f"{point.dist.name} {point.dist.version}"
    return ""


def read_source(path: str | Path) -> SynthFile:
    """The source of a synth file. ValueError if it cannot be read."""
    path = Path(path)
    try:
        return SynthFile(path, path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None


def load_synth(file: SynthFile, name: str) -> type[Synth]:
    """Run a synth file, and give the class of that name once it has been checked.

    The same source gives the same class: what is compiled for one is for the other.
    """
    module = _module(file)
    if _RUNNING:  # it is asked for by the file of another
        _LEANS.setdefault(_RUNNING[-1], []).append(file.path)
    path = _FILES[module.__name__].path
    found = {
        key: kind
        for key, kind in vars(module).items()
        if isinstance(kind, type)
        and issubclass(kind, Synth)
        and kind.__module__ == module.__name__
    }
    kind = vars(module).get(name)
    if kind is None:
        there = f"; there are {', '.join(found)}" if found else ""
        raise ValueError(f"{file.path}: has no class {name!r}{there}")
    if name not in found:
        raise ValueError(
            f"{file.path}: {name} is no synth of this file: write "
            f"`class {name}(Synth)`, with `from jaxsnare import Synth`"
        )
    if kind.__name__ != name:
        raise ValueError(f"{file.path}: {name} is called {kind.__name__} as well")
    check_contract(kind, path)
    copyreg.pickle(kind, _reduce)
    return kind


def _module(file: SynthFile) -> ModuleType:
    name = f"jaxsnare_synth_{file.sha256[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(file.path)
    sys.modules[name], _FILES[name] = module, file
    _RUNNING.append(name)
    try:
        with blaming(file.path):
            exec(compile(file.source, str(file.path), "exec"), vars(module))
    except BaseException:
        del sys.modules[name], _FILES[name]
        _LEANS.pop(name, None)
        raise
    finally:
        _RUNNING.pop()
    return module


def _reduce(synth: Synth) -> tuple[Any, ...]:
    """How another process comes by the synth of a file: with its source."""
    kind = type(synth)
    values = ((f, getattr(synth, f.name)) for f in fields(synth))
    # what is usual is not sent: the parts of a combination may be of its own file
    config = {f.name: value for f, value in values if value != f.default}
    file = _FILES[kind.__module__]
    return _revive, (str(file.path), file.source, kind.__name__, config)


def _revive(path: str, source: bytes, name: str, config: dict[str, Any]) -> Synth:
    return load_synth(SynthFile(Path(path), source), name)(**config)


def _load_installed(point: EntryPoint) -> type[Synth]:
    package = point.dist.name if point.dist else point.value
    try:
        with redirect_stdout(sys.stderr):
            kind = point.load()
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"synth {point.name} of the package {package} cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from None
    check_contract(kind, Path(getattr(inspect.getmodule(kind), "__file__", package)))
    return kind


@cache
def check_contract(kind: Any, path: Path) -> None:
    """What a synth class must be, asked before it makes a sound.

    path: of the file that its errors are to name. Raises ValueError.
    """
    name = getattr(kind, "__name__", repr(kind))

    def refuse(words: str) -> ValueError:
        return _Refused(f"{path}: {name} {words}")

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
            start, given = _traced(synth, length)
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


def _traced(synth: Synth, length: int) -> tuple[Any, Any]:
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
    from jaxsnare.detector import HIT_SPECS
    from jaxsnare.onset import ONSET_SPECS
    from jaxsnare.remapper import PLAY_SPECS

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


class _Refused(ValueError):
    """A line that says all already."""


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Within, what the code of a synth raises becomes a line with file and line.

    What it prints goes where errors go.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except _Refused:
        raise
    except (Exception, SystemExit) as error:
        raise explained(error, path) from None


def blaming_synth(kind: type[Synth]) -> AbstractContextManager[None]:
    """`blaming` for the code of a class that does not ship: what ships is our fault."""
    return nullcontext() if _ships(kind) else blaming(code_of(kind))


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
    return _Refused(f"{at}: {words}" + (f" ({hint})" if hint else ""))


def _same(file: str, path: Path) -> bool:
    return os.path.abspath(file) == os.path.abspath(path)
