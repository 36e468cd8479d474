"""A trained model: all that playing needs, saved as a folder of JSON and weights."""

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxsnare import __version__
from jaxsnare.component import SUB_BLOCK
from jaxsnare.detector import detector_of, detector_specs
from jaxsnare.features import OnsetFeatures
from jaxsnare.features.normalise import Normaliser
from jaxsnare.gate import DECIMALS, Examples, fit_gate, no_examples
from jaxsnare.knobs import PLAY_SPECS
from jaxsnare.mapping import MapParams, Mapping
from jaxsnare.model_files import (
    FORMAT,
    PARTS,
    RECORD,
    SOURCE,
    WEIGHTS,
    Wrong,
    check_destination,
    ears_record,
    features_record,
    flatten,
    plain,
    put_in_place,
    read_ears,
    read_examples,
    read_record,
    read_synth,
    read_vector,
    read_weights,
    synth_record,
)
from jaxsnare.params import ParamSet, as_params
from jaxsnare.presets import Preset, parse_preset
from jaxsnare.remapper import RemapParams, Remapper, SecondParams
from jaxsnare.synths import Synth, source_of


@dataclass(frozen=True)
class SecondLook:
    """What revises a voice: the same mapping, trained on a longer window."""

    features: OnsetFeatures
    weights: dict[str, Any]
    normaliser: Normaliser
    centre: Array

    @property
    def params(self) -> SecondParams:
        weights = jax.tree.map(jnp.asarray, self.weights)
        return SecondParams(weights, self.normaliser, self.centre)


