"""Models for other programs: TorchScript for the TorchDrum plugin, and StableHLO."""

import argparse
import io
import json
import warnings
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.export
import numpy as np

from jaxsnare.features import OnsetFeatures
from jaxsnare.files import write_whole
from jaxsnare.live.engine import FACTS, Engine
from jaxsnare.model import Model
from jaxsnare.synths import Snare808
from jaxsnare.terminal import Answer, check_file

SUFFIXES = {"torchscript": ".pt", "stablehlo": ".npz"}
"""Of the files, by format."""

PLUGIN_WINDOW = 256
"""Samples of which the plugin measures its onset features."""


def save_torchscript(model: Model, path: str | Path) -> None:
    """Write the mapping of a model as a file that the TorchDrum plugin loads.

    The file maps onset features [1, 3], normalised to 0..1, to [2, 14]: the damped
    modulation, clipped to -1..1, and the preset in the unit interval. The features of
    the reference hit, from which the differences count, are subtracted inside. It is
    the first look of a model that looks twice: the plugin knows no second.

    Raises ValueError for a model that the plugin does not know (it plays Snare808,
    from the onset features of 256 samples), for a path that cannot be written, and
    where PyTorch is not installed.
    """
    if model.specs.names != Snare808(model.sample_rate).specs.names:
        raise ValueError(
            "the plugin plays Snare808 and knows no other parameters; this model is of "
            f"{type(model.synth).__name__}"
        )
    heard = model.features
    known = OnsetFeatures(heard.sample_rate, PLUGIN_WINDOW)
    if (heard.window, heard.names) != (known.window, known.names):
        raise ValueError(
            f"the plugin measures {', '.join(known.names)} of {known.window} samples; "
            f"this model was trained on {', '.join(heard.names)} of {heard.window}: "
            f"train one with --ear published --window {known.window}"
        )
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError(
            "TorchScript is written by PyTorch, which is not installed: "
            'pip install "jaxsnare[torchdrum]"'
        ) from None
    from jaxsnare.torchdrum import plugin_mapping

    file = io.BytesIO()
    with warnings.catch_warnings():  # deprecated, but what the plugin reads
        for category in (FutureWarning, DeprecationWarning):
            warnings.simplefilter("ignore", category)
        torch.jit.save(torch.jit.script(plugin_mapping(model)), file)
    write_whole(Path(path), file.getbuffer())


def save_stablehlo(model: Model, path: str | Path, block: int = 64) -> None:
    """Write the whole live step as StableHLO (`jax.export`), for a block length.

    The file is an archive of NumPy arrays: `program`, the serialized function
    `step(params, state, x[block]) -> (state, out)`; `params` and `state_0`, `state_1`,
    ..., what it starts with; `record`, JSON that tells rate, block, where each knob
    lies in `params` and each signal in `out`. `load_stablehlo` reads it.

    Raises ValueError for a block length that no engine plays, and where flatbuffers
    is not installed.
    """
    if find_spec("flatbuffers") is None:
        raise ValueError(
            "StableHLO is written with flatbuffers, which is not installed: "
            'pip install "jaxsnare[stablehlo]"'
        )
    engine = Engine(model.remapper(), model.params(), block)
    start = engine.vector, engine.start, np.zeros(block, np.float32)
    program = jax.export.export(jax.jit(engine.step))(*start)
    places = engine.index
    synth = FACTS + block
    record = {
        "sample_rate": model.sample_rate,
        "block": block,
        "params": {k: int(v) for k, v in (places.play | places.onset).items()},
        "out": {"audio": [FACTS, synth], "synth": [synth, synth + block]},
    }
    texts = {"program": program.serialize(), "record": json.dumps(record).encode()}
    arrays = {
        "params": engine.vector,
        **{name: np.frombuffer(text, np.uint8) for name, text in texts.items()},
        **{f"state_{k}": np.asarray(v) for k, v in enumerate(engine.start)},
    }
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    write_whole(Path(path), file.getbuffer())


class Exported(NamedTuple):
    """A live step read from StableHLO."""

    step: Callable[..., Any]  # (params, state, x[block]) -> (state, out)
    params: np.ndarray
    state: tuple[np.ndarray, ...]
    record: dict[str, Any]


def load_stablehlo(path: str | Path) -> Exported:
    """Read what `save_stablehlo` wrote. ValueError for any other file."""
    try:
        with np.load(path) as arrays:
            program = jax.export.deserialize(bytearray(arrays["program"].tobytes()))
            record = json.loads(arrays["record"].tobytes())
            count = sum(name.startswith("state_") for name in arrays.files)
            state = tuple(arrays[f"state_{k}"] for k in range(count))
            return Exported(program.call, arrays["params"], state, record)
    except (KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: is no exported live step: {error}") from None


def run_export(args: argparse.Namespace) -> Answer:
    """The command: one file, whole or not at all."""
    output: Path = args.output
    check_file(output, args.overwrite, (SUFFIXES[args.format],))
    model = Model.load(args.model)
    if args.format == "torchscript":
        save_torchscript(model, output)
        what = "the mapping, for the TorchDrum plugin"
    else:
        save_stablehlo(model, output, args.block)
        what = f"the live step for {args.block} samples at {model.sample_rate} Hz"
    size = output.stat().st_size
    data = {"output": str(output), "format": args.format, "bytes": size}
    return Answer(data, f"{output}: {what}, {size / 1024:.0f} KiB")
