"""Mappings fitted by linear models of their sounds: few sounds and large steps.

Sounds are by far the most expensive part of a training, and a gradient says little
about them. The slopes of all features to all parameters cost about three times as much,
and tell how the sounds of all hits change. With them the loss is, near by, a function
of the modulations that costs next to nothing: the network is fitted to it as far as it
can be trusted, and the slopes are taken anew.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsnare.fitting import (
    Best,
    FitState,
    Method,
    choose,
    each_used,
    map_hits,
    mean_used,
    sound_losses,
)
from jaxsnare.mapping import map_features

STEPS, RATE = 600, 0.03
"""Of Adam, on the linear model; the rate falls to 0 as a cosine does."""
SENSITIVE, FINEST = 0.3, 0.01
"""Parameters of which the loss over the whole range is more than the first are moved
at a rate that is lower by as much, at least by the second."""
EDGE = 0.01
"""Where the loss of a feature goes over from a square to a straight line."""
TRUST, LEAST, MOST = 0.3, 1e-2, 1e4
"""Price of a hit for leaving the place of its slopes: at first, and its limits."""
HEARD = 0.3
"""How much of the price is for what the features move, beside the parameters."""
DEARER, CHEAPER, SLACK = 3.0, 0.4, 0.03
"""What the price is multiplied by, and the difference of losses that does not count."""
TRIES, SHORTER = 5, 1 / 3
"""A step that makes the loss worse is tried again, shorter."""
PATIENCE = 3
"""Epochs in a row without a gain, after which a model is left as it is."""


class ProximalState(NamedTuple):
    """What the method keeps of M models."""

    price: Float[Array, "M N"]
    stalled: Any  # [M], epochs in a row without a gain
    loss: Float[Array, " M"]  # over the training hits


class Line(NamedTuple):
    """The losses of a model's hits near the values of which its slopes were taken.

    Sums over the features of weight * |rest + slopes (unit - there)|: 1 where the loss
    is that of the preset.
    """

    there: Float[Array, "N P"]  # in the unit interval
    rest: Float[Array, "N K"]  # what the differences lack
    slopes: Float[Array, "N K P"]
    weight: Float[Array, "N K"]  # 0 where a hit does not count

    def moved(self, unit: Float[Array, "N P"]) -> Float[Array, "N K"]:
        """What the features move by, in the loss."""
        move = jnp.einsum("nkp,np->nk", self.slopes, unit - self.there)
        return self.weight * move

    def losses(self, unit: Float[Array, "N P"]) -> Float[Array, " N"]:
        return jnp.sum(jnp.abs(self.weight * self.rest + self.moved(unit)), axis=1)

    def smooth_losses(self, unit: Float[Array, "N P"]) -> Float[Array, " N"]:
        """The same without edges, at which steps of Adam would jump to and fro."""
        lack = self.weight * self.rest + self.moved(unit)
        return jnp.sum(jnp.sqrt(jnp.square(lack) + EDGE**2) - EDGE, axis=1)

    def distances(self, unit: Float[Array, "N P"]) -> Float[Array, " N"]:
        """From there, half squared, in values and in what is heard of them."""
        values = jnp.sum(jnp.square(unit - self.there), axis=1)
        heard = jnp.sum(jnp.square(self.moved(unit)), axis=1)
        return 0.5 * (values + HEARD * heard)


@dataclass(frozen=True)
class Proximal(Method):
    """The prox-linear method with a price of each hit for leaving its linear model.

    An epoch takes the slopes of all hits, fits the weights to the linear model, and
    shortens that step until the true loss falls. The price of a hit rises where its
    model was wrong and falls where it was right. The squares of the weights, but not of
    biases, have a price (`decay` of the Case), the loss of the preset being 1.

    Source: Burke 1985 (Math. Program. 33, 260-279); Drusvyatskiy and Paquette 2019
    (Math. Program. 178, 503-558).
    """

    def start(self, weights, used):
        none = jnp.zeros(len(used))
        return ProximalState(jnp.full(used.shape, TRUST), none.astype(jnp.int32), none)

    def order(self, counts, seeds, epoch):
        return np.zeros((len(counts), 0), np.int32)  # nothing is drawn

    def finished(self, state):
        return bool((state.own.stalled >= PATIENCE).all())

    def epoch(self, problem, state, cases, train_set, validation_set, order):
        trying = state.own.stalled < PATIENCE
        # In one set, so that the sounds of both are made by one program.
        hits = jax.tree.map(
            lambda a, b: jnp.concatenate([a, b], axis=1), train_set, validation_set
        )
        trained = train_set.used.shape[1]

        def listen(weights, models):
            """Losses of the hits of some models."""
            chosen = hits._replace(used=hits.used & models[:, None])
            args = weights, cases, hits.normalised, hits.before
            values = map_hits(problem, *args).values
            return sound_losses(problem, cases, chosen, values)

        def mean(losses):
            return mean_used(losses[:, :trained], train_set.used)

        used = train_set.used & trying[:, None]
        place = jax.vmap(lambda *model: units(problem, *model))
        there = place(state.weights, cases, train_set)
        line = lines(problem, cases, train_set._replace(used=used), there)
        preset_loss = mean(jnp.sum(jnp.abs(line.weight * train_set.wanted), axis=2))
        preset_loss = jnp.maximum(preset_loss, 1e-9)
        line = line._replace(weight=line.weight / preset_loss[:, None, None])
        follow = jax.vmap(lambda *model: self._follow(problem, *model))
        aim = follow(state.weights, cases, train_set, line, state.own.price)

        def towards(share):
            def one(w, a):
                wide = share.reshape(-1, *[1] * (w.ndim - 1))
                return w + jnp.broadcast_to(wide, w.shape) * (a - w)

            return jax.tree.map(one, state.weights, aim)

        now = jax.vmap(Line.losses)(line, line.there)
        was = mean(now) * preset_loss

        def attempt(carry):
            tries, share, first, losses, gains = carry
            again = trying & ~gains
            share = jnp.where(again & (tries > 0), SHORTER * share, share)
            heard = listen(towards(share), again)
            losses = jnp.where(again[:, None], heard, losses)
            first = jnp.where(tries == 0, heard, first)
            gains = gains | (again & (mean(losses) < was))
            return tries + 1, share, first, losses, gains

        nothing = jnp.zeros(hits.used.shape, was.dtype)
        _, share, first, losses, gains = jax.lax.while_loop(
            lambda carry: (carry[0] < TRIES) & (trying & ~carry[-1]).any(),
            attempt,
            (0, jnp.ones_like(was), nothing, nothing, jnp.zeros_like(trying)),
        )
        weights = choose(gains, towards(share), state.weights)

        told = jax.vmap(Line.losses)(line, place(aim, cases, train_set))
        found = first[:, :trained] / preset_loss[:, None]
        worse = found > jnp.maximum(now, told) + SLACK
        right = found < told + CHEAPER * jnp.maximum(now - told, 0.0) + SLACK
        change = jnp.where(worse, DEARER, jnp.where(right, CHEAPER, 1.0))
        price = jnp.clip(state.own.price * change, LEAST, MOST)
        price = jnp.where(used, price, state.own.price)

        epoch = state.epoch + 1
        loss = mean_used(losses[:, trained:], validation_set.used)
        loss = jnp.where(gains, loss, state.best.loss)
        stalled = jnp.where(gains, 0, state.own.stalled + 1)
        # A step is better than none, whatever the few validation hits say.
        first = gains & (state.best.epoch == 0)
        best = state.best.updated(epoch, weights, loss)
        best = choose(first, Best(weights, loss, epoch), best)
        train_loss = jnp.where(trying, was, state.own.loss)
        train_loss = jnp.where(gains, mean(losses), train_loss)
        own = ProximalState(price, stalled, train_loss)
        return FitState(epoch, weights, own, best), train_loss, loss

    def _follow(self, problem, weights, case, examples, line, price):
        """The weights of one model that its linear model likes best."""
        import optax

        def loss(weights):
            there = units(problem, weights, case, examples)
            losses = line.smooth_losses(there) + price * line.distances(there)
            losses = jnp.where(examples.used, losses, 0.0)
            kernels = [w for w in jax.tree.leaves(weights) if w.ndim > 1]
            squares = sum(jnp.sum(jnp.square(w)) for w in kernels)
            return mean_used(losses, examples.used) + case.decay * squares

        steep = jnp.sum(jnp.square(line.weight[..., None] * line.slopes), axis=1)
        steep = mean_used(steep.T, jnp.broadcast_to(examples.used, steep.T.shape))
        steep = case.params.damping * jnp.sqrt(steep + 1e-9)
        care = jnp.clip(SENSITIVE / (steep + 1e-9), FINEST, 1.0)
        adam = optax.scale_by_adam()

        def step(carry, n):
            weights, state, least, best = carry
            value, slope = jax.value_and_grad(loss)(weights)
            better = value < least
            best = jax.tree.map(lambda w, b: jnp.where(better, w, b), weights, best)
            move, state = adam.update(slope, state)
            move = problem.mapping.scale_outputs(move, care)
            rate = 0.5 * RATE * (1 + jnp.cos(jnp.pi * n.astype(value.dtype) / STEPS))
            weights = jax.tree.map(lambda w, m: w - rate * m, weights, move)
            return (weights, state, jnp.minimum(value, least), best), None

        start = weights, adam.init(weights), jnp.full_like(care[0], jnp.inf), weights
        (_, _, _, best), _ = jax.lax.scan(step, start, jnp.arange(STEPS))
        return best


def units(problem, weights, case, examples):
    """The values [N, P] of the hits of one model, in the unit interval."""

    def answer(x, before):
        params = case.params._replace(weights=weights, preset=before)
        moved = map_features(problem.mapping, problem.specs, params, x).modulation
        return jnp.clip(before + moved, 0.0, 1.0)

    return jax.vmap(answer)(examples.normalised, examples.before)


def lines(problem, cases, examples, there) -> Line:
    """The linear models of M models' hits [M, N, ...] at their values [M, N, P]."""
    models, hits = examples.used.shape

    def flat(a):
        return a.reshape(-1, a.shape[-1])

    features, slopes = each_used(
        lambda row: problem.sound_slopes(*row),
        (flat(there), flat(examples.before)),
        examples.used.reshape(-1),
    )
    features = features.reshape(models, hits, -1)

    def by_hit(a):
        return jnp.broadcast_to(a[:, None], features.shape)

    count = jnp.where(examples.used, features.shape[-1], jnp.inf)
    weight = by_hit(cases.balance) / jnp.broadcast_to(count[..., None], features.shape)

    return Line(
        there,
        features - by_hit(cases.preset_features) - examples.wanted,
        slopes.reshape(*features.shape, -1),
        weight,
    )
