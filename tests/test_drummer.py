"""The embedded drummer: where its hits begin, and that they behave as a drum's do."""

import numpy as np
import pytest

from jaxsnare.drummer import KINDS, MODE_RATIOS, SnareDrum, groove, practice

RATE = 48000
DRUM = SnareDrum(sample_rate=RATE)
LADDER = np.linspace(0, 1, 5)


def db(x) -> float:
    return float(20 * np.log10(np.maximum(x, 1e-12)))


def peak_db(hit) -> float:
    return db(abs(hit).max())


def level_db(x) -> float:
    return db(np.sqrt(np.mean(np.square(x, dtype=float))))


def centroid_hz(x) -> float:
    spectrum = abs(np.fft.rfft(x * np.hanning(len(x))))
    return float(spectrum @ np.fft.rfftfreq(len(x), 1 / RATE) / spectrum.sum())


def band_db(x, low_hz, high_hz) -> float:
    spectrum = np.fft.rfft(x * np.hanning(len(x)))
    hz = np.fft.rfftfreq(len(x), 1 / RATE)
    return db(np.linalg.norm(spectrum[(hz >= low_hz) & (hz < high_hz)]))


def mean_over_hits(measure, *stroke, hits=4) -> float:
    """Of several hits, for no two are alike."""
    return float(np.mean([measure(DRUM.strike(*stroke, seed=s)) for s in range(hits)]))


@pytest.fixture(scope="module")
def performances():
    return {"practice": practice(RATE), "groove": groove(RATE)}


@pytest.mark.parametrize("kind", KINDS)
def test_strike_is_deterministic_and_seeds_differ_a_little(kind):
    hit = DRUM.strike(0.6, 0.3, kind, seed=3)
    assert np.array_equal(hit, DRUM.strike(0.6, 0.3, kind, seed=3))
    other = DRUM.strike(0.6, 0.3, kind, seed=4)
    assert not np.array_equal(hit, other)
    assert abs(peak_db(hit) - peak_db(other)) < 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("velocity", [0.0, 1.0])
