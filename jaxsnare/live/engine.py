"""The remap step compiled for one block length, ready to play; no audio device here."""

import copy
import gc
import operator
import os
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import serialize_executable
from numpy.typing import NDArray

from jaxsnare.component import SUB_BLOCK
from jaxsnare.remapper import RemapOut, RemapParams, Remapper, RemapState

MAX_BLOCK = 8192
WARM_UP_BLOCKS = 200
ONE_FUNCTION_BYTES = 1 << 24
IN_THE_LOOP = "while-loop-invariant-code-motion"
"""A pass of XLA that would take what is the same in each turn out of the loop."""
SWITCH_S = 0.0005


def settle() -> None:
    """What a process that plays sets before JAX first computes.

    A step is hundreds of small operations. By default XLA dispatches them one by one,
    and hands some to other threads, which a device's callback then waits for. Here it
    computes on the CPU, in the calling thread, and a loop of less than
    ONE_FUNCTION_BYTES - as which the engine compiles its step, with all that is in it
    - as one function.
    Python's other threads give way to the callback within SWITCH_S, not 5 ms.
    """
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    os.environ["PJRT_NPROC"] = "1"
    option = f"xla_cpu_small_while_loop_byte_threshold={ONE_FUNCTION_BYTES}"
    flags = os.environ.get("XLA_FLAGS", ""), f"--xla_backend_extra_options={option}"
    os.environ["XLA_FLAGS"] = " ".join(flags)
    sys.setswitchinterval(SWITCH_S)


class Packing:
    """A pytree of arrays as one vector per dtype: each leaf costs at the jit boundary.

    >>> packing = Packing({"a": jnp.zeros(2), "b": jnp.ones(())})
    >>> packing.pack({"a": jnp.zeros(2), "b": jnp.ones(())})
    (Array([0., 0., 1.], dtype=float32),)
    """

    def __init__(self, example: Any) -> None:
        leaves, self.structure = jax.tree.flatten(example)
        self.leaves = [(leaf.dtype, leaf.shape) for leaf in leaves]
        self.dtypes = sorted({leaf.dtype for leaf in leaves}, key=str)

    def pack(self, tree: Any, xp: Any = jnp) -> tuple[Any, ...]:
        """The vectors of a tree; xp: numpy or jax.numpy."""
        leaves = jax.tree.leaves(tree)
        return tuple(
            xp.concatenate([xp.ravel(leaf) for leaf in leaves if leaf.dtype == dtype])
            for dtype in self.dtypes
        )

    def unpack(self, vectors: tuple[Any, ...]) -> Any:
        """The tree of the vectors."""
        at = dict.fromkeys(self.dtypes, 0)
        leaves = []
        for dtype, shape in self.leaves:
            size, start = int(np.prod(shape)), at[dtype]
            vector = vectors[self.dtypes.index(dtype)]
            leaves.append(vector[start : start + size].reshape(shape))
            at[dtype] += size
        return jax.tree.unflatten(self.structure, leaves)


class Names(NamedTuple):
    """Of the numbers of a hit."""

    features: tuple[str, ...]
    parameters: tuple[str, ...]


class Hit(NamedTuple):
    """A voice that started."""

    sample: int  # since the start of the stream
    features: NDArray[np.float32]  # what the mapping saw
    modulation: NDArray[np.float32]
    values: NDArray[np.float32]  # physical units
    level_db: float  # as measured
    names: Names
    zone: int = 0  # of `Zones`, in which it was heard


class Shape(NamedTuple):
    """What is known of an engine before it is compiled."""

    remapper: Remapper
    block: int


class Played(NamedTuple):
    """What a block became; the arrays are views that the next block leaves alone."""

    audio: NDArray[np.float32]  # [T] what is heard
    synth: NDArray[np.float32]  # [T] the synth alone
    input: NDArray[np.float32]  # [T] what was played on, silence where it was refused
    level_db: float  # highest detection signal in the block
    onsets: int  # onsets detected in the block
    hits: tuple[Hit, ...]  # voices started in the block


FACTS = 5


