"""Shaping: gain, soft clipping, crossfade; and waveshapers that do not alias."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsnare.component import Component
from jaxsnare.dsp.units import db_to_amplitude, safe_sqrt

Shape = Literal["tanh", "clip", "fold"]


def gain(x: Float[Array, " T"], gain_db: Float[Array, ""]) -> Float[Array, " T"]:
    """Scale by a gain in dB.

    >>> gain(jnp.ones(2), jnp.array(20.0))
    Array([10., 10.], dtype=float32)
    """
    return x * db_to_amplitude(gain_db)


def tanh_drive(x: Float[Array, " T"], drive_db: Float[Array, ""]) -> Float[Array, " T"]:
    """Soft clipping: tanh of the signal after a gain in dB; within [-1, 1].

    >>> float(tanh_drive(jnp.array([1.0]), jnp.array(0.0))[0]).__round__(4)
    0.7616
    """
    return jnp.tanh(gain(x, drive_db))


def crossfade(
    x: Float[Array, " T"], y: Float[Array, " T"], amount: Float[Array, ""]
) -> Float[Array, " T"]:
    """Equal-power mix sqrt(amount) x + sqrt(1 - amount) y; amount in 0..1.

    >>> crossfade(jnp.ones(1), jnp.zeros(1), jnp.array(0.25))
    Array([0.5], dtype=float32)
    """
    return safe_sqrt(amount) * x + safe_sqrt(1.0 - amount) * y


@dataclass(frozen=True)
class Shaper(Component):
    """A waveshaper with antiderivative anti-aliasing.

    kind: "tanh"; "clip", hard at [-1, 1]; "fold", the sine of the signal, which folds
    what is beyond pi / 2 back. params: drive_db, scalar, the gain before it. x: signal
    [T].

    The output is the mean of the shape over the straight line from the last sample to
    this one, (F(x[n]) - F(x[n - 1])) / (x[n] - x[n - 1]) (Parker, Zavalishin and
    Le Bivic 2016), so that it is half a sample late and softens the highest octave;
    where the line is short, by Gauss's rule instead of a difference that cancels.
    Differentiable, at the corners of "clip" too.

    >>> shaper = Shaper("clip")
    >>> shaper.step(jnp.array(0.0), shaper.init(), jnp.array([2.0, 0.0, 0.5]))[1]
    Array([0.75, 0.75, 0.25], dtype=float32)
    """

    kind: Shape

    def __post_init__(self) -> None:
        if self.kind not in SHAPES:
            raise ValueError(
                f"shaper kind must be one of {', '.join(SHAPES)}, got {self.kind!r}"
            )

    def init(self, dtype: Any = jnp.float32) -> Float[Array, ""]:
        return jnp.zeros((), dtype)

    def step(
        self, params: Float[Array, ""], state: Float[Array, ""], x: Float[Array, " T"]
    ) -> tuple[Float[Array, ""], Float[Array, " T"]]:
        shape, integral = SHAPES[self.kind]
        b = gain(x, params)
        a = gain(jnp.concatenate([state[None], x[:-1]]), params)
        way, middle = b - a, 0.5 * (a + b)
        short = jnp.abs(way) < SHORT
        mean = (integral(b) - integral(a)) / jnp.where(short, 1.0, way)
        off = way * (0.5 / 3**0.5)
        gauss = 0.5 * (shape(middle - off) + shape(middle + off))
        return x[-1], jnp.where(short, gauss, mean)


SHORT = 0.1
"""Lines shorter than that are averaged by Gauss's rule: exact to 1e-6 where the shape
is smooth, while the difference of integrals would lose its digits."""


def _log_cosh(x):
    return jnp.abs(x) + jnp.log1p(jnp.exp(-2.0 * jnp.abs(x))) - jnp.log(2.0)


def _clip_integral(x):
    over = jnp.maximum(jnp.abs(x) - 1.0, 0.0)
    return 0.5 * (x * x - over * over)


SHAPES: dict[Shape, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "tanh": (jnp.tanh, _log_cosh),
    "clip": (lambda x: jnp.clip(x, -1.0, 1.0), _clip_integral),
    "fold": (jnp.sin, lambda x: -jnp.cos(x)),
}
