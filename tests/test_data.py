"""Audio files, hits, reference and split: exact against constructions by hand."""

import os
import struct
from functools import partial
from typing import Any

import numpy as np
import pytest
import soundfile

from jaxsnare.audio import (
    peak_dbfs,
    read_audio,
    read_audio_native,
    resample,
    write_audio,
)
from jaxsnare.data import (
    audio_files,
    collect_hits,
    cut_hits,
    reference_hit,
    split_hits,
)
from jaxsnare.onset import OnsetDetector, find_onsets, pre_roll_samples

RATE = 44_100


def noise(*shape: int, level: float = 0.1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(-level, level, shape).astype(np.float32)


def sine(freq_hz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * freq_hz * t)).astype(np.float32)


# Reading


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    ("suffix", "subtype", "step"),
    [("wav", "PCM_16", 2**-15), ("wav", "FLOAT", 0), ("flac", "PCM_24", 2**-23)],
)
def test_reads_the_mean_of_the_channels(
    tmp_path, rate, channels, suffix, subtype, step
):
    audio = noise(999, channels)
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, audio, rate, subtype)
    read, its_rate = read_audio_native(path)
    assert (read.dtype, read.shape, its_rate) == (np.float32, (999,), rate)
    np.testing.assert_allclose(read, audio.mean(axis=1), atol=step + 1e-8)
    np.testing.assert_array_equal(read_audio(path, rate), read)


