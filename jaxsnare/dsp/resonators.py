"""Modal synthesis: what rings, as a sum of decaying sines."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxsnare.component import SUB_BLOCK, Component
from jaxsnare.dsp.envelopes import TO_SILENCE
from jaxsnare.dsp.oscillators import sin_turns, steady_turns

Modes = tuple[Float[Array, " K"], Float[Array, " K"], Float[Array, " K"]]


def ring(
    n: Int[Array, " T"],
    freq_hz: Float[Array, " K"],
    decay_ms: Float[Array, " K"],
    amplitude: Float[Array, " K"],
    sample_rate: int,
    bend: Float[Array, " T"] | None = None,
) -> Float[Array, " T"]:
    """K modes struck once: sum of amplitude 0.001^(n / decay) sin(2 pi freq n / rate).

    n: samples since the trigger; silent before. decay_ms: time to fall by 60 dB.
    bend: samples by which all phases are ahead of n (`decay_sum` of a pitch that
    falls). In closed form, no state: without bend the impulse response of
    `Resonators`. Modes above half of the sample rate are silent. (J.-M. Adrien, 'The
    missing link: modal synthesis', in Representations of Musical Signals, 1991.)

    >>> modes = jnp.array([1.0]), jnp.array([4000.0]), jnp.array([1.0])
    >>> y = jax.jit(lambda n: ring(n, *modes, 4))(jnp.arange(5))
    >>> [abs(round(float(v), 3)) for v in y]
    [0.0, 0.649, 0.0, 0.274, 0.0]
    """
    sin, _ = _rotation(n, freq_hz, decay_ms, sample_rate, bend)
    heard = _heard(freq_hz, amplitude, sample_rate)
    # measured on a CPU: a sum for a block, a product, 100x faster, for a whole signal
    whole = n.shape[-1] > SUB_BLOCK
    y = heard @ sin if whole else jnp.sum(heard[:, None] * sin, axis=0)
    return jnp.where(n < 0, 0.0, y)


@dataclass(frozen=True)
class Resonators(Component):
    """Parallel resonators that any signal may excite.

    params: (freq_hz, decay_ms, amplitude), each [K]; decay_ms: time to fall by 60 dB.
    x: excitation [T]. The impulse response is `ring`. A block of 64 samples costs a
    few matrix-vector products, whatever rings.

    >>> bell = Resonators(2, sample_rate=48_000)
    >>> modes = jnp.array([440.0, 1170.0]), jnp.array([900.0, 400.0]), jnp.ones(2)
    >>> jax.jit(bell.step)(modes, bell.init(), jnp.ones(32))[1].shape
    (32,)
    """

    count: int
    sample_rate: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a bank needs at least one resonator, got {self.count}")

    def init(self, dtype: Any = jnp.float32) -> Float[Array, "2 K"]:
        return jnp.zeros((2, self.count), dtype)

    def step(
        self, params: Modes, state: Float[Array, "2 K"], x: Float[Array, " T"]
    ) -> tuple[Float[Array, "2 K"], Float[Array, " T"]]:
        length = x.shape[-1]
        size = min(length, SUB_BLOCK)
        count, rest = divmod(length, size)
        whole = x[: count * size].reshape(count, size)
        if count == 1:
            state, y = self._block(params, state, whole[0])
        else:
            state, y = self._blocks(params, state, whole)
        if rest:
            state, tail = self._block(params, state, x[count * size :])
            y = jnp.concatenate([y, tail])
        return state, y

    def _block(self, params, state, x):
        ahead, response, decayed = self._kernels(params, x.shape[-1])
        y = x @ ahead + jnp.einsum("ckt,ck->t", response, state)
        last = jnp.einsum("ckt,t->ck", decayed[..., :0:-1], x)
        return _turned(decayed[..., -1], state) + last, y

    def _blocks(self, params, state, x):
        """Many blocks: what they hear of themselves at once, the states by a scan."""
        ahead, response, decayed = self._kernels(params, x.shape[-1])
        driven = jnp.einsum("ckt,bt->bck", decayed[..., :0:-1], x)

        def body(state, driven):
            return _turned(decayed[..., -1], state) + driven, state

        state, heads = jax.lax.scan(body, state, driven)
        y = x @ ahead + jnp.einsum("ckt,bck->bt", response, heads)
        return state, y.reshape(-1)

    def _kernels(self, params, size):
        """How x is heard in its own block [from, to]; how the state is [2, K, T]; and
        powers 0..T of the poles [2, K, T + 1] (real and imaginary part)."""
        freq_hz, decay_ms, amplitude = params
        n = jnp.arange(size + 1, dtype=jnp.int32)
        sin, cos = _rotation(n, freq_hz, decay_ms, self.sample_rate)
        heard = _heard(freq_hz, amplitude, self.sample_rate)
        lag = np.arange(size)[None] - np.arange(size)[:, None]
        ahead = jnp.where(lag >= 0, (heard @ sin)[np.maximum(lag, 0)], 0.0)
        response = heard[None, :, None] * jnp.stack([sin, cos])[..., :-1]
        return ahead, response, jnp.stack([cos, sin])


def _rotation(n, freq_hz, decay_ms, sample_rate, bend=None):
    """Imaginary and real part of every pole to the n, [K, T] each."""
    since = jnp.maximum(n, 0)
    turns = jax.vmap(steady_turns, (None, 0, None))(since, freq_hz, sample_rate)
    if bend is not None:
        turns = turns + (freq_hz / sample_rate)[:, None] * bend[None]
    rate = -TO_SILENCE * 1000 / (decay_ms * sample_rate)
    fall = jnp.exp(rate[:, None] * since.astype(freq_hz.dtype)[None])
    return fall * sin_turns(turns), fall * sin_turns(turns + 0.25)


def _heard(freq_hz, amplitude, sample_rate):
    """Amplitudes, of modes above half of the sample rate 0."""
    return jnp.where(freq_hz < 0.5 * sample_rate, amplitude, 0.0)


def _turned(pole, state):
    """Product of complex numbers, each [2, K]: real and imaginary part."""
    (a, b), (x, y) = pole, state
    return jnp.stack([a * x - b * y, a * y + b * x])
