"""What a sound is measured by: the target features and the onset features.

Both are as published in "Real-time Timbre Remapping with Differentiable DSP"
(arXiv 2407.04547), and both are pure functions of audio[T]; a batch is `jax.vmap`.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsnare.component import check_rate
from jaxsnare.features import loudness, spectral, temporal
from jaxsnare.features.cascade import Cascade

__all__ = [
    "LATE",
    "TARGETS",
    "Cascade",
    "OnsetFeatures",
    "Part",
    "TargetFeatures",
    "TrainingFeatures",
]

EARLY, LATE = (0, 2, 4, 6), (1, 3, 5)
"""Which of the target features the beginning of a sound decides, and which the rest."""
TARGETS = len(EARLY + LATE)
"""How many there are; what follows them is for training alone."""
BAND_FLOOR = 1e-10
"""Power that is added to that of a band: its level is -100 dB in silence."""
EARLY_DECAY = 6, 16
"""Frames of the early decay: D, after the transient, and R, after D."""


class Part(NamedTuple):
    """Some of the features, and how much of a sound they depend on."""

    places: tuple[int, ...]  # among all features
    samples: int
    hear: Callable[[Array], Array]


def _check(audio, what: str) -> None:
    if audio.ndim != 1 or not jnp.issubdtype(audio.dtype, jnp.floating):
        raise TypeError(
            f"{what} is {audio.dtype} of shape {audio.shape}; "
            "wanted: floating point of shape (samples,), mono (a batch: jax.vmap)"
        )


@dataclass(frozen=True)
class TargetFeatures:
    """The seven features by whose differences sounds are compared.

    Loudness, spectral centroid and spectral flatness of the transient (T: the mean
    over the first 2 frames of 2048, hop 512) and of what follows (S: over the next
    64), and the temporal centroid of the first 125 ms.

    sample_rate in Hz. `clip`: K-weighting as published, clipped to [-1, 1] (parity).

    >>> features = TargetFeatures(44100)
    >>> features.names[:2], features.units[:2]
    (('SPL_T', 'SPL_S'), ('LKFS', 'LKFS'))
    >>> [round(float(value), 1) for value in features(jnp.zeros(1000))[:4]]
    [-80.7, -80.7, 13.6, 13.6]
    """

    sample_rate: int
    clip: bool = False

    def __post_init__(self):
        check_rate(self.sample_rate)

    @property
    def names(self) -> tuple[str, ...]:
        return ("SPL_T", "SPL_S", "SC_T", "SC_S", "SF_T", "SF_S", "TC")

    @property
    def units(self) -> tuple[str, ...]:
        """LKFS, brightness (Kazazis et al. 2022), dB, duration (0.03 ms^1.864)."""
        return ("LKFS", "LKFS", "kazazis", "kazazis", "dB", "dB", "schlauch")

    @property
    def samples(self) -> int:
        """Samples that matter: shorter sounds count as followed by zeros."""
        return self.cascade.samples

    @property
    def cascade(self) -> Cascade:
        """All of them but the temporal centroid."""
        rate = self.sample_rate
        level = loudness.FrameLoudness(rate, self.clip)
        brightness = functools.partial(
            spectral.spectral_centroid,
            sample_rate=rate,
            window="flat_top",
            floor=1e-4,
            compress=True,
            scaling="kazazis",
        )
        return Cascade(
            (("SPL", level), ("SC", brightness), ("SF", spectral.spectral_flatness))
        )

    def __call__(self, audio: Float[Array, " time"]) -> Float[Array, "7"]:
        _check(audio, "audio")
        return jnp.concatenate([self.cascade(audio), self.temporal(audio)[None]])

    @property
    def parts(self) -> tuple[Part, ...]:
        """All of them, by how much of a sound they depend on."""
        transient = replace(self.cascade, num_frames=self.cascade.num_frames[:1])

        def early(audio):
            return jnp.append(transient(audio), self.temporal(audio))

        def late(audio):
            return self.cascade(audio)[jnp.asarray(LATE)]

        samples = max(transient.samples, self._temporal_samples)
        return Part(EARLY, samples, early), Part(LATE, self.samples, late)

    @property
    def _temporal_samples(self) -> int:
        return int(0.125 * self.sample_rate)

    def temporal(self, audio: Float[Array, " time"]) -> Float[Array, ""]:
        """The temporal centroid."""
        begin = audio[: self._temporal_samples]
        begin = jnp.pad(begin, (0, self._temporal_samples - len(begin)))
        return temporal.temporal_centroid(begin, self.sample_rate, scaling="schlauch")


@dataclass(frozen=True)
class TrainingFeatures(TargetFeatures):
    """The target features, and after them six of the early decay (D, then R).

    These are loudness, spectral centroid and spectral flatness over the first 6 of the
    frames of S, 23 to 128 ms after the onset at 44.1 kHz (D), and over the next 16,
    93 to 313 ms (R): what is heard of a stroke before the next one. Over all 64 frames
    they say little of that, because they are ruled by those in which the sound has died
    away.

    >>> TrainingFeatures(44100).names[-7:]
    ('TC', 'SPL_D', 'SC_D', 'SF_D', 'SPL_R', 'SC_R', 'SF_R')
    """

    @property
    def names(self) -> tuple[str, ...]:
        names = (
            f"{feature}_{span}" for span in "DR" for feature in ("SPL", "SC", "SF")
        )
        return (*super().names, *names)

    @property
    def units(self) -> tuple[str, ...]:
        return (*super().units, *["LKFS", "kazazis", "dB"] * 2)

    @property
    def parts(self) -> tuple[Part, ...]:
        transient, _ = self.cascade.num_frames
        near = replace(self.cascade, num_frames=(transient, EARLY_DECAY[0]))
        far = replace(self.cascade, num_frames=(transient, *EARLY_DECAY))
        early, late = super().parts

        def begin(audio):
            found = near(audio)
            centroid = self.temporal(audio)[None]
            return jnp.concatenate([found[::2], centroid, found[1::2]])

        def ring(audio):
            return far(audio)[2::3]

        decay = tuple(range(TARGETS, TARGETS + 6))
        samples = max(early.samples, near.samples)
        return (
            Part((*EARLY, *decay[:3]), samples, begin),
            Part(decay[3:], far.samples, ring),
            late,
        )

    def __call__(self, audio: Float[Array, " time"]) -> Float[Array, "13"]:
        _check(audio, "audio")
        transient, sustain = self.cascade.num_frames
        lengths = *EARLY_DECAY, sustain - sum(EARLY_DECAY)
        found = replace(self.cascade, num_frames=(transient, *lengths))(audio)
        t, *spans = found.reshape(3, -1).T
        s = sum(n * span for n, span in zip(lengths, spans, strict=True)) / sustain
        seven = jnp.append(jnp.stack([t, s], axis=1), self.temporal(audio))
        return jnp.concatenate([seven, *spans[:2]])


@dataclass(frozen=True)
class OnsetFeatures:
    """The features of the window after an onset that drive the mapping.

    The three published ones: level (RMS, dB), spectral centroid (MIDI pitch) and
    spectral flatness (dB), of `window` samples at `sample_rate` Hz. With `edges_hz`,
    borders of bands, also the level of each band in both halves of the window.

    >>> features = OnsetFeatures(44100)
    >>> click = jnp.zeros(256).at[128].set(1.0)
    >>> for name, unit, value in zip(features.names, features.units, features(click)):
    ...     print(f"{name} {value:.2f} {unit}")
    RMS -24.08 dB
    SC 124.77 semitone
    SF 0.00 dB
    >>> OnsetFeatures(44100, edges_hz=(1000.0,)).names[3:]
    ('early 0 Hz', 'early 1000 Hz', 'late 0 Hz', 'late 1000 Hz')
    """

    sample_rate: int
    window: int = 256
    edges_hz: tuple[float, ...] = ()

    def __post_init__(self):
        check_rate(self.sample_rate)
        if not isinstance(self.window, int) or self.window < 2:
            raise ValueError(
                f"window is {self.window!r} samples; allowed: whole numbers from 2 on"
            )
        edges, top = self.edges_hz, self.sample_rate / 2
        rises = (
            isinstance(edges, tuple)
            and all(isinstance(hz, int | float) for hz in edges)
            and all(low < high for low, high in pairwise((0.0, *edges, top)))
        )
        if not rises:
            raise ValueError(
                f"edges_hz are {edges!r}; allowed: a tuple that rises between 0 and "
                f"{top:g} Hz"
            )

    @property
    def _levels(self) -> list[str]:
        """Names of the levels of bands."""
        bands = [f"{hz:g} Hz" for hz in (0.0, *self.edges_hz)] if self.edges_hz else []
        return [f"{half} {band}" for half in ("early", "late") for band in bands]

    @property
    def names(self) -> tuple[str, ...]:
        return ("RMS", "SC", "SF", *self._levels)

    @property
    def units(self) -> tuple[str, ...]:
        return ("dB", "semitone", "dB", *["dB"] * len(self._levels))

    def __call__(self, window: Float[Array, " window"]) -> Float[Array, " F"]:
        _check(window, "window")
        if len(window) != self.window:
            raise ValueError(f"window has {len(window)} samples; wanted: {self.window}")
        whole = jnp.stack(
            [
                loudness.rms_db(window),
                spectral.spectral_centroid(
                    window, self.sample_rate, scaling="semitone"
                ),
                spectral.spectral_flatness(window),
            ]
        )
        if not self.edges_hz:
            return whole
        half = len(window) // 2
        bands = [
            spectral.band_powers(part, self.sample_rate, self.edges_hz) / half**2
            for part in (window[:half], window[half : 2 * half])
        ]
        return jnp.append(whole, 10 * jnp.log10(jnp.concatenate(bands) + BAND_FLOOR))
