"""Adam on the weights of mappings, batch by batch, as published."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsnare.fitting import (
    FitState,
    Method,
    choose,
    map_hits,
    mean_losses,
    mean_used,
    sound_losses,
)


def losses_and_gradients(
    problem, weights, cases, examples
) -> tuple[Float[Array, " M"], Any]:
    """Mean loss of each of M models over its examples [M, N], and its gradient."""
    heard = cases, examples.normalised, examples.before
    values, pull = jax.vjp(lambda w: map_hits(problem, w, *heard).values, weights)
    losses, slopes = sound_losses(problem, cases, examples, values, gradient=True)
    count = jnp.maximum(jnp.sum(examples.used, axis=1), 1).astype(slopes.dtype)
    slopes = slopes / jnp.broadcast_to(count[:, None, None], slopes.shape)
    return mean_used(losses, examples.used), pull(slopes)[0]


class DescentState(NamedTuple):
    """What Adam keeps of M models."""

    adam: Any
    halved: Any  # [M], how often the learning rate was halved
    waited: Any  # epochs since the best, or since the rate was halved


@dataclass(frozen=True)
class Descent(Method):
    """Adam (Kingma and Ba 2015) on batches of hits, all of them once an epoch.

    The learning rate of a model is halved after `patience` epochs (both of its Case)
    without a better validation loss (Shier et al. 2024).
    """

    batch: int = 16

    def start(self, weights, used):
        none = jnp.zeros(len(used), jnp.int32)
        weights = jax.tree.map(jnp.asarray, weights)
        return DescentState(jax.vmap(_adam().init)(weights), none, none)

    def order(self, counts, seeds, epoch):
        return batches(counts, seeds, epoch, self.batch)

    def epoch(self, problem, state, cases, train_set, validation_set, order):
        """order: [M, S, B] hits of each batch, -1 for none."""
        rates = jnp.ldexp(cases.rate, -state.own.halved)

        def update(carry, chosen):
            weights, adam = carry
            index = jnp.maximum(chosen, 0)
            take = jax.vmap(lambda a, i: a[i])
            batch = jax.tree.map(lambda a: take(a, index), train_set)
            batch = batch._replace(used=chosen >= 0)
            active = batch.used.any(axis=1)
            losses, gradients = losses_and_gradients(problem, weights, cases, batch)
            steps, moved = jax.vmap(_adam().update)(gradients, adam)
            rate = jnp.where(active, rates, 0.0)

            def descend(w, s):
                wide = rate.reshape(-1, *[1] * (w.ndim - 1))
                return w - jnp.broadcast_to(wide, w.shape) * s

            weights = jax.tree.map(descend, weights, steps)
            return (weights, choose(active, moved, adam)), (losses, active)

        carry, (losses, active) = jax.lax.scan(
            update, (state.weights, state.own.adam), jnp.moveaxis(order, 1, 0)
        )
        weights, adam = carry
        loss = mean_losses(problem, weights, cases, validation_set)
        epoch = state.epoch + 1
        waited = jnp.where(loss < state.best.loss, 0, state.own.waited + 1)
        lower = waited > cases.patience
        own = DescentState(
            adam,
            state.own.halved + lower.astype(waited.dtype),
            jnp.where(lower, 0, waited),
        )
        best = state.best.updated(epoch, weights, loss)
        state = FitState(epoch, weights, own, best)
        return state, mean_used(losses.T, active.T), loss


def _adam():
    import optax

    return optax.scale_by_adam()


def batches(counts: Sequence[int], seeds: Sequence[int], epoch: int, batch: int):
    """Which hits each step of an epoch takes, [M, S, B] with -1 for none.

    A model's order depends on its seed, the epoch and its number of hits alone.
    """
    size = min(batch, max(counts))
    steps = -(-max(counts) // size)
    order = np.full((len(counts), steps * size), -1, np.int32)
    for m, (count, seed) in enumerate(zip(counts, seeds, strict=True)):
        shuffled = np.random.default_rng([seed, epoch]).permutation(count)
        # batches of a model are whole but for the last, as if it were alone
        order[m, :count] = shuffled
    return order.reshape(len(counts), steps, size)
