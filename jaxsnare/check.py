"""The laws that every synth obeys, tried on one and told in a designer's words."""

import math
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsnare.component import SUB_BLOCK
from jaxsnare.features import TargetFeatures
from jaxsnare.synths import Synth, blaming_synth, render
from jaxsnare.synths.contract import explained
from jaxsnare.synths.registry import code_of

RATE = 48_000
LENGTH = 896  # samples over which blocks are compared with the whole
BLOCKS = 7, SUB_BLOCK, 112  # 112: a sub-block and a rest
TRIGGERS = 90, 500
SAME, SAME_GRADIENT = 1e-4, 1e-3  # error by norm: -80 dB, -60 dB
AT_ONCE = 4
QUICK = {"xla_backend_optimization_level": 0}  # for what runs but once
QUIET_DBFS, BLOCK_US, SHOWN = -60.0, 300.0, 4
UNMOVED = 1e-3  # in any feature's unit: no one hears it
TIMED_BLOCKS = 400
FEATURES = len(TargetFeatures(RATE).names)


class Law(NamedTuple):
    """What must hold; why it does not, in words, or nothing."""

    name: str
    words: str = ""

    @property
    def holds(self) -> bool:
        return not self.words


class Check(NamedTuple):
    """What a synth was found to be; arrays are NumPy."""

    synth: Synth
    laws: tuple[Law, ...]
    notes: tuple[str, ...]
    moves: np.ndarray  # [P, 7] target features at the highest value less the lowest
    block_us: float  # the synth's step of SUB_BLOCK samples, median
    times_real_time: float  # of a render of one second
    gradient_ms: float  # of the target features of one hit by all parameters
    audio: np.ndarray  # [T] a hit with the defaults

    @property
    def holds(self) -> bool:
        return all(law.holds for law in self.laws)


def check(
    kind: type[Synth],
    sample_rate: int = RATE,
    progress: Callable[[str], Any] | None = None,
) -> Check:
    """Try all laws on a synth class that `find_synth` gave, at a rate in Hz.

    progress: called with the name of what is tried next.
    """
    with blaming_synth(kind):
        synth = kind(sample_rate=sample_rate)
        count = len(synth.specs)
    tell = progress or (lambda _: None)
    laws = []

    def tried(name: str, law: Callable[[Synth], Any], broken: Any) -> Any:
        """What a law gives; `broken`, and a law that fails, where code raises."""
        tell(name)
        try:
            with redirect_stdout(sys.stderr):
                return law(synth)
        except (Exception, SystemExit) as error:  # whatever the code of a synth raises
            laws.append(Law(name, str(explained(error, code_of(kind)))))
            return broken

    for name, law in LAWS.items():
        words = tried(name, law, None)
        if words is not None:
            laws.append(Law(name, words))
    corners = tried("it runs over its ranges", Corners, None)
    if corners is not None:
        laws += corners.laws
    nothing = np.zeros(sample_rate, np.float32), math.nan, math.nan
    audio, times_real_time, us = tried("it runs for a second", _timed, nothing)
    notes = _notes(audio, us)
    return Check(
        synth,
        tuple(laws),
        (*(corners.notes if corners else ()), *(notes if math.isfinite(us) else ())),
        corners.moves if corners else np.full((count, FEATURES), math.nan),
        us,
        times_real_time,
        corners.gradient_ms if corners else math.nan,
        audio,
    )


def _defaults(synth: Synth) -> Any:
    return synth.specs.pack(synth.specs.defaults)


def _trigger() -> np.ndarray:
    return np.isin(np.arange(LENGTH), TRIGGERS)


def _run(synth: Synth, block: int, values: Any) -> tuple[Any, Any]:
    """Final state and audio of two hits, in blocks of a length."""
    params, trigger = synth.specs.unpack(values), jnp.asarray(_trigger())
    state = synth.init()
    if block == LENGTH:
        return synth.step(params, state, trigger)
    step = partial(synth.step, params)
    state, audio = jax.lax.scan(step, state, trigger.reshape(-1, block))
    return state, audio.reshape(-1)