@pytest.mark.parametrize(
    ("suffix", "format", "subtype"),
    [
        ("ogg", "OGG", "VORBIS"),
        ("opus", "OGG", "OPUS"),
        ("mp3", "MP3", "MPEG_LAYER_III"),
    ],
)
def test_reads_lossy_formats(tmp_path, suffix, format, subtype):
    path = tmp_path / f"a.{suffix}"
    audio = sine(500.0, 48_000)
    soundfile.write(path, audio, 48_000, subtype, format=format)
    read, rate = read_audio_native(path)
    assert rate == 48_000
    assert abs(len(read) - 48_000) < 3_000
    middle = slice(20_000, 25_000)  # whole periods: their phase does not matter
    assert np.std(read[middle]) == pytest.approx(np.std(audio[middle]), rel=0.02)


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
def test_reads_one_sample(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", np.array([0.5]), rate)
    audio, _ = read_audio_native(tmp_path / "a.wav")
    np.testing.assert_array_equal(audio, [0.5])
    assert len(read_audio(tmp_path / "a.wav", 8_000)) >= 1
    assert len(read_audio(tmp_path / "a.wav", 192_000)) >= 1


def test_silence_is_no_error(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(100), RATE)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", RATE), np.zeros(100))


@pytest.mark.parametrize("to", [22_050, 44_100, 192_000])
@pytest.mark.parametrize("rate", [32_000, 48_000, 192_000])
def test_resampling_keeps_frequency_level_and_time(tmp_path, rate, to):
    soundfile.write(tmp_path / "a.wav", sine(1_000.0, rate), rate, "FLOAT")
    audio = read_audio(tmp_path / "a.wav", to)
    assert abs(len(audio) - to) <= 1
    middle = slice(to // 10, 9 * to // 10)
    error = (audio - sine(1_000.0, to)[: len(audio)])[middle]
    assert peak_dbfs(error) < -100

    click = np.zeros(rate, np.float32)
    click[rate // 4] = 1.0
    assert np.argmax(resample(click, rate, to)) == pytest.approx(to / 4, abs=1)


def test_resampling_refuses_rates():
    pairs: list[Any] = [(0, RATE), (RATE, 7_999), (RATE, 192_001), (RATE, 44_100.5)]
    for pair in pairs:
        with pytest.raises(ValueError, match=r"sample_rate is .* 8000 to 192000 Hz"):
            resample(np.zeros(10), *pair)


def _wav(announced: int, samples: int = 1_000) -> bytes:
    """A mono 16 bit wav whose header announces so many bytes."""
    head = struct.pack("<4sI8sIHHIIHH", b"RIFF", min(announced + 36, 2**32 - 1),
                       b"WAVEfmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)  # fmt: skip
    return head + struct.pack("<4sI", b"data", announced) + bytes(2 * samples)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.wav", b"", "is empty .0 bytes"),
        ("a.wav", b"no audio" * 100, "cannot be read as audio.*of another kind"),
        ("a.mp3", b"no audio" * 100, "cannot be read as audio"),
        ("a.raw", b"no audio" * 100, "cannot be read as audio"),
        ("a.wav", _wav(2_000)[:30], "cannot be read as audio"),
        ("a.wav", _wav(2_000)[:-500], "truncated; it announces 2000 bytes .* 1500"),
        ("a.wav", _wav(0, 0), "has no samples"),
    ],
)
def test_unreadable_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: .*{message}") as caught:
        read_audio(tmp_path / name, RATE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("announced", [2**32 - 1, 2**31 - 1, 0x7FFFF000, 2_044])
def test_streamed_and_sloppy_headers_are_read(tmp_path, announced):
    (tmp_path / "a.wav").write_bytes(_wav(announced))
    assert len(read_audio(tmp_path / "a.wav", RATE)) == 1_000


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "aiff", "w64", "rf64", "au"])
def test_truncated_files(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, noise(60_000), RATE)
    assert len(read_audio(path, RATE)) >= 60_000  # mp3 pads
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with pytest.raises(ValueError, match=f"a.{suffix}: .*truncated"):
        read_audio(path, RATE)


def test_flac_of_unknown_length_allocates_nothing(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(9_999), RATE)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the 36 bits of STREAMINFO that count the samples
    data[22:26] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a.flac: .*does not tell a usable length"):
        read_audio(path, RATE)


def test_places_that_are_no_files(tmp_path):
    with pytest.raises(ValueError, match=r"nope\.wav: no such file"):
        read_audio(tmp_path / "nope.wav", RATE)
    with pytest.raises(ValueError, match="is a folder; wanted: an audio file"):
        read_audio(tmp_path, RATE)
    with pytest.raises(ValueError, match="no such file"):
        read_audio(tmp_path / ("n" * 300), RATE)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX only")
def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(ValueError, match="is no regular file"):
        read_audio(tmp_path / "pipe.wav", RATE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_samples_that_are_not_finite(tmp_path, value):
    audio = np.zeros((500, 2))
    audio[17, 1] = audio[17, 0] = audio[30, 0] = value
    soundfile.write(tmp_path / "a.wav", audio, RATE, "DOUBLE")
    with pytest.raises(ValueError, match=r"a\.wav: 2 of 500 .* first is sample 17;"):
        read_audio(tmp_path / "a.wav", RATE)


@pytest.mark.parametrize("rate", [1, 7_999, 192_001, 2**31 - 1])
def test_rates_out_of_range(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", np.zeros(10), rate)
    with pytest.raises(ValueError, match=f"a.wav: the sample rate is {rate} Hz; allow"):
        read_audio(tmp_path / "a.wav", RATE)
    with pytest.raises(ValueError, match=f"sample_rate is {rate} Hz; allowed: .*8000"):
        read_audio(tmp_path / "a.wav", rate)


# Writing


@pytest.mark.parametrize("shape", [(1,), (70_001,), (500, 2), (500, 6)])
@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff", "WAV"])
@pytest.mark.parametrize("rate", [8_000, 48_000, 192_000])
def test_writes_24_bit(tmp_path, shape, suffix, rate):
    path = tmp_path / f"a.{suffix}"
    audio = noise(*shape)
    assert write_audio(path, audio, rate) == 0
    read, its_rate = soundfile.read(path)
    assert its_rate == rate
    assert soundfile.info(path).subtype == "PCM_24"
    np.testing.assert_allclose(read, audio, atol=2**-23)
    assert os.listdir(tmp_path) == [path.name]


def test_writes_long_vorbis(tmp_path):
    # libsndfile crashes when it is given as much in one piece.
    audio = np.tile(sine(440.0, RATE), 120)
    write_audio(tmp_path / "a.ogg", audio, RATE)
    read, _ = soundfile.read(tmp_path / "a.ogg")
    assert peak_dbfs(read - audio) < -30


def test_clips_and_counts_except_in_float(tmp_path):
    audio = np.array([1.5, -2.0, 1.0, -1.0, 0.25])
    assert write_audio(tmp_path / "a.wav", audio, RATE) == 2
    read, _ = soundfile.read(tmp_path / "a.wav")
    np.testing.assert_allclose(read, [1.0, -1.0, 1.0, -1.0, 0.25], atol=2**-22)
    assert write_audio(tmp_path / "b.wav", audio, RATE, subtype="FLOAT") == 0
    np.testing.assert_array_equal(soundfile.read(tmp_path / "b.wav")[0], audio)


def test_replaces_only_when_told_to(tmp_path):
    path = tmp_path / "a.wav"
    write_audio(path, noise(10), RATE)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"a\.wav: exists already.*--overwrite"):
        write_audio(path, noise(20), RATE)
    assert path.read_bytes() == before
    write_audio(path, noise(20), RATE, overwrite=True)
    assert soundfile.info(path).frames == 20
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask  # as any new file


@pytest.mark.parametrize(
    ("name", "audio", "options", "message"),
    [
        ("a.txt", noise(9), {}, r"a\.txt: the suffix '\.txt' .*\.wav, \.flac, \.aiff"),
        ("a", noise(9), {}, "the suffix '' names no format"),
        ("no/a.wav", noise(9), {}, r"no/a\.wav: there is no folder .*no; create"),
        ("n" * 290 + ".wav", noise(9), {}, "cannot be written: .*[Nn]ame"),
        ("a.wav", noise(9), {"subtype": "MP4"}, "'MP4' does not exist .*PCM_16"),
        ("a.flac", noise(9), {"subtype": "FLOAT"}, "'FLOAT' does not exist in FLAC"),
        ("a.flac", noise(9, 9), {}, "FLAC PCM_24 cannot hold 9 channels"),
        ("a.wav", noise(0), {}, "has no samples"),
        ("a.wav", noise(2, 3, 4), {}, r"shape \(2, 3, 4\); wanted: .*\(samples,"),
        ("a.wav", noise(2, 999), {}, r"shape \(2, 999\); wanted: \(samples, chan"),
        ("a.wav", np.zeros(9, int), {}, "is int64 .* floating point"),
        ("a.wav", np.array([0.0, np.nan]), {}, "1 of 2 samples are NaN"),
    ],
)
def test_refused_writes_leave_nothing(tmp_path, name, audio, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        write_audio(tmp_path / name, audio, RATE, **options)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_refuses_a_folder_and_a_rate(tmp_path):
    (tmp_path / "a.wav").mkdir()
    with pytest.raises(ValueError, match=r"a\.wav: is a folder"):
        write_audio(tmp_path / "a.wav", noise(9), RATE, overwrite=True)
    with pytest.raises(ValueError, match="sample_rate is 0 Hz; allowed"):
        write_audio(tmp_path / "b.wav", noise(9), 0)


def test_full_disk_leaves_the_old_file(tmp_path):
    resource = pytest.importorskip("resource")  # POSIX only
    path = tmp_path / "a.wav"
    write_audio(path, noise(10), RATE)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(ValueError, match=r"a\.wav: cannot be written: File too"):
            write_audio(path, noise(100_000), RATE, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.wav"]


# Finding files


def test_files_are_recordings_and_folders_hold_hits(tmp_path):
    for name in ("hits/b.WAV", "hits/a.flac", "hits/soft/c.ogg", "take.wav",
                 "hits/._a.flac", "hits/.cache/d.wav", "hits/notes.txt"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "hits" / "folder.wav").mkdir()
    found = audio_files([tmp_path / "take.wav", str(tmp_path / "hits")])
    assert [(str(p.relative_to(tmp_path)), hit) for p, hit in found] == [
        ("take.wav", False),
        ("hits/a.flac", True),
        ("hits/b.WAV", True),
        ("hits/soft/c.ogg", True),
    ]
    assert audio_files(str(tmp_path / "take.wav")) == found[:1]


def test_nothing_to_read(tmp_path):
    with pytest.raises(ValueError, match="no recording given"):
        audio_files([])
    with pytest.raises(ValueError, match="nope: no such file or folder"):
        audio_files([tmp_path / "nope"])
    (tmp_path / "readme.txt").touch()
    with pytest.raises(ValueError, match=r"no audio files in this folder.*\.wav"):
        audio_files([tmp_path])
    (tmp_path / "a.wav").touch()
    with pytest.raises(ValueError, match=r"a\.wav: is given twice"):
        audio_files([tmp_path, tmp_path / "a.wav"])


# Cutting


def test_cut_by_hand():
    audio = noise(400)
    onsets = [0, 100, 130, 390]
    windows, sounds = cut_hits(
        audio, onsets, window=20, pre_roll=5, samples=120, fade=40
    )
    zeros = np.zeros(500, np.float32)
    around = np.concatenate([zeros[:5], audio, zeros])
    for k, onset in enumerate(onsets):
        np.testing.assert_array_equal(windows[k], around[onset : onset + 20])
    half = 0.5 + 0.5 * np.cos(np.pi * (np.arange(40) + 0.5) / 39.5)
    short = 0.5 + 0.5 * np.cos(np.pi * (np.arange(30) + 0.5) / 29.5)
    expected = np.stack([around[o : o + 120] for o in onsets])
    expected[0, 60:100] *= half  # ends where the next begins, pre-roll included
    expected[0, 100:] = 0
    expected[1, :30] *= short  # shorter than the fade
    expected[1, 30:] = 0
    np.testing.assert_allclose(sounds, expected, atol=1e-8)
    assert not expected[3, 15:].any()  # zeros after the end
    # a fade that begins inside and ends beyond the cut
    long = cut_hits(audio, [0, 100], window=20, pre_roll=5, samples=80, fade=40)[1]
    np.testing.assert_allclose(long[0], expected[0, :80], atol=1e-8)


def test_cut_leaves_the_recording_and_takes_no_onset():
    audio = noise(400)
    before = audio.copy()
    windows, sounds = cut_hits(audio, [], window=20, pre_roll=5, samples=120)
    assert (windows.shape, sounds.shape) == ((0, 20), (0, 120))
    cut_hits(audio, [3, 9], window=20, pre_roll=5, samples=120)
    np.testing.assert_array_equal(audio, before)


@pytest.mark.parametrize(
    ("onsets", "options", "message"),
    [
        ([5, 5], {}, "onsets must rise"),
        ([400], {}, "lie in the 400 samples"),
        ([-1], {}, "lie in the 400 samples"),
        ([5], {"pre_roll": 20}, "pre_roll < window"),
        ([5], {"pre_roll": -1}, "0 <= pre_roll"),
        ([5], {"samples": 0}, "samples > 0"),
        ([5], {"fade": -1}, "fade >= 0"),
    ],
)
def test_cut_refuses(onsets, options, message):
    lengths = {"window": 20, "pre_roll": 5, "samples": 120} | options
    with pytest.raises(ValueError, match=message):
        cut_hits(noise(400), onsets, **lengths)


def test_cut_as_published(golden):
    data = golden("onset")
    onsets, frames = data["onsets_44100_data"], data["frames_44100"]
    for k, frame in enumerate(frames):
        # The published fade ends 1024 samples before the next onset, ours where the
        # next hit begins: to compare, let it begin there.
        pair = [onsets[k], onsets[k + 1] - 1024 + 16]
        _, sounds = cut_hits(
            data["performance"], pair, window=256, pre_roll=16, samples=44_100
        )
        np.testing.assert_allclose(sounds[0], frame, atol=1e-7)


# Collecting


def write_hit(path, onset: int, *, rate: int = RATE, level: float = 0.5) -> None:
    audio = np.zeros(rate // 2, np.float32)
    audio[onset : onset + 3_000] = level * noise(3_000, level=1.0)
    soundfile.write(path, audio, rate, "FLOAT")


def loud(audio: np.ndarray) -> np.ndarray:
    """Stands for a detector: the first samples above half scale after quiet ones."""
    above = np.flatnonzero(np.abs(audio) > 0.25)
    return above[np.diff(above, prepend=-10_000) > 2_000]


def test_collects_recordings_and_hits(tmp_path):
    take = np.zeros(10 * RATE, np.float32)
    starts = np.arange(8) * RATE
    take[starts[:, None] + np.arange(100)] = 0.5
    soundfile.write(tmp_path / "take.wav", take, RATE, "FLOAT")
    hits = tmp_path / "hits"
    hits.mkdir()
    twice = np.zeros(RATE, np.float32)
    twice[441:541] = twice[20_441:20_541] = 0.5
    soundfile.write(hits / "a.wav", twice, RATE, "FLOAT")
    soundfile.write(hits / "b.wav", 0.1 * twice, RATE, "FLOAT")
    counted = []
    found = collect_hits(
        [tmp_path / "take.wav", hits],
        RATE,
        loud,
        window=256,
        pre_roll=16,
        progress=lambda done, total: counted.append((done, total)),
    )
    assert found.windows.shape == (9, 256)
    assert found.audio.shape == (9, RATE)
    assert (found.windows.dtype, found.audio.dtype) == (np.float32, np.float32)
    assert found.sources == (str(tmp_path / "take.wav"),) * 8 + (str(hits / "a.wav"),)
    assert found.missed == (str(hits / "b.wav"),)
    np.testing.assert_array_equal(found.onsets, [*starts, 441])
    assert counted == [(1, 3), (2, 3), (3, 3)]
    # The only onset of a hit's file is the first, and nothing is cut after it.
    np.testing.assert_array_equal(found.audio[8, : RATE - 425], twice[425:])
    np.testing.assert_array_equal(found.windows[8], twice[425:681])


def test_hits_at_another_rate_lie_at_the_rate_of_the_model(tmp_path):
    for k in range(8):
        write_hit(tmp_path / f"{k}.wav", onset=4_800, rate=48_000)
    found = collect_hits([tmp_path], RATE, loud, window=256, pre_roll=16, samples=500)
    assert found.audio.shape == (8, 500)
    assert np.all(np.abs(found.onsets - 4_410) <= 10)


def test_too_few_hits(tmp_path):
    for k in range(7):
        write_hit(tmp_path / f"{k}.wav", onset=441)
    with pytest.raises(ValueError, match=r"found 7 hits in 7 files.*at least 8.*dBFS"
                       r".*more hits.*gain.*onset\.on"):  # fmt: skip
        collect_hits([tmp_path], RATE, loud, window=256, pre_roll=16)
    with pytest.raises(ValueError, match=r"found 1 hit in 1 file,.* -6\.\d dBFS"):
        collect_hits([tmp_path / "0.wav"], RATE, loud, window=256, pre_roll=16)


@pytest.mark.parametrize(("level", "said"), [(0.0, "-inf"), (1e-4, r"-80\.\d")])
def test_silence_is_called_so(tmp_path, level, said):
    soundfile.write(tmp_path / "a.wav", noise(RATE, level=level), RATE, "FLOAT")
    with pytest.raises(
        ValueError, match=f"found 0 hits in 1 file.*silent.*{said} dBFS"
    ):
        collect_hits([tmp_path / "a.wav"], RATE, loud, window=256, pre_roll=16)


def test_real_hits_are_found_where_they_are(shared):
    folder = shared / "data" / "snare" / "real" / "gogodze2_snare"
    detector = OnsetDetector(RATE)
    hits = collect_hits(
        [folder],
        RATE,
        partial(find_onsets, detector, detector.defaults),
        window=256,
        pre_roll=pre_roll_samples(RATE),
    )
    assert len(hits.sources) + len(hits.missed) == 60
    assert len(hits.missed) <= 3
    # The files' onsets are at 441; a hit counts from -2 to +20 ms.
    late_ms = (hits.onsets - 441) / 44.1
    assert np.mean((late_ms > -2) & (late_ms < 20)) > 0.95
    for k in (0, 10, 30):
        audio = soundfile.read(hits.sources[k], dtype="float32")[0]
        start = hits.onsets[k] - 16
        np.testing.assert_array_equal(hits.windows[k], audio[start : start + 256])


# The reference hit


def test_reference_by_brute_force():
    rng = np.random.default_rng(1)
    for count in (1, 2, 9, 40):
        features = rng.normal(size=(count, 7)) * 10.0 ** rng.integers(-3, 4, 7)
        loudness = rng.normal(size=count)
        middle = [sorted(features[:, k]) for k in range(7)]
        middle = [(c[(count - 1) // 2] + c[count // 2]) / 2 for c in middle]
        spread = features.std(axis=0) + (count == 1)
        distance = [
            sum(((hit[k] - middle[k]) / spread[k]) ** 2 for k in range(7))
            for hit in features
        ]
        assert reference_hit(features) == distance.index(min(distance))
        by_level = reference_hit(features, "median_loudness", loudness)
        assert np.sum(loudness < loudness[by_level]) == (count - 1) // 2


def test_reference_does_not_look_at_constant_features():
    features = np.array([[0.0], [3.0], [1.0], [2.0], [9.0]])
    rounding = -80.69 + 1e-6 * np.array([[50.0], [-9.0], [7.0], [8.0], [0.0]])
    both = np.hstack([features, np.zeros((5, 1)), np.full((5, 1), 7.1), rounding])
    with np.errstate(all="raise"):
        assert reference_hit(both) == 3
        assert reference_hit(np.ones((4, 7))) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((0, 7)),), r"shape \(0, 7\); wanted: finite"),
        ((np.zeros(7),), r"shape \(7,\)"),
        (([[np.nan]],), "finite"),
        (([[1.0]], "median"), "unknown rule 'median'.*choices are median_vector, med"),
        (([[1.0]], "median_loudness"), "takes the loudness"),
        (([[1.0]], "median_loudness", [1.0, 2.0]), r"shape \(2,\); wanted: \(1,\)"),
        (([[1.0]], "median_loudness", [np.nan]), "loudness has NaN"),
    ],
)
def test_reference_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        reference_hit(*arguments)


# The split


@pytest.mark.parametrize("count", [3, 8, 10, 23, 60])
def test_split_properties(count):
    rng = np.random.default_rng(count)
    size = max(1, round(0.1 * count))
    tests = set()
    for seed in range(100):
        loudness = rng.normal(size=count)
        reference = int(rng.integers(count))
        split = split_hits(loudness, reference, seed)
        together = np.concatenate(split)
        np.testing.assert_array_equal(np.sort(together), np.arange(count))
        assert (len(split.validation), len(split.test)) == (size, size)
        assert reference in split.train
        for part in split:
            assert part.dtype == np.int64
            assert np.all(np.diff(part) > 0)
        # One hit of each chunk of the others, sorted by loudness.
        others = [k for k in np.argsort(loudness) if k != reference]
        for part in (split.test, split.validation):
            chunks = np.array_split(others, size)
            assert all(len(np.intersect1d(part, chunk)) == 1 for chunk in chunks)
            others = [k for k in others if k not in part]
        tests.add(tuple(split.test))
    assert len(tests) > min(count - 2, 50)


def test_split_is_the_same_everywhere():
    loudness = np.arange(24.0)[::-1]
    split = split_hits(loudness, 12, 7)
    # PCG64(7) draws 11 and 6 of chunks of 12 and 11, then 7 and 8 of 11 and 10; the
    # hits in order are 23, 22, ... 0 without 12.
    assert split.test.tolist() == [4, 11]
    assert split.validation.tolist() == [1, 16]
    for a, b in zip(split, split_hits(loudness.astype(np.float32), 12, 7), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "share", "message"),
    [
        (([0.0, 1.0], 0, 0), 0.1, "2 hits cannot give 1 for validation, 1 for test"),
        ((np.zeros(10), 10, 0), 0.1, "reference is 10; allowed: 0 to 9"),
        ((np.zeros(10), -1, 0), 0.1, "reference is -1"),
        ((np.zeros(10), 0, 0), 0.5, "share is 0.5; allowed"),
        ((np.zeros(10), 0, 0), 0.0, "share is 0.0; allowed"),
        ((np.full(10, np.nan), 0, 0), 0.1, "loudness has NaN"),
        ((np.zeros((5, 2)), 0, 0), 0.1, r"shape \(5, 2\); wanted: \(hits,\)"),
    ],
)
def test_split_refuses(arguments, share, message):
    with pytest.raises(ValueError, match=message):
        split_hits(*arguments, share=share)
