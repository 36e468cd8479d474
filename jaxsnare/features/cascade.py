"""Features of frames, averaged over consecutive segments of a sound."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsnare.dsp.framing import frames

FrameFeature = Callable[[Float[Array, "frames n"]], Float[Array, " frames"]]


@dataclass(frozen=True)
class Cascade:
    """Frame features of a sound over segments of a growing number of frames.

    features: (name, function of frames[F, n] -> [F]) pairs. A function that has
        `of_signal(audio, size, hop) -> [F]` too is asked for that, where overlapping
        frames cost less together.
    num_frames: frames of each segment; each begins where the one before ends, or all
        at the first frame if `always_from_onset`.
    frame, hop: samples of a frame, and from one to the next.
    include_mean: the mean of the feature over each segment.
    include_diff: the mean step from frame to frame inside each segment that has more
        than one frame.
    pad_start: zeros put before the sound, in samples.

    The output goes through the features, the segments of a feature, mean then diff;
    `names` holds feature_start_frames_kind for each. Sounds shorter than `samples`
    count as followed by zeros; what is longer is ignored.

    >>> level = ("level", lambda frames: frames.mean(-1))
    >>> cascade = Cascade((level,), num_frames=(1, 2), frame=2, hop=2)
    >>> cascade.names
    ('level_0_1_mean', 'level_1_2_mean')
    >>> cascade(jnp.array([1.0, 1.0, 2.0, 2.0, 4.0, 4.0])).tolist()
    [1.0, 3.0]
    """

    features: tuple[tuple[str, FrameFeature], ...]
    num_frames: tuple[int, ...] = (2, 64)
    frame: int = 2048
    hop: int = 512
    include_mean: bool = True
    include_diff: bool = False
    always_from_onset: bool = False
    pad_start: int = 0

    def __post_init__(self):
        if not self.num_frames or min(self.num_frames) < 1:
            raise ValueError(
                f"num_frames is {self.num_frames}; allowed: one or more numbers > 0"
            )
        if self.frame < 1 or self.hop < 1 or self.pad_start < 0:
            raise ValueError(
                f"frame, hop, pad_start are {self.frame}, {self.hop}, "
                f"{self.pad_start} samples; allowed: > 0, > 0, >= 0"
            )
        if not self.names:
            raise ValueError(
                "the cascade gives no feature: it needs one or more in `features`, and "
                "include_mean, or include_diff with a segment of 2 frames or more"
            )

    @property
    def _segments(self) -> list[tuple[int, int]]:
        """First frame and number of frames of each segment."""
        if self.always_from_onset:
            return [(0, n) for n in self.num_frames]
        starts = [sum(self.num_frames[:i]) for i in range(len(self.num_frames))]
        return list(zip(starts, self.num_frames, strict=True))

    @property
    def _outputs(self) -> list[tuple[int, int, str]]:
        """First frame, number of frames and kind of each output of one feature."""
        return [
            (start, n, kind)
            for start, n in self._segments
            for kind, wanted in (
                ("mean", self.include_mean),
                ("diff", self.include_diff and n > 1),
            )
            if wanted
        ]

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each output, for example RMS_3_8_mean."""
        return tuple(
            f"{name}_{start}_{n}_{kind}"
            for name, _ in self.features
            for start, n, kind in self._outputs
        )

    @property
    def samples(self) -> int:
        """Samples of a sound that matter."""
        last = max(start + n for start, n in self._segments) - 1
        return max(last * self.hop + self.frame - self.pad_start, 0)

    def __call__(self, audio: Float[Array, " time"]) -> Float[Array, " features"]:
        audio = audio[: self.samples]
        audio = jnp.pad(audio, (self.pad_start, self.samples - audio.shape[-1]))
        framed = frames(audio, self.frame, self.hop)
        outputs = []
        for _, feature in self.features:
            of_signal = getattr(feature, "of_signal", None)
            if of_signal is None:
                values = feature(framed)
            else:
                values = of_signal(audio, self.frame, self.hop)
            for start, n, kind in self._outputs:
                segment = values[start : start + n]
                if kind == "mean":
                    outputs.append(jnp.mean(segment))
                else:  # the mean of the steps is the way from end to end
                    outputs.append((segment[-1] - segment[0]) / (n - 1))
        return jnp.stack(outputs)
