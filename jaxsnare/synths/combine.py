"""Synths made of synths: sounding together, through effects, or one at a time.

    Stack = layer("Stack", body=Snare808, clap=Clap)
    Room = chain("Room", Snare808, reverb=Reverb)
    Either = choose("Either", head=Snare808, rim=Clap)

are classes like any other: in a file, `--synth FILE.py:Stack` plays them. Parameters
have the name of their part before their own: body.osc1.freq.
"""

import sys
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass, replace
from functools import cached_property, partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsnare.component import Component
from jaxsnare.params import ParamSet, ParamSpec, Values
from jaxsnare.synths.synth import Synth

CHANNELS = 16
"""Of noise that a part has to itself."""


@dataclass(frozen=True)
class Effect(Component):
    """What a voice goes through: a component whose params are values by name.

    At rest it must be silent on silence, for it hears silence before the hit.
    """

    sample_rate: int

    @property
    @abstractmethod
    def specs(self) -> ParamSet:
        """The parameters, in order."""


@dataclass(frozen=True)
class Combined(Synth):
    """A synth of named parts: classes or instances of synths (and effects).

    Instances take over the sample rate and, if synths, the noise of the whole.
    """

    parts: tuple[tuple[str, Any], ...] = ()
    apart = CHANNELS  # of noise, from one part to the next

    @cached_property
    def members(self) -> dict[str, Any]:
        """The parts at the rate of the whole, by name."""
        return {name: self._made(part) for name, part in self.parts}

    def _made(self, part: Any) -> Any:
        kind = part if isinstance(part, type) else type(part)
        given: dict[str, Any] = {"sample_rate": self.sample_rate}
        if issubclass(kind, Synth):
            given["noise"] = self.noise
        return part(**given) if isinstance(part, type) else replace(part, **given)

    @property
    def specs(self) -> ParamSet:
        return ParamSet(
            tuple(
                replace(spec, name=f"{name}.{spec.name}")
                for name, part in self.members.items()
                for spec in part.specs
            )
        )

    def own(self, p: Values, name: str) -> Values:
        """The values of a part, by its own names."""
        return {s.name: p[f"{name}.{s.name}"] for s in self.members[name].specs}

    def voice_init(self, dtype: Any) -> Any:
        return tuple(
            part.voice_init(dtype) if isinstance(part, Synth) else part.init(dtype)
            for part in self.members.values()
        )

    def _sound(
        self, at: int, p: Values, state: Any, n: Array, white: Callable[..., Array]
    ) -> tuple[Any, Array]:
        """A part that is a synth, with noise of its own."""
        name, part = list(self.members.items())[at]

        def own_white(channel: int = 0) -> Array:
            return white(channel + self.apart * at)

        return part.voice(self.own(p, name), state, n, own_white)


@dataclass(frozen=True)
class Layer(Combined):
    """Parts that sound together.

    >>> from jaxsnare import SimpleDrumSynth, Snare808
    >>> two = Layer(48_000, parts=(("low", SimpleDrumSynth), ("high", Snare808)))
    >>> len(two.specs), two.specs.names[0]
    (23, 'low.amp_env.decay')
    """

    def voice(self, p, state, n, white):
        sounds = [self._sound(at, p, part, n, white) for at, part in enumerate(state)]
        states, audio = zip(*sounds, strict=True)
        return states, reduce(jnp.add, audio)


@dataclass(frozen=True)
class Chain(Combined):
    """A synth, the first part, through effects in their order, each in every voice."""

    def voice(self, p, state, n, white):
        first, audio = self._sound(0, p, state[0], n, white)
        states = [first]
        effects = list(self.members.items())[1:]
        for (name, effect), before in zip(effects, state[1:], strict=True):
            after, audio = effect.step(self.own(p, name), before, audio)
            states.append(after)
        return tuple(states), audio


@dataclass(frozen=True)
class Choice(Combined):
    """Parts of which one sounds: that with the highest of the parameters which.NAME.

    Only that one is computed, unless under vmap. A choice has no gradient: which.NAME
    are not learnt, all the others are. Each part has the noise that it has alone.
    """

    apart = 0

    @property
    def specs(self) -> ParamSet:
        chosen = [
            ParamSpec(
                f"which.{name}", "", 0.0, 1.0, 0.0, about=f"{name} sounds if highest"
            )
            for name in self.members
        ]
        return ParamSet((*super().specs, *chosen))

    def voice(self, p, state, n, white):
        which = jnp.argmax(jnp.stack([p[f"which.{name}"] for name in self.members]))

        def only(at: int, state: Any) -> tuple[Any, Float[Array, " T"]]:
            after, audio = self._sound(at, p, state[at], n, white)
            return (*state[:at], after, *state[at + 1 :]), audio

        branches = [partial(only, at) for at in range(len(state))]
        return jax.lax.switch(which, branches, state)


def layer(name: str, /, **parts: type[Synth]) -> type[Synth]:
    """The class of a synth whose parts sound together, to be assigned to that name.

    >>> from jaxsnare import SimpleDrumSynth, Snare808
    >>> Stack = layer("Stack", low=SimpleDrumSynth, high=Snare808)
    >>> Stack(sample_rate=48_000).specs.names[-1]
    'high.tanh.in_gain'
    """
    return _class(name, Layer, parts)


def chain(name: str, source: type[Synth], /, **effects: type[Effect]) -> type[Synth]:
    """The class of a synth through effects; the synth's part is called source."""
    if "source" in effects:
        raise ValueError(f"{name}: source is the synth; call the effect something else")
    return _class(name, Chain, {"source": source, **effects})


def choose(name: str, /, **parts: type[Synth]) -> type[Synth]:
    """The class of a synth of which one part sounds, by its parameters which.PART."""
    return _class(name, Choice, parts)


def _class(name: str, base: type[Combined], parts: dict[str, type]) -> type[Synth]:
    if not name.isidentifier():
        raise ValueError(f"{name!r} is no name of a class, as in Stack")
    if len(parts) < 2:
        raise ValueError(f"{name}: a combination has two parts or more")
    for part, kind in parts.items():
        wanted = Effect if base is Chain and part != "source" else Synth
        if not part.isidentifier():
            raise ValueError(f"{name}: {part!r} is no name of a part, as in body")
        if not (isinstance(kind, type) and issubclass(kind, wanted)):
            raise ValueError(
                f"{name}: {part} is no subclass of {wanted.__name__}, but "
                f"{getattr(kind, '__name__', repr(kind))}"
            )
    made = make_dataclass(
        name,
        [("parts", tuple, field(default=tuple(parts.items())))],
        bases=(base,),
        frozen=True,
    )
    caller = sys._getframe(2).f_globals
    made.__module__ = caller.get("__name__", __name__)
    made.__doc__ = (
        f"{base.__name__} of {', '.join(k.__name__ for k in parts.values())}."
    )
    return made
