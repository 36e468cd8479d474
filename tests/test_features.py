"""Features against float64 oracles, the published values and other libraries."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pyloudnorm
import pytest
import scipy.signal
import scipy.signal.windows

from jaxsnare.dsp import units
from jaxsnare.dsp.framing import frames, push, resample
from jaxsnare.features import (
    Cascade,
    OnsetFeatures,
    TargetFeatures,
    TrainingFeatures,
    loudness,
    normalise,
    spectral,
    temporal,
)

pytestmark = pytest.mark.filterwarnings("error")

PRECISIONS = {
    "float32": (np.float32, contextlib.nullcontext),
    "float64": (np.float64, lambda: jax.enable_x64(True)),
}


@pytest.fixture(params=PRECISIONS)
def dtype(request):
    """Runs a test in float32 and in float64."""
    dtype, precision = PRECISIONS[request.param]
    with precision():
        yield dtype


@pytest.fixture(scope="module")
def published(golden):
    return dict(golden("features"))  # read once


def check(value, wanted, dtype=None, relative=1e-3, absolute=0.01):
    """Within 0.1 % or 0.01 of the unit, whichever is more; and in the dtype given."""
    if dtype is not None:
        assert value.dtype == dtype
    value, wanted = np.asarray(value, float), np.asarray(wanted)
    assert value.shape == wanted.shape
    allowed = np.maximum(relative * np.abs(wanted), absolute)
    assert np.all(np.abs(value - wanted) <= allowed), np.max(np.abs(value - wanted))


def hits(count=6, length=44100, seed=0):
    """Decaying tones in decaying noise, from loud to very quiet."""
    rng = np.random.default_rng(seed)
    t = np.arange(length) / 44100
    tone = np.sin(2 * np.pi * rng.uniform(60, 6000, (count, 1)) * t)
    noise = rng.uniform(-1, 1, (count, length))
    decay = np.exp(-t / rng.uniform(0.01, 0.3, (count, 1)))
    level = np.geomspace(1.0, 1e-4, count)[:, None]
    return level * decay * (0.6 * tone + 0.3 * noise)


def np_frames(x, size, hop):
    return np.lib.stride_tricks.sliding_window_view(x, size, axis=-1)[..., ::hop, :]


# --- dsp/units and dsp/framing ---


def test_units_against_numpy(dtype):
    x = np.array([1e-3, 0.1, 1.0, 20.0, 440.0, 9000.0])
    a = jnp.asarray(x, dtype)
    check(units.amplitude_to_db(a), 20 * np.log10(x), dtype, 1e-4, 1e-4)
    check(units.amplitude_to_db(-a), 20 * np.log10(x), dtype, 1e-4, 1e-4)
    check(units.db_to_amplitude(units.amplitude_to_db(a)), x, dtype, 1e-5, 0)
    midi = librosa.hz_to_midi(x[2:])
    check(units.hz_to_semitones(a[2:]), midi, dtype, 1e-6, 1e-5)
    check(units.safe_sqrt(a), np.sqrt(x), dtype, 1e-6, 0)


@pytest.mark.parametrize(
    "function",
    [units.amplitude_to_db, units.hz_to_semitones, units.safe_sqrt],
)
@pytest.mark.parametrize("x", [0.0, 1e-45, 1e-30, -1.0])
def test_units_are_finite_with_their_gradient(function, x):
    value, gradient = jax.value_and_grad(function)(jnp.asarray(x))
    assert np.isfinite(value)
    assert np.isfinite(gradient)


@pytest.mark.parametrize(
    ("length", "size", "hop"),
    [(35328, 2048, 512), (20, 8, 3), (20, 3, 5), (9, 9, 4)],
)
def test_frames_are_complete_windows_of_the_signal(length, size, hop):
    x = np.random.default_rng(1).standard_normal((2, length)).astype(np.float32)
    wanted = np_frames(x, size, hop)
    np.testing.assert_array_equal(frames(jnp.asarray(x), size, hop), wanted)
    # The gradient counts, for each sample, the frames that it is in.
    counts = np.zeros(length)
    for k in range(wanted.shape[1]):
        counts[k * hop : k * hop + size] += 1
    got = jax.grad(lambda x: frames(x, size, hop).sum())(jnp.asarray(x[0]))
    np.testing.assert_array_equal(got, counts)


def test_frames_refuse_what_makes_none():
    with pytest.raises(ValueError, match="has 5 samples; one frame takes at least 8"):
        frames(jnp.zeros(5), 8, 2)
    with pytest.raises(ValueError, match="8 and 0 samples"):
        frames(jnp.zeros(50), 8, 0)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_push_keeps_the_last_samples_for_any_partition(size):
    stream = jnp.arange(1.0, 61.0)
    history = jnp.zeros(size)
    seen = 0
    for block in (1, 2, 40, 0, 17):
        history = push(history, stream[seen : seen + block])
        seen += block
        wanted = np.concatenate([np.zeros(size), stream[:seen]])[-size:]
        np.testing.assert_array_equal(history, wanted)


# --- loudness ---

ITU_48000 = (  # ITU-R BS.1770-4, tables 1 and 2
    (
        (1.53512485958697, -2.69169618940638, 1.19839281085285),
        (1.0, -1.69065929318241, 0.73248077421585),
    ),
    ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)),
)


def k_weighted(
    x, sample_rate, coefficients: loudness.Coefficients = "pyloudnorm", clip=False
):
    for b, a in loudness.k_weighting_coefficients(sample_rate, coefficients):
        x = scipy.signal.lfilter(b, a, x)
        x = np.clip(x, -1, 1) if clip else x
    return x


def lkfs(x, *args, **options):
    power = np.mean(np.square(k_weighted(x, *args, **options)), axis=-1)
    return -0.691 + 10 * np.log10(power + 1e-8)


@pytest.mark.parametrize("rate", [44100, 48000])
def test_k_weighting_coefficients_are_the_published_ones(published, rate):
    got = loudness.k_weighting_coefficients(rate)
    for stage, (b, a) in enumerate(got):
        np.testing.assert_allclose(b, published[f"kweight_b_{rate}"][stage], 1e-12)
        np.testing.assert_allclose(a, published[f"kweight_a_{rate}"][stage], 1e-12)


def test_itu_coefficients_are_the_standards_table():
    got = loudness.k_weighting_coefficients(48000, "itu")
    np.testing.assert_allclose(got, ITU_48000, rtol=0, atol=2e-14)


@pytest.mark.parametrize("length", [1, 64, 65, 2048])
def test_k_weighting_filters_each_frame_from_rest(dtype, length):
    x = np.random.default_rng(2).standard_normal((2, 3, length))
    for options in (
        {"sample_rate": 44100, "coefficients": "pyloudnorm", "clip": False},
        {"sample_rate": 96000, "coefficients": "itu", "clip": True},
    ):
        weigh = jax.jit(functools.partial(loudness.k_weighting, **options))
        tolerance = 1e-10 if dtype == np.float64 else 4e-6
        check(
            weigh(jnp.asarray(x, dtype)), k_weighted(x, **options), dtype, 0, tolerance
        )


def test_loudness_in_float32_is_within_a_hundredth_of_a_db():
    """Also where the filter takes nearly all away: an offset, a rumble, and both
    under a faint hiss."""
    t = np.arange(2048) / 44100
    rng = np.random.default_rng(3)
    x = np.concatenate(
        [
            np_frames(hits(), 2048, 512).reshape(-1, 2048),
            [np.ones(2048), np.sin(2 * np.pi * 5 * t)],
            [0.9 + 1e-3 * rng.standard_normal(2048)],
            [1e-4 * np.sin(2 * np.pi * 20 * t), np.zeros(2048)],
        ]
    ).astype(np.float32)
    got = loudness.loudness(jnp.asarray(x), 44100)
    check(got, lkfs(x.astype(float), 44100), np.float32, 0, 0.01)


@pytest.mark.parametrize("batch", ["f2", "f3"])
def test_levels_are_the_published_ones(published, dtype, batch):
    x = jnp.asarray(published["frame2d" if batch == "f2" else "frame3d"], dtype)
    for rate in (44100, 48000):
        level = functools.partial(loudness.loudness, sample_rate=rate, clip=True)
        wanted = published[f"loudness_{rate}_{batch}_f64"]
        check(jax.jit(level)(x), wanted, dtype, 0, 1e-3)
    check(loudness.rms_db(x), published[f"rms_db_{batch}_f64"], dtype, 0, 1e-3)
    check(loudness.rms(x), published[f"rms_{batch}_f64"], dtype, 1e-5, 0)


@pytest.mark.parametrize("rate", [44100, 48000, 96000])
def test_loudness_of_the_standards_sine(rate):
    """A full-scale sine of 997 Hz in one channel reads -3.01 LKFS (BS.1770-4)."""
    dbfs = np.array([0.0, -20.0, -23.0, -40.0])
    t = np.arange(2 * rate) / rate
    x = 10 ** (dbfs[:, None] / 20) * np.sin(2 * np.pi * 997 * t)
    read = functools.partial(loudness.loudness, sample_rate=rate, coefficients="itu")
    # 0.01 dB: the 1e-8 under the logarithm adds 0.001 dB at -40 dBFS.
    check(jax.jit(read)(jnp.asarray(x, np.float32)), -3.01 + dbfs, np.float32, 0)


def test_pyloudnorm_agrees():
    rate = 44100
    x = 0.1 * np.random.default_rng(4).standard_normal(4 * rate)
    wanted = pyloudnorm.Meter(rate).integrated_loudness(x)
    read = jax.jit(functools.partial(loudness.loudness, sample_rate=rate))
    got = read(jnp.asarray(x, np.float32))
    assert got == pytest.approx(wanted, abs=0.02)  # its gates drop nothing here


def test_coefficients_by_an_unknown_name_are_refused():
    with pytest.raises(ValueError, match="are 'a'; allowed: 'pyloudnorm'"):
        loudness.k_weighting(jnp.zeros(64), 44100, coefficients="a")  # pyright: ignore


# --- spectral ---


@pytest.mark.parametrize("window", ["hann", "flat_top", "none"])
def test_spectral_features_are_the_published_ones(published, dtype, window):
    x = jnp.asarray(published["frame2d"], dtype)
    for compress in (False, True):
        options = {"window": window, "compress": compress}
        for name, floor in (("fl0", None), ("fl1", 1e-4)):
            ending = f"c{compress:d}_{name}_f2_f64"
            for scaling in ("none", "semitone", "kazazis"):
                got = spectral.spectral_centroid(
                    x, 44100, floor=floor, scaling=scaling, **options
                )
                wanted = published[f"centroid_{window}_{scaling}_{ending}"]
                check(got, wanted, dtype, 1e-4, 1e-3)
            got = spectral.spectral_spread(x, floor=floor, **options)
            check(got, published[f"spread_{window}_{ending}"], dtype)
        got = spectral.spectral_flatness(x, **options)
        check(got, published[f"flatness_{window}_c{compress:d}_f2_f64"], dtype)


def test_flux_and_amin_are_the_published_ones(published, dtype):
    flux = spectral.spectral_flux(jnp.asarray(published["frame3d"], dtype))
    check(flux, published["flux_f3_f64"], dtype)
    x = jnp.asarray(published["frame2d"], dtype)
    flatness = spectral.spectral_flatness(x, amin=1e-6)
    check(flatness, published["flatness_amin1e-6_f2_f64"], dtype)


@pytest.mark.slow  # it compiles a library
def test_librosa_agrees():
    audio = hits(1)[0].astype(np.float32)
    framed = frames(jnp.asarray(audio), 2048, 512)
    same = {"y": audio, "hop_length": 512, "center": False}
    centroid = librosa.feature.spectral_centroid(sr=44100, n_fft=2048, **same)[0]
    check(spectral.spectral_centroid(framed, 44100), centroid)
    flatness = librosa.feature.spectral_flatness(n_fft=2048, **same)[0]
    check(spectral.spectral_flatness(framed), 20 * np.log10(flatness + 1e-8))
    rms = librosa.feature.rms(frame_length=2048, **same)[0]
    check(loudness.rms(framed), rms, absolute=1e-4)  # 1e-8 under the root


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": "kaiser"}, "window is 'kaiser'; allowed: 'hann'"),
        ({"scaling": "mel"}, "centroid is 'mel'; allowed: 'none', 'semitone'"),
        ({"floor": 0.0}, "floor is 0.0; allowed: a magnitude > 0"),
    ],
)
def test_bad_options_of_the_spectrum_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        spectral.spectral_centroid(jnp.zeros(64), 44100, **options)


def test_other_bad_spectral_input_is_refused():
    with pytest.raises(ValueError, match="amin is 0; allowed"):
        spectral.spectral_flatness(jnp.zeros(64), amin=0)
    with pytest.raises(ValueError, match="at least 2 frames"):
        spectral.spectral_flux(jnp.zeros((1, 64)))


# --- temporal ---


def np_envelope(x, window):
    left = (window - 1) // 2
    padded = np.pad(x**2, (left, window - 1 - left))
    return np.correlate(padded, scipy.signal.windows.hann(window, sym=False), "valid")


def test_temporal_features_are_the_published_ones(published, dtype):
    x = jnp.asarray(published["env_in"][:, 0], dtype)
    envelope = temporal.amplitude_envelope(x)
    wanted = published["amp_env_env_f64"][:, 0]
    check(envelope, wanted, dtype, 0, 1e-6 * wanted.max())
    centroid = temporal.temporal_centroid(x, 44100)
    check(centroid, published["temporal_centroid_env_f64"][:, 0], dtype, 1e-5, 0)
    scaled = temporal.temporal_centroid(x, 44100, scaling="schlauch")
    check(scaled, published["temporal_centroid_schlauch_env_f64"][:, 0], dtype, 1e-5, 0)
    # Published: divided by the maximum of the batch; ours: by that of each signal.
    own = wanted.max(axis=-1)
    total = published["amp_env_sum_fixed_f64"] * own.max() / own
    check(temporal.amplitude_envelope_sum(x), total, dtype, 1e-5, 0)


@pytest.mark.parametrize(("length", "window"), [(300, 31), (40, 128)])
def test_temporal_features_against_the_envelope(dtype, length, window):
    x = hits(3, length)
    envelope = np.stack([np_envelope(row, window) for row in x])
    a = jnp.asarray(x, dtype)
    smooth = functools.partial(temporal.amplitude_envelope, window=window)
    got = np.asarray(jax.jit(smooth)(a), float)
    largest = envelope.max(axis=-1, keepdims=True)
    check(got / largest, envelope / largest, None, 0, 2e-6)
    wanted = (envelope * np.arange(length)).sum(-1) / (envelope.sum(-1) + 1e-8) / 8
    check(temporal.temporal_centroid(a, 8000, window=window), wanted, dtype, 1e-5)


def test_an_unknown_time_scale_is_refused():
    with pytest.raises(ValueError, match="'none', 'schlauch'"):
        temporal.temporal_centroid(jnp.zeros(9), 8000, scaling="x")  # pyright: ignore


# --- cascade ---

BRIGHTNESS = functools.partial(
    spectral.spectral_centroid, sample_rate=44100, scaling="semitone"
)
CASCADE = functools.partial(
    Cascade,
    (("RMS", loudness.rms_db), ("SpectralCentroid", BRIGHTNESS)),
    num_frames=(1, 2, 8),
    frame=1024,
    hop=256,
)
CASCADES = {
    "diff": CASCADE(include_diff=True),
    "fromonset": CASCADE(include_diff=True, always_from_onset=True),
    "pad": CASCADE(pad_start=512),
    "nomean": CASCADE(include_mean=False, include_diff=True),
}


def test_cascades_are_the_published_ones(published):
    def measure(audio):
        return {kind: cascade(audio) for kind, cascade in CASCADES.items()}

    got = jax.jit(jax.vmap(measure))(jnp.asarray(published["audio"], np.float32))
    for kind, cascade in CASCADES.items():
        assert cascade.names == tuple(published[f"cascade_{kind}_names"])
        check(got[kind], published[f"cascade_{kind}_audio_f64"], np.float32)


def test_a_cascade_reads_exactly_its_samples():
    samples = {kind: cascade.samples for kind, cascade in CASCADES.items()}
    assert samples == {"diff": 3584, "fromonset": 2816, "pad": 3072, "nomean": 3584}
    cascade = jax.jit(CASCADES["pad"])
    x = jnp.asarray(hits(1, 3200)[0], np.float32)
    full = cascade(x)
    np.testing.assert_array_equal(cascade(x[:3072]), full)
    assert np.any(cascade(x.at[3050:].set(0.0)) != full)
    padded = jnp.pad(x[:700], (0, 2500))
    np.testing.assert_allclose(cascade(x[:700]), cascade(padded), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": ()}, r"num_frames is \(\)"),
        ({"num_frames": (2, 0)}, "allowed: one or more numbers > 0"),
        ({"hop": 0}, "frame, hop, pad_start are 1024, 0, 0"),
        ({"include_mean": False}, "gives no feature"),
    ],
)
def test_cascades_without_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CASCADE(**options)


# --- target and onset features ---


def np_target_features(audio, rate, clip=False):
    """The seven features of float64 audio[35328], after the design's equations."""
    framed = np_frames(audio, 2048, 512)
    level = lkfs(framed, rate, clip=clip)
    flat_top = scipy.signal.windows.flattop(2048, sym=True)
    x = np.log1p(np.maximum(np.abs(np.fft.rfft(framed * flat_top)), 1e-4))
    hz = (x * np.fft.rfftfreq(2048, 1 / rate)).sum(-1) / x.sum(-1)
    hann = scipy.signal.windows.hann(2048, sym=False)
    power = np.maximum(np.abs(np.fft.rfft(framed * hann)) ** 2, 1e-10)
    ratio = np.exp(np.log(power).mean(-1)) / power.mean(-1)
    by_frame = [level, -34.61 * hz**-0.1621 + 21.2985, 20 * np.log10(ratio + 1e-8)]
    envelope = np_envelope(audio[: int(0.125 * rate)], 2048)
    ms = 1000 / rate * (envelope @ np.arange(len(envelope))) / (envelope.sum() + 1e-8)
    means = [part.mean() for f in by_frame for part in (f[:2], f[2:])]
    return np.array([*means, 0.03 * ms**1.864])


