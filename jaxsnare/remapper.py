"""The whole chain as one step: detector, window, features, mapping, synth.

`map_features` of the mapping is the function that training calls; `Remapper.step` is
what is played, live or over a file. There is no other path from a sound to a sound.
"""

from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxsnare.component import (
    SUB_BLOCK,
    Component,
    min_gap_samples,
    scan_blocks,
    select,
)
from jaxsnare.detector import HitState, find_detector
from jaxsnare.dsp.followers import PeakFollower, Ramp
from jaxsnare.dsp.framing import push, resample
from jaxsnare.dsp.units import amplitude_to_db, db_to_amplitude, safe_sqrt
from jaxsnare.features import OnsetFeatures, TrainingFeatures
from jaxsnare.features.normalise import Normaliser, RunningNormaliser, normalise
from jaxsnare.gate import Gate, gate_features, open_gate, passes
from jaxsnare.mapping import MapParams, Mapping, Modulation, map_features
from jaxsnare.onset import Detector, OnsetState, pre_roll_samples
from jaxsnare.params import ParamSet, Values
from jaxsnare.synths import Synth, SynthState

PEAK_RELEASE_MS = 50.0
KNOB_MS = 5.0
FOLLOW_LIMIT_DB = 40.0
LOUDNESS = 0  # which onset feature is the level, in dB
EMPTY = -1


class SecondParams(NamedTuple):
    """What the mapping of the second look has of its own."""

    weights: Any
    normaliser: Normaliser
    centre: Float[Array, " F"]


class RemapParams(NamedTuple):
    """Everything a performer turns or loads."""

    onset: Values
    map: MapParams
    play: Values
    gate: Gate = open_gate()  # where hits lie, and what is none
    second: SecondParams | None = None


def check_second_look(window: int, longer: int, sample_rate: int) -> None:
    """ValueError unless voices fade between two looks, and before the next hit.

    window, longer: samples that the looks take at that rate.
    """
    gap, before = min_gap_samples(sample_rate), pre_roll_samples(sample_rate)
    if window - before < gap or longer - window < gap:
        raise ValueError(
            f"windows of {window} and {longer} samples leave no room for a fade at "
            f"{sample_rate} Hz: with a second look the first must be {gap + before} "
            f"samples or more, and the second {gap} more than the first"
        )


class RemapState(NamedTuple):
    detector: HitState | OnsetState
    history: Float[Array, " W"]  # the last samples of the input
    again: Int[Array, ""]  # samples until the voice is revised, or EMPTY
    due: Int[Array, " Q"]  # samples until a voice starts, EMPTY where none waits
    refused: Int[Array, ""]  # samples until the detector forgets an onset, or EMPTY
    running: Any  # of the running normaliser; () where there is none
    values: Float[Array, " P"]  # of the last hit, or its revision
    synth: SynthState
    knobs: Any  # of the ramps: gains of synth and input, gain, trim
    peak: Float[Array, " 2"]  # held peaks: mix, synth alone
    past_peak: Float[Array, " 64"]  # of the mix, over the sub-block before


class RemapSignals(NamedTuple):
    """Signals of the block's length."""

    audio: Float[Array, " T"]  # synth and input, mixed and limited: what is heard
    synth: Float[Array, " T"]  # the synth alone, limited
    onset: Bool[Array, " T"]  # an onset was detected
    trigger: Bool[Array, " T"]  # a voice started
    level: Float[Array, " T"]  # detection signal, dB


class RemapOut(NamedTuple):
    signals: RemapSignals
    hits: Modulation  # a row per sub-block, valid where a voice started in it
    level_db: Float[Array, " R"]  # a row as well: the hit's, before any normaliser


