"""An embedded drummer: exact, licence-free hits to train, test and demonstrate with.

The drum is a modal membrane, struck by a stick through a short contact, with snare
wires under it and a rim around it. It is plain numpy, for it stands where a
recording would stand: nothing here is differentiated and nothing runs live.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# How much of the head and of the rim a stroke moves.
_MOVES = {"head": (1.0, 0.0), "rim": (0.9, 1.0), "crossstick": (0.2, 1.15)}
KINDS = tuple(_MOVES)

# Zeros j_mn of the Bessel functions J_m: a mode of m nodal diameters rings at
# j_mn / j_01 times the fundamental (Fletcher & Rossing, table 3.1).
_ZEROS = (
    (2.4048, 5.5201, 8.6537, 11.7915),
    (3.8317, 7.0156, 10.1735, 13.3237),
    (5.1356, 8.4172, 11.6198),
    (6.3802, 9.7610, 13.0152),
    (7.5883, 11.0647),
    (8.7715, 12.3386),
    (9.9361,),
    (11.0864,),
    (12.2251,),
)
_ORDER = np.array([m for m, zeros in enumerate(_ZEROS) for _ in zeros])
_ZERO = np.array([zero for zeros in _ZEROS for zero in zeros])
MODE_RATIOS = _ZERO / _ZERO[0]

# Hoop and shell ring inharmonically; stick and crowded high modes tick: Hz, level, ms.
_RIM = np.array(
    [
        (487.0, 0.35, 170.0),
        (834.0, 0.50, 140.0),
        (1312.0, 0.70, 110.0),
        (1965.0, 0.80, 90.0),
        (2740.0, 0.80, 70.0),
        (3890.0, 0.60, 50.0),
    ]
)
_STICK = np.array([(1240.0, 0.3, 30.0), (2310.0, 1.0, 24.0), (3650.0, 1.8, 18.0)])

_EDGE = 0.8  # of the radius, where position 1 strikes: on the rim no mode moves
_MICROPHONE = 0.7, 1.0  # of the radius, rad from the stick: where it looks
_LN_60_DB = np.log(1e3)


def _bessel(order: NDArray, x: NDArray) -> NDArray:
    """J_order(x) by Bessel's integral; on a full turn the sum is exact for x < 40."""
    turn = 2 * np.pi * np.arange(64) / 64
    return np.cos(np.multiply.outer(order, turn) - x[:, None] * np.sin(turn)).mean(-1)


def _shape(radius: float) -> NDArray:
    """Normalised displacement of every mode at a radius (1 is the rim)."""
    return _bessel(_ORDER, _ZERO * radius) / abs(_bessel(_ORDER + 1, _ZERO))


def _ring(samples: int, seconds: NDArray, freq_hz, level, decay_ms) -> NDArray:
    """Sum of decaying sines; each ends at -80 dB, which saves most of the work."""
    out = np.zeros(samples)
    for f, a, ms in zip(freq_hz, level, decay_ms, strict=True):
        t = seconds[: np.searchsorted(seconds, 80 / 60 * ms / 1e3)]
        out[: len(t)] += (
            a * np.exp(-_LN_60_DB * 1e3 / ms * t) * np.sin(2 * np.pi * f * t)
        )
    return out


def _require_unit(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value!r}; allowed is 0 to 1")
    return float(value)


def _require_rate(sample_rate: float) -> None:
    if not 16000 <= sample_rate <= 192000:
        raise ValueError(
            f"sample_rate is {sample_rate!r} Hz; allowed is 16000 to 192000 Hz"
        )