def test_target_features_against_the_equations():
    """At another rate and without the clip, which the published values have."""
    x = hits(length=35328)
    x[0] *= 5  # a clip would act
    got = jax.jit(jax.vmap(TargetFeatures(48000)))(jnp.asarray(x, np.float32))
    wanted = np.stack([np_target_features(row, 48000) for row in x])
    check(got, wanted, np.float32)
    assert abs(got[0, 0] - np_target_features(x[0], 48000, clip=True)[0]) > 1


def test_training_features_are_these_and_the_early_decay():
    x = hits(length=35328)
    both = TargetFeatures(48000), TrainingFeatures(48000)
    seven, got = (np.stack([f(jnp.asarray(r, np.float32)) for r in x]) for f in both)
    check(got[:, :7], seven, np.float32)
    # S of a sound that has no more than two frames of T and six of D
    short = x[:, : 2048 + 7 * 512]
    wanted = np.stack([np_target_features(row, 48000) for row in short])
    check(got[:, 7:10], wanted[:, [1, 3, 5]], np.float32)
    # S of one that ends with R is the mean of the frames of D and R
    short = x[:, : 2048 + 23 * 512]
    wanted = np.stack([np_target_features(row, 48000) for row in short])
    mean = (6 * got[:, 7:10] + 16 * got[:, 10:]) / 22
    check(mean, wanted[:, [1, 3, 5]], np.float32)


