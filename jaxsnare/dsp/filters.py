"""Second-order filters: one linear recurrence, in several forms that agree."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsnare.component import Component
from jaxsnare.dsp.units import db_to_amplitude
from jaxsnare.params import Scalar

Method = Literal["auto", "scan", "chunked", "associative", "frequency"]
Kind = Literal["lowpass", "highpass", "bandpass", "notch"]
KINDS = ("lowpass", "highpass", "bandpass", "notch")


@dataclass(frozen=True)
class Biquad(Component):
    """Second-order lowpass, highpass, bandpass or notch with frequency and q.

    params: (freq_hz, q), scalars; freq_hz is clamped to 0..sample_rate/2. A bandpass
    has gain 1 at freq_hz and is freq_hz / q wide. x: signal [T]. The transfer function
    is the bilinear transform with K = tan(pi f / sample_rate) (RBJ cookbook), realised
    as a trapezoidal state-variable filter (Simper 2013; Zavalishin 2018), whose float32
    error stays small at low cutoffs and whose coefficients stay finite up to
    sample_rate/2.

    `clip` limits the output to [-1, 1] (parity with the published code only);
    `method` picks the form of the recurrence, by default by length.

    >>> lowpass = Biquad("lowpass", sample_rate=48_000)
    >>> params = (jnp.array(1000.0), jnp.array(0.7))
    >>> state, y = lowpass.step(params, lowpass.init(), jnp.ones(4800))
    >>> float(y[-1].round(4))  # a constant passes
    1.0
    """

    kind: Kind
    sample_rate: int
    clip: bool = False
    method: Method = "auto"

    def __post_init__(self) -> None:
        _check_kind(self.kind)

    def init(self, dtype: Any = jnp.float32) -> Float[Array, " 2"]:
        return jnp.zeros(2, dtype)

    def step(
        self,
        params: tuple[Scalar, Scalar],
        state: Float[Array, " 2"],
        x: Float[Array, " T"],
    ) -> tuple[Float[Array, " 2"], Float[Array, " T"]]:
        change, drive, out = _coefficients(self.kind, *params, self.sample_rate)
        states, state = linear_recurrence(
            change, drive[:, None] * x[None], state, self.method
        )
        y = out[0] * x + out[1] * states[0] + out[2] * states[1]
        return state, jnp.clip(y, -1.0, 1.0) if self.clip else y


@dataclass(frozen=True)
class StateVariable(Component):
    """The filters of `Biquad` with a frequency that moves from sample to sample.

    params: q, scalar. x: (signal [T], freq_hz [T]), clamped to 0..sample_rate/2. The
    trapezoidal state-variable filter (Simper 2013; Zavalishin 2018) keeps its energy
    however fast the frequency moves. Serial: where it rests, `Biquad` is faster.

    >>> wah = StateVariable("bandpass", sample_rate=48_000)
    >>> x = (jnp.ones(480), jnp.linspace(200.0, 2000.0, 480))
    >>> jax.jit(wah.step)(jnp.array(4.0), wah.init(), x)[1].shape
    (480,)
    """

    kind: Kind
    sample_rate: int

    def __post_init__(self) -> None:
        _check_kind(self.kind)

    def init(self, dtype: Any = jnp.float32) -> Float[Array, " 2"]:
        return jnp.zeros(2, dtype)

    def step(
        self,
        params: Float[Array, ""],
        state: Float[Array, " 2"],
        x: tuple[Float[Array, " T"], Float[Array, " T"]],
    ) -> tuple[Float[Array, " 2"], Float[Array, " T"]]:
        signal, freq_hz = x
        change, drive, out = _coefficients(self.kind, freq_hz, params, self.sample_rate)
        states, state = varying_recurrence(change, drive * signal[None], state)
        return state, out[0] * signal + out[1] * states[0] + out[2] * states[1]


@dataclass(frozen=True)
class Bands(Component):
    """Parallel bandpass filters, mixed: noise in, bands of noise out.

    params: (freq_hz, q, gain_db), each [bands]. x: signal [T]. out: their sum [T].

    >>> bands = Bands(2, sample_rate=48_000)
    >>> params = (jnp.array([400.0, 9e3]), jnp.ones(2), jnp.array([0.0, -6.0]))
    >>> jax.jit(bands.step)(params, bands.init(), jnp.ones(64))[1].shape
    (64,)
    """

    count: int
    sample_rate: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a bank needs at least one band, got {self.count}")

    def init(self, dtype: Any = jnp.float32) -> Float[Array, "bands 2"]:
        return jnp.zeros((self.count, 2), dtype)

    def step(
        self,
        params: tuple[
            Float[Array, " bands"], Float[Array, " bands"], Float[Array, " bands"]
        ],
        state: Float[Array, "bands 2"],
        x: Float[Array, " T"],
    ) -> tuple[Float[Array, "bands 2"], Float[Array, " T"]]:
        freq_hz, q, gain_db = params
        band = Biquad("bandpass", self.sample_rate).step
        state, y = jax.vmap(band, (0, 0, None))((freq_hz, q), state, x)
        return state, jnp.sum(db_to_amplitude(gain_db)[:, None] * y, axis=0)


def _check_kind(kind):
    if kind not in KINDS:
        raise ValueError(f"filter kind must be one of {', '.join(KINDS)}, got {kind!r}")


def _coefficients(kind, freq_hz, q, sample_rate):
    """Of the recurrence: matrix less identity [2, 2], drive [2]; and of the output:
    of the input and of both states. freq_hz may have a time axis; then so have they."""
    # sine and cosine instead of the tangent, which is infinite at the top
    angle = jnp.pi * jnp.clip(freq_hz / sample_rate, 0.0, 0.5)
    s, c, k = jnp.sin(angle), jnp.cos(angle), 1.0 / q
    norm = 1.0 / (1.0 + s * c * k)
    band, low = s * c * norm, s * s * norm
    change = 2.0 * jnp.stack(
        [
            jnp.stack([-(s * s + s * c * k) * norm, -band]),
            jnp.stack([band, -low]),
        ]
    )
    drive = 2.0 * jnp.stack([band, low])
    if kind == "lowpass":
        out = low, band, 1.0 - low
    elif kind == "highpass":
        out = c * c * norm, -c * (k * c + s) * norm, -c * c * norm
    else:
        out = k * band, k * c * c * norm, -k * band
        if kind == "notch":
            out = 1.0 - out[0], -out[1], -out[2]
    return change, drive, out


def linear_recurrence(
    change: Float[Array, "2 2"],
    u: Float[Array, "2 T"],
    start: Float[Array, " 2"],
    method: Method = "auto",
) -> tuple[Float[Array, "2 T"], Float[Array, " 2"]]:
    """s[n+1] = s[n] + change s[n] + u[n]: the states before each sample, and the last.

    The matrix is given less the identity, which keeps poles near 1 exact in float32.
    Its derivative is the same recurrence driven by what changed, so that gradients
    cost as much as values, in forward and reverse mode.

    Forms: `scan` (sample by sample), `chunked` (matrix products inside chunks and a
    scan over chunks), `associative` (parallel prefix), `frequency` (FFT of twice the
    length; what rings longer than that wraps around). `auto` is what measured best:
    scan on a processor, and on an accelerator chunked for whole signals.
    """
    if method == "auto":
        serial = jax.default_backend() == "cpu" or u.shape[-1] < 4 * CHUNK
        method = "scan" if serial else "chunked"
    if method not in FORMS:
        raise ValueError(
            f"filter method must be 'auto' or one of {', '.join(FORMS)}, got {method!r}"
        )
    return _recurrence(method, change, u, start)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _recurrence(method, change, u, start):
    return FORMS[method](change, u, start)


@_recurrence.defjvp
def _recurrence_jvp(method, primals, tangents):
    change, u, start = primals
    d_change, d_u, d_start = tangents
    states, last = _recurrence(method, change, u, start)
    drive = d_u + _product(d_change, states)
    return (states, last), FORMS[method](change, drive, d_start)


@jax.custom_jvp
def varying_recurrence(
    change: Float[Array, "2 2 T"], u: Float[Array, "2 T"], start: Float[Array, " 2"]
) -> tuple[Float[Array, "2 T"], Float[Array, " 2"]]:
    """`linear_recurrence` with a matrix for each sample; always sample by sample."""

    def body(s, now):
        matrix, u = now
        x, y = s
        after = (
            x + (matrix[0] * x + matrix[1] * y + u[0]),
            y + (matrix[2] * x + matrix[3] * y + u[1]),
        )
        return after, s

    rows = tuple(change[i, j] for i in range(2) for j in range(2))
    last, states = jax.lax.scan(body, (start[0], start[1]), (rows, (u[0], u[1])))
    return jnp.stack(states), jnp.stack(last)


@varying_recurrence.defjvp
def _varying_recurrence_jvp(primals, tangents):
    change, u, start = primals
    d_change, d_u, d_start = tangents
    states, last = varying_recurrence(change, u, start)
    drive = d_u + _product(d_change, states)
    return (states, last), varying_recurrence(change, drive, d_start)


def _product(matrix, vectors):
    """2x2 matrix times vectors [2, ...] by components: no dot in a scan's body."""
    x, y = vectors
    rows = [matrix[i, 0] * x + matrix[i, 1] * y for i in range(2)]
    return jnp.stack(rows)


