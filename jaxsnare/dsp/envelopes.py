"""Envelopes in closed form: functions of the samples since the trigger, no state."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

TO_SILENCE = 6.91
"""ln(1000): after its decay time an envelope has fallen by 60 dB."""


def decay(
    n: Int[Array, " T"], decay_ms: Float[Array, ""], sample_rate: int
) -> Float[Array, " T"]:
    """Exponential decay without attack: r^n, and 0 before the trigger (n < 0).

    n: samples since the trigger. decay_ms: time to fall by 60 dB, in ms. The ratio is
    r = 1 - 6.91 / decay_samples (Shier et al. 2024), evaluated through log1p since
    log(1 - x) in float32 is only right to -20..-80 dB.

    >>> decay(jnp.arange(-1, 2), jnp.array(10.0), 1000).round(3).tolist()
    [0.0, 1.0, 0.3090...]
    """
    decay_ms = jnp.asarray(decay_ms)
    samples = decay_ms * (sample_rate / 1000)
    since = jnp.maximum(n, 0).astype(decay_ms.dtype)
    return jnp.where(n < 0, 0.0, jnp.exp(since * jnp.log1p(-TO_SILENCE / samples)))


def decay_sum(
    n: Int[Array, " T"], decay_ms: Float[Array, ""], sample_rate: int
) -> Float[Array, " T"]:
    """Sum of `decay` over all samples before n: what a swept pitch has gained.

    A tone of freq_hz (1 + mod * decay) has the phase `steady_turns` + freq_hz /
    sample_rate * mod * decay_sum, in closed form.

    >>> decay_sum(jnp.arange(-1, 3), jnp.array(10.0), 1000).round(3).tolist()
    [0.0, 0.0, 1.0, 1.3090...]
    """
    decay_ms = jnp.asarray(decay_ms)
    rate = jnp.log1p(-TO_SILENCE / (decay_ms * (sample_rate / 1000)))
    before = jnp.maximum(n, 0).astype(decay_ms.dtype)
    return jnp.expm1(before * rate) / jnp.expm1(rate)


def attack_decay(
    n: Int[Array, " T"],
    decay_ms: Float[Array, ""],
    sample_rate: int,
    attack_ms: float = 1.0,
) -> Float[Array, " T"]:
    """Linear attack over A = int(attack), then r^(n - A); 0 before the trigger.

    n: samples since the trigger. decay_ms, attack_ms: in ms. In the attack the value
    is (n + 1) / A (Shier et al. 2024).

    >>> attack_decay(jnp.arange(-1, 5), jnp.array(10.0), 4000)
    Array([0.  , 0.25, 0.5 , 0.75, 1.  , 1.  ], dtype=float32)
    """
    decay_ms = jnp.asarray(decay_ms)
    attack = int(attack_ms * sample_rate / 1000)
    rise = jnp.clip(n + 1, 0, attack).astype(decay_ms.dtype) / max(attack, 1)
    return jnp.where(n < attack, rise, decay(n - attack, decay_ms, sample_rate))


def adsr(
    n: Int[Array, " T"],
    attack_ms: Float[Array, ""],
    decay_ms: Float[Array, ""],
    sustain: Float[Array, ""],
    hold_ms: Float[Array, ""],
    release_ms: Float[Array, ""],
    sample_rate: int,
) -> Float[Array, " T"]:
    """Attack, decay, sustain, release, of a key that is held for hold_ms.

    n: samples since the trigger; 0 before it. A linear attack to 1, an exponential
    decay to the level `sustain` (linear amplitude), and from hold_ms on, wherever it
    is then, an exponential release; decay and release in ms to fall by 60 dB of their
    way. No time is shorter than a sample. Continuous in all times, so that gradients
    move them.

    >>> times = [jnp.array(t) for t in (2.0, 1.0, 0.5, 6.0, 1.0)]
    >>> adsr(jnp.arange(-1, 9), *times, 1000).round(2).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0]
    """
    sustain = jnp.asarray(sustain)
    per_ms = sample_rate / 1000
    t = jnp.maximum(n + 1, 0).astype(sustain.dtype)  # at once on the way up
    held = jnp.minimum(t, jnp.maximum(hold_ms * per_ms, 1.0))
    attack = jnp.maximum(attack_ms * per_ms, 1.0)
    decay, release = (jnp.maximum(ms * per_ms, 1.0) for ms in (decay_ms, release_ms))
    fall = jnp.exp(-TO_SILENCE * jnp.maximum(held - attack, 0.0) / decay)
    level = jnp.minimum(held / attack, 1.0) * (sustain + (1.0 - sustain) * fall)
    return level * jnp.exp(-TO_SILENCE * (t - held) / release)


def stages(
    n: Int[Array, " T"],
    times_ms: Float[Array, " K"],
    levels: Float[Array, " K"],
    curve: Float[Array, ""] | float,
    sample_rate: int,
) -> Float[Array, " T"]:
    """An envelope of K stages: from 0 to each level in its time, then it stays.

    n: samples since the trigger; 0 before it. times_ms: of each stage, in ms. curve: 0
    for straight lines; c for the way of a capacitor that covers 1 - e^-c of its charge
    in a stage (negative: slow first). Continuous in times and levels.

    >>> times, levels = jnp.array([2.0, 1.0, 2.0]), jnp.array([1.0, 1.0, 0.5])
    >>> stages(jnp.arange(-1, 6), times, levels, 0.0, 1000).tolist()
    [0.0, 0.0, 0.5, 1.0, 1.0, 0.75, 0.5]
    """
    spans = jnp.maximum(times_ms * (sample_rate / 1000), 1e-3)[:, None]
    starts = jnp.cumsum(spans, axis=0) - spans
    t = jnp.maximum(n, 0).astype(levels.dtype)[None]
    way = jnp.clip((t - starts) / spans, 0.0, 1.0)
    curve = jnp.asarray(curve, levels.dtype)
    straight = jnp.abs(curve) < 1e-3  # nearly: its first order is exact enough
    bent = jnp.where(straight, 1.0, curve)
    bow = way + 0.5 * curve * way * (1.0 - way)
    way = jnp.where(straight, bow, jnp.expm1(-bent * way) / jnp.expm1(-bent))
    return jnp.diff(levels, prepend=jnp.zeros(1, levels.dtype)) @ way


def bursts(
    n: Int[Array, " T"],
    spacing_ms: Float[Array, ""],
    decay_ms: Float[Array, ""],
    last_ms: Float[Array, ""],
    count: int,
    sample_rate: int,
) -> Float[Array, " T"]:
    """The teeth of a hand clap: `count` bursts, each decaying until the next.

    n: samples since the trigger; 0 before it. spacing_ms: from burst to burst; decay_ms
    and last_ms: time in which a burst, and the last, fall by 60 dB. As the sawtooth of
    the TR-808's clap (Roland, TR-808 service notes, 1981). A tooth rises within one
    sample, but in a straight line: so the sound is continuous in the spacing, and the
    gradient is its slope. That tells little beyond a sample: teeth that are far from
    where they should be are not drawn there.

    >>> ms = [jnp.array(v) for v in (3.0, 6.0, 9.0)]
    >>> [round(float(v), 2) for v in bursts(jnp.arange(-1, 7), *ms, 2, 1000)]
    [0.0, 1.0, 0.32, 0.1, 1.0, 0.46, 0.22, 0.1]
    """
    spacing_ms = jnp.asarray(spacing_ms)
    per_ms = sample_rate / 1000
    t = n.astype(spacing_ms.dtype)
    level = jnp.zeros_like(t)
    for k in range(count):
        since = t - k * spacing_ms * per_ms
        fall_ms = last_ms if k == count - 1 else decay_ms
        burst = jnp.exp(-TO_SILENCE * jnp.maximum(since, 0.0) / (fall_ms * per_ms))
        level = level + jnp.clip(since + 1.0, 0.0, 1.0) * (burst - level)
    return level
