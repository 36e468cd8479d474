"""A trained model: all that playing needs, saved as a folder of JSON and weights."""

import io
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxsnare import __version__
from jaxsnare.component import SUB_BLOCK
from jaxsnare.detector import detector_of, detector_specs
from jaxsnare.dsp.noise import SeededNoise
from jaxsnare.features import OnsetFeatures
from jaxsnare.features.normalise import Normaliser
from jaxsnare.gate import DECIMALS, MOST, SIZE, Examples, fit_gate, no_examples
from jaxsnare.mapping import MapParams, Mapping
from jaxsnare.params import ParamSet, as_params, unknown
from jaxsnare.presets import Preset, parse_preset
from jaxsnare.remapper import PLAY_SPECS, RemapParams, Remapper
from jaxsnare.synths import Synth, name_of, package_of, source_of, synth_names
from jaxsnare.synths.registry import load_synth, named_synth, read_source

FORMAT = 1
RECORD, WEIGHTS, SOURCE = "model.json", "weights.npz", "synth.py"
PARTS = "parts"
OWN_FILES = {RECORD, WEIGHTS, SOURCE, PARTS, "report.png"}


@dataclass(frozen=True)
class Model:
    """A mapping trained for one drum and one preset, and how it hears and plays.

    `synth` runs at the rate of the model; `specs` are the ranges it was trained with;
    `normaliser` and `centre` (arrays [F]) belong to `features`; `onset` are the
    settings by name of the detector that found the hits, which tell which it was;
    `play` are knobs of PLAY_SPECS that are not at their default (the trim of a
    calibrated microphone); `training` is a record for people;
    `examples` are of the drum's hits and of what else is heard, for the gate; `parts`
    are the models by name between which it chooses, if it does (`choose`).

    The source of a synth that came from a file is saved with the model, so that it
    plays wherever it is taken to. To load such a model runs that source: load models
    of others only if you would run their programs.
    """

    synth: Synth
    specs: ParamSet
    preset: Preset
    mapping: Mapping
    weights: dict[str, Any]
    features: OnsetFeatures
    normaliser: Normaliser
    centre: Array
    onset: dict[str, float]
    play: dict[str, float] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    examples: Examples = field(default_factory=no_examples)
    parts: tuple[tuple[str, "Model"], ...] = ()

    @property
    def sample_rate(self) -> int:
        """Rate of the model in Hz."""
        return self.synth.sample_rate

    @property
    def hears(self) -> str:
        """Name of the detector."""
        return detector_of(self.onset)

    def remapper(
        self, sample_rate: int | None = None, running_normaliser: bool = False
    ) -> Remapper:
        """The step that plays this model, at a stream's rate in Hz (None: its own)."""
        if running_normaliser and self.parts:
            raise ValueError(
                "a choice of models keeps the ranges of its training: it plays without "
                "a running normaliser"
            )
        rate = self.sample_rate if sample_rate is None else sample_rate
        synth = replace(self.synth, sample_rate=rate)
        return Remapper(
            synth,
            self.specs,
            self.mapping,
            self.features,
            running_normaliser,
            self.hears,
        )

    def map_params(self) -> MapParams:
        """What the mapping needs, as arrays."""
        preset = self.specs.pack(as_params(self.preset.values))
        return MapParams(
            self.specs.to_unit(preset),
            self.specs.pack(as_params(self.preset.damping)),
            jax.tree.map(jnp.asarray, self.weights),
            self.normaliser,
            self.centre,
            jnp.ones_like(self.centre),
            jnp.zeros_like(self.centre),
        )

    def params(self, **turned: float) -> RemapParams:
        """Params of the step. Turned: knobs of PLAY_SPECS by name, in their range.

        Raises ValueError for what is unknown or out of range.
        """
        play = PLAY_SPECS.defaults | self.play | turned
        return RemapParams(
            as_params(self.onset),
            self.map_params(),
            as_params(PLAY_SPECS.check(play)),
            jax.tree.map(jnp.asarray, fit_gate(self.examples)),
        )

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Write the model as a folder, whole or not at all.

        Raises ValueError where the folder exists (unless `overwrite`, and only a
        model is ever overwritten) or cannot be written.
        """
        folder = Path(folder)
        check_destination(folder, overwrite)
        try:
            new = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        except OSError as error:
            raise ValueError(f"cannot write model {folder}: {error.strerror}") from None
        try:
            record = self._choice_record() if self.parts else self._record()
            (new / RECORD).write_text(json.dumps(record, indent=2) + "\n")
            if self.parts:
                (new / PARTS).mkdir()
                for name, part in self.parts:
                    part.save(new / PARTS / name)
            else:
                self._save_weights(new)
            new.chmod(0o755)
            put_in_place(new, folder)
        except OSError as error:
            raise ValueError(f"cannot write model {folder}: {error.strerror}") from None
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _save_weights(self, folder: Path) -> None:
        np.savez(folder / WEIGHTS, allow_pickle=False, **flatten(self.weights))
        file = source_of(type(self.synth))
        if file is not None:
            (folder / SOURCE).write_bytes(file.source)

    def _choice_record(self) -> dict[str, Any]:
        """What a choice of models is beside its parts."""
        return {
            "format": FORMAT,
            "versions": {"jaxsnare": __version__, "jax": jax.__version__},
            "parts": [name for name, _ in self.parts],
            "classifier": _plain(self.weights["classifier"]),
            "normaliser": _plain(self.normaliser._asdict()),
            "centre": np.asarray(self.centre, float).tolist(),
            "onset": self.onset,
            "examples": _plain(self.examples._asdict(), DECIMALS),
            "play": self.play,
            "training": self.training,
        }

    def _record(self) -> dict[str, Any]:
        noise = self.synth.noise
        if not isinstance(noise, SeededNoise):
            raise ValueError("a model with noise from a given buffer cannot be saved")
        return {
            "format": FORMAT,
            "versions": {"jaxsnare": __version__, "jax": jax.__version__},
            "synth": _synth_record(self.synth) | {"noise": asdict(noise)},
            "specs": self.specs.table(),
            "preset": self.preset.values,
            "damping": self.preset.damping,
            "mapping": asdict(self.mapping),
            "features": asdict(self.features) | {"names": self.features.names},
            "normaliser": _plain(self.normaliser._asdict()),
            "centre": np.asarray(self.centre, float).tolist(),
            "onset": self.onset,
            "examples": _plain(self.examples._asdict(), DECIMALS),
            "play": self.play,
            "training": self.training,
        }

    @classmethod
    def load(cls, folder: str | Path) -> "Model":
        """Read a model, and check all of it.

        Raises ValueError that names the folder and says exactly what is wrong.
        """
        folder = Path(folder)
        try:
            model = _read(folder)
            _try_out(model)
        except _Wrong as error:
            raise ValueError(f"model {folder}: {error}") from None
        except Exception as error:  # what is of another type may fail anywhere
            raise ValueError(f"model {folder}: {RECORD}: {error}") from error
        return model


def _plain(arrays: dict[str, Any], decimals: int = 17) -> dict[str, Any]:
    """Arrays by name as lists of numbers."""
    return {k: np.asarray(v, float).round(decimals).tolist() for k, v in arrays.items()}


def _synth_record(synth: Synth) -> dict[str, Any]:
    """How a synth is found again, and its settings."""
    kind = type(synth)
    record: dict[str, Any] = {"name": name_of(kind), "sample_rate": synth.sample_rate}
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
    if file is not None:
        record["source"] = {"file": file.path.name, "sha256": file.sha256}
    elif package := package_of(kind):
        record["package"] = package
    return record


def _read_synth(folder: Path, record: dict[str, Any]) -> Synth:
    """The synth of a record: one that is installed, or the saved source."""
    name, source = record["name"], record.get("source")
    if source is None:
        try:
            kind = named_synth(name)
        except KeyError:
            package = record.get("package", "")
            came = f" (it came with the package {package})" if package else ""
            raise _Wrong(f"{unknown('synth', name, synth_names())}{came}") from None
    elif not (folder / SOURCE).is_file():
        raise _Wrong(f"{SOURCE} is missing: it is the code of its synth {name}")
    else:
        file = read_source(folder / SOURCE)
        if file.sha256 != source["sha256"]:
            raise _Wrong(
                f"{SOURCE} is not the code of {name} that it was trained with "
                f"(SHA-256 {file.sha256[:12]}, not {source['sha256'][:12]}): put that "
                "back, or train again with --synth FILE.py:NAME"
            )
        kind = load_synth(file, name)
    settings = record.get("settings", {})
    others = set(settings) - {f.name for f in fields(kind)}
    if others:
        raise _Wrong(
            f"{RECORD}: its settings are not those of {name}: {', '.join(others)}"
        )
    noise = SeededNoise(**record["noise"])
    return kind(sample_rate=record["sample_rate"], noise=noise, **settings)


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


class _Wrong(ValueError):
    """Something in a model's folder is not as it must be."""


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


