"""The folder of a model: what lies in it, and how it is written and read."""

import io
import json
import os
import shutil
import tempfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxsnare import __version__
from jaxsnare.dsp.noise import SeededNoise
from jaxsnare.features import OnsetFeatures
from jaxsnare.features.normalise import Normaliser
from jaxsnare.gate import MOST, SIZE, Examples, no_examples
from jaxsnare.params import unknown
from jaxsnare.synths import Synth, name_of, package_of, source_of, synth_names
from jaxsnare.synths.registry import (
    leans_on,
    load_synth,
    made_of,
    named_synth,
    read_source,
)

FORMAT = 1
RECORD, WEIGHTS, SOURCE = "model.json", "weights.npz", "synth.py"
PARTS = "parts"
OLDER_SIZE = 9  # features of an example for the gate, before they were those of today
OWN_FILES = {RECORD, WEIGHTS, SOURCE, PARTS, "report.png"}


class Wrong(ValueError):
    """Something in a model's folder is not as it must be."""


def plain(arrays: dict[str, Any], decimals: int = 17) -> dict[str, Any]:
    """Arrays by name as lists of numbers."""
    return {k: np.asarray(v, float).round(decimals).tolist() for k, v in arrays.items()}


def synth_record(synth: Synth) -> dict[str, Any]:
    """How a synth is found again, its settings and its noise.

    Raises ValueError for what could not be read again.
    """
    kind = type(synth)
    if not isinstance(synth.noise, SeededNoise):
        raise ValueError("a model with noise from a given buffer cannot be saved")
    record: dict[str, Any] = {
        "name": name_of(kind),
        "sample_rate": synth.sample_rate,
        "noise": asdict(synth.noise),
    }
    values = {f.name: (getattr(synth, f.name), f.default) for f in fields(synth)}
    usual = ("sample_rate", "noise")
    settings = {k: v for k, (v, d) in values.items() if k not in usual and v != d}
    for name, value in settings.items():
        if not isinstance(value, bool | int | float | str):
            raise ValueError(
                f"{name} of {kind.__name__} is a {type(value).__name__}; a model can "
                "only keep settings that are numbers, words, True or False"
            )
    if settings:
        record["settings"] = settings
    file = source_of(kind)
    if others := leans_on(kind):
        raise ValueError(
            f"{kind.__name__} of {file.path if file else '?'} takes synths from "
            f"{', '.join(map(str, others))}, which a model cannot carry along: put "
            "them into one file"
        )
    if file is not None:
        record["source"] = {"file": file.path.name, "sha256": file.sha256}
    elif package := package_of(kind):
        record["package"] = package
    return record


def read_synth(folder: Path, record: dict[str, Any]) -> Synth:
    """The synth of a record: one that is installed, or the saved source."""
    name, source = record["name"], record.get("source")
    if source is None:
        try:
            kind = named_synth(name)
        except KeyError:
            package = record.get("package", "")
            came = f" (it came with the package {package})" if package else ""
            raise Wrong(f"{unknown('synth', name, synth_names())}{came}") from None
    elif not (folder / SOURCE).is_file():
        raise Wrong(f"{SOURCE} is missing: it is the code of its synth {name}")
    else:
        file = read_source(folder / SOURCE)
        if file.sha256 != source["sha256"]:
            raise Wrong(
                f"{SOURCE} is not the code of {name} that it was trained with "
                f"(SHA-256 {file.sha256[:12]}, not {source['sha256'][:12]}): put that "
                "back, or train again with --synth FILE.py:NAME"
            )
        kind = load_synth(file, name)
    settings = record.get("settings", {})
    others = set(settings) - {f.name for f in fields(kind)}
    if others:
        raise Wrong(
            f"{RECORD}: its settings are not those of {name}: {', '.join(others)}"
        )
    noise = SeededNoise(**record["noise"])
    return made_of(kind, record["sample_rate"], noise=noise, **settings)


