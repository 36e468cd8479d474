"""What every synth shares: voices that start at a trigger, and the fade of the old."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxsnare.component import (
    Component,
    check_rate,
    fade_samples,
    min_gap_samples,
    scan_blocks,
    select,
)
from jaxsnare.dsp.noise import NoiseSource, SeededNoise
from jaxsnare.params import ParamSet, Values

NEVER = -(1 << 30)
FOREVER = 1 << 30


class Voice(NamedTuple):
    """One voice: where it is, what it plays, and its state."""

    n: Int[Array, ""]  # samples since its trigger at the next sample; NEVER before
    joined: Int[Array, ""]  # n from which on it sounds: 0, but for a revised voice
    hit: Int[Array, ""]  # number of the hit, for noise that differs per hit
    values: Float[Array, " P"]  # latched at the trigger, physical units
    level: Float[Array, ""]  # latched at the trigger, linear gain of the voice
    state: Any


class SynthState(NamedTuple):
    """The sounding voice, and the one before it, which fades or is over."""

    voice: Voice
    previous: Voice


@dataclass(frozen=True)
class Synth(Component):
    """A synth: a set of parameters and a voice in straight signal code.

    A designer writes `specs`, `voice_init` and `voice`; rendering, training and
    playing follow. As a component, params are values by name (physical units) and x
    is a trigger signal, Bool[T]. At a trigger the values, and the level of the voice
    (linear gain), are latched and a fresh voice starts; the one still sounding is
    faded out over 2 ms. Triggers closer than `min_gap_samples` to the last one are
    ignored. A voice may be revised while it sounds: it goes on from where it is with
    other values, into which it is faded over 2 ms.
    """

    sample_rate: int
    noise: NoiseSource = field(default_factory=SeededNoise)

    def __post_init__(self) -> None:
        check_rate(self.sample_rate)

    @property
    @abstractmethod
    def specs(self) -> ParamSet:
        """The parameters, in order."""

    @abstractmethod
    def voice_init(self, dtype: Any) -> Any:
        """State of a voice at its trigger."""

    @abstractmethod
    def voice(
        self,
        p: Values,
        state: Any,
        n: Int[Array, " T"],
        white: Callable[..., Float[Array, " T"]],
    ) -> tuple[Any, Float[Array, " T"]]:
        """Signal code: the voice at n samples since its trigger.

        p: values by name. n: consecutive; the voice must be silent, and its state at
        rest, where n < 0. white(channel=0): white noise in [-1, 1) at these samples.
        """

    def play(
        self, values: Float[Array, " P"], state: Any, n: Int[Array, " T"], hit: Any
    ) -> tuple[Any, Float[Array, " T"]]:
        """One voice over samples n, from packed values: all sound comes from here."""

        def white(channel: int = 0) -> Array:
            return self.noise(n, hit, channel, values.dtype)

        return self.voice(self.specs.unpack(values), state, n, white)

    def init(self, dtype: Any = jnp.float32) -> SynthState:
        silent = Voice(
            jnp.asarray(NEVER, jnp.int32),
            jnp.zeros((), jnp.int32),
            jnp.zeros((), jnp.int32),
            jnp.asarray([s.default for s in self.specs], dtype),
            jnp.ones((), dtype),
            self.voice_init(dtype),
        )
        return SynthState(silent, silent)

    def step(
        self,
        params: Values,
        state: SynthState,
        x: Bool[Array, " T"],
        level: Float[Array, ""] | float = 1.0,
        revise: Bool[Array, " T"] | None = None,
    ) -> tuple[SynthState, Float[Array, " T"]]:
        """One block: x triggers voices, `revise` gives the sounding one the values.

        A revision closer than `min_gap_samples` to the voice's trigger, or in a
        sub-block where a voice starts, is ignored; so is a trigger that comes within
        that time after one.
        """
        values = self.specs.pack(params)
        level = jnp.asarray(level, values.dtype)

        def piece(state, signals):
            state, audio = self._piece(values, level, state, *signals)
            return state, (audio, ())

        signals = (x, None) if revise is None else (x, revise)
        state, (audio, _) = scan_blocks(piece, state, signals)
        return state, audio

    def _piece(self, values, level, state, trigger, revise):
        """At most a sub-block, in which at most one voice starts or is revised."""
        length = trigger.shape[-1]
        at = jnp.arange(length, dtype=jnp.int32)
        gap = min_gap_samples(self.sample_rate)
        since = state.voice.n - state.voice.joined + at
        free = (since < 0) | (since >= gap)
        accepted = trigger & free
        fires, first = accepted.any(), jnp.argmax(accepted).astype(jnp.int32)
        hit, start = state.voice.hit + 1, self.voice_init(values.dtype)
        fresh = Voice(-first, jnp.zeros_like(first), hit, values, level, start)
        voice = select(fires, fresh, state.voice)
        previous = select(fires, state.voice, state.previous)

        def run(voice):
            state, audio = self.play(voice.values, voice.state, voice.n + at, voice.hit)
            return self._moved(voice, length, state), audio * voice.level

        def fade_out(voice, since):
            voice, audio = run(voice)
            fade = fade_samples(self.sample_rate)
            left = 1.0 - jnp.clip(since, 0, fade).astype(audio.dtype) / fade
            return voice, audio * left

        def rest(voice, since):
            return voice, jnp.zeros(length, values.dtype)

        turns, turn = None, first
        if revise is not None:
            now = revise & free & (since >= 0)
            turns, turn = now.any() & ~fires, jnp.argmax(now).astype(jnp.int32)
            revised = voice._replace(joined=voice.n + turn, values=values)
            previous = select(turns, voice, previous)
            voice = select(turns, revised, voice)

        since = voice.n - voice.joined + at
        fading = (since[-1] >= 0) & (since[0] < fade_samples(self.sample_rate))
        old = previous.values
        previous, tail = jax.lax.cond(fading, fade_out, rest, previous, since)
        # what faded is forgotten: the state is the same for every partition
        over = since[-1] + 1 >= fade_samples(self.sample_rate)
        previous = select(over, self.init(values.dtype).previous, previous)
        if turns is None:
            voice, audio = run(voice)
        else:
            voice, audio = jax.lax.cond(
                turns, lambda v: self._turn(v, old, turn, length), run, voice
            )
            rise = since.astype(audio.dtype) / fade_samples(self.sample_rate)
            audio = jnp.where(voice.joined > 0, jnp.clip(rise, 0.0, 1.0), 1.0) * audio
        return SynthState(voice, previous), audio + tail

    def _turn(self, voice, old, turn, length):
        """A voice that plays `old` values until sample `turn`: sample by sample."""

        def one(state, i):
            values = jnp.where(i < turn, old, voice.values)
            n = (voice.n + i)[None]
            state, audio = self.play(values, state, n, voice.hit)
            return state, audio[0]

        at = jnp.arange(length, dtype=jnp.int32)
        state, audio = jax.lax.scan(one, voice.state, at)
        return self._moved(voice, length, state), audio * voice.level

    def _moved(self, voice, length, state):
        moved = jnp.minimum(voice.n + length, FOREVER)
        n = jnp.where(voice.n <= NEVER, voice.n, moved)
        return voice._replace(n=n, state=state)


def not_finite(synth: Synth) -> ValueError:
    """The error for a synth whose sound is broken."""
    return ValueError(
        f"{type(synth).__name__} gives NaN or infinite samples with these values: "
        "jaxsnare check-synth says where"
    )


def render(
    synth: Synth,
    values: Values,
    seconds: float = 1.0,
    *,
    samples: int | None = None,
    hit: int = 1,
) -> Float[Array, " T"]:
    """One hit of a synth: the trigger is at the first sample.

    values: by name, in physical units; arrays are differentiated through. seconds:
    length, or give the length in samples. hit: number of the hit, which matters only
    for noise that differs per hit. Raises ValueError for unknown or missing names.
    """
    length = round(seconds * synth.sample_rate) if samples is None else samples
    if length < 1:
        raise ValueError(f"a render needs at least one sample, got {length}")
    packed = synth.specs.pack(values)
    n = jnp.arange(length, dtype=jnp.int32)
    hit_number = jnp.asarray(hit, jnp.int32)
    return synth.play(packed, synth.voice_init(packed.dtype), n, hit_number)[1]


def play_revised(
    synth: Synth,
    values: Float[Array, " P"],
    later: Float[Array, " P"],
    at: int,
    samples: int,
) -> Float[Array, " T"]:
    """One hit from packed values, revised `at` samples after its trigger.

    The same sound as `Synth.step` makes of a trigger and a revision.
    """
    n = jnp.arange(samples, dtype=jnp.int32)
    hit = jnp.ones((), jnp.int32)
    fade = fade_samples(synth.sample_rate)
    state, first = synth.play(values, synth.voice_init(values.dtype), n[:at], hit)
    _, old = synth.play(values, state, n[at : at + fade], hit)
    _, new = synth.play(later, state, n[at:], hit)
    rise = jnp.minimum(jnp.arange(samples - at, dtype=new.dtype) / fade, 1.0)
    old = jnp.pad(old * (1.0 - rise[:fade]), (0, samples - at - fade))
    return jnp.concatenate([first, new * rise + old])