@dataclass(frozen=True)
class Model:
    """A mapping trained for one drum and one preset, and how it hears and plays.

    `synth` runs at the rate of the model; `specs` are the ranges it was trained with;
    `normaliser` and `centre` (arrays [F]) belong to `features`; `onset` are the
    settings by name of the detector that found the hits, which tell which it was;
    `play` are knobs of PLAY_SPECS that are not at their default (the trim of a
    calibrated microphone); `training` is a record for people;
    `examples` are of the drum's hits and of what else is heard, for the gate; `parts`
    are the models by name between which it chooses, if it does (`choose`); `second`
    revises what it plays a little later.

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
    second: SecondLook | None = None

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
            # whose ranges are those of the training
            None if running_normaliser or not self.second else self.second.features,
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
            jnp.ones(self.mapping.seen),
            jnp.zeros(self.mapping.seen),
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
            self.second and self.second.params,
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
            (new / RECORD).write_text(json.dumps(self._record(), indent=2) + "\n")
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
        second = {"second": self.second.weights} if self.second else {}
        weights = flatten(self.weights | second)
        np.savez(folder / WEIGHTS, allow_pickle=False, **weights)
        file = source_of(type(self.synth))
        if file is not None:
            (folder / SOURCE).write_bytes(file.source)

    def _record(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            "format": FORMAT,
            "versions": {"jaxsnare": __version__, "jax": jax.__version__},
            **ears_record(self.normaliser, self.centre),
            "onset": self.onset,
            "examples": plain(self.examples._asdict(), DECIMALS),
            "play": self.play,
            "training": self.training,
        }
        if self.parts:
            return record | {
                "parts": [name for name, _ in self.parts],
                "classifier": plain(self.weights["classifier"]),
            }
        if self.second:
            record["second"] = {
                **ears_record(self.second.normaliser, self.second.centre),
                "features": features_record(self.second.features),
            }
        return record | {
            "synth": synth_record(self.synth),
            "specs": self.specs.table(),
            "preset": self.preset.values,
            "damping": self.preset.damping,
            "mapping": asdict(self.mapping),
            "features": features_record(self.features),
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
        except Wrong as error:
            raise ValueError(f"model {folder}: {error}") from None
        except Exception as error:  # what is of another type may fail anywhere
            raise ValueError(f"model {folder}: {RECORD}: {error}") from error
        return model


def _read(folder: Path) -> Model:
    if not folder.is_dir():
        raise Wrong("no such folder")
    record = read_record(folder / RECORD)
    if PARTS in record:
        return _read_choice(folder, record)
    try:
        specs = ParamSet.from_table(record["specs"])
        made = record["synth"]
        synth = read_synth(folder, made)
        content = {"preset": record["preset"], "damping": record["damping"]}
        preset = parse_preset(content, specs)
        features, normaliser, centre = read_ears(record)
        again = read_ears(record["second"]) if "second" in record else None
        size: dict[str, Any] = dict(record["mapping"])
        size["hidden"] = tuple(size["hidden"])
        if isinstance(size.get("told"), list):
            size["told"] = tuple(size["told"])
        mapping = Mapping(**size)
        onset = detector_specs(detector_of(record["onset"])).check(record["onset"])
        play = {k: PLAY_SPECS.check_one(k, v) for k, v in record["play"].items()}
        training = dict(record["training"])
        examples = read_examples(record.get("examples"))
    except Wrong:
        raise
    except KeyError as error:
        raise Wrong(f"{RECORD} lacks {error.args[0]!r}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise Wrong(f"{RECORD}: {error}") from None
    if specs.names != synth.specs.names:
        theirs = set(specs.names) ^ set(synth.specs.names)
        raise Wrong(
            f"{RECORD}: its parameters are not those of {made['name']} "
            f"(the difference: {', '.join(sorted(theirs)) or 'their order'})"
        )
    shapes = mapping.shapes()
    more = {} if again is None else {"second": mapping.shapes()}
    weights = read_weights(folder / WEIGHTS, shapes | more)
    second = None
    if again is not None:
        ears, ranges, middle = again
        second = SecondLook(ears, weights.pop("second"), ranges, middle)
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
        second=second,
    )


def _read_choice(folder: Path, record: dict[str, Any]) -> Model:
    """A choice of models: its parts, and the classifier between them."""
    from jaxsnare.choose import Classifier, StruckFeatures, combined

    try:
        names = [str(name) for name in record[PARTS]]
        if any(Path(name).name != name for name in names):
            raise Wrong(f"{RECORD}: {PARTS} are not names: {', '.join(names)}")
        parts = {name: Model.load(folder / PARTS / name) for name in names}
        heard = next(iter(parts.values())).features
        size = len(StruckFeatures(**asdict(heard)).names)
        stored = record["classifier"]
        count = len(names)
        rows = [
            read_vector(row, "classifier.kernel", count) for row in stored["kernel"]
        ]
        if len(rows) != size:
            raise ValueError(f"classifier.kernel must be {size} rows, got {len(rows)}")
        bounds = [read_vector(record["normaliser"][k], k, size) for k in ("lo", "hi")]
        classifier = Classifier(
            np.stack(rows),
            np.asarray(read_vector(stored["bias"], "classifier.bias", count)),
            Normaliser(*bounds),
            np.asarray(read_vector(record["centre"], "centre", size)),
        )
        hears = detector_specs(detector_of(record["onset"]))
        return combined(
            parts,
            classifier,
            read_examples(record.get("examples")),
            hears.check(record["onset"]),
            {k: PLAY_SPECS.check_one(k, v) for k, v in record["play"].items()},
            dict(record["training"]),
        )
    except Wrong:
        raise
    except KeyError as error:
        raise Wrong(f"{RECORD} lacks {error.args[0]!r}") from None
    except (TypeError, ValueError, AttributeError, StopIteration) as error:
        raise Wrong(f"{RECORD}: {error}") from None


def _try_out(model: Model) -> None:
    """Trace its parts: what fits nowhere is found here, and nothing is compiled."""
    try:
        remapper = model.remapper()
    except ValueError as error:
        raise Wrong(str(error)) from None
    state = jax.eval_shape(remapper.init)
    values = dict.fromkeys(model.specs.names, jax.ShapeDtypeStruct((), jnp.float32))
    silence = jax.ShapeDtypeStruct((SUB_BLOCK,), bool)
    jax.eval_shape(remapper.synth.step, values, state.synth, silence)
    window = jax.ShapeDtypeStruct((remapper.window,), jnp.float32)
    jax.eval_shape(remapper.measure, window)