@pytest.mark.parametrize("features", [TargetFeatures(48000), TrainingFeatures(48000)])
def test_a_part_of_the_features_needs_a_part_of_the_sound(features):
    sound = jnp.asarray(hits(length=35328)[1], np.float32)
    whole, places = features(sound), []
    for part in features.parts:
        found = part.hear(sound[: part.samples])
        np.testing.assert_allclose(found, whole[jnp.asarray(part.places)], rtol=1e-5)
        other = part.hear(sound[: part.samples].at[-300:].add(0.1))
        assert (np.asarray(other) != found).any()
        places.extend(part.places)
    assert sorted(places) == list(range(len(features.names)))


def test_target_features_are_the_published_ones(published, dtype):
    features = jax.jit(jax.vmap(TargetFeatures(44100, clip=True)))
    got = features(jnp.asarray(published["audio"], dtype))
    check(got, published["full_feature_audio_f64"], dtype)


def test_target_feature_gradients_are_the_published_ones(published, x64):
    jacobian = jax.jit(jax.jacrev(TargetFeatures(44100, clip=True)))
    wanted = published["full_feature_dF_daudio_f64"]
    for row, rows in zip((0, 4, 9), wanted, strict=True):
        got = jacobian(jnp.asarray(published["audio"][row], np.float64))
        largest = np.abs(rows).max(axis=-1, keepdims=True)
        check(got / largest, rows / largest, np.float64, 0, 1e-3)