def _read(folder: Path) -> Model:
    if not folder.is_dir():
        raise _Wrong("no such folder")
    record = _read_record(folder / RECORD)
    if PARTS in record:
        return _read_choice(folder, record)
    try:
        specs = ParamSet.from_table(record["specs"])
        made = record["synth"]
        synth = _read_synth(folder, made)
        content = {"preset": record["preset"], "damping": record["damping"]}
        preset = parse_preset(content, specs)
        heard = dict(record["features"])
        names = tuple(heard.pop("names"))
        features = OnsetFeatures(**heard)
        size: dict[str, Any] = dict(record["mapping"])
        size["hidden"] = tuple(size["hidden"])
        mapping = Mapping(**size)
        onset = detector_specs(detector_of(record["onset"])).check(record["onset"])
        normaliser = Normaliser(
            *(_vector(record["normaliser"][k], k, len(names)) for k in ("lo", "hi"))
        )
        centre = _vector(record["centre"], "centre", len(names))
        play = {k: PLAY_SPECS.check_one(k, v) for k, v in record["play"].items()}
        training = dict(record["training"])
        examples = _examples(record.get("examples"))
    except _Wrong:
        raise
    except KeyError as error:
        raise _Wrong(f"{RECORD} lacks {error.args[0]!r}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise _Wrong(f"{RECORD}: {error}") from None
    if specs.names != synth.specs.names:
        theirs = set(specs.names) ^ set(synth.specs.names)
        raise _Wrong(
            f"{RECORD}: its parameters are not those of {made['name']} "
            f"(the difference: {', '.join(sorted(theirs)) or 'their order'})"
        )
    if names != features.names:
        raise _Wrong(
            f"{RECORD}: onset features {', '.join(names)}; "
            f"this version measures {', '.join(features.names)}"
        )
    if not bool((normaliser.hi > normaliser.lo).all()):
        raise _Wrong(f"{RECORD}: a range of the normaliser does not rise")
    weights = _read_weights(folder / WEIGHTS, mapping)
    return Model(
        synth,
        specs,
        preset,
        mapping,
        weights,
        features,
        normaliser,
        centre,
        onset,
        play,
        training,
        examples,
    )


def _read_choice(folder: Path, record: dict[str, Any]) -> Model:
    """A choice of models: its parts, and the classifier between them."""
    from jaxsnare.choose import Classifier, StruckFeatures, combined

    try:
        names = [str(name) for name in record[PARTS]]
        if any(Path(name).name != name for name in names):
            raise _Wrong(f"{RECORD}: {PARTS} are not names: {', '.join(names)}")
        parts = {name: Model.load(folder / PARTS / name) for name in names}
        heard = next(iter(parts.values())).features
        size = len(StruckFeatures(heard.sample_rate, heard.window).names)
        stored = record["classifier"]
        count = len(names)
        rows = [_vector(row, "classifier.kernel", count) for row in stored["kernel"]]
        if len(rows) != size:
            raise ValueError(f"classifier.kernel must be {size} rows, got {len(rows)}")
        bounds = [_vector(record["normaliser"][k], k, size) for k in ("lo", "hi")]
        classifier = Classifier(
            np.stack(rows),
            np.asarray(_vector(stored["bias"], "classifier.bias", count)),
            Normaliser(*bounds),
            np.asarray(_vector(record["centre"], "centre", size)),
        )
        hears = detector_specs(detector_of(record["onset"]))
        return combined(
            parts,
            classifier,
            _examples(record.get("examples")),
            hears.check(record["onset"]),
            {k: PLAY_SPECS.check_one(k, v) for k, v in record["play"].items()},
            dict(record["training"]),
        )
    except _Wrong:
        raise
    except KeyError as error:
        raise _Wrong(f"{RECORD} lacks {error.args[0]!r}") from None
    except (TypeError, ValueError, AttributeError, StopIteration) as error:
        raise _Wrong(f"{RECORD}: {error}") from None


def _examples(stored: dict[str, Any] | None) -> Examples:
    """What the gate of a record knows; older models have nothing that it could."""
    if stored is None:
        return no_examples()
    sides = []
    for name in Examples._fields:
        rows = [_vector(row, f"examples.{name}", SIZE) for row in stored[name]]
        if len(rows) > MOST:
            raise ValueError(f"examples.{name} must be at most {MOST}, got {len(rows)}")
        sides.append(np.reshape(rows, (-1, SIZE)).astype(np.float32))
    return Examples(*sides)


def _read_record(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise _Wrong(f"{path.name} is missing")
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _Wrong(f"{path.name} cannot be read ({error})") from None
    found = record.get("format") if isinstance(record, dict) else None
    if found != FORMAT:
        raise _Wrong(
            f"its format is {found!r}, jaxsnare {__version__} reads format {FORMAT}: "
            "train it again, or use the version that wrote it"
        )
    return record


def _vector(values: Any, name: str, length: int) -> Array:
    vector = np.asarray(values, np.float32)
    if vector.shape != (length,) or not np.isfinite(vector).all():
        raise ValueError(f"{name} must be {length} finite numbers, got {values}")
    return jnp.asarray(vector)


def _read_weights(path: Path, mapping: Mapping) -> dict[str, Any]:
    if not path.is_file():
        raise _Wrong(f"{path.name} is missing")
    try:
        # from memory: NumPy leaves a file that is no archive open
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            stored = {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged archive raises errors of every kind
        raise _Wrong(f"{path.name} cannot be read ({error})") from None

    def take(shapes: dict[Any, Any], prefix: str = "") -> dict[str, Any]:
        weights = {}
        for key, expected in shapes.items():
            name = f"{prefix}{key}"
            if isinstance(expected, dict):
                weights[key] = take(expected, f"{name}.")
                continue
            if name not in stored:
                raise _Wrong(f"{path.name} lacks {name!r}")
            value = stored.pop(name)
            if value.shape != expected.shape or value.dtype != expected.dtype:
                raise _Wrong(
                    f"{path.name}: {name} is {value.dtype}{list(value.shape)}, the "
                    f"mapping needs {expected.dtype}{list(expected.shape)}"
                )
            if not np.isfinite(value).all():
                raise _Wrong(f"{path.name}: {name} holds NaN or Inf")
            weights[key] = value
        return weights

    weights = take(mapping.shapes())
    if stored:
        raise _Wrong(f"{path.name} holds more than the mapping: {', '.join(stored)}")
    return weights


def _try_out(model: Model) -> None:
    """Trace its parts: what fits nowhere is found here, and nothing is compiled."""
    try:
        remapper = model.remapper()
    except ValueError as error:
        raise _Wrong(str(error)) from None
    state = jax.eval_shape(remapper.init)
    values = dict.fromkeys(model.specs.names, jax.ShapeDtypeStruct((), jnp.float32))
    silence = jax.ShapeDtypeStruct((SUB_BLOCK,), bool)
    jax.eval_shape(remapper.synth.step, values, state.synth, silence)
    jax.eval_shape(remapper.measure, state.history)
