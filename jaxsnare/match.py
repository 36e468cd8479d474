"""Sound matching: the parameters of a synth that come nearest to a sound.

Spectral distances tell little of pitch: two tones that do not overlap are equally far
apart wherever they lie. So a search goes from far to near: many random candidates are
heard, the best follow the gradient of a distance that feels direction (spectra as
masses that are carried along the logarithm of frequency), and the best of these that
of the loss that counts, by default the multi-resolution spectrogram distance. From
stage to stage fewer go on, and a stage is over where it no longer pays.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsnare.component import check_audio
from jaxsnare.dsp.framing import frames
from jaxsnare.dsp.units import safe_sqrt
from jaxsnare.features import TargetFeatures
from jaxsnare.features.spectral import power_spectrum
from jaxsnare.losses import RANGE_FLOORS, multi_resolution_stft
from jaxsnare.params import Values, unknown
from jaxsnare.presets import Preset, read_preset, usual_preset
from jaxsnare.synths import Synth, not_finite, render

Loss = Callable[[Float[Array, " T"], Float[Array, " T"]], Float[Array, ""]]
"""Distance of a sound (the first) from a target, which is differentiated."""

FLOOR, TINY = 1e-4, 1e-9
NOISE = 1e-2
"""Magnitude 94 dB under a sine at the target's peak, which is 1. At 16 bits, a sound
that peaks at -30 dBFS has its noise there, to which no synth could come near."""
AT_ONCE = 4  # divides all counts
CANDIDATES = 512
# How many go on for at most how many steps, and the learning rate at the beginning.
FAR, FAR_RATE = ((16, 60), (8, 80)), 0.03
NEAR, NEAR_RATE = ((4, 200),), 0.005
PAYS, PATIENCE, LAST_RATE = 0.02, 10, 2e-4
"""The rate is halved where 10 steps bring less than 2 %; a stage is over below 2e-4."""
ONSET = 0.01  # of the peak: where a sound begins
MIN_SAMPLES = 4096


@cache
def _bands(size: int, sample_rate: int, per_octave: int = 12) -> np.ndarray:
    """Shares of the bins of a spectrum in bands of equal ratio, [bins, bands].

    A bin's power goes to the two bands between which it lies.
    """
    hz = np.arange(1, size // 2 + 1) * sample_rate / size
    at = per_octave * np.log2(hz / hz[0])
    count = int(at[-1]) + 2
    share = np.maximum(1 - np.abs(at[:, None] - np.arange(count)), 0.0)
    return np.concatenate([np.zeros((1, count)), share])


def transport(
    x: Float[Array, " T"],
    y: Float[Array, " T"],
    *,
    sample_rate: int,
    size: int = 4096,
    per_octave: int = 12,
) -> Float[Array, ""]:
    """Distance of a sound x from a target y that feels in which direction pitch lies.

    In each frame of `size` samples, the amplitudes of bands of 1 / `per_octave` octaves
    are masses: how far they are carried along the logarithm of frequency, in octaves
    (the first Wasserstein distance; Torres, Peeters, Richard 2024, arXiv 2312.14507),
    weighted by the target's amplitude; plus the mean difference of the logarithms of
    the bands' amplitudes.

    >>> tone = lambda hz: jnp.sin(2 * jnp.pi * hz / 8000 * jnp.arange(8000.0))
    >>> far = [transport(tone(hz), tone(200.0), sample_rate=8000) for hz in (800, 400)]
    >>> bool(far[0] > far[1] + 0.5)
    True
    """
    share = jnp.asarray(_bands(size, sample_rate, per_octave), x.dtype)

    def amplitudes(signal):
        framed = frames(jnp.pad(signal, (size // 2, size)), size, size // 4)
        return safe_sqrt(power_spectrum(framed) @ share)

    a, b = amplitudes(x), amplitudes(y)
    floor = 1e-3 * jnp.max(b) + FLOOR
    mass_a, mass_b = (v + 1e-3 * floor for v in (a, b))
    carried = jnp.abs(
        jnp.cumsum(mass_a / jnp.sum(mass_a, axis=-1, keepdims=True), axis=-1)
        - jnp.cumsum(mass_b / jnp.sum(mass_b, axis=-1, keepdims=True), axis=-1)
    )
    weight = jnp.sum(b, axis=-1)
    octaves = jnp.sum(carried, axis=-1) / per_octave
    moved = jnp.sum(octaves * weight) / (jnp.sum(weight) + FLOOR)
    level = jnp.mean(jnp.abs(jnp.log(a + floor) - jnp.log(b + floor)))
    return moved + level


@cache
def direction_loss(sample_rate: int) -> Loss:
    """`transport` at a rate: the same rate, the same object."""
    return partial(transport, sample_rate=sample_rate)


@cache
def feature_loss(sample_rate: int) -> Loss:
    """Mean difference of the target features, each by its least range."""
    features = TargetFeatures(sample_rate)

    def loss(x, y):
        ranges = jnp.asarray(RANGE_FLOORS, x.dtype)
        return jnp.mean(jnp.abs(features(x) - features(y)) / ranges)

    return loss


def stft_loss(x: Float[Array, " T"], y: Float[Array, " T"]) -> Float[Array, ""]:
    """`multi_resolution_stft` without what lies under the noise of a recording."""
    return multi_resolution_stft(x, y, floor=NOISE)


@cache
def _both(sample_rate: int) -> Loss:
    features = feature_loss(sample_rate)
    return lambda x, y: stft_loss(x, y) + features(x, y)


LOSSES: dict[str, Callable[[int], Loss]] = {
    "stft": lambda _: stft_loss,
    "features": feature_loss,
    "both": _both,
}
"""What may count in the end, at a sample rate."""


def find_loss(name: str, sample_rate: int) -> Loss:
    """A loss by name; ValueError that names the choices if unknown."""
    if name not in LOSSES:
        raise ValueError(unknown("loss", name, list(LOSSES)))
    return LOSSES[name](sample_rate)


class Match(NamedTuple):
    """What was found: audio [T] is NumPy, distances are those of the loss."""

    values: dict[str, float]  # physical units
    target: np.ndarray
    before: np.ndarray  # the preset that the search began with
    after: np.ndarray
    distance_before: float
    distance: float

    @property
    def preset(self) -> Preset:
        return Preset(self.values, dict.fromkeys(self.values, 1.0))


def match(
    sound: Float[np.ndarray, " T"],
    synth: Synth,
    *,
    loss: Loss = stft_loss,
    preset: Values | None = None,
    seed: int = 0,
    progress: Callable[[int, int, str], Any] | None = None,
) -> Match:
    """Values of a synth whose sound comes nearest to another.

    sound: [T], mono, at the synth's rate, its onset at the first sample (`trimmed`).
    loss: distance of a sound from the target that counts; where its gradient is not
    finite, it is taken for 0. preset: a candidate beside the random ones (None: the
    usual preset). progress: called with steps done, steps in all, and words. The same
    seed gives the same result.

    The losses hear target and candidates louder by the same factor, which brings the
    target's peak to 1: how loud a recording is does not count.
    """
    sound = check_audio(sound)
    if not np.any(sound):
        raise ValueError("the sound is silent: there is nothing to match")
    if len(sound) < MIN_SAMPLES:
        sound = np.pad(sound, (0, MIN_SAMPLES - len(sound)))
    specs, louder = synth.specs, np.float32(1.0 / np.abs(sound).max())
    target = jnp.asarray(sound * louder)
    if preset is None:
        preset = read_preset(usual_preset(synth), synth).values
    first = specs.to_unit(specs.pack(specs.check(preset)).astype(jnp.float32))
    before = _sound(synth, first, len(sound))
    if not jnp.isfinite(before).all():
        raise not_finite(synth)
    far = direction_loss(synth.sample_rate)
    say, done = progress or (lambda *_: None), 0
    total = sum(steps for _, steps in (*FAR, *NEAR))

    say(0, total, "listening to candidates")
    drawn = np.random.default_rng(seed).uniform(0, 1, (CANDIDATES - 1, len(specs)))
    units = jnp.concatenate([first[None], jnp.asarray(drawn, first.dtype)])
    for words, by, stages, rate in (
        ("towards it", far, FAR, FAR_RATE),
        ("close to it", loss, NEAR, NEAR_RATE),
    ):
        distances = _distances(synth, by, units, target, louder)
        for count, steps in stages:
            say(done, total, words)
            units = _best(units, distances, count)
            groups = [
                _descend(synth, by, group, target, louder, steps, rate)
                for group in jnp.split(units, count // AT_ONCE)
            ]
            units, distances = map(jnp.concatenate, zip(*groups, strict=True))
            done += steps
    say(total, total, "done")

    (best,) = _best(units, distances, 1)
    after = _sound(synth, best, len(sound))
    ends = [float(_compiled(loss)(louder * heard, target)) for heard in (before, after)]
    found = {k: float(v) for k, v in specs.unpack(specs.to_physical(best)).items()}
    within = {s.name: float(np.clip(found[s.name], s.lo, s.hi)) for s in specs}
    return Match(within, sound, np.asarray(before), np.asarray(after), *ends)


def trimmed(sound: np.ndarray, samples: int) -> np.ndarray:
    """A sound from its onset on, at most so many samples.

    The onset is where it first exceeds a hundredth of its peak.
    """
    level = np.abs(sound)
    start = int(np.argmax(level > ONSET * level.max(initial=0.0)))
    return sound[start : start + samples]


@cache
def _compiled(loss: Loss) -> Loss:
    return jax.jit(loss)


def _distances(
    synth: Synth, loss: Loss, units: Array, target: Array, louder: Any
) -> Array:
    sounds = (louder * _sound(synth, unit, len(target)) for unit in units)
    return jnp.stack([_compiled(loss)(sound, target) for sound in sounds])


def _best(units: Array, distances: Array, count: int) -> Array:
    return units[
        jnp.argsort(jnp.where(jnp.isnan(distances), jnp.inf, distances))[:count]
    ]


@partial(jax.jit, static_argnums=(0, 2))
def _sound(synth: Synth, unit: Array, samples: int) -> Array:
    specs = synth.specs
    return render(synth, specs.unpack(specs.to_physical(unit)), samples=samples)


@partial(jax.jit, static_argnums=(0, 1))
def _descend(
    synth: Synth,
    loss: Loss,
    units: Array,
    target: Array,
    louder: Any,
    steps: int,
    rate: float,
) -> tuple[Array, Array]:
    """Adam within the unit interval while it pays: the best of each start.

    What pays is told by the mean of the starts' logarithms.
    """
    import optax

    adam = optax.scale_by_adam(b2=0.99)
    one = jax.value_and_grad(
        lambda unit: loss(louder * _sound(synth, unit, len(target)), target)
    )

    def goes_on(carry):
        done, rate = carry[:2]
        return (done < steps) & (rate >= LAST_RATE)

    def step(carry):
        done, rate, units, state, best, least, mark, since = carry
        distances, gradients = jax.vmap(one)(units)
        better = distances < least
        best = jnp.where(better[:, None], units, best)
        least = jnp.where(better, distances, least)
        gradients = jnp.where(jnp.isfinite(gradients), gradients, 0.0)
        moves, state = adam.update(gradients, state)
        units = jnp.clip(units - rate * moves, 0.0, 1.0)
        heard = jnp.isfinite(least)
        level = jnp.mean(jnp.log(least + TINY), where=heard)
        pays = level < mark - PAYS
        mark, since = jnp.where(pays, level, mark), jnp.where(pays, 0, since + 1)
        tired = since >= PATIENCE
        rate, since = jnp.where(tired, rate / 2, rate), jnp.where(tired, 0, since)
        return done + 1, rate, units, state, best, least, mark, since

    never = jnp.full(len(units), jnp.inf, units.dtype)
    start = 0, jnp.asarray(rate, units.dtype), units, adam.init(units), units, never
    begin = jax.tree.map(jnp.asarray, (*start, jnp.inf, 0))
    _, _, _, _, best, least, *_ = jax.lax.while_loop(goes_on, step, begin)
    return best, least