def test_target_feature_gradients_in_float32(published):
    jacobian = jax.jit(jax.jacrev(TargetFeatures(44100, clip=True)))
    wanted = published["full_feature_dF_daudio_f64"]
    for row, rows in zip((0, 4, 9), wanted, strict=True):
        got = jacobian(jnp.asarray(published["audio"][row]))
        largest = np.abs(rows).max(axis=-1, keepdims=True)
        check(np.asarray(got) / largest, rows / largest, None, 0, 5e-3)


def test_target_features_read_35328_samples():
    features = jax.jit(TargetFeatures(44100))
    assert TargetFeatures(44100).samples == 65 * 512 + 2048 == 35328
    x = jnp.asarray(hits(2)[1] + 1e-3, np.float32)
    full = features(x[:35328])
    np.testing.assert_allclose(features(x), full, rtol=1e-6)
    assert features(x[:35328].at[35200:].set(0.0))[1] != full[1]
    padded = features(jnp.pad(x[:3000], (0, 32328)))
    np.testing.assert_allclose(features(x[:3000]), padded, rtol=1e-6)


@pytest.mark.parametrize("window", [256, 2048])
def test_onset_features_are_the_published_ones(published, dtype, window):
    features = OnsetFeatures(44100, window)
    audio = jnp.asarray(published["audio"][:, :window], dtype)
    got = jax.jit(jax.vmap(features))(audio)
    check(got, published[f"onset_feature_{window}_audio_f64"], dtype)


