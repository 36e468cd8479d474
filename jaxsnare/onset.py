"""Onset detection by amplitude, as published, and what detectors have in common."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxsnare.component import Component, check_rate, min_gap_samples, run_blocks
from jaxsnare.dsp.filters import Biquad
from jaxsnare.dsp.followers import Follower
from jaxsnare.dsp.units import amplitude_to_db
from jaxsnare.params import ParamSet, ParamSpec, Values, as_params

ONSET_SPECS = ParamSet(
    (
        ParamSpec(
            "onset.on",
            "dB",
            0.5,
            60.0,
            16.0,
            about="threshold: a hit is a rise of the level by this much; "
            "lower finds softer hits",
        ),
        ParamSpec(
            "onset.off",
            "dB",
            0.0,
            50.0,
            4.66,
            about="the next hit is awaited once the rise has fallen below this",
        ),
        ParamSpec(
            "onset.wait",
            "ms",
            0.0,
            250.0,
            1000 / 44.1,
            about="shortest time from one hit to the next, at least a voice's fade",
        ),
        ParamSpec(
            "onset.floor",
            "dB",
            -120.0,
            -20.0,
            -55.0,
            about="levels below this count as silence (dB re full scale)",
        ),
        ParamSpec(
            "onset.highpass",
            "Hz",
            20.0,
            4000.0,
            600.0,
            about="the detector hears what is above this frequency",
        ),
        ParamSpec(
            "onset.fast_up",
            "ms",
            0.01,
            10.0,
            3 / 44.1,
            about="time constant of the fast level, rising",
        ),
        ParamSpec(
            "onset.fast_down",
            "ms",
            0.1,
            100.0,
            383 / 44.1,
            about="time constant of the fast level, falling",
        ),
        ParamSpec(
            "onset.slow",
            "ms",
            1.0,
            1000.0,
            2205 / 44.1,
            about="time constant of the slow level",
        ),
    )
)
"""Settings of the detector; the defaults are the published plugin's."""

HIGHPASS_Q = 0.707
PRE_ROLL_MS = 16 / 44.1
"""A hit begins this long before its onset is reported: 16 samples at 44.1 kHz."""


def pre_roll_samples(sample_rate: int) -> int:
    """Samples of a hit that lie before its onset is reported."""
    return round(PRE_ROLL_MS * sample_rate / 1000)


class OnsetState(NamedTuple):
    highpass: Float[Array, " 2"]
    fast: Float[Array, ""]  # dB above the floor
    slow: Float[Array, ""]  # dB above the floor
    level: Float[Array, ""]  # detection signal at the sample before
    armed: Bool[Array, ""]
    lockout: Int[Array, ""]  # samples until the next onset may be reported


class Onsets(NamedTuple):
    fired: Bool[Array, " T"]  # an onset is reported at this sample
    level: Float[Array, " T"]  # detection signal, dB
    threshold: Float[Array, " T"]  # what it must exceed, dB


@dataclass(frozen=True)
class Detector(Component):
    """What finds hits. out: Onsets; `step` takes what else is known of them, too.

    params: `specs` by name. The first argument is the rate in Hz, ValueError if it is
    none that every part allows.
    """

    sample_rate: int

    specs: ClassVar[ParamSet]

    def __post_init__(self) -> None:
        check_rate(self.sample_rate)

    @property
    def defaults(self) -> Values:
        """The default settings as params."""
        return as_params(self.specs.defaults)

    @abstractmethod
    def step(
        self,
        params: Values,
        state: Any,
        x: Float[Array, " T"],
        expected_db: Float[Array, " T"] | float = -math.inf,
        refused: Int[Array, " T"] | int = -1,
    ) -> tuple[Any, Onsets]:
        """One block; what is below `expected_db`, our own sound's level, is no hit.

        refused: age in samples of an onset that is known to be none, from this sample
        on; negative where there is none.
        """

    @abstractmethod
    def threshold_db(self, params: Mapping[str, Any]) -> Any:
        """What the detection signal must exceed, long after an onset."""


@dataclass(frozen=True)
class OnsetDetector(Detector):
    """Amplitude slicing: a fast level follower against a slow one, with hysteresis.

    params: ONSET_SPECS by name. x: signal [T]. A highpass, the level in dB with a
    floor, a fast follower minus a slow one; an onset is reported where the difference
    rises through `onset.on` while armed, re-armed below `onset.off`, and at the
    earliest `onset.wait` after the last (and one sub-block or fade of a voice, so that
    at most one voice starts in a sub-block). After AmpSlice (FluCoMa; Tremblay et
    al. 2021) as in Shier et al. 2024. What lies below `expected_db` - our own sound,
    heard by the microphone - counts as the floor; what is refused is not heeded.

    >>> detector = OnsetDetector(sample_rate=44_100)
    >>> click = jnp.zeros(64).at[20].set(1.0)
    >>> _, out = detector.step(detector.defaults, detector.init(), click)
    >>> jnp.flatnonzero(out.fired)
    Array([20], dtype=int32)
    """

    specs = ONSET_SPECS

    @property
    def _highpass(self) -> Biquad:
        return Biquad("highpass", self.sample_rate, method="scan")

    def init(self, dtype: Any = jnp.float32) -> OnsetState:
        zero = jnp.zeros((), dtype)
        return OnsetState(
            self._highpass.init(dtype),
            zero,
            zero,
            zero,
            jnp.asarray(True),
            jnp.zeros((), jnp.int32),
        )

    def threshold_db(self, params: Mapping[str, Any]) -> Any:
        return params["onset.on"]

    def step(
        self,
        params: Values,
        state: OnsetState,
        x: Float[Array, " T"],
        expected_db: Float[Array, " T"] | float = -math.inf,
        refused: Int[Array, " T"] | int = -1,
    ) -> tuple[OnsetState, Onsets]:
        q = jnp.asarray(HIGHPASS_Q, x.dtype)
        highpass, y = self._highpass.step(
            (params["onset.highpass"], q), state.highpass, x
        )
        level_db = amplitude_to_db(jnp.abs(y))
        floor = jnp.maximum(params["onset.floor"], expected_db)
        above = jnp.maximum(level_db - floor, 0.0)

        follower = Follower(self.sample_rate)
        up, down = params["onset.fast_up"], params["onset.fast_down"]
        fast, fast_db = follower.step((up, down), state.fast, above)
        both = params["onset.slow"]
        slow, slow_db = follower.step((both, both), state.slow, above)
        level = fast_db - slow_db

        per_ms = self.sample_rate / 1000
        wait = jnp.round(params["onset.wait"] * per_ms).astype(jnp.int32)
        wait = jnp.maximum(wait, min_gap_samples(self.sample_rate))
        on, off = self.threshold_db(params), params["onset.off"]

        def body(carry, level):
            before, armed, lockout = carry
            lockout = jnp.maximum(lockout - 1, 0)
            fires = armed & (level > on) & (before <= on) & (lockout == 0)
            armed = jnp.where(armed, ~fires, level < off)
            return (level, armed, jnp.where(fires, wait, lockout)), fires

        carry = (state.level, state.armed, state.lockout)
        (last, armed, lockout), fired = jax.lax.scan(body, carry, level)
        state = OnsetState(highpass, fast, slow, last, armed, lockout)
        return state, Onsets(fired, level, jnp.full_like(level, on))


def find_onsets(detector: Detector, params: Values, audio: np.ndarray) -> np.ndarray:
    """Samples at which the detector reports onsets in a recording [T], as int64.

    The recording runs through the live step, block by block, from silence.
    """
    return np.flatnonzero(run_blocks(detector, params, audio).fired)