def _flat(x: Any, refused: Any, out: RemapOut) -> Any:
    """A block's outputs as one vector: one array crosses the boundary, not fourteen.

    Facts, audio, synth, a row for each sub-block's hit, triggers.
    """
    signals, hits, level_db = out
    rows = [*hits, level_db[:, None]]
    rows = jnp.concatenate(rows, axis=-1)
    sound = jnp.concatenate([signals.audio, signals.synth, jnp.ravel(rows)])
    facts = [
        refused,
        ~jnp.isfinite(sound).all(),
        jnp.max(signals.level),
        signals.onset.sum(),
        signals.trigger.sum(),
    ]
    facts = jnp.stack([jnp.asarray(fact, x.dtype) for fact in facts])
    return jnp.concatenate([facts, sound, signals.trigger.astype(x.dtype)])


class Engine:
    """Plays a model block by block: `process(block) -> Played`.

    The step is compiled ahead of time, so that a wrong shape or type is refused and
    never recompiled; or read from the `program` of another process's engine. Params
    travel as one vector that may be replaced at any time from another thread
    (`vector`): a block sees the old one or the new one.
    """

    def __init__(
        self,
        remapper: Remapper,
        params: RemapParams,
        block: int,
        program: bytes | None = None,
    ) -> None:
        if not 1 <= block <= MAX_BLOCK:
            raise ValueError(
                f"block is {block} samples, allowed is 1..{MAX_BLOCK} samples"
            )
        self.remapper = remapper
        self.block = block
        state = remapper.init()
        self.packing = Packing(params)
        if self.packing.dtypes != [np.dtype(np.float32)]:
            raise TypeError(f"params must be float32, got {self.packing.dtypes}")
        self._state_packing = Packing(state)
        self.start = self._state_packing.pack(state)
        self.vector = self.pack(params)
        self._names = Names(remapper.seen_names, remapper.specs.names)
        features, values = map(len, self._names)
        self._rows = -(-block // SUB_BLOCK), features + 2 * values + 1
        self._cuts = features, features + values
        # an argument: a loop that the compiler knows to be taken once is no loop
        self._once = jnp.int32(1)
        self._step = self._compile() if program is None else self._read(program)
        self.bad_input = self.bad_output = 0
        self.reset()

    def twin(self, params: RemapParams) -> "Engine":
        """An engine of its own, at its start, that shares what was compiled."""
        twin = copy.copy(self)
        twin.vector = twin.pack(params)
        twin.bad_input = twin.bad_output = 0
        twin.reset()
        return twin

    @property
    def vector(self) -> NDArray[np.float32]:
        """The params as packed; assigning replaces them from the next block on."""
        return self._vector

    @vector.setter
    def vector(self, vector: NDArray[np.float32]) -> None:
        # here and not in the callback, which would copy them for every block
        self._placed = jnp.array(vector)
        self._vector = vector

    def pack(self, params: RemapParams) -> NDArray[np.float32]:
        """Params as the vector that a block reads."""
        (vector,) = self.packing.pack(jax.tree.map(np.asarray, params), np)
        return vector

    @property
    def index(self) -> RemapParams:
        """Where each param lies in the vector: the structure of params, of integers."""
        return self.packing.unpack((np.arange(len(self.vector)),))

    @property
    def _arguments(self) -> Any:
        return self._once, self._placed, self.start, np.zeros(self.block, np.float32)

    def step(self, vector: Any, state: Any, x: Any) -> tuple[Any, Any]:
        """What is compiled: one block, with params and state packed as `start` is."""
        refused = ~jnp.isfinite(x).all()
        x = jnp.where(refused, 0.0, x)
        params = self.packing.unpack((vector,))
        state, out = self.remapper.step(params, self._state_packing.unpack(state), x)
        return self._state_packing.pack(state), _flat(x, refused, out)

    def _compile(self) -> Any:
        def loop(once, vector, state, x):
            """The step as a loop, taken once: see `settle`."""
            size = FACTS + 3 * self.block + np.prod(self._rows)
            start = state, jnp.zeros(size, x.dtype)
            return jax.lax.fori_loop(
                0, once, lambda _, carry: self.step(vector, carry[0], x), start
            )

        lowered = jax.jit(loop, donate_argnums=2).lower(*self._arguments)
        return lowered.compile({"xla_disable_hlo_passes": IN_THE_LOOP})

    @property
    def program(self) -> bytes:
        """The compiled step, for an engine of the same shapes on this machine."""
        return serialize_executable.serialize(self._step)[0]

    def _read(self, program: bytes) -> Any:
        arguments = jax.tree.structure((self._arguments, {}))
        results = jax.tree.structure((self.start, 0))
        return serialize_executable.deserialize_and_load(program, arguments, results)

    @property
    def hlo(self) -> str:
        """The compiled step as XLA writes it."""
        return self._step.as_text()

    def reset(self) -> None:
        """Back to before the first sample."""
        self.forget()
        self.samples = 0

    def forget(self) -> None:
        """Back to silence; the clock goes on."""
        self._state = tuple(jnp.copy(v) for v in self.start)
        self._stale_ranges = False

    def take_over(self, other: "Engine") -> None:
        """Go on where another engine is: what it heard, and the voices still due.

        Its sounding voice stays with it. Call it between blocks.
        """
        mine, theirs = self._unpacked(self.start), other._unpacked(other._state)
        kept = min(len(mine.history), len(theirs.history))
        history = mine.history.copy()
        history[len(history) - kept :] = theirs.history[len(theirs.history) - kept :]

        def alike(field: str) -> Any:
            """Theirs, if it fits."""
            ours, other = getattr(mine, field), getattr(theirs, field)
            shapes = (jax.tree.map(np.shape, tree) for tree in (ours, other))
            structures = map(jax.tree.structure, (ours, other))
            same = len(set(structures)) == 1 and operator.eq(*shapes)
            return other if same else ours

        same = {name: alike(name) for name in ("detector", "due", "running", "knobs")}
        state = mine._replace(history=history, **same)
        self._state = self._state_packing.pack(state, np)
        self.samples = other.samples

    def _unpacked(self, state: Any) -> RemapState:
        """A packed state as NumPy arrays."""
        return self._state_packing.unpack(tuple(np.asarray(v) for v in state))

    def forget_ranges(self) -> None:
        """Let the running normaliser start afresh at the next block; any thread."""
        self._stale_ranges = True

    def _fresh_ranges(self) -> None:
        running = self._unpacked(self.start).running
        state = self._unpacked(self._state)._replace(running=running)
        self._state = self._state_packing.pack(state, np)
        self._stale_ranges = False

    def warm_up(self) -> None:
        """Play some blocks and settle the garbage collector, then start afresh."""
        rng = np.random.default_rng(0)
        for _ in range(WARM_UP_BLOCKS):
            self.process(rng.uniform(-1, 1, self.block).astype(np.float32))
        self.bad_input = self.bad_output = 0
        self.reset()
        gc.collect()
        gc.freeze()

    def process(self, x: NDArray[np.float32]) -> Played:
        """The next block. Non-finite input counts as silence, and is counted.

        Raises TypeError for anything but float32 of the block's length.
        """
        if x.dtype != np.float32 or x.shape != (self.block,):
            raise TypeError(
                f"a block is float32[{self.block}], got {x.dtype}{list(x.shape)}"
            )
        if self._stale_ranges:
            self._fresh_ranges()
        self._state, out = self._step(self._once, self._placed, self._state, x)
        vector = np.asarray(out)
        refused, broken, level_db, onsets, triggers = vector[:FACTS].tolist()
        if refused:
            self.bad_input += 1
            x = np.zeros(self.block, np.float32)
        if broken:
            self.bad_output += 1
            vector = np.zeros_like(vector)
            level_db = onsets = triggers = 0.0
            self.forget()
        audio, synth, rest = FACTS, FACTS + self.block, FACTS + 2 * self.block
        played = Played(
            vector[audio:synth],
            vector[synth:rest],
            x,
            level_db,
            int(onsets),
            self._hits(vector[rest:]) if triggers else (),
        )
        self.samples += self.block
        return played

    def _hits(self, vector: NDArray[np.float32]) -> tuple[Hit, ...]:
        """The voices that started, from the last two parts of `_flat`."""
        rows = vector[: -self.block].reshape(self._rows)
        first, second = self._cuts
        hits = []
        for start in np.flatnonzero(vector[-self.block :]).tolist():
            row = rows[start // SUB_BLOCK]
            parts = row[:first], row[first:second], row[second:-1], float(row[-1])
            hits.append(Hit(self.samples + start, *parts, self._names))
        return tuple(hits)