@pytest.mark.parametrize("window", [256, 1025])
def test_levels_of_bands_are_those_of_a_plain_spectrum(window, dtype):
    """In each half, under a Hann window; the published features come first."""
    edges = (800.0, 4000.0)
    audio = hits(2, window)
    got = jax.jit(jax.vmap(OnsetFeatures(44100, window, edges)))(audio.astype(dtype))
    plain = jax.jit(jax.vmap(OnsetFeatures(44100, window)))(audio.astype(dtype))
    np.testing.assert_array_equal(got[:, :3], plain)
    size = window // 2
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    band = np.searchsorted(edges, np.fft.rfftfreq(size, 1 / 44100), "right")
    for row, sound in zip(got, audio.astype(np.float64), strict=True):
        halves = sound[:size], sound[size : 2 * size]
        powers = [np.abs(np.fft.rfft(half * hann)) ** 2 for half in halves]
        levels = np.concatenate([np.bincount(band, power, 3) for power in powers])
        wanted = 10 * np.log10(levels / size**2 + 1e-10)
        np.testing.assert_allclose(row[3:], wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("features", "length"),
    [
        (TrainingFeatures(44100), 35328),
        (OnsetFeatures(44100), 256),
        (OnsetFeatures(44100, edges_hz=(800.0, 4000.0)), 256),
    ],
)
def test_a_batch_is_a_loop_with_its_gradients(features, length):
    x = jnp.asarray(hits(3, length), np.float32)

    def loss(x):
        value = features(x)
        return jnp.sum(value), value

    one = jax.jit(jax.grad(loss, has_aux=True))
    gradients, values = jax.jit(jax.vmap(jax.grad(loss, has_aux=True)))(x)
    assert values.shape == (3, len(features.names)) == (3, len(features.units))
    for i in range(3):
        gradient, value = one(x[i])
        np.testing.assert_allclose(values[i], value, rtol=1e-5)
        # Quiet hits have bins about the floor of the flatness, where rounding decides.
        allowed = 1e-3 * float(jnp.max(jnp.abs(gradient)))
        np.testing.assert_allclose(gradients[i], gradient, rtol=0, atol=allowed)


