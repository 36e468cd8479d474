"""Parameters declared once: names, units, ranges, and everything that follows."""

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from numbers import Real
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Scalar = Float[Array, ""] | float
"""One value among the params of a component."""

Values = dict[str, Any]
"""Parameter values by name, in physical units: the params of a synth."""


@dataclass(frozen=True)
class ParamSpec:
    """One parameter: its name, unit, range and default in that unit.

    The scale maps the unit interval to the range: linearly, or logarithmically
    (lo must then be positive). Decibels are a unit, not a scale. about: what it does,
    in a performer's words.

    >>> ParamSpec("osc.freq", "Hz", 20.0, 2000.0, 200.0)
    ParamSpec(name='osc.freq', unit='Hz', lo=20.0, hi=2000.0, default=200.0, ...)
    """

    name: str
    unit: str
    lo: float
    hi: float
    default: float
    scale: Literal["linear", "log"] = "linear"
    about: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ValueError(f"a parameter is called {self.name!r}; wanted: a word")
        numbers = (self.lo, self.hi, self.default)
        if not all(isinstance(v, Real) for v in numbers):
            raise ValueError(
                f"parameter {self.name!r}: lo, hi and default must be numbers, got "
                f"{', '.join(map(repr, numbers))}"
            )
        if not all(math.isfinite(v) for v in numbers):
            raise ValueError(
                f"parameter {self.name!r}: lo, hi and default must be finite "
                f"numbers, got {self.lo}, {self.hi}, {self.default}"
            )
        if self.lo >= self.hi:
            raise ValueError(
                f"parameter {self.name!r}: the range must rise, got "
                f"lo {self.lo:g} and hi {self.hi:g} {self.unit}"
            )
        if self.scale not in ("linear", "log"):
            raise ValueError(
                f"parameter {self.name!r}: scale must be 'linear' or 'log', "
                f"got {self.scale!r}"
            )
        if self.scale == "log" and self.lo <= 0:
            raise ValueError(
                f"parameter {self.name!r}: a log scale needs lo > 0, got {self.lo:g}"
            )
        if not self.lo <= self.default <= self.hi:
            raise ValueError(
                f"parameter {self.name!r}: default {self.default:g} lies outside "
                f"{self.range_text}"
            )

    @property
    def range_text(self) -> str:
        """The range in words: '20..2000 Hz'."""
        return f"{self.lo:g}..{self.hi:g} {self.unit}".strip()


