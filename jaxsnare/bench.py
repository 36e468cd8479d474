"""Benchmarks that print figures: medians of what this machine does."""

import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsnare import __version__, fitting
from jaxsnare.check import block_us, median_ms
from jaxsnare.descent import losses_and_gradients
from jaxsnare.drummer import groove
from jaxsnare.dsp.framing import frames
from jaxsnare.features import TargetFeatures
from jaxsnare.features.normalise import Normaliser
from jaxsnare.knobs import HIT_SPECS
from jaxsnare.live import bench as live_bench
from jaxsnare.model import Model
from jaxsnare.params import unknown
from jaxsnare.performance import remap
from jaxsnare.presets import read_preset, usual_preset
from jaxsnare.proximal import lines
from jaxsnare.recipe import Recipe
from jaxsnare.synths import Synth, find_synth, render, synth_names
from jaxsnare.synths.registry import made_of
from jaxsnare.told import PLACES

RATE = 44_100
BATCHES = (16, 64)
KINDS = ("train", "render", "live")
DEFAULT_SECONDS = 3.0
USUAL = "Snare808"
Kinds = Sequence[type[Synth]]


def run(
    kind: str,
    seconds: float | None = None,
    progress: Callable[[str], Any] | None = None,
    synth: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Run a benchmark: "train", "render" or "live".

    seconds: time to spend measuring each figure (live: length of what is played).
    progress: called with the name of what is measured next. synth: as for `find_synth`
    (None: Snare808, "render": all). options: of "train": batches (hits); of "live":
    blocks (samples), rate (Hz),
    stream (whether to play through the sound device as well).
    Returns plain values; times are medians in ms.
    """
    measures = {"train": _train, "render": _render, "live": _live}
    if kind not in measures:
        raise ValueError(unknown("benchmark", kind, KINDS))
    progress = progress or _say_nothing
    names = [synth] if synth else synth_names() if kind == "render" else [USUAL]
    kinds = [find_synth(name) for name in names]
    figures = measures[kind](seconds or DEFAULT_SECONDS, progress, kinds, **options)
    return {
        "benchmark": kind,
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


def _untrained(kind: type[Synth], recipe: Recipe) -> Model:
    """A synth and a mapping with the weights that a training starts from."""
    synth = made_of(kind, RATE)
    features = recipe.ears(RATE)
    count = len(features.names)
    mapping = recipe.make_mapping(count, len(synth.specs))
    if recipe.targets == "told":
        sounds = PLACES * (1 + recipe.rehearsals)  # of as many hits
        mapping = replace(mapping, told=(sounds, len(recipe.target(RATE).names)))
    return Model(
        synth,
        synth.specs,
        read_preset(usual_preset(synth), synth),
        mapping,
        mapping.init(jax.random.key(0)),
        features,
        Normaliser(jnp.full(count, -60.0), jnp.full(count, 60.0)),
        jnp.full(count, 0.5),
        HIT_SPECS.defaults,
    )


def _train(
    seconds: float,
    progress: Callable[[str], Any],
    kinds: Kinds,
    batches: Sequence[int] = BATCHES,
) -> dict[str, Any]:
    """A training step of mlp + synth + 7 features, and what it is made of."""
    model = _untrained(kinds[0], Recipe.named("published"))
    synth, specs, target = model.synth, model.specs, TargetFeatures(RATE)
    problem = fitting.Problem(synth, specs, model.mapping, target)
    params = model.map_params()._replace(weights=None)
    case = fitting.Case(params, jnp.zeros(7), jnp.ones(7), 5e-4, 20)
    weights, case = jax.tree.map(lambda a: jnp.asarray(a)[None], (model.weights, case))

    def sounds(values):
        return render(synth, specs.unpack(values), samples=target.samples)

    def in_chunks(function):
        several = fitting.at_once()
        return jax.jit(lambda rows: jax.lax.map(function, rows, batch_size=several))

    synth_only, features_only = in_chunks(sounds), in_chunks(target)
    forward = jax.jit(lambda w, e: fitting.mean_losses(problem, w, case, e))
    step = jax.jit(lambda w, e: losses_and_gradients(problem, w, case, e))
    slopes = jax.jit(lambda unit, e: lines(problem, case, e, unit))
    rows = []
    for batch in batches:
        progress(f"training step, batch {batch}")
        rng = np.random.default_rng(0)
        examples = fitting.Examples(
            jnp.asarray(rng.uniform(0, 1, (1, batch, 3)), jnp.float32),
            jnp.broadcast_to(params.preset, (1, batch, len(specs))),
            jnp.asarray(rng.normal(size=(1, batch, 7)), jnp.float32),
            jnp.ones((1, batch), bool),
        )
        unit = jnp.asarray(rng.uniform(0.2, 0.8, (batch, len(specs))), jnp.float32)
        values = specs.to_physical(unit)
        whole = median_ms(step, weights, examples, seconds=seconds)
        ahead = median_ms(forward, weights, examples, seconds=seconds)
        audio = synth_only(values)
        rows.append(
            {
                "batch": batch,
                "step_ms": whole,
                "synth_ms": median_ms(synth_only, values, seconds=seconds),
                "features_ms": median_ms(features_only, audio, seconds=seconds),
                "backward_ms": round(whole - ahead, 2),
                "slopes_ms": median_ms(slopes, unit[None], examples, seconds=seconds),
            }
        )
    progress("the stages of a training step")
    stages = _stages(problem, max(batches), seconds)
    return {"sample_rate": RATE, "steps": rows, "stages": stages}


def _stages(
    problem: fitting.Problem, batch: int, seconds: float
) -> list[dict[str, Any]]:
    """Each stage of a step, with its gradient, beside the least that it must do.

    That is a transform of its frames and back, or its signal read and written once in
    either direction, at the speed that both are measured to take here.
    """
    synth, specs, target = problem.synth, problem.specs, problem.target
    cascade, several = target.cascade, fitting.at_once()
    unit = np.random.default_rng(0).uniform(0.2, 0.8, (batch, len(specs)))
    values = specs.to_physical(jnp.asarray(unit, jnp.float32))

    def timed(function, rows):
        def both(row):
            return jax.value_and_grad(lambda row: jnp.sum(function(row)))(row)

        chunks = jax.jit(lambda rows: jax.lax.map(both, rows, batch_size=several))
        return median_ms(chunks, rows, seconds=seconds)

    def sound(values):
        return render(synth, specs.unpack(values), samples=target.samples)

    def there_and_back(row):
        framed = frames(row, cascade.frame, cascade.hop)
        return jnp.fft.irfft(jnp.fft.rfft(framed), cascade.frame)

    def in_chunks(function):
        return jax.jit(lambda rows: jax.lax.map(function, rows, batch_size=several))

    audio = in_chunks(sound)(values)
    bounds = {
        "transform": median_ms(in_chunks(there_and_back), audio, seconds=seconds),
        "memory": 2 * median_ms(in_chunks(lambda row: row + 1), audio, seconds=seconds),
    }
    measured: list[tuple[str, Callable[[Any], Any], jax.Array, str]]
    measured = [("synth", sound, values, "memory")]
    for name, feature in cascade.features:
        alone = replace(cascade, features=((name, feature),))
        measured.append(
            (name, alone, audio, "transform" if name != "SPL" else "memory")
        )
    measured.append(("TC", target.temporal, audio, "memory"))
    return [
        {
            "stage": name,
            "batch": batch,
            "ms": timed(function, rows),
            "bound_ms": round(bounds[bound], 2),
            "bound": bound,
        }
        for name, function, rows, bound in measured
    ]


def _render(
    seconds: float, progress: Callable[[str], Any], kinds: Kinds
) -> dict[str, Any]:
    """One second of every synth, and the whole chain, against real time."""
    rows = []
    for kind in kinds:
        progress(f"render {kind.__name__}")
        synth = made_of(kind, RATE)
        values = synth.specs.pack(synth.specs.defaults)

        def one(values, synth=synth):
            return render(synth, synth.specs.unpack(values), seconds=1.0)

        batch = 16
        many = jnp.broadcast_to(values, (batch, len(values)))
        alone = median_ms(jax.jit(one), values, seconds=seconds)
        together = median_ms(jax.jit(jax.vmap(one)), many, seconds=seconds)
        rows.append(
            {
                "synth": kind.__name__,
                "render_ms": alone,
                "times_real_time": round(1e3 / alone),
                "batch": batch,
                "batch_render_ms": together,
                "batch_times_real_time": round(1e3 * batch / together),
                "block_us": round(block_us(synth), 1),
            }
        )
    progress("remap")
    audio, model = groove(RATE).audio, _untrained(kinds[0], Recipe())
    remapper, params = model.remapper(), model.params()
    taken = median_ms(lambda: remap(remapper, params, audio).audio, seconds=seconds)
    lasts = 1e3 * len(audio) / RATE
    return {
        "sample_rate": RATE,
        "renders": rows,
        "remap_times_real_time": round(lasts / taken),
    }


def _live(
    seconds: float, progress: Callable[[str], Any], kinds: Kinds, **options: Any
) -> dict[str, Any]:
    model = _untrained(kinds[0], Recipe())
    return live_bench.measure(model, seconds, progress, **options)


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
    words = []
    for row in result.get("steps", ()):
        words.append(
            f"training step, batch {row['batch']:3d}: {row['step_ms']:8.1f} ms   "
            f"(forward: synth {row['synth_ms']:.1f}, features {row['features_ms']:.1f};"
            f" backward {row['backward_ms']:.1f}); "
            f"slopes of all features {row['slopes_ms']:.1f}"
        )
    for row in result.get("stages", ()):
        words.append(
            f"  {row['stage']:5s} with its gradient, batch {row['batch']}: "
            f"{row['ms']:7.1f} ms; {row['bound']} alone: {row['bound_ms']:.1f} ms"
        )
    for row in result.get("renders", ()):
        words.append(
            f"{row['synth']:16s} {row['render_ms']:7.2f} ms for 1 s "
            f"({row['times_real_time']}x real time); {row['batch']} at once: "
            f"{row['batch_times_real_time']}x; a block of 64 {row['block_us']:5.1f} us"
        )
    for row in result.get("blocks", ()):
        words.append(
            f"live step, block {row['block']:4d}: median {row['p50_us']:7.1f} us "
            f"({100 * row['p50_share']:.1f} % of {row['budget_us']:.0f}), 99 % under "
            f"{row['p99_us']:.1f}, 99.9 % under {row['p99.9_us']:.1f} "
            f"({100 * row['p99.9_share']:.0f} %), longest {row['max_us']:.1f}"
        )
    for row in result.get("streams", ()):
        trip = row["round_trip_samples"]
        words.append(
            f"through the device, block {row['block']:4d}: {row['lost_blocks']} of "
            f"{row['blocks']} blocks lost, median {row['p50_us']:.1f} us; round trip "
            + (f"{trip} samples" if trip is not None else "not heard (no way back)")
        )
    if "start_s" in result:
        start = result["start_s"]
        words.append(
            f"start to first block: {start['cold']} s, with the compile cache "
            f"{start['cached']} s"
        )
    if "remap_times_real_time" in result:
        words.append(f"remap of a groove {result['remap_times_real_time']}x real time")
    about = result["machine"]
    words.append(
        f"peak memory {result['peak_memory_mb']} MB; {about['cores']} cores, "
        f"{about['device']}, Python {about['python']}, jax {about['jax']}, "
        f"jaxsnare {about['jaxsnare']}"
    )
    return "\n".join(words)


def _say_nothing(name: str) -> None:
    pass