def impulse(level):
    return np.concatenate([np.zeros(100), [level], np.zeros(44100)])


EXTREMES = {
    "silence": np.zeros(44100),
    "impulse": impulse(1.0),
    "faint impulse": impulse(1e-20),
    "smallest": np.full(44100, 1e-38),
    "offset": np.ones(44100),
    "square": 10 * np.sign(np.sin(np.arange(44100) / 30)),
    "sound then silence": np.where(np.arange(44100) < 9000, hits(1)[0], 0.0),
}
MEASURES = {
    "target": (TargetFeatures(44100), 44100),
    "target, clipped": (TargetFeatures(44100, clip=True), 44100),
    "onset": (OnsetFeatures(44100), 256),
    "bands": (OnsetFeatures(44100, edges_hz=(800.0, 4000.0)), 256),
    "kazazis": (functools.partial(BRIGHTNESS, scaling="kazazis"), 2048),
    "spread": (spectral.spectral_spread, 2048),
    "compressed": (functools.partial(spectral.spectral_flatness, compress=True), 2048),
    "flux": (lambda x: spectral.spectral_flux(x.reshape(2, -1)), 2048),
    "envelope": (temporal.amplitude_envelope_sum, 2048),
    "centroid": (functools.partial(temporal.temporal_centroid, sample_rate=8), 2048),
}


