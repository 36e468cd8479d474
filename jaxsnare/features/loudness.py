"""Level and loudness of frames; K-weighting after ITU-R BS.1770.

Every frame is filtered from rest. The filter is linear, so a frame is cut into
blocks of 64 samples and everything becomes small matrix products: what a block
answers to itself, what it leaves in the filter's state, and what a state rings on.
The matrices are made in float64, in a basis in which the answers to unit states are
orthonormal, so that float32 loses nothing to the poles close to 1. Overlapping frames
share their blocks: a frame's power is a sum over its blocks and what rings into them.
"""

import functools
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsnare.dsp.framing import frames

Coefficients = Literal["pyloudnorm", "itu"]
Biquad = tuple[tuple[float, float, float], tuple[float, float, float]]

BLOCK = 64


def k_weighting_coefficients(
    sample_rate: float, coefficients: Coefficients = "pyloudnorm"
) -> tuple[Biquad, Biquad]:
    """The two stages (b, a) of the K-weighting, a high shelf and a high pass.

    "pyloudnorm" is what the published timbre remapping uses: the high shelf (4 dB
    at 1500 Hz, q 1/sqrt 2) and the high pass (38 Hz, q 0.5) of Bristow-Johnson's
    Audio EQ Cookbook. "itu" is the filter of ITU-R BS.1770-4, Annex 1: its table
    holds at 48 kHz, and other rates go through the analogue prototype of that table.
    They differ by about 0.05 dB.

    Raises ValueError for another name.

    >>> shelf, _ = k_weighting_coefficients(48000, "itu")
    >>> [round(b, 5) for b in shelf[0]]  # the standard's first three numbers
    [1.53512, -2.6917, 1.19839]
    """
    if coefficients == "pyloudnorm":
        gain = 10.0 ** (4.0 / 40.0)
        cos, alpha = _cookbook(1500.0, 0.5**0.5, sample_rate)
        slope = 2.0 * gain**0.5 * alpha
        plus, minus = gain + 1.0, gain - 1.0
        shelf = _normalised(
            (
                gain * (plus + minus * cos + slope),
                -2.0 * gain * (minus + plus * cos),
                gain * (plus + minus * cos - slope),
            ),
            (
                plus - minus * cos + slope,
                2.0 * (minus - plus * cos),
                plus - minus * cos - slope,
            ),
        )
        cos, alpha = _cookbook(38.0, 0.5, sample_rate)
        edge = (1.0 + cos) / 2.0
        high_pass = _normalised(
            (edge, -2.0 * edge, edge), (1.0 + alpha, -2.0 * cos, 1.0 - alpha)
        )
        return shelf, high_pass
    if coefficients == "itu":
        damping, square, bottom = _bilinear(
            1681.974450955533, 0.7071752369554196, sample_rate
        )
        high = 10.0 ** (3.999843853973347 / 20.0)
        middle = high**0.4996667741545416 * damping
        shelf = _normalised(
            (high + middle + square, 2.0 * (square - high), high - middle + square),
            bottom,
        )
        edge = 38.13547087602444, 0.5003270373238773
        # The table's numerator is 1, -2, 1: a gain of 0.04 dB, kept at every rate.
        *_, (gain, _, _) = _bilinear(*edge, 48000.0)
        *_, bottom = _bilinear(*edge, sample_rate)
        return shelf, _normalised((gain, -2.0 * gain, gain), bottom)
    raise ValueError(
        f"coefficients of the K-weighting are {coefficients!r}; "
        "allowed: 'pyloudnorm', 'itu'"
    )


def _cookbook(frequency_hz: float, q: float, sample_rate: float):
    turn = 2.0 * np.pi * frequency_hz / sample_rate
    return np.cos(turn).item(), np.sin(turn).item() / (2.0 * q)


def _bilinear(frequency_hz: float, q: float, sample_rate: float):
    k = np.tan(np.pi * frequency_hz / sample_rate).item()
    bottom = (1.0 + k / q + k * k, 2.0 * (k * k - 1.0), 1.0 - k / q + k * k)
    return k / q, k * k, bottom


