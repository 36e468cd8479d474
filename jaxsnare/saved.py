"""The state of a long computation on disk: whole, checked, and the one before it.

Two files take turns, so that writing one never touches the other. Each is written
beside its place and moved there, and begins with a checksum of the rest: NumPy arrays
and JSON, nothing that could run when it is read.
"""

import hashlib
import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import jax
import numpy as np

from jaxsnare.files import PARTS, write_whole

MAGIC = b"jaxsnare state 1 "
SLOTS = ("0", "1")
STAGES = ("", "second-")


class Saved:
    """A folder that holds the last two states of what `about` describes.

    about: plain values (JSON) by name, of everything that the computation depends on.
    stage: of STAGES, where a computation has several; each has files of its own.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "fit"
    >>> saved = Saved(folder, {"seed": 0})
    >>> saved.load({"x": np.zeros(2)}) is None
    True
    >>> saved.save(1, {"x": np.ones(2)})
    >>> saved.load({"x": np.zeros(2)})["x"].tolist()
    [1.0, 1.0]
    >>> saved.remove()
    >>> folder.exists()
    False
    """

    def __init__(self, folder: str | Path, about: dict[str, Any], stage: str = ""):
        self.folder = Path(folder)
        self.about = json.loads(json.dumps(about))
        self.stage = stage

    def _paths(self, stage: str) -> list[Path]:
        return [self.folder / f"{stage}{slot}" for slot in SLOTS]

    def save(self, step: int, state: Any) -> None:
        """Keep the state after a step. Raises ValueError where it cannot be written."""
        arrays = {f"a{i}": np.asarray(a) for i, a in enumerate(jax.tree.leaves(state))}
        head = json.dumps({"step": step, "about": self.about}).encode()
        buffer = io.BytesIO()
        arrays["head"] = np.frombuffer(head, np.uint8)
        np.savez(buffer, allow_pickle=False, **arrays)
        body = buffer.getvalue()
        path = self._paths(self.stage)[step % 2]
        with suppress(OSError):  # a folder that is missing is told below
            self.folder.mkdir(exist_ok=True)
        write_whole(path, MAGIC + hashlib.sha256(body).digest() + body)

    def load(self, like: Any) -> Any:
        """The newest undamaged state, in the structure of `like`; None without one.

        Raises ValueError for the state of another computation, naming the difference.
        """
        newest = self._newest()
        if newest is None:
            return None
        _, arrays = newest
        leaves, structure = jax.tree.flatten(like)
        fits = len(leaves) == len(arrays) and all(
            a.shape == np.shape(b) and a.dtype == np.asarray(b).dtype
            for a, b in zip(arrays, leaves, strict=True)
        )
        if not fits:
            raise ValueError(
                f"training state {self.folder} was written by another version: begin "
                "afresh to replace it"
            )
        return jax.tree.unflatten(structure, arrays)

    def check(self) -> None:
        """ValueError for the state of another computation, naming the difference."""
        self._newest()

    @property
    def step(self) -> int | None:
        """The step after which the newest undamaged state was kept; as of `load`."""
        newest = self._newest()
        return newest[0]["step"] if newest else None

    def _newest(self) -> tuple[dict[str, Any], list[np.ndarray]] | None:
        found = [one for path in self._paths(self.stage) if (one := _read(path))]
        if not found:
            return None
        head, arrays = max(found, key=lambda one: one[0]["step"])
        if difference := _difference(head["about"], self.about):
            raise ValueError(
                f"training state {self.folder} is of another training: {difference}; "
                "begin afresh (--fresh, or remove it), or choose another name"
            )
        return head, arrays

    def remove(self) -> None:
        """Forget what was kept, of all stages; other people's files stay."""
        for stage in STAGES:
            for path in self._paths(stage):
                path.unlink(missing_ok=True)
        for part in self.folder.glob(PARTS):
            part.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def _read(path: Path) -> tuple[dict[str, Any], list[np.ndarray]] | None:
    """Head and arrays of a file; None if it is missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    start = len(MAGIC) + hashlib.sha256().digest_size
    body = content[start:]
    checksum = hashlib.sha256(body).digest()
    if content[:start] != MAGIC + checksum:
        return None
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            head = json.loads(archive["head"].tobytes())
            return head, [archive[f"a{i}"] for i in range(len(archive.files) - 1)]
    except (ValueError, KeyError, BadZipFile):
        return None


def _difference(theirs: Any, ours: Any, name: str = "") -> str:
    """The first difference of two trees of plain values, in words; "" for none."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in [*theirs, *(k for k in ours if k not in theirs)]:
            inner = f"{name}.{key}" if name else key
            if (key in theirs) != (key in ours):
                return f"{inner} is unknown {'here' if key in theirs else 'there'}"
            if found := _difference(theirs.get(key), ours.get(key), inner):
                return found
        return ""
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for i, (a, b) in enumerate(zip(theirs, ours, strict=True)):
            if found := _difference(a, b, f"{name}[{i}]" if len(ours) > 1 else name):
                return found
        return ""
    if theirs == ours:
        return ""
    return f"{name} is {theirs!r} there and {ours!r} here"