@pytest.mark.parametrize("measure", MEASURES)
def test_features_and_gradients_are_finite_at_the_extremes(measure):
    function, length = MEASURES[measure]
    sounds = jnp.asarray(np.stack([x[:length] for x in EXTREMES.values()]), np.float32)

    def total(x):
        value = function(x)
        return value.sum(), value

    for value in jax.jit(jax.vmap(jax.grad(total, has_aux=True)))(sounds):
        bad = [
            name
            for name, row in zip(EXTREMES, np.asarray(value), strict=True)
            if not np.all(np.isfinite(row))
        ]
        assert not bad


def test_the_features_are_configs():
    assert TargetFeatures(44100) == TargetFeatures(44100)
    assert hash(OnsetFeatures(44100)) == hash(OnsetFeatures(44100, 256))
    assert TargetFeatures(44100) != TargetFeatures(48000)


def test_bad_audio_and_rates_are_refused():
    with pytest.raises(ValueError, match="sample_rate is 44 Hz; allowed"):
        TargetFeatures(44)
    with pytest.raises(ValueError, match="window is 0 samples"):
        OnsetFeatures(44100, 0)
    for edges in ((900.0, 800.0), (0.0, 500.0), (30_000.0,), ("x",), [800.0]):
        with pytest.raises(ValueError, match="a tuple that rises between 0 and 22050"):
            OnsetFeatures(44100, edges_hz=edges)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="has 255 samples; wanted: 256"):
        OnsetFeatures(44100)(jnp.zeros(255))
    with pytest.raises(TypeError, match="audio is int16 of shape"):
        TargetFeatures(44100)(jnp.zeros(44100, np.int16))
    with pytest.raises(TypeError, match=r"a batch: jax\.vmap"):
        TargetFeatures(44100)(jnp.zeros((2, 44100)))


