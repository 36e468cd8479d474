"""Benchmarks that print figures: medians of what this machine does."""

import os
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsnare import __version__, train
from jaxsnare.drummer import groove
from jaxsnare.features import OnsetFeatures, TargetFeatures
from jaxsnare.features.normalise import Normaliser
from jaxsnare.mapping import make_mapping
from jaxsnare.model import Model
from jaxsnare.onset import ONSET_SPECS
from jaxsnare.params import unknown
from jaxsnare.presets import read_preset
from jaxsnare.remap import remap
from jaxsnare.synths import SYNTHS, Snare808, render

RATE = 44_100
BATCHES = (16, 64)
KINDS = ("train", "render")
DEFAULT_SECONDS = 3.0


def run(
    kind: str,
    seconds: float | None = None,
    progress: Callable[[str], Any] | None = None,
) -> dict[str, Any]:
    """Run a benchmark: "train" or "render".

    seconds: time to spend measuring each figure. progress: called with the name of
    what is measured next. Returns plain values; times are medians in ms.
    """
    measures = {"train": _train, "render": _render}
    if kind not in measures:
        raise ValueError(unknown("benchmark", kind, KINDS))
    figures = measures[kind](seconds or DEFAULT_SECONDS, progress or _say_nothing)
    return {
        "benchmark": kind,
        "sample_rate": RATE,
        **figures,
        "peak_memory_mb": round(_peak_memory_mb()),
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    """What ran: processor, cores, device and versions."""
    return {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "device": str(jax.devices()[0].device_kind),
        "python": platform.python_version(),
        "jaxsnare": __version__,
        **{name: version(name) for name in ("jax", "jaxlib", "flax")},
    }


def median_ms(function: Any, *arguments: Any, seconds: float) -> float:
    """Median time of a call in ms, over `seconds` and at least five calls."""
    jax.block_until_ready(function(*arguments))
    times: list[float] = []
    while sum(times) < seconds or len(times) < 5:
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return round(1e3 * float(np.median(times)), 2)


def _untrained() -> Model:
    """mlp + Snare808 with the weights that a training starts from."""
    synth = Snare808(sample_rate=RATE)
    features = OnsetFeatures(RATE)
    mapping = make_mapping("mlp", len(features.names), len(synth.specs))
    return Model(
        synth,
        synth.specs,
        read_preset("808_snare_1", synth),
        mapping,
        mapping.init(jax.random.key(0)),
        features,
        Normaliser(jnp.array([-60.0, 60.0, -40.0]), jnp.array([0.0, 120.0, 0.0])),
        jnp.full(3, 0.5),
        ONSET_SPECS.defaults,
    )


def _train(seconds: float, progress: Callable[[str], Any]) -> dict[str, Any]:
    """A training step of mlp + Snare808 + 7 features, and what it is made of."""
    model = _untrained()
    synth, specs, target = model.synth, model.specs, TargetFeatures(RATE)
    problem = train.Problem(synth, specs, model.mapping, target)
    weights = model.weights
    fixed = (model.map_params()._replace(weights=None), jnp.zeros(7), jnp.ones(7))

    def sounds(values):
        return render(synth, specs.unpack(values), samples=target.samples)

    def in_chunks(function):
        return jax.jit(
            lambda rows: jax.lax.map(function, rows, batch_size=train.AT_ONCE)
        )

    synth_only, features_only = in_chunks(sounds), in_chunks(target)
    forward = jax.jit(lambda w, e: train.mean_loss(problem, w, fixed, e))
    step = jax.jit(
        lambda w, e, used: train.loss_and_gradient(problem, w, fixed, e, used)
    )
    rows = []
    for batch in BATCHES:
        progress(f"training step, batch {batch}")
        rng = np.random.default_rng(0)
        examples = train.Examples(
            jnp.asarray(rng.uniform(0, 1, (batch, 3)), jnp.float32),
            jnp.asarray(rng.normal(size=(batch, 7)), jnp.float32),
        )
        unit = jnp.asarray(rng.uniform(0.2, 0.8, (batch, len(specs))), jnp.float32)
        values = specs.to_physical(unit)
        used = jnp.ones(batch, bool)
        whole = median_ms(step, weights, examples, used, seconds=seconds)
        ahead = median_ms(forward, weights, examples, seconds=seconds)
        audio = synth_only(values)
        rows.append(
            {
                "batch": batch,
                "step_ms": whole,
                "synth_ms": median_ms(synth_only, values, seconds=seconds),
                "features_ms": median_ms(features_only, audio, seconds=seconds),
                "backward_ms": round(whole - ahead, 2),
            }
        )
    return {"steps": rows}


def _render(seconds: float, progress: Callable[[str], Any]) -> dict[str, Any]:
    """One second of every synth, and the whole chain, against real time."""
    rows = []
    for name, kind in SYNTHS.items():
        progress(f"render {name}")
        synth = kind(sample_rate=RATE)
        values = synth.specs.pack(synth.specs.defaults)

        def one(values, synth=synth):
            return render(synth, synth.specs.unpack(values), seconds=1.0)

        batch = 16
        many = jnp.broadcast_to(values, (batch, len(values)))
        alone = median_ms(jax.jit(one), values, seconds=seconds)
        together = median_ms(jax.jit(jax.vmap(one)), many, seconds=seconds)
        rows.append(
            {
                "synth": name,
                "render_ms": alone,
                "times_real_time": round(1e3 / alone),
                "batch": batch,
                "batch_render_ms": together,
                "batch_times_real_time": round(1e3 * batch / together),
            }
        )
    progress("remap")
    audio, model = groove(RATE).audio, _untrained()
    remapper, params = model.remapper(), model.params()
    taken = median_ms(lambda: remap(remapper, params, audio).audio, seconds=seconds)
    lasts = 1e3 * len(audio) / RATE
    return {"renders": rows, "remap_times_real_time": round(lasts / taken)}


def _peak_memory_mb() -> float:
    """Most memory this process has held, in MB."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def text(result: dict[str, Any]) -> str:
    """A benchmark's result for people."""
    lines = []
    for row in result.get("steps", ()):
        lines.append(
            f"training step, batch {row['batch']:3d}: {row['step_ms']:8.1f} ms   "
            f"(forward: synth {row['synth_ms']:.1f}, features {row['features_ms']:.1f};"
            f" backward {row['backward_ms']:.1f})"
        )
    for row in result.get("renders", ()):
        lines.append(
            f"{row['synth']:16s} {row['render_ms']:7.2f} ms for 1 s "
            f"({row['times_real_time']}x real time); {row['batch']} at once: "
            f"{row['batch_times_real_time']}x"
        )
    if "remap_times_real_time" in result:
        lines.append(f"remap of a groove {result['remap_times_real_time']}x real time")
    about = result["machine"]
    lines.append(
        f"peak memory {result['peak_memory_mb']} MB; {about['cores']} cores, "
        f"{about['device']}, Python {about['python']}, jax {about['jax']}, "
        f"jaxsnare {about['jaxsnare']}"
    )
    return "\n".join(lines)


def _say_nothing(name: str) -> None:
    pass