@dataclass(frozen=True)
class SnareDrum:
    """A snare drum that is struck, not sampled.

    Velocity is the stick's speed on a dB scale, `range_db` wide. A faster stick
    stays shorter on the head (Hertz: speed^-0.2), so a louder hit is brighter at
    its attack, and it stretches the head, so its pitch starts higher and drops.
    The wires lie on the head until it throws them off (they grow faster than the
    head at the softest strokes) and from there follow it less than one to one, as
    on real drums, whose hits get purer, not noisier, as they get louder.

    Units are in the names; decays are to -60 dB. Source: Fletcher & Rossing, The
    Physics of Musical Instruments, chapters 3 and 18; the constants are set near
    the band levels, the attack brightness and the decays of recorded snare drums.

    >>> hit = SnareDrum(sample_rate=48000).strike(velocity=0.8, position=0.2)
    >>> hit.shape, hit.dtype
    ((48000,), dtype('float32'))
    """

    sample_rate: float = 48000
    fundamental_hz: float = 188.0
    head_decay_ms: float = 450.0
    contact_ms: float = 0.36  # at full velocity
    wires: float = 1.0  # level of the wires, 0 is snares off
    range_db: float = 26.0

    def __post_init__(self):
        _require_rate(self.sample_rate)
        for name in ("fundamental_hz", "head_decay_ms", "contact_ms"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed is > 0")
        for name in ("wires", "range_db"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed is >= 0")

    def strike(
        self,
        velocity: float,
        position: float = 0.2,
        kind: str = "head",
        *,
        seed: int | np.random.Generator = 0,
    ) -> NDArray[np.float32]:
        """One second of one hit, float32 [sample_rate]; it begins at sample 0.

        velocity: 0 (pp) to 1 (ff). position: 0 (centre) to 1 (edge). kind: "head",
        "rim" (rimshot: head and rim together) or "crossstick" (rim alone). seed:
        the small differences from hit to hit, and the wires' noise.

        Raises ValueError for what is outside these.

        >>> drum = SnareDrum()
        >>> loud, soft = drum.strike(1.0), drum.strike(0.0)
        >>> bool(abs(loud).max() > 20 * abs(soft).max())
        True
        """
        velocity = _require_unit("velocity", velocity)
        position = _require_unit("position", position)
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; allowed are {', '.join(KINDS)}")
        rng = np.random.default_rng(seed)
        samples = int(self.sample_rate)
        t = np.arange(samples) / self.sample_rate

        # No two hits are alike: place, speed and stick vary a little.
        radius = np.clip(_EDGE * position + 0.02 * rng.normal(), 0, _EDGE)
        speed = 10 ** ((self.range_db * (velocity - 1) + 0.4 * rng.normal()) / 20)
        contact = self.contact_ms * speed**-0.2 * np.exp(0.04 * rng.normal())
        of_head, of_rim, of_stick = (
            np.exp(0.06 * rng.normal(size=len(x))) for x in (_ZERO, _RIM, _STICK)
        )

        on_head, on_rim = _MOVES[kind]
        seen_at, angle = _MICROPHONE
        heard = _shape(seen_at) * np.cos(_ORDER * angle) / MODE_RATIOS**0.75 * of_head
        level = on_head * heard * _shape(radius)
        decay_ms = self.head_decay_ms / (1 + 0.3 * (MODE_RATIOS - 1))
        decay_ms = np.where(_ORDER == 0, 0.7 * decay_ms, decay_ms)  # radiate best
        # A stretched head is a faster clock; it bends every mode alike.
        bent = t + 0.035 * speed**2 * 0.03 * (1 - np.exp(-t / 0.03))
        struck = _ring(
            samples, bent, self.fundamental_hz * MODE_RATIOS, level, decay_ms
        )
        if on_rim:
            hz, weight, ms = _RIM.T
            struck += _ring(samples, t, hz, on_rim * weight * of_rim, ms)
        hz, weight, ms = _STICK.T
        struck += _ring(samples, t, hz, 2.0 * weight * of_stick, ms)

        pulse = np.hanning(max(3, round(contact * self.sample_rate / 1e3) + 2))[1:-1]
        struck = np.convolve(struck, pulse / pulse.sum())[:samples]
        out = speed * (struck + self._buzz(speed, level, decay_ms, t, rng))
        fade = samples // 50
        out[-fade:] *= np.linspace(1, 0, fade)
        return (0.16 * out).astype(np.float32)

    def _buzz(self, speed, level, decay_ms, t, rng) -> NDArray:
        """Noise of the wires, driven by the envelope of the head, per unit of speed."""
        grid = t[::64]  # an envelope needs no more
        rate = _LN_60_DB * 1e3 / decay_ms
        drive = np.sqrt(level**2 @ np.exp(-2 * rate[:, None] * grid))
        reach = speed * drive
        envelope = drive * reach**-0.25 * reach / (reach + 0.012)
        envelope = np.interp(t, grid, envelope) * np.expm1(-t / 0.007) ** 2
        spectrum = np.fft.rfft(rng.normal(size=len(t)))
        hz = np.fft.rfftfreq(len(t), 1 / self.sample_rate)
        spectrum /= np.sqrt(
            (1 + (1500 / np.maximum(hz, 1)) ** 4) * (1 + (hz / 4500) ** 4)
        )
        return self.wires * 0.2 * envelope * np.fft.irfft(spectrum, len(t))


class Performance(NamedTuple):
    """What was played, and exactly when: row i is the same stroke in every list."""

    audio: NDArray[np.float32]  # [samples], within [-1, 1]
    sample_rate: int  # Hz
    onsets: NDArray[np.int64]  # [strokes], the sample at which each stroke begins
    velocities: NDArray[np.float64]  # [strokes], 0 (pp) to 1 (ff)
    kinds: tuple[str, ...]  # [strokes], of KINDS


class _Stroke(NamedTuple):
    seconds: float
    velocity: float
    position: float
    kind: str


# The places of a practice, position and kind; at each a crescendo and a decrescendo.
_WALK = (
    (0.05, "head"),
    (0.25, "head"),
    (0.5, "head"),
    (0.75, "head"),
    (1.0, "head"),
    (0.3, "rim"),
    (0.3, "crossstick"),
    (0.0, "free"),
)


def practice(
    sample_rate: int = 48000, seconds: float = 60, *, seed: int = 0
) -> Performance:
    """The training recording: well separated strokes, pp to ff, all over the drum.

    Crescendos and decrescendos from the centre to the edge, then rimshots, cross-sticks
    and a free part on the head; a stroke about every 0.52 s, never two within 0.4 s. A
    shorter recording takes the same walk in fewer strokes. Room noise at -75 dBFS.

    Raises ValueError if sample_rate (Hz) or seconds (3 to 600) are out of range.

    >>> recording = practice(seconds=10)
    >>> recording.audio.shape, len(recording.onsets)
    ((480000,), 16)
    """
    _require_rate(sample_rate)
    if not 3 <= seconds <= 600:
        raise ValueError(f"seconds is {seconds!r}; allowed is 3 to 600")
    rng = np.random.default_rng((seed, 1))
    count = int((seconds - 1.5) / 0.52)
    strokes = []
    for i in range(count):
        phrase, along = divmod(2 * len(_WALK) * i / count, 1)
        position, kind = _WALK[int(phrase) // 2]
        velocity = along if phrase % 2 == 0 else 1 - along
        if kind == "free":
            position, velocity, kind = rng.uniform(), rng.uniform(), "head"
        lowest = 0.15 if kind == "crossstick" else 0.05
        velocity = np.clip(velocity + 0.03 * rng.normal(), lowest, 1)
        position = np.clip(position + 0.04 * rng.normal(), 0, 1)
        at = 0.5 + 0.52 * i + np.clip(0.012 * rng.normal(), -0.03, 0.03)
        strokes.append(_Stroke(at, velocity, position, kind))
    return _play(strokes, sample_rate, seconds, rng)


def groove(sample_rate: int = 48000, *, seed: int = 0) -> Performance:
    """Another performance, about 22 s: six bars of a groove, then a crescendo.

    Rimshots on 2 and 4, ghost notes between them, a fill, timing
    jitter of 5 ms; no stroke of it occurs in `practice`.

    Raises ValueError if sample_rate (Hz) is out of range.

    >>> performance = groove()
    >>> set(performance.kinds) == set(KINDS)
    True
    """
    _require_rate(sample_rate)
    rng = np.random.default_rng((seed, 2))
    step = 60 / 92 / 4  # a sixteenth at 92 bpm
    # One character per sixteenth: accent, ghost, middle stroke, cross-stick.
    bars = ["..g.A..g.g..A..g", "..g.A..m.g.gA..."] * 2
    bars += ["m...x..g.m..x..g", "..g.A..gm.m.A.mA"]
    played = {
        "A": (0.92, 0.3, "rim"),
        "g": (0.27, 0.45, "head"),
        "m": (0.6, 0.2, "head"),
        "x": (0.7, 0.3, "crossstick"),
    }
    plan = [
        (i, *played[mark]) for i, mark in enumerate("".join(bars)) if mark in played
    ]
    start = 16 * len(bars)
    eighths = [start + 2 * i for i in range(13)]
    plan += [(i, 0.1 + 0.9 * (i - start) / 24, 0.15, "head") for i in eighths]
    plan.append((eighths[-1] + 4, 1.0, 0.3, "rim"))
    strokes = [
        _Stroke(
            0.5 + step * i + 0.005 * np.clip(rng.normal(), -2, 2),
            np.clip(velocity + 0.04 * rng.normal(), 0.1, 1),
            np.clip(position + 0.06 * rng.normal(), 0, 1),
            kind,
        )
        for i, velocity, position, kind in plan
    ]
    return _play(strokes, sample_rate, strokes[-1].seconds + 1.5, rng)


def _play(strokes, sample_rate, seconds, rng) -> Performance:
    """Add all strokes, each with its own small differences, and the room's noise."""
    drum = SnareDrum(sample_rate=sample_rate)
    audio = 10 ** (-75 / 20) * rng.normal(size=round(seconds * sample_rate))
    onsets = np.array([round(s.seconds * sample_rate) for s in strokes], np.int64)
    for onset, stroke in zip(onsets, strokes, strict=True):
        hit = drum.strike(stroke.velocity, stroke.position, stroke.kind, seed=rng)
        room = audio[onset : onset + len(hit)]
        room += hit[: len(room)]
    return Performance(
        audio=np.clip(audio, -1, 1).astype(np.float32),
        sample_rate=sample_rate,
        onsets=onsets,
        velocities=np.array([float(s.velocity) for s in strokes]),
        kinds=tuple(s.kind for s in strokes),
    )
