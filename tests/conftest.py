"""Strict numerics for every test, and where the shared data lies."""

import importlib.util
import os
import platform
import signal
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import soundfile
from fake_sound import api as api
from fake_sound import sound as sound

ROOT = Path(__file__).resolve().parents[1]

# Half of the time goes into compiling: what one run compiled serves the next, and the
# processes that tests start. By machine: what is compiled may not run on another.
CACHE = ROOT / ".pytest_cache" / (platform.node() or "local")
for setting, value in {
    "jax_compilation_cache_dir": str(CACHE),
    "jax_persistent_cache_min_compile_time_secs": 0.2,
}.items():
    os.environ[setting.upper()] = str(value)
    jax.config.update(setting, value)
# Background jobs ignore Ctrl-C, and so would the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


def find_shared() -> Path | None:
    """The folder with recordings and golden data, which is not part of the project."""
    given = os.environ.get("JAXSNARE_SHARED")
    places = [Path(given)] if given else [ROOT / "shared", ROOT.parent / "shared"]
    return next((p for p in places if (p / "golden").is_dir()), None)


@pytest.fixture(scope="session")
def script():
    """script("docs/sounds.py"): a script of the repository as a module."""

    def load(name: str) -> Any:
        spec = importlib.util.spec_from_file_location(Path(name).stem, ROOT / name)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def shared() -> Path:
    path = find_shared()
    if path is None:
        pytest.skip("no shared data: set JAXSNARE_SHARED to the folder that holds it")
    return path


@pytest.fixture(scope="session")
def golden(shared):
    """Load one golden file: golden("snare808")["noise"]."""
    return lambda name: np.load(shared / "golden" / f"{name}.npz")


@pytest.fixture(scope="session")
def performance(shared):
    """A recording at 44.1 kHz by drum and kind: performance("fs_14x05_maple__roll")."""
    folder = shared / "data" / "snare" / "performances"

    @cache
    def load(name: str) -> np.ndarray:
        return soundfile.read(folder / f"{name}.flac", dtype="float32")[0]

    return load


@pytest.fixture
def x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def error_db():
    """RMS error over RMS of the reference, in dB: error_db(value, reference)."""

    def measure(value, reference) -> float:
        value, reference = np.asarray(value, float), np.asarray(reference, float)
        assert value.shape == reference.shape
        rms = np.sqrt(np.mean(reference**2))
        error = np.sqrt(np.mean((value - reference) ** 2))
        return float(20 * np.log10(error / max(rms, 1e-30) + 1e-30))

    return measure


@pytest.fixture(scope="session")
def random_model():
    """random_model(seed=0, hidden=(32,), rate=48_000): a snare that no one trained.

    second_look: samples of its longer window, if it has one. told: hits of a
    regression from banded onset features, which are at random, too.
    """
    import jax.numpy as jnp

    from jaxsnare.features import OnsetFeatures
    from jaxsnare.features.normalise import Normaliser
    from jaxsnare.gate import SIZE, Examples
    from jaxsnare.knobs import HIT_SPECS
    from jaxsnare.mapping import Mapping
    from jaxsnare.model import Model, SecondLook
    from jaxsnare.presets import read_preset
    from jaxsnare.recipe import EARS
    from jaxsnare.synths import Snare808

    def make(
        seed: int = 0,
        hidden: tuple[int, ...] = (32,),
        rate: int = 48_000,
        init_std: float = 0.05,
        second_look: int = 0,
        told: int = 0,
    ) -> Model:
        synth = Snare808(rate)
        sides = np.random.default_rng(0).normal(-15, 9, (2, 30, SIZE)).round(2)
        hits, others = sides.astype(np.float32)
        ears = OnsetFeatures(rate, 256, EARS["bands"] if told else ())
        count = len(ears.names)
        mapping = Mapping(count, len(synth.specs), hidden, init_std)
        mapping = replace(mapping, told=(told, 7) if told else None)
        lo, hi = [-50.0, 60, -60, *[-70.0] * 6], [0.0, 130, 0, *[0.0] * 6]
        ranges = Normaliser(*(jnp.array(side[:count]) for side in (lo, hi)))
        rng = np.random.default_rng(seed)

        def init(seed):
            weights = mapping.init(jax.random.key(seed))
            if told:
                weights["told"] = {
                    name: rng.normal(0, 0.3, part.shape).astype(np.float32)
                    for name, part in weights["told"].items()
                }
                weights["told"]["rate"] = -np.ones(7, np.float32)
            return weights

        again = None
        if second_look:
            longer = replace(ears, window=second_look)
            again = SecondLook(longer, init(seed + 1), ranges, jnp.full(count, 0.5))
        return Model(
            synth,
            synth.specs,
            read_preset("808_snare_1", synth),
            mapping,
            init(seed),
            ears,
            ranges,
            jnp.full(count, 0.5),
            dict(HIT_SPECS.defaults),
            examples=Examples(hits, others),
            second=again,
        )

    return make