@dataclass(frozen=True)
class ParamSet:
    """An ordered, immutable set of parameters.

    Values are addressed by name (a dict); `pack` and `unpack` are the only places
    where a position means something.

    >>> specs = ParamSet((ParamSpec("gain", "dB", -60.0, 6.0, 0.0),))
    >>> specs.unpack(specs.to_physical(jnp.array([1.0])))
    {'gain': Array(6., dtype=float32)}
    """

    specs: tuple[ParamSpec, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for spec in self.specs:
            if spec.name in seen:
                raise ValueError(f"parameter {spec.name!r} is declared twice")
            seen.add(spec.name)

    def __len__(self) -> int:
        return len(self.specs)

    def __iter__(self) -> Iterator[ParamSpec]:
        return iter(self.specs)

    def __getitem__(self, name: str) -> ParamSpec:
        if name not in self._by_name:
            raise ValueError(unknown("parameter", name, self.names))
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, ParamSpec]:
        return {spec.name: spec for spec in self.specs}

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.specs)

    @property
    def defaults(self) -> Values:
        """The default values, physical units, by name."""
        return {spec.name: spec.default for spec in self.specs}

    def pack(self, values: Mapping[str, Any]) -> Float[Array, " P"]:
        """Values by name as one vector in the order of this set.

        The vector has the floating dtype of the values (Python numbers: the default
        one). Raises ValueError for a missing or unknown name.
        """
        self._check_names(values)
        leaves = [jnp.asarray(values[name]) for name in self.names]
        floating = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
        dtype = jnp.result_type(*floating) if floating else jnp.result_type(float)
        return jnp.stack([leaf.astype(dtype) for leaf in leaves])

    def unpack(self, vector: Float[Array, " P"]) -> Values:
        """A vector in the order of this set as values by name."""
        if vector.shape[-1] != len(self):
            raise ValueError(
                f"expected {len(self)} parameter values, got {vector.shape[-1]}"
            )
        return {name: vector[..., i] for i, name in enumerate(self.names)}

    def to_physical(self, unit: Float[Array, "*batch P"]) -> Float[Array, "*batch P"]:
        """Positions in the unit interval to physical units."""
        lo, span, log, ratio = self._scales(unit)
        linear = lo + unit * span
        return jnp.where(log, lo * jnp.exp(unit * ratio), linear)

    def to_unit(self, physical: Float[Array, "*batch P"]) -> Float[Array, "*batch P"]:
        """Physical units to positions in the unit interval."""
        lo, span, log, ratio = self._scales(physical)
        linear = (physical - lo) / span
        positive = jnp.where(log, physical / jnp.where(log, lo, 1.0), 1.0)
        return jnp.where(log, jnp.log(positive) / ratio, linear)

    def _scales(self, like: Array) -> tuple[Array, Array, Array, Array]:
        """lo, hi - lo, whether logarithmic, log(hi / lo), as `like` has its axes."""
        lo = np.array([s.lo for s in self.specs])
        hi = np.array([s.hi for s in self.specs])
        log = np.array([s.scale == "log" for s in self.specs])
        ratio = np.log(np.where(log, hi, np.e) / np.where(log, lo, 1.0))
        shape = (1,) * (like.ndim - 1) + (len(self),)
        lo_, span_, ratio_ = (
            jnp.asarray(v.reshape(shape), like.dtype) for v in (lo, hi - lo, ratio)
        )
        return lo_, span_, jnp.asarray(log.reshape(shape)), ratio_

    def _check_names(self, values: Mapping[str, Any], what: str = "parameter") -> None:
        for name in values:
            if name not in self._by_name:
                raise ValueError(unknown(what, name, self.names))
        missing = [name for name in self.names if name not in values]
        if missing:
            raise ValueError(f"missing {what}: {', '.join(missing)}")

    def check(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Complete, numeric, finite and inside their ranges, or a ValueError.

        Raises ValueError that names the parameter, what came and what is allowed.
        """
        self._check_names(values)
        return {name: self.check_one(name, values[name]) for name in self.names}

    def check_one(self, name: str, value: Any) -> float:
        """One value, numeric, finite and inside its range, or a ValueError."""
        spec = self[name]
        number = as_number(value, name)
        if not spec.lo <= number <= spec.hi:
            raise ValueError(
                f"parameter {name!r} is {number:g}, allowed is {spec.range_text}"
            )
        return number

    def table(self) -> list[dict[str, Any]]:
        """A row of plain values for each parameter: for documents and models."""
        return [asdict(spec) for spec in self.specs]

    @classmethod
    def from_table(cls, rows: list[dict[str, Any]]) -> "ParamSet":
        """The set that `table` wrote."""
        return cls(tuple(ParamSpec(**row) for row in rows))


def as_params(values: Mapping[str, Any]) -> Values:
    """Numbers by name as params of a step: float32 scalars."""
    return {name: jnp.float32(value) for name, value in values.items()}


def as_number(value: Any, name: str) -> float:
    """A finite float, or a ValueError that names the value."""
    if isinstance(value, bool | str) or value is None:
        raise ValueError(f"{name!r} must be a number, got {value!r}")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name!r} must be a number, got {value!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"{name!r} must be a finite number, got {number}")
    return number


def unknown(what: str, name: str, choices: tuple[str, ...] | list[str]) -> str:
    """The message for an unknown name: near matches, and all that is allowed."""
    near = difflib.get_close_matches(str(name), choices, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    return f"unknown {what} {name!r}: {hint}choices are {', '.join(choices)}"