def put_in_place(new: Path, folder: Path) -> None:
    """Move a finished folder to where another may be; that comes back on an error."""
    if not folder.exists():
        os.replace(new, folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    try:
        os.replace(folder, old / folder.name)
        try:
            os.replace(new, folder)
        except OSError:
            os.replace(old / folder.name, folder)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def check_destination(folder: Path, overwrite: bool) -> None:
    """ValueError unless a model can be written there: to be asked before training."""
    if not folder.parent.is_dir():
        raise ValueError(f"cannot write model {folder}: no folder {folder.parent}")
    if folder.exists() or folder.is_symlink():
        if not overwrite:
            raise ValueError(
                f"{folder} exists already: add --overwrite (overwrite=True) to "
                "replace it"
            )
        if not (folder / RECORD).is_file():
            raise ValueError(
                f"{folder} exists and is no model: it is not overwritten, "
                f"choose another name"
            )
        strangers = sorted({p.name for p in folder.iterdir()} - OWN_FILES)
        if strangers:
            raise ValueError(
                f"{folder} holds {', '.join(strangers[:3])}, not of a model, which "
                "would be lost: it is not overwritten, choose another name"
            )
    if not os.access(folder.parent, os.W_OK):
        raise ValueError(f"cannot write model {folder}: {folder.parent} is read-only")


def flatten(weights: dict[Any, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Nested weights as one level, keys joined by dots: 'layers.0.kernel'."""
    flat = {}
    for key, value in weights.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = np.asarray(value)
    return flat


def read_examples(stored: dict[str, Any] | None) -> Examples:
    """What the gate of a record knows; older models have nothing that it could."""
    if stored is None:
        return no_examples()
    if any(len(row) == OLDER_SIZE for side in Examples._fields for row in stored[side]):
        return no_examples()
    sides = []
    for name in Examples._fields:
        rows = [read_vector(row, f"examples.{name}", SIZE) for row in stored[name]]
        if len(rows) > MOST:
            raise ValueError(f"examples.{name} must be at most {MOST}, got {len(rows)}")
        sides.append(np.reshape(rows, (-1, SIZE)).astype(np.float32))
    return Examples(*sides)


def read_record(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise Wrong(f"{path.name} is missing")
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise Wrong(f"{path.name} cannot be read ({error})") from None
    found = record.get("format") if isinstance(record, dict) else None
    if found != FORMAT:
        raise Wrong(
            f"its format is {found!r}, jaxsnare {__version__} reads format {FORMAT}: "
            "train it again, or use the version that wrote it"
        )
    return record


def read_vector(values: Any, name: str, length: int) -> Array:
    vector = np.asarray(values, np.float32)
    if vector.shape != (length,) or not np.isfinite(vector).all():
        raise ValueError(f"{name} must be {length} finite numbers, got {values}")
    return jnp.asarray(vector)


def features_record(features: OnsetFeatures) -> dict[str, Any]:
    return asdict(features) | {"names": features.names}


def ears_record(normaliser: Normaliser, centre: Any) -> dict[str, Any]:
    return {
        "normaliser": plain(normaliser._asdict()),
        "centre": np.asarray(centre, float).tolist(),
    }


def read_ears(record: dict[str, Any]) -> tuple[OnsetFeatures, Normaliser, Array]:
    """What a model measures hits by: features, their ranges, the reference hit's."""
    heard = dict(record["features"])
    names = tuple(heard.pop("names"))
    heard["edges_hz"] = tuple(heard.get("edges_hz", ()))
    features = OnsetFeatures(**heard)
    if names != features.names:
        raise Wrong(
            f"{RECORD}: onset features {', '.join(names)}; "
            f"this version measures {', '.join(features.names)}"
        )
    bounds = [read_vector(record["normaliser"][k], k, len(names)) for k in ("lo", "hi")]
    normaliser = Normaliser(*bounds)
    if not bool((normaliser.hi > normaliser.lo).all()):
        raise Wrong(f"{RECORD}: a range of the normaliser does not rise")
    return features, normaliser, read_vector(record["centre"], "centre", len(names))


def read_weights(path: Path, shapes: dict[str, Any]) -> dict[str, Any]:
    """Weights of the given shapes (of `Mapping.shapes`), and nothing else."""
    if not path.is_file():
        raise Wrong(f"{path.name} is missing")
    try:
        # from memory: NumPy leaves a file that is no archive open
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            stored = {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged archive raises errors of every kind
        raise Wrong(f"{path.name} cannot be read ({error})") from None

    def take(shapes: dict[Any, Any], prefix: str = "") -> dict[str, Any]:
        weights = {}
        for key, expected in shapes.items():
            name = f"{prefix}{key}"
            if isinstance(expected, dict):
                weights[key] = take(expected, f"{name}.")
                continue
            if name not in stored:
                raise Wrong(f"{path.name} lacks {name!r}")
            value = stored.pop(name)
            if value.shape != expected.shape or value.dtype != expected.dtype:
                raise Wrong(
                    f"{path.name}: {name} is {value.dtype}{list(value.shape)}, the "
                    f"mapping needs {expected.dtype}{list(expected.shape)}"
                )
            if not np.isfinite(value).all():
                raise Wrong(f"{path.name}: {name} holds NaN or Inf")
            weights[key] = value
        return weights

    weights = take(shapes)
    if stored:
        raise Wrong(f"{path.name} holds more than the mapping: {', '.join(stored)}")
    return weights