# --- normalise ---


def test_fit_maps_the_set_to_the_unit_interval(dtype):
    values = np.random.default_rng(5).uniform(-60, 10, (50, 3))
    normaliser = normalise.fit(jnp.asarray(values, dtype))
    got = normalise.normalise(normaliser, jnp.asarray(values, dtype))
    wanted = (values - values.min(0)) / np.ptp(values, axis=0)
    check(got, wanted, dtype, 0, 1e-5)


def test_a_constant_feature_stays_within_its_least_range():
    normaliser = normalise.fit(jnp.array([[5.0, 0.0], [5.0, 0.25]]))
    np.testing.assert_allclose(normaliser.lo, [4.5, -0.375])
    np.testing.assert_allclose(normaliser.hi, [5.5, 0.625])
    got = normalise.normalise(normaliser, jnp.array([5.25, 0.125]))
    np.testing.assert_allclose(got, [0.75, 0.5])


def test_fit_refuses_an_empty_set():
    with pytest.raises(ValueError, match=r"shape \(0, 3\); wanted"):
        normalise.fit(jnp.zeros((0, 3)))


def test_running_normaliser_has_the_range_so_far(dtype):
    values = np.random.default_rng(6).uniform(-60, 10, (20, 3))
    running = normalise.RunningNormaliser(features=3)
    state = running.init(dtype)
    step = jax.jit(running.step)
    for n, x in enumerate(values, start=1):
        state, got = step(None, state, jnp.asarray(x, dtype))
        lo, hi = values[:n].min(axis=0), values[:n].max(axis=0)
        missing = np.maximum(1.0 - (hi - lo), 0.0)
        wanted = (x - lo + missing / 2) / (hi - lo + missing)
        check(got, wanted, dtype, 0, 1e-5)
        assert np.all((got >= 0) & (got <= 1))
    first = running.step(None, running.init(dtype), jnp.asarray(values[3], dtype))[1]
    np.testing.assert_array_equal(first, 0.5)


def test_running_normaliser_has_finite_gradients():
    running = normalise.RunningNormaliser(features=2)

    def loss(x):
        return running.step(None, running.init(), x)[1].sum()

    assert np.all(np.isfinite(jax.grad(loss)(jnp.array([-80.0, 0.0]))))
    with pytest.raises(ValueError, match="features and minimum_range are 0"):
        normalise.RunningNormaliser(0)


@pytest.mark.parametrize(("from_rate", "to_rate"), [(48000, 44100), (22050, 44100)])
def test_a_resampled_window_is_band_limited_interpolation(from_rate, to_rate):
    """Against sines: their samples at the other rate are known exactly."""
    size = 400
    times = np.arange(round(size * from_rate / to_rate)) / from_rate
    for frequency in (300.0, 3_000.0, 0.4 * min(from_rate, to_rate)):
        window = np.exp(-(((times - times[-1] / 2) / (times[-1] / 8)) ** 2))
        x = window * np.sin(2 * np.pi * frequency * times)
        got = resample(jnp.asarray(x, jnp.float32), from_rate, to_rate, size)
        at = np.arange(size) / to_rate
        window = np.exp(-(((at - times[-1] / 2) / (times[-1] / 8)) ** 2))
        wanted = window * np.sin(2 * np.pi * frequency * at)
        assert np.abs(got - wanted).max() < 2e-3


@pytest.mark.parametrize("size", [2, 7, 256, 257, 300, 2048])
def test_the_spectrum_of_one_frame_is_numpys(size):
    frame = np.random.default_rng(size).normal(size=size).astype(np.float32)
    got = spectral._power(jnp.asarray(frame), "none")
    wanted = np.abs(np.fft.rfft(frame.astype(float))) ** 2
    np.testing.assert_allclose(got, wanted, atol=3e-6 * wanted.max())