def _scan(change, u, start):
    def body(s, u):
        x, y = s
        after = (
            x + (change[0, 0] * x + change[0, 1] * y + u[0]),
            y + (change[1, 0] * x + change[1, 1] * y + u[1]),
        )
        return after, s

    last, states = jax.lax.scan(body, (start[0], start[1]), (u[0], u[1]))
    return jnp.stack(states), jnp.stack(last)


CHUNK = 32


def _chunked(change, u, start):
    count, rest = divmod(u.shape[-1], CHUNK)
    whole, tail = u[:, : count * CHUNK], u[:, count * CHUNK :]
    states, last = _whole_chunks(change, whole.reshape(2, count, CHUNK), start)
    if rest:
        after, last = _scan(change, tail, last)
        states = jnp.concatenate([states, after], axis=1)
    return states, last


def _whole_chunks(change, u, start):
    """States of u [2, chunks, CHUNK]: from rest in each chunk, and from its head."""
    powers = _powers(change, CHUNK + 1)  # [2, 2, CHUNK + 1]
    lag = jnp.arange(CHUNK)[None] - jnp.arange(CHUNK)[:, None] - 1  # [from, to]
    reach = jnp.where(lag >= 0, powers[:, :, jnp.maximum(lag, 0)], 0.0)
    # one product for each row: a transposed copy would be made of whatever makes u,
    # entry by entry instead of in vectors (measured: 4 ms instead of 0.6)
    local = sum(jnp.einsum("oft,cf->oct", reach[:, i], u[i]) for i in range(2))
    whole = powers[:, :, CHUNK] - jnp.eye(2, dtype=u.dtype)
    back = powers[:, :, CHUNK - 1 :: -1][:, :, :CHUNK]
    gathered = sum(jnp.einsum("of,cf->oc", back[:, i], u[i]) for i in range(2))
    heads, last = _scan(whole, gathered, start)  # states at the head of each chunk
    states = local + jnp.einsum("oit,ic->oct", powers[:, :, :CHUNK], heads)
    return states.reshape(2, -1), last