def test_strike_is_a_second_that_begins_at_once_and_dies_away(kind, velocity):
    hit = DRUM.strike(velocity, 0.3, kind)
    assert hit.shape == (RATE,)
    assert hit.dtype == np.float32
    loud = np.flatnonzero(abs(hit) > 0.05 * abs(hit).max())
    assert loud[0] < 0.001 * RATE
    assert abs(hit).argmax() < 0.015 * RATE  # recorded bodies peak within 2 to 16 ms
    decay = level_db(hit[: RATE // 100]) - level_db(hit[RATE // 2 : RATE * 6 // 10])
    assert decay > 50
    assert hit[-1] == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("position", [0.0, 1.0])
def test_level_rises_with_velocity_over_the_dynamic_range(kind, position):
    peaks = [mean_over_hits(peak_db, v, position, kind, hits=2) for v in LADDER]
    assert np.all(np.diff(peaks) > 2)
    assert 26 < peaks[-1] - peaks[0] < 35


def test_ff_is_loud_and_never_clips():
    peaks = [
        peak_db(DRUM.strike(1.0, position, kind, seed=seed))
        for kind in KINDS
        for position in (0.0, 0.3, 1.0)
        for seed in range(3)
    ]
    assert -4 < max(peaks) < -1


@pytest.mark.parametrize("kind", KINDS)
def test_attack_gets_brighter_with_velocity(kind):
    def attack_hz(hit):
        return centroid_hz(hit[:256])

    pp, mf, ff = (mean_over_hits(attack_hz, v, 0.3, kind, hits=5) for v in (0, 0.5, 1))
    assert ff > 1.15 * pp
    assert ff > 1.05 * mf


def test_attack_gets_brighter_toward_the_edge():
    centre, half, edge = (
        mean_over_hits(lambda hit: centroid_hz(hit[:256]), 0.6, position)
        for position in (0.0, 0.5, 1.0)
    )
    assert centre < half < edge
    assert edge > 1.2 * centre


def test_modes_ring_at_the_bessel_ratios():
    drum = SnareDrum(sample_rate=RATE, fundamental_hz=200, wires=0)
    hz = np.fft.rfftfreq(4 * RATE, 1 / RATE)

    def peak_hz(hit, near):
        tail = hit[RATE // 20 :]  # after the bend
        spectrum = abs(np.fft.rfft(tail * np.hanning(len(tail)), 4 * RATE))
        window = (hz > 0.96 * near) & (hz < 1.04 * near)
        return hz[window][spectrum[window].argmax()]

    centre, edge = drum.strike(0.2, 0.0), drum.strike(0.2, 1.0)
    # J_0 zeros 2.4048, 5.5201; J_1 zero 3.8317, which the centre does not move.
    assert peak_hz(centre, 200) == pytest.approx(200, rel=0.005)
    second = 200 * 5.5201 / 2.4048
    assert peak_hz(centre, second) == pytest.approx(second, rel=0.01)
    diameter = 200 * 3.8317 / 2.4048
    assert peak_hz(edge, diameter) == pytest.approx(diameter, rel=0.005)
    assert sorted(MODE_RATIOS)[:4] == pytest.approx([1, 1.594, 2.136, 2.296], rel=1e-3)
    share = [band_db(hit, 300, 340) - band_db(hit, 180, 220) for hit in (centre, edge)]
    assert share[1] > share[0] + 10


def test_pitch_of_a_loud_hit_drops():
    drum = SnareDrum(sample_rate=RATE, fundamental_hz=200, wires=0)

    def early_hz(velocity):
        spectrum = abs(np.fft.rfft(drum.strike(velocity, 0.0)[:2400], 8 * RATE))
        low = spectrum[: 8 * 300]
        return low.argmax() / 8

    assert early_hz(1.0) > early_hz(0.1) + 1


def test_wires_are_noise_that_grows_with_the_stroke_and_saturates():
    dry = SnareDrum(sample_rate=RATE, wires=0)

    def wires(velocity):
        return DRUM.strike(velocity, 0.2) - dry.strike(velocity, 0.2)

    def flatness_db(x):
        power = abs(np.fft.rfft(x[:4096] * np.hanning(4096)))[200:700] ** 2  # 2-8 kHz
        return db(np.exp(np.mean(np.log(power))) / power.mean()) / 2

    assert flatness_db(wires(0.6)) > -6  # -2.5 for white noise
    assert band_db(wires(0.6), 1500, 9000) > band_db(wires(0.6), 0, 800) + 10
    levels = np.array([level_db(wires(v)) for v in LADDER])
    head = np.array([level_db(dry.strike(v, 0.2)) for v in LADDER])
    assert np.all(np.diff(levels) > 2)
    # Recorded drums: 0.5 to 1 dB for each dB of the head.
    assert 0.6 < (levels[-1] - levels[0]) / (head[-1] - head[0]) < 1
    lifted = np.diff(levels) / np.diff(head)
    assert lifted[0] > lifted[-1]


def test_rim_and_crossstick_differ_from_the_head():
    head, rim, cross = (
        DRUM.strike(0.7, 0.3, kind)[: RATE // 10]
        for kind in ("head", "rim", "crossstick")
    )
    # The hoop's mode at 834 Hz, and the head's lowest.
    hoop = [band_db(x, 810, 860) - band_db(x, 170, 210) for x in (head, rim, cross)]
    assert hoop[0] + 5 < hoop[1]
    assert hoop[1] + 5 < hoop[2]


@pytest.mark.parametrize("name", ["practice", "groove"])
def test_onsets_are_exact(performances, name):
    """Energy rises at every onset and not before it."""
    p = performances[name]
    assert p.onsets.dtype == np.int64
    assert len(p.onsets) == len(p.velocities) == len(p.kinds)
    assert np.all(np.diff(p.onsets) > 0.1 * RATE)
    for onset in p.onsets:
        earlier, before, after = (
            band_db(p.audio[n : n + 512], 600, 8000)
            for n in (onset - 1024, onset - 512, onset)
        )
        assert after > before + 8
        assert before < earlier + 4
    # Where nothing rings yet, to the sample: out of the noise (6 sigma) within 0.5 ms.
    first = p.onsets[0]
    loud = np.flatnonzero(abs(p.audio[: first + RATE]) > 6 * 10 ** (-75 / 20))
    assert 0 <= loud[0] - first < 0.0005 * RATE


def test_performance_is_its_strokes_and_a_low_noise_floor(performances):
    p = performances["practice"]
    assert p.audio.dtype == np.float32
    assert abs(p.audio).max() < 0.9
    assert level_db(p.audio[: p.onsets[0]]) == pytest.approx(-75, abs=0.5)


def test_practice_is_a_minute_of_separated_strokes_of_all_kinds(performances):
    p = performances["practice"]
    assert len(p.audio) == 60 * RATE
    assert 100 <= len(p.onsets) <= 120
    assert np.diff(p.onsets).min() >= 0.4 * RATE
    assert len(p.audio) - p.onsets[-1] > RATE
    assert set(p.kinds) == set(KINDS)
    peaks = [peak_db(p.audio[n : n + RATE // 5]) for n in p.onsets]
    assert 28 < max(peaks) - min(peaks) < 36
    assert -4 < max(peaks) < -1
    assert np.corrcoef(peaks, p.velocities)[0, 1] > 0.95
    counts, _ = np.histogram(p.velocities, bins=4, range=(0, 1))
    assert counts.min() > 15


def test_groove_has_ghost_notes_accents_and_a_crescendo(performances):
    p = performances["groove"]
    assert 20 < len(p.audio) / RATE < 25
    assert np.sum(p.velocities < 0.4) > 12
    accents = np.array(p.kinds) == "rim"
    assert p.velocities[accents].min() > 0.75
    assert np.corrcoef(p.velocities[-13:], np.arange(13))[0, 1] > 0.95
    steps = p.onsets / RATE / (60 / 92 / 4)
    jitter = (steps - steps[0] + 0.5) % 1 - 0.5
    assert 0.005 < jitter.std() < 0.1


def test_performances_are_reproducible_and_independent(performances):
    again = practice(RATE, seconds=5)
    assert np.array_equal(again.audio, practice(RATE, seconds=5).audio)
    assert not np.array_equal(again.audio, practice(RATE, seconds=5, seed=1).audio)
    a, b = (performances[name] for name in ("practice", "groove"))
    hit_a, hit_b = a.audio[a.onsets[7] :][:RATE], b.audio[b.onsets[0] :][:RATE]
    assert abs(np.corrcoef(hit_a[:4000], hit_b[:4000])[0, 1]) < 0.999
    lead = abs(np.corrcoef(a.audio[:20000], b.audio[:20000])[0, 1])
    assert lead < 0.05  # even the room's noise is another


def test_practice_scales_to_other_lengths_and_rates():
    p = practice(44100, seconds=12)
    assert len(p.audio) == 12 * 44100
    assert len(p.onsets) == 20
    assert p.onsets[-1] < len(p.audio) - 44100
    assert set(p.kinds) == set(KINDS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DRUM.strike(1.2), r"velocity is 1\.2; allowed is 0 to 1"),
        (lambda: DRUM.strike(float("nan")), "velocity is nan"),
        (lambda: DRUM.strike(0.5, -0.1), r"position is -0\.1; allowed is 0 to 1"),
        (
            lambda: DRUM.strike(0.5, kind="cowbell"),
            "kind is 'cowbell'; allowed are head",
        ),
        (lambda: SnareDrum(sample_rate=0), "sample_rate is 0 Hz; allowed is 16000"),
        (lambda: SnareDrum(contact_ms=0), "contact_ms is 0; allowed is > 0"),
        (lambda: SnareDrum(wires=-1), "wires is -1; allowed is >= 0"),
        (lambda: practice(seconds=1), "seconds is 1; allowed is 3 to 600"),
        (lambda: groove(sample_rate=1), "sample_rate is 1 Hz"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