@dataclass(frozen=True)
class Remapper(Component):
    """A drummer's signal in, the synth's signal out.

    params: RemapParams. x: input [T]. out: RemapOut, with a row for the hit of each
    sub-block of at most 64 samples. Rates: `synth.sample_rate` is that of the stream;
    the onset features are measured at their own, the model's rate (a due window is
    resampled by band-limited interpolation); `specs` are the model's ranges. With
    `running_normaliser` the ranges follow what is played instead of the training set.
    An onset that the gate refuses starts no voice, and SUB_BLOCK later the detector
    forgets it, so that it hides no stroke that follows.

    With `second`, the features of a longer window, the voice of a hit is revised when
    that window is full: the mapping with weights of its own bends the values once
    more, unless the next onset has come.
    """

    synth: Synth
    specs: ParamSet
    mapping: Mapping
    features: OnsetFeatures
    running_normaliser: bool = False
    hears: str = "adaptive"  # name of the detector
    second: OnsetFeatures | None = None

    def __post_init__(self) -> None:
        if self.specs.names != self.synth.specs.names:
            raise ValueError(
                f"the ranges are of other parameters than those of "
                f"{type(self.synth).__name__}: {', '.join(self.specs.names)}"
            )
        if self.mapping.outputs != len(self.specs):
            raise ValueError(
                f"the mapping has {self.mapping.outputs} outputs for "
                f"{len(self.specs)} parameters"
            )
        if self.mapping.inputs != len(self.features.names):
            raise ValueError(
                f"the mapping has {self.mapping.inputs} inputs for "
                f"{len(self.features.names)} onset features"
            )

        find_detector(self.hears, self.sample_rate)
        if self.latency < 1:
            raise ValueError(
                f"the window is {self.window} samples at {self.sample_rate} Hz; it "
                f"must be more than {pre_roll_samples(self.sample_rate)}, which lie "
                "before an onset"
            )
        if self.second is not None:
            check_second_look(self.window, self._longest, self.sample_rate)

    @property
    def sample_rate(self) -> int:
        """Rate of the stream in Hz."""
        return self.synth.sample_rate

    @property
    def detector(self) -> Detector:
        return find_detector(self.hears, self.sample_rate)

    @property
    def window(self) -> int:
        """Samples at the stream's rate that a hit is measured on."""
        return self._at_stream_rate(self.features)

    def _at_stream_rate(self, features: OnsetFeatures) -> int:
        return ceil(features.window * self.sample_rate / features.sample_rate)

    @property
    def _longest(self) -> int:
        return self._at_stream_rate(self.second or self.features)

    @property
    def _until_again(self) -> int:
        """Samples from the start of a voice to its revision."""
        return self._longest - self.window

    @property
    def latency(self) -> int:
        """Samples at the stream's rate from a detected onset to its voice."""
        return self.window - pre_roll_samples(self.sample_rate)

    @property
    def seen_names(self) -> tuple[str, ...]:
        """Names of the differences that the network is given."""
        if self.mapping.told is None:
            return self.features.names
        # Models of before were told fewer of them: these come first.
        targets = TrainingFeatures(self.features.sample_rate).names
        return targets[: self.mapping.seen]

    @property
    def _running(self) -> RunningNormaliser:
        return RunningNormaliser(len(self.features.names))

    def init(self, dtype: Any = jnp.float32) -> RemapState:
        gap = min_gap_samples(self.sample_rate)
        places = ceil(self.latency / gap) + 1
        synth = self.synth.init(dtype)
        return RemapState(
            self.detector.init(dtype),
            jnp.zeros(self._longest, dtype),
            jnp.full((), EMPTY, jnp.int32),
            jnp.full(places, EMPTY, jnp.int32),
            jnp.full((), EMPTY, jnp.int32),
            self._running.init(dtype) if self.running_normaliser else (),
            synth.voice.values,
            synth,
            (jnp.zeros(4, dtype), jnp.zeros(4, bool)),
            jnp.zeros(2, dtype),
            jnp.zeros(SUB_BLOCK, dtype),
        )

    def step(
        self, params: RemapParams, state: RemapState, x: Float[Array, " T"]
    ) -> tuple[RemapState, RemapOut]:
        state, out = scan_blocks(
            lambda state, x: self._piece(params, state, x), state, x
        )
        signals, (hits, level_db) = out
        return state, RemapOut(signals, hits, level_db)

    def at_model_rate(
        self, window: Float[Array, " W"], features: OnsetFeatures | None = None
    ) -> Float[Array, " w"]:
        """A window at the stream's rate as one at the rate of the features."""
        features = features or self.features
        if self.sample_rate == features.sample_rate:
            return window
        return resample(window, self.sample_rate, features.sample_rate, features.window)

    def measure(self, window: Float[Array, " W"]) -> Float[Array, " F"]:
        """Onset features of a window at the stream's rate, in their own units."""
        return self.features(self.at_model_rate(window))

    def _piece(self, params, state, x):
        """At most a sub-block: at most one onset, and at most one voice starts."""
        play = params.play
        # Equal power. Its gains are ramped and not the mix, whose square root near 0
        # is so steep that a ramp of it still clicks.
        turned = jnp.stack(
            [
                safe_sqrt(play["mix"]),
                safe_sqrt(1.0 - play["mix"]),
                db_to_amplitude(play["gain"]),
                db_to_amplitude(play["trim"]),
            ]
        )
        knob_ms = jnp.asarray(KNOB_MS, x.dtype)
        ramp = jax.vmap(Ramp(self.sample_rate).step, ((0, None), 0, None))
        knobs, (wet_gain, dry_gain, out_gain, trim) = ramp(
            (turned, knob_ms), state.knobs, x
        )
        x = x * trim

        # Our own output of a sub-block ago: of this one it would depend on the result.
        echo = state.past_peak[: x.shape[-1]]
        expected_db = amplitude_to_db(echo) + play["guard"]
        n = jnp.arange(x.shape[-1], dtype=jnp.int32)
        refused = jnp.where(n == state.refused, self.latency + SUB_BLOCK, EMPTY)
        detector, onsets = self.detector.step(
            params.onset, state.detector, x, expected_db, refused
        )
        trigger, due = self._count_down(state.due, onsets.fired)

        start = jnp.argmax(trigger)
        heard = jnp.concatenate([state.history, x])
        window = jax.lax.dynamic_slice(
            heard, (start + self._until_again,), (self.window,)
        )

        unmoved = jnp.zeros_like(params.map.scale), jnp.zeros_like(state.values)
        one = jnp.ones_like(trim[0])
        silent = state.running, Modulation(*unmoved, state.values), one, one

        def answer(running):
            plays, answered = self._answer(params, running, window)
            return plays, select(plays, answered, silent)

        def rest(_):
            return jnp.zeros_like(trigger[0]), silent

        plays, (running, hit, level_db, level) = jax.lax.cond(
            trigger.any(), answer, rest, state.running
        )
        later = state.refused - len(n)
        refused = jnp.where(
            trigger.any() & ~plays,
            start.astype(jnp.int32) + SUB_BLOCK - len(n),
            jnp.where(later >= 0, later, EMPTY),
        )
        trigger = trigger & plays
        values, revise, again = hit.values, None, state.again
        if self.second is not None:
            again = jnp.where(trigger.any(), start + self._until_again, again)
            first = jnp.where(onsets.fired.any(), jnp.argmax(onsets.fired), len(n))
            alone = (state.due == EMPTY).all() & (again < first)
            revise = (n == again) & alone
            values = jax.lax.cond(
                revise.any(),
                partial(self._look_again, self.second, params, heard, again),
                lambda _: values,
                state.values,
            )
            again = jnp.where((due == EMPTY).all(), again - len(n), EMPTY)
            again = jnp.maximum(again, EMPTY).astype(jnp.int32)
        synth, audio = self.synth.step(
            self.specs.unpack(values), state.synth, trigger, level, revise
        )

        wet = audio * out_gain
        both = jnp.stack([wet_gain * wet + dry_gain * x, wet])
        follower = PeakFollower(self.sample_rate)
        release = jnp.asarray(PEAK_RELEASE_MS, x.dtype)
        peak, peaks = jax.vmap(follower.step, (None, 0, 0))(release, state.peak, both)
        both = both / jnp.maximum(peaks, 1.0)

        state = RemapState(
            detector,
            push(state.history, x),
            again,
            due,
            refused,
            running,
            values,
            synth,
            knobs,
            peak,
            push(state.past_peak, jnp.minimum(peaks[0], 1.0)),
        )
        signals = RemapSignals(both[0], both[1], onsets.fired, trigger, onsets.level)
        return state, (signals, (hit, level_db))

    def _answer(self, params, running, window):
        """Whether a window sounds like a hit, and what it becomes."""
        window = self.at_model_rate(window)
        features = gate_features(window, self.features.sample_rate)
        plays = passes(params.gate, params.play["gate"], features)
        measured = self.features(window)
        normaliser = params.map.normaliser
        if self.running_normaliser:
            running, _ = self._running.step(None, running, measured)
            normaliser = self._running.ranges(running)
        hit = map_features(
            self.mapping,
            self.specs,
            params.map,
            normalise(normaliser, measured),
            params.play["sensitivity"],
        )
        reference = normaliser.lo + params.map.centre * (normaliser.hi - normaliser.lo)
        louder_db = jnp.clip(
            (measured - reference)[LOUDNESS], -FOLLOW_LIMIT_DB, FOLLOW_LIMIT_DB
        )
        level = db_to_amplitude(params.play["loudness_follow"] * louder_db)
        return plays, (running, hit, measured[LOUDNESS], level)

    def _look_again(self, features, params, heard, at, values):
        """The values of the sounding voice, bent by what was heard since."""
        window = jax.lax.dynamic_slice(heard, (at,), (self._longest,))
        measured = features(self.at_model_rate(window, features))
        bent = params.map._replace(
            preset=self.specs.to_unit(values), **params.second._asdict()
        )
        normalised = normalise(bent.normaliser, measured)
        return map_features(
            self.mapping, self.specs, bent, normalised, params.play["sensitivity"]
        ).values

    def _count_down(
        self, due: Int[Array, " Q"], fired: Bool[Array, " T"]
    ) -> tuple[Bool[Array, " T"], Int[Array, " Q"]]:
        """The trigger signal of a piece, and how long the other voices still wait."""
        length = fired.shape[-1]
        onset = jnp.argmax(fired).astype(jnp.int32)
        first_empty = jnp.argmax(due == EMPTY)
        added = due.at[first_empty].set(onset + self.latency)
        due = jnp.where(fired.any(), added, due)
        starts = (due != EMPTY) & (due < length)
        at = jnp.max(jnp.where(starts, due, EMPTY))
        trigger = jnp.arange(length, dtype=jnp.int32) == at
        return trigger, jnp.where(starts | (due == EMPTY), EMPTY, due - length)