def _powers(change, count):
    """(I + change)^k for k < count as [2, 2, count], by doubling."""
    eye = jnp.eye(2, dtype=change.dtype)
    powers, step = eye[None], eye + change
    while powers.shape[0] < count:
        powers = jnp.concatenate([powers, powers @ step])
        step = step @ step
    return jnp.moveaxis(powers[:count], 0, -1)


def _associative(change, u, start):
    def combine(left, right):
        (a, b), (c, d) = left, right
        return c @ a, jnp.squeeze(c @ b[..., None], -1) + d

    length = u.shape[-1]
    matrix = jnp.broadcast_to(jnp.eye(2, dtype=u.dtype) + change, (length, 2, 2))
    power, driven = jax.lax.associative_scan(combine, (matrix, u.T))
    after = (jnp.einsum("toi,i->to", power, start) + driven).T
    return jnp.concatenate([start[:, None], after[:, :-1]], axis=1), after[:, -1]


def _frequency(change, u, start):
    length = u.shape[-1]
    size = 1 << (2 * length).bit_length()
    # the start is an impulse: what would have been driven to reach it
    impulse = jnp.concatenate([start[:, None], u], axis=1)
    spectrum = jnp.fft.rfft(impulse, size)
    half = jnp.pi * jnp.arange(size // 2 + 1, dtype=u.dtype) / size
    z = jax.lax.complex(jnp.cos(2 * half), jnp.sin(2 * half))
    # z - 1 = 2j sin(w/2) e^(jw/2), without the cancellation
    z1 = 2 * jax.lax.complex(
        -jnp.sin(half) * jnp.sin(half), jnp.sin(half) * jnp.cos(half)
    )
    (a, b), (c, d) = change.astype(z1.dtype)
    determinant = (z1 - a) * (z1 - d) - b * c
    x, y = spectrum
    states = jnp.stack([(z1 - d) * x + b * y, c * x + (z1 - a) * y])
    states = jnp.fft.irfft(states * (z / determinant)[None], size)
    return states[:, :length].astype(u.dtype), states[:, length].astype(u.dtype)


FORMS = {
    "scan": _scan,
    "chunked": _chunked,
    "associative": _associative,
    "frequency": _frequency,
}
