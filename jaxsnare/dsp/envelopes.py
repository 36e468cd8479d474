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
