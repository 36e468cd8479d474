"""Where synths come from: those that ship, those of installed packages, and files.

A reference is a name ("Snare808": one that ships, or an entry point of the group
"jaxsnare.synths") or a file and a class in it ("path/to/clap.py:Clap"). A file is one
module of its own: it imports what is installed, and nothing that lies beside it.
"""

import copyreg
import hashlib
import inspect
import sys
from contextlib import (
    AbstractContextManager,
    nullcontext,
    redirect_stdout,
)
from dataclasses import fields
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from jaxsnare.params import unknown
from jaxsnare.synths.contract import blaming, check_contract, traced
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
            traced(synth, sample_rate)
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


def blaming_synth(kind: type[Synth]) -> AbstractContextManager[None]:
    """`blaming` for the code of a class that does not ship: what ships is our fault."""
    return nullcontext() if _ships(kind) else blaming(code_of(kind))