def _normalised(b, a) -> Biquad:
    return tuple(v / a[0] for v in b), tuple(v / a[0] for v in a)


def k_weighting(
    frames: Float[Array, "*batch n"],
    sample_rate: float,
    *,
    clip: bool = False,
    coefficients: Coefficients = "pyloudnorm",
) -> Float[Array, "*batch n"]:
    """Filter every frame, from rest, by the K-weighting of ITU-R BS.1770.

    `sample_rate` in Hz. `clip` limits the output of both stages to [-1, 1], as the
    published timbre remapping does (by accident); it is there for parity.

    >>> y = k_weighting(jnp.ones(4), 48000, coefficients="itu")
    >>> y.round(4).tolist()
    [1.53509..., 1.42349..., 1.32039..., 1.22739...]
    """
    stages = k_weighting_coefficients(sample_rate, coefficients)
    if not clip:
        return _filter_from_rest(frames, stages)
    for stage in stages:
        frames = jnp.clip(_filter_from_rest(frames, (stage,)), -1.0, 1.0)
    return frames


def _filter_from_rest(x, stages: tuple[Biquad, ...]):
    """Biquads in series over the last axis, as products of matrices."""
    answer, leave, step, ring = (
        jnp.asarray(m, x.dtype) for m in _block_matrices(stages)
    )
    # By default an accelerator would multiply in 10-bit mantissas.
    matmul = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    *batch, n = x.shape
    count = -(-n // BLOCK)
    still = [(0, 0)] * len(batch)
    blocks = jnp.pad(x, [*still, (0, count * BLOCK - n)])
    blocks = blocks.reshape(*batch, count, BLOCK)
    # The state before a block: zero before the first, then what was left before,
    # summed over all earlier blocks by doubling the reach.
    state = matmul(blocks[..., :-1, :], leave)
    state = jnp.pad(state, [*still, (1, 0), (0, 0)])
    reach = 1
    while reach < count:
        earlier = jnp.pad(state[..., :-reach, :], [*still, (reach, 0), (0, 0)])
        state = state + matmul(earlier, step)
        step, reach = matmul(step, step), 2 * reach
    y = matmul(blocks, answer) + matmul(state, ring)
    return y.reshape(*batch, count * BLOCK)[..., :n]


@functools.cache
def _block_matrices(stages: tuple[Biquad, ...]) -> tuple[np.ndarray, ...]:
    """Matrices of one block: input to output, input to state, state to itself and
    state to output (row vectors from the left)."""
    # The stages as one system: s' = F s + g x, y = h s + d x. Every stage in direct
    # form II transposed; it reads what the stages before it put out.
    order = 2 * len(stages)
    f, g, h, d = np.zeros((order, order)), np.zeros(order), np.zeros(order), 1.0
    for i, (b, a) in enumerate(stages):
        own = slice(2 * i, 2 * i + 2)
        gain = np.array([b[1] - a[1] * b[0], b[2] - a[2] * b[0]])
        f[own] = np.outer(gain, h)
        f[own, own] = [[-a[1], 1.0], [-a[2], 0.0]]
        g[own] = gain * d
        h, d = b[0] * h, b[0] * d
        h[2 * i] = 1.0
    into = np.empty((BLOCK, order))  # row i: state left by a one at sample i
    out = np.empty((order, BLOCK))  # column i: output at sample i of a unit state
    power = np.eye(order)
    for i in range(BLOCK):
        into[BLOCK - 1 - i] = power @ g
        out[:, i] = h @ power
        power = f @ power
    response = np.concatenate([[d], g @ out])[:BLOCK]
    lag = np.arange(BLOCK)[None, :] - np.arange(BLOCK)[:, None]
    answer = np.where(lag >= 0, response[np.maximum(lag, 0)], 0.0)
    ring, to_new = np.linalg.qr(out.T)
    step = np.linalg.solve(to_new.T, (to_new @ power).T)
    return answer, into @ to_new.T, step, ring.T


def rms(frames: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
    """Root mean square of every frame, sqrt(mean x^2 + 1e-8), linear amplitude.

    >>> rms(jnp.array([0.5, -0.5])).round(4).item()
    0.5
    """
    return jnp.sqrt(jnp.mean(frames**2, axis=-1) + 1e-8)


def rms_db(frames: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
    """Root mean square of every frame in dB; silence is -80 dB.

    >>> rms_db(jnp.array([0.1, -0.1])).round(3).item()
    -20.0
    """
    return 20.0 * jnp.log10(rms(frames) + 1e-8)


def loudness(
    frames: Float[Array, "*batch n"],
    sample_rate: float,
    *,
    clip: bool = False,
    coefficients: Coefficients = "pyloudnorm",
) -> Float[Array, "*batch"]:
    """Loudness of every frame in LKFS (dB), ungated and mono; silence is -80.691.

    -0.691 + 10 log10(mean y^2 + 1e-8), y the K-weighted frame (`k_weighting` has
    the options). Source: ITU-R BS.1770-4.

    >>> t = jnp.arange(48000) / 48000
    >>> loudness(jnp.sin(2 * jnp.pi * 997 * t), 48000, coefficients="itu").round(2)
    Array(-3.01, dtype=float32)
    """
    y = k_weighting(frames, sample_rate, clip=clip, coefficients=coefficients)
    return -0.691 + 10.0 * jnp.log10(jnp.mean(y**2, axis=-1) + 1e-8)


@dataclass(frozen=True)
class FrameLoudness:
    """`loudness` of frames, or of all the overlapping frames of a signal at once.

    >>> level = FrameLoudness(48000)
    >>> audio = jnp.sin(0.1 * jnp.arange(1024.0))
    >>> of_signal = level.of_signal(audio, size=512, hop=256)
    >>> jnp.allclose(of_signal, level(frames(audio, 512, 256)), atol=1e-4).item()
    True
    """

    sample_rate: int
    clip: bool = False
    coefficients: Coefficients = "pyloudnorm"

    def __call__(self, frames: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
        return loudness(
            frames, self.sample_rate, clip=self.clip, coefficients=self.coefficients
        )

    def of_signal(
        self, x: Float[Array, " time"], size: int, hop: int
    ) -> Float[Array, " frames"]:
        """Loudness of frame k, the samples [k * hop, k * hop + size), for all k.

        With y0 the answer of a block to itself and s the state that enters it, the
        block's power is |y0|^2 + 2 (y0 ring') s + |s|^2, as the rows of `ring` are
        orthonormal. Only s, which is four numbers, differs from frame to frame.
        """
        if self.clip or size % BLOCK or hop % BLOCK:
            return self(frames(x, size, hop))
        stages = k_weighting_coefficients(self.sample_rate, self.coefficients)
        answer, leave, step, ring = _block_matrices(stages)
        order, blocks = len(step), size // BLOCK
        matmul = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
        # What a block gives: its answer, that on the ringing, the state it leaves.
        gives = np.concatenate([answer, answer @ ring.T, leave], axis=1)
        whole = x[: len(x) // BLOCK * BLOCK].reshape(-1, BLOCK)
        given = matmul(whole, jnp.asarray(gives, x.dtype))
        own, meets, left = jnp.split(given, [BLOCK, BLOCK + order], axis=1)
        # States of a frame: what each earlier block of it left, rung on until here.
        reach = np.zeros((blocks, order, blocks, order))
        power = np.eye(order)
        for lag in range(1, blocks):
            for k in range(blocks - lag):
                reach[k, :, k + lag, :] = power
            power = power @ step
        reach = jnp.asarray(reach.reshape(blocks * order, -1), x.dtype)

        def framed(a):
            return frames(a.reshape(-1), blocks * a.shape[1], hop // BLOCK * a.shape[1])

        states = matmul(framed(left), reach)
        power_own = jnp.sum(framed(jnp.sum(own**2, axis=1, keepdims=True)), axis=1)
        power_rung = jnp.sum(states * (2.0 * framed(meets) + states), axis=1)
        mean = jnp.maximum(power_own + power_rung, 0.0) / size
        return -0.691 + 10.0 * jnp.log10(mean + 1e-8)