def _away(got: Any, wanted: Any) -> float:
    """Norm of a difference over the norm of what was wanted."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    size = np.linalg.norm(wanted)
    return float(np.linalg.norm(got - wanted) / size if size else np.abs(got).max())


def _hashable(synth: Synth) -> str:
    twin = replace(synth)
    if synth == twin and hash(synth) == hash(twin):
        return ""
    return (
        "two of the same settings are not equal: settings are numbers, words and "
        "tuples of a @dataclass(frozen=True), and no arrays"
    )


def _silent_before(synth: Synth) -> str:
    values, start = _defaults(synth), synth.voice_init(jnp.float32)
    n = jnp.arange(-SUB_BLOCK, 0, dtype=jnp.int32)
    after, audio = jax.jit(synth.play)(values, start, n, jnp.int32(1))
    if not np.isfinite(audio).all():
        return "the voice is NaN or infinite where n < 0, before the hit"
    if np.any(audio):
        return (
            "the voice sounds where n < 0, before the hit: multiply every sound with "
            "an envelope of n, or jnp.where(n < 0, 0.0, audio)"
        )
    for one, other in zip(jax.tree.leaves(start), jax.tree.leaves(after), strict=True):
        if np.any(np.asarray(one) != np.asarray(other)):
            return (
                "the state moves where n < 0, before the hit: feed filters with what "
                "is silent there, and count from n, not from a state"
            )
    return ""


def _partitions(synth: Synth) -> str:
    values = _defaults(synth)

    def run(block: int) -> Any:
        return jax.jit(partial(_run, synth, block), compiler_options=QUICK)(values)

    state, whole = run(LENGTH)
    for block in BLOCKS:
        state_of_blocks, audio = run(block)
        if _away(audio, whole) > SAME:
            if _away(run(LENGTH)[1], whole) > SAME:
                return (
                    "the same hit sounds other each time it is compiled: random "
                    "numbers come from white(), and what is counted or kept belongs "
                    "into the state"
                )
            first = int(np.argmax(np.abs(audio - whole) > SAME * np.abs(whole).max()))
            return (
                f"in blocks of {block} samples it sounds other than in one, from "
                f"sample {first - TRIGGERS[0]} of the hit on: all that a voice carries "
                "on belongs into its state, and nothing may depend on how many "
                "samples n has"
            )
        pairs = zip(
            jax.tree.leaves(state_of_blocks), jax.tree.leaves(state), strict=True
        )
        if any(_away(one, other) > SAME for one, other in pairs):
            return (
                f"after blocks of {block} samples its state is another than after one: "
                "the state at the end must be that after the last sample"
            )
    return ""


def _gradients(synth: Synth) -> str:
    def weighted(block: int, values: Any) -> Any:
        audio = _run(synth, block, values)[1]
        return jnp.sum(audio * jnp.cos(jnp.arange(LENGTH, dtype=audio.dtype)))

    values = _defaults(synth)
    whole, blocks = (
        jax.jit(jax.grad(partial(weighted, block)), compiler_options=QUICK)(values)
        for block in (LENGTH, BLOCKS[-1])
    )
    if _away(blocks, whole) <= SAME_GRADIENT or not np.isfinite(whole).all():
        return ""  # what is not finite is told by another law
    worst = int(np.argmax(np.abs(np.asarray(blocks - whole))))
    return (
        f"the gradient of {synth.specs.names[worst]} is another in blocks of "
        f"{BLOCKS[-1]} samples than in one: a stop_gradient, or a custom gradient that "
        "leaves out the state"
    )


def _live_is_render(synth: Synth) -> str:
    values = synth.specs.unpack(_defaults(synth))
    count = TRIGGERS[1] - TRIGGERS[0]
    wanted = jax.jit(partial(render, synth, samples=count))(values)
    _, live = jax.jit(synth.step)(values, synth.init(), _trigger())
    same = _away(live[TRIGGERS[0] : TRIGGERS[1]], wanted) <= SAME
    if same or not np.isfinite(wanted).all():
        return ""  # what is not finite is told by another law
    return (
        "a hit in the middle of a block sounds other than a render of it: sounds are "
        "functions of n, the samples since the hit, and not of the place in a block"
    )


def _one_compilation(synth: Synth) -> str:
    traces = []

    @jax.jit
    def step(values, state, trigger):
        traces.append(None)
        return synth.step(synth.specs.unpack(values), state, trigger)

    state, values = synth.init(), _defaults(synth)
    for block in range(3):
        state, _ = step(values * (1.0 + 0.001 * block), state, _trigger()[:SUB_BLOCK])
    if len(traces) == 1:
        return ""
    return (
        f"it was compiled {len(traces)} times for blocks of one length, each a dropout "
        "when played: voice_init must give arrays of the types that voice returns"
    )


LAWS: dict[str, Callable[[Synth], str]] = {
    "its settings make it equal and hashable": _hashable,
    "it is silent before it is hit": _silent_before,
    "blocks of any length sound like one": _partitions,
    "a live hit is its render, sample for sample": _live_is_render,
    "gradients do not depend on blocks": _gradients,
    "one compilation for a block length": _one_compilation,
}


class Corners:
    """A synth at the ends of its ranges: sound, features, gradients, and what moves.

    Row 0 has the defaults, 1 all lowest, 2 all highest; then each parameter alone at
    its lowest, and each alone at its highest, the others at their defaults.
    """

    def __init__(self, synth: Synth) -> None:
        specs = self.specs = synth.specs
        target = TargetFeatures(synth.sample_rate)
        lo, hi, usual = (
            np.array([getattr(s, end) for s in specs], np.float32)
            for end in ("lo", "hi", "default")
        )
        one = np.eye(len(specs), dtype=bool)
        alone = [np.where(one, ends, usual) for ends in (lo, hi)]
        rows = specs.to_unit(jnp.asarray(np.concatenate([[usual, lo, hi], *alone])))

        def heard(unit):
            values = specs.unpack(specs.to_physical(unit))
            audio = render(synth, values, samples=target.samples)
            features = target(audio)
            phase = jnp.cos(jnp.arange(len(audio), dtype=audio.dtype))
            total = jnp.sum(features) + jnp.sum(audio * phase)
            return total, (jnp.isfinite(audio).all(), features)

        compute = jax.jit(
            lambda rows: jax.lax.map(
                jax.grad(heard, has_aux=True), rows, batch_size=AT_ONCE
            )
        )
        gradients, (finite, features) = jax.tree.map(np.asarray, compute(rows))
        before = time.perf_counter()
        jax.block_until_ready(compute(rows))
        self.gradient_ms = 1e3 * (time.perf_counter() - before) / len(rows)
        self._gradients, self._finite = gradients, finite
        self.moves = features[3 + len(specs) :] - features[3 : 3 + len(specs)]

    @property
    def laws(self) -> tuple[Law, Law]:
        broken = ~self._finite
        unlearnt = ~np.isfinite(self._gradients)
        where = [self._place(row) for row in np.flatnonzero(broken).tolist()]
        steep = [
            f"{self._place(row)}: {self._names(unlearnt[row])}"
            for row in np.flatnonzero(unlearnt.any(axis=1)).tolist()
        ]
        return (
            Law("sound is finite over the ranges", _not_finite(SOUND_OF, where)),
            Law(
                "gradients are finite, ends included",
                _not_finite(GRADIENT_OF, steep),
            ),
        )

    @property
    def notes(self) -> list[str]:
        still = np.all(np.abs(self.moves) < UNMOVED, axis=1)
        flat = ~np.any(self._gradients != 0, axis=0) & ~still
        notes = []
        if still.any():
            notes.append(
                f"{self._names(still)}: moves no feature, from one end to the other "
                "with the rest at their defaults"
            )
        if flat.any():
            notes.append(
                f"{self._names(flat)}: is heard, but its gradient is 0 everywhere, and "
                "training cannot move it (a round, a comparison, a whole number?)"
            )
        return notes

    def _names(self, which: np.ndarray) -> str:
        if which.all():
            return "all parameters"
        return ", ".join(np.array(self.specs.names)[which])

    def _place(self, row: int) -> str:
        if row < 3:
            return (DEFAULTS, "with all lowest", "with all highest")[row]
        high, at = divmod(row - 3, len(self.specs))
        spec = list(self.specs)[at]
        end = f"{spec.hi if high else spec.lo:g} {spec.unit}".rstrip()
        return f"with {spec.name} at {end}"


DEFAULTS = "with the defaults"
SOUND_OF = "The sound of a square root, a logarithm, a power or a division"
GRADIENT_OF = "The gradient of a square root, a logarithm, a power or a division"


def _not_finite(what: str, where: list[str]) -> str:
    if not where:
        return ""
    shown = 1 if where[0].startswith(DEFAULTS) else SHOWN  # then nothing else matters
    more = f" and {len(where) - shown} more" if len(where) > shown else ""
    return (
        f"not finite: {'; '.join(where[:shown])}{more}. {what} may be infinite at 0: "
        "dsp.units has safe_sqrt, and jnp.maximum(x, 1e-6) keeps away from 0"
    )


def _rendered(synth: Synth) -> tuple[np.ndarray, float]:
    """A hit of one second, and how much faster than real time it was made."""
    compute = jax.jit(partial(render, synth, seconds=1.0))
    values = synth.specs.unpack(_defaults(synth))
    audio = np.asarray(compute(values))
    return audio, 1e3 / median_ms(compute, values, seconds=0.0)


def _timed(synth: Synth) -> tuple[np.ndarray, float, float]:
    return *_rendered(synth), block_us(synth)


def block_us(synth: Synth) -> float:
    """What the step of SUB_BLOCK samples takes, in microseconds: the median."""
    values = synth.specs.unpack(_defaults(synth))
    step, state = jax.jit(synth.step), synth.init()
    trigger, rest = _trigger()[SUB_BLOCK : 2 * SUB_BLOCK], np.zeros(SUB_BLOCK, bool)
    times = []
    for block in range(TIMED_BLOCKS):
        before = time.perf_counter()
        state, audio = step(values, state, rest if block % 50 else trigger)
        audio.block_until_ready()
        times.append(time.perf_counter() - before)
    return 1e6 * float(np.median(times))


def median_ms(function: Any, *arguments: Any, seconds: float) -> float:
    """Median time of a call in ms, over `seconds` and at least five calls."""
    jax.block_until_ready(function(*arguments))
    times: list[float] = []
    while sum(times) < seconds or len(times) < 5:
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return round(1e3 * float(np.median(times)), 2)


def _notes(audio: np.ndarray, us: float) -> list[str]:
    notes, peak = [], float(np.abs(audio).max())
    if peak < 10 ** (QUIET_DBFS / 20):
        notes.append("with its defaults it is all but silent")
    if peak > 1.0:
        notes.append(
            f"with its defaults it peaks at {20 * np.log10(peak):+.1f} dBFS: above 0 "
            "it is limited when played, and clipped in files"
        )
    if us > BLOCK_US:
        notes.append(
            f"a block of {SUB_BLOCK} samples takes {us:.0f} us of 1333: beside "
            "all else that may be too long on slower machines"
        )
    return notes
