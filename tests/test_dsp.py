"""Signal processing against float64 oracles written from the equations."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import scipy.stats

from jaxsnare.dsp.envelopes import attack_decay, decay
from jaxsnare.dsp.filters import FORMS, Biquad
from jaxsnare.dsp.followers import Follower, Limiter, PeakFollower, Ramp
from jaxsnare.dsp.noise import BufferNoise, SeededNoise, white
from jaxsnare.dsp.oscillators import Sine
from jaxsnare.dsp.shapers import crossfade, gain, tanh_drive

RATES = (44_100, 48_000)
TO_UNIT = {"freq": (20.0, 2000.0), "mod": (-1.0, 2.0), "decay": (10.0, 2000.0)}


def physical(unit, lo, hi):
    """Published parameters [B, 1] in the unit interval as physical values [B]."""
    return lo + np.asarray(unit, np.float64)[:, 0] * (hi - lo)


def f32(x):
    return jnp.asarray(x, jnp.float32)


def f64(x):
    return jnp.asarray(np.asarray(x, np.float64))


# envelopes


def envelope_oracle(decay_ms, sample_rate, length, attack_ms=1.0):
    attack = int(attack_ms * sample_rate / 1000)
    ratio = 1 - 6.91 / (decay_ms * sample_rate / 1000)
    n = np.arange(length)
    return np.where(n < attack, (n + 1) / max(attack, 1), ratio ** (n - attack + 0.0))


@pytest.mark.parametrize("sample_rate", RATES)
@pytest.mark.parametrize("decay_ms", [10.0, 21.59, 200.0, 2000.0])
def test_envelopes_are_r_to_the_n(decay_ms, sample_rate, error_db):
    n = jnp.arange(2 * sample_rate)
    decay_ms = float(np.float32(decay_ms))
    for attack in (0.0, 1.0):
        got = attack_decay(n, f32(decay_ms), sample_rate, attack)
        wanted = envelope_oracle(decay_ms, sample_rate, len(n), attack)
        assert error_db(got, wanted) < -100
    got = decay(n, f32(decay_ms), sample_rate)
    wanted = envelope_oracle(decay_ms, sample_rate, len(n), 0.0)
    assert error_db(got, wanted) < -100
    # far into the tail, where an error of the exponent shows most
    at = int(decay_ms * sample_rate / 1000) - 1
    assert float(got[at]) == pytest.approx(wanted[at], rel=1e-4)


def test_envelopes_are_silent_before_the_trigger():
    n = jnp.array([-(1 << 30), -500, -1])
    assert not np.any(decay(n, f32(200.0), 44_100))
    assert not np.any(attack_decay(n, f32(200.0), 44_100))
    assert np.isfinite(attack_decay(jnp.array([1 << 30]), f32(10.0), 44_100)).all()


@pytest.mark.parametrize(
    ("key", "function", "sample_rate", "lo", "hi"),
    [
        ("exp_decay_envelope_44100", attack_decay, 44_100, 10, 2000),
        ("exp_decay_envelope_48000", attack_decay, 48_000, 10, 2000),
        ("exp_decay_envelope_long", attack_decay, 44_100, 10, 2000),
        ("exp_decay_envelope_custom", attack_decay, 44_100, 1, 500),
        ("exponential_decay_44100", decay, 44_100, 10, 2000),
        ("exponential_decay_48000", decay, 48_000, 10, 2000),
    ],
)
def test_envelopes_are_the_published_ones(
    golden, error_db, key, function, sample_rate, lo, hi
):
    data = golden("modules")
    decays, wanted = physical(data["decay_norm"], lo, hi), data[f"{key}_f64"]
    n = jnp.arange(wanted.shape[-1])
    for decay_ms, row in zip(decays, wanted, strict=True):
        assert error_db(function(n, f32(decay_ms), sample_rate), row) < -80


def test_the_published_gradient_of_an_envelope(golden, x64):
    data = golden("modules")
    w = f64(data["biquad_grad_weight"])
    lo, hi = TO_UNIT["decay"]
    n = jnp.arange(len(w))
    for i, decay_ms in enumerate(physical(data["decay_norm"], lo, hi)):
        got = jax.grad(lambda d: jnp.sum(w * attack_decay(n, d, 44_100)))(decay_ms)
        wanted = data["exp_decay_envelope_dL_ddecay_f64"][i, 0]
        assert float(got) * (hi - lo) == pytest.approx(wanted, rel=1e-6)


# oscillator


def sine_oracle(freq_hz, mod, sweep, sample_rate):
    step = 2 * np.pi * freq_hz / sample_rate * (1 + mod * np.asarray(sweep, float))
    return np.sin(np.concatenate([[0.0], np.cumsum(step)[:-1]]))


@functools.partial(jax.jit, static_argnums=0)
def sine(osc, params, state, x):
    return osc.step(params, state, x)


@pytest.mark.parametrize(("freq_hz", "mod"), [(20.0, -1), (180.0, 0.4), (2000.0, 2)])
def test_a_sine_is_a_running_sum_of_its_frequency(freq_hz, mod, error_db):
    """After a second, and after 750 blocks: the phase does not drift."""
    osc, n = Sine(48_000), np.arange(48_000, dtype=np.int32)
    sweep = np.exp(-n / 3000).astype(np.float32)
    wanted = sine_oracle(freq_hz, mod, sweep, 48_000)
    params = (f32(freq_hz), f32(mod))
    _, got = sine(osc, params, osc.init(), (n, sweep))
    # right to the rounding of a float32 frequency: 3 / 2^24 of the turns so far
    turns = np.cumsum(freq_hz / 48_000 * np.abs(1 + mod * sweep.astype(float)))
    assert np.all(np.abs(got - wanted) <= 2 * np.pi * 3 * 2**-24 * turns + 1e-6)
    if freq_hz < 1000:
        assert error_db(got[-2400:], wanted[-2400:]) < -80

    def block(state, x):
        return osc.step(params, state, x)

    cut = jax.tree.map(lambda a: a.reshape(750, 64), (n, sweep))
    _, blocks = jax.jit(lambda x: jax.lax.scan(block, osc.init(), x))(cut)
    np.testing.assert_array_equal(np.ravel(blocks), got)


def test_a_sine_is_the_published_one(golden, error_db):
    data = golden("modules")
    freqs = physical(data["osc_freq_norm"], *TO_UNIT["freq"])
    mods = physical(data["osc_mod_norm"], *TO_UNIT["mod"])
    osc = Sine(44_100)
    for i, (freq, mod) in enumerate(zip(freqs, mods, strict=True)):
        for sweep, wanted in (
            (data["osc_mod_env"][i], data["osc_f64"][i]),
            (0 * data["osc_mod_env"][i], data["osc_nomod_f64"][i]),
        ):
            x = (np.arange(len(sweep), dtype=np.int32), sweep)
            _, got = sine(osc, (f32(freq), f32(mod)), osc.init(), x)
            assert error_db(got, wanted) < -80


def test_the_published_gradients_of_a_sine(golden, x64):
    data = golden("modules")
    w, osc = f64(data["biquad_grad_weight"]), Sine(44_100)
    n = jnp.arange(len(w), dtype=jnp.int32)
    start = osc.init(jnp.float64)

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1, 2))
    def gradient(freq, mod, sweep):
        return jnp.sum(w * osc.step((freq, mod), start, (n, sweep))[1])

    (f_lo, f_hi), (m_lo, m_hi) = TO_UNIT["freq"], TO_UNIT["mod"]
    freqs = physical(data["osc_freq_norm"], f_lo, f_hi)
    mods = physical(data["osc_mod_norm"], m_lo, m_hi)
    for i in range(4):
        freq, mod, sweep = gradient(freqs[i], mods[i], f64(data["osc_mod_env"][i]))
        close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
        close(freq * (f_hi - f_lo), data["osc_dL_dfreq_f64"][i, 0])
        close(mod * (m_hi - m_lo), data["osc_dL_dmod_f64"][i, 0])
        wanted = data["osc_dL_dmod_env_f64"][i]
        close(sweep, wanted, atol=1e-6 * np.abs(wanted).max())


# noise


def noise_oracle(n, seed):
    """The hash of the docstring in plain 64-bit Python integers."""
    mask = 0xFFFFFFFF

    def mix(x):
        x = ((x ^ (x >> 16)) * 0x7FEB352D) & mask
        x = ((x ^ (x >> 15)) * 0x846CA68B) & mask
        return x ^ (x >> 16)

    key = mix((seed * 0x9E3779B9) & mask)
    values = [mix((mix((int(i) & mask) ^ key) + key) & mask) >> 8 for i in n]
    return np.array(values) / 2**23 - 1


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**31 - 1])
def test_noise_is_its_hash_bit_for_bit(seed, x64):
    n = np.r_[-3:400, 2**30 - 5 : 2**30]
    for dtype in (jnp.float32, jnp.float64):
        got = white(jnp.asarray(n, jnp.int32), jnp.int32(seed), dtype)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, noise_oracle(n, seed))


def test_noise_does_not_depend_on_the_block_length():
    whole = np.asarray(white(jnp.arange(1000), 3))
    blocks = [white(jnp.arange(i, i + 8), 3) for i in range(0, 1000, 8)]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noise_is_white_and_uniform(seed):
    count = 1 << 17
    x = np.asarray(white(jnp.arange(count), seed), float)
    assert x.min() >= -1
    assert x.max() < 1
    assert abs(x.mean()) < 5 / np.sqrt(3 * count)
    assert x.var() == pytest.approx(1 / 3, rel=0.01)
    histogram = np.histogram(x, 64, (-1, 1))[0]
    assert scipy.stats.chisquare(histogram).pvalue > 1e-4
    spectrum = np.abs(np.fft.rfft(x)) ** 2
    correlation = np.fft.irfft(spectrum * 1.0)[1:2000] / np.sum(x**2)
    assert np.abs(correlation).max() < 5.5 / np.sqrt(count)
    # octave by octave the power is that of white noise
    power = spectrum[1:-1] / (count / 3)
    for low in 2 ** np.arange(6, 16):
        assert power[low : 2 * low].mean() == pytest.approx(1, abs=5 / np.sqrt(low))
    flatness = np.exp(np.mean(np.log(power))) / np.mean(power)
    assert flatness == pytest.approx(np.exp(-np.euler_gamma), rel=0.02)


def test_seeds_hits_and_channels_are_unrelated():
    n, count = jnp.arange(1 << 15), 1 << 15
    source = SeededNoise(seed=5, per_hit=True)
    sounds = [white(n, seed) for seed in (0, 1, 2, 3, 256)]
    sounds += [source(n, jnp.int32(h), c, jnp.float32) for h in (1, 2) for c in (0, 1)]
    correlation = np.corrcoef(np.asarray(sounds, float))
    assert np.abs(correlation - np.eye(len(sounds))).max() < 5 / np.sqrt(count)


def test_the_default_noise_is_the_same_for_every_hit():
    n, source = jnp.arange(64), SeededNoise(seed=5)
    first, later = (source(n, jnp.int32(h), 0, jnp.float32) for h in (1, 9))
    np.testing.assert_array_equal(first, later)


def test_noise_of_a_buffer_repeats():
    source = BufferNoise(np.arange(3.0))
    got = source(jnp.arange(7), jnp.int32(1), 0, jnp.float32)
    np.testing.assert_array_equal(got, [0, 1, 2, 0, 1, 2, 0])


# second-order filters


def biquad_oracle(kind, freq_hz, q, sample_rate, x):
    """The coefficients of system.md, section 2, through SciPy, in float64."""
    if freq_hz >= sample_rate / 2:
        # the limit K -> infinity: a lowpass passes everything, a highpass nothing
        return np.asarray(x, float) * (kind == "lowpass")
    k = np.tan(np.pi * freq_hz / sample_rate)
    n = 1 / (1 + k / q + k * k)
    b = {"highpass": (n, -2 * n, n), "lowpass": (k * k * n, 2 * k * k * n, k * k * n)}
    a = (1, 2 * (k * k - 1) * n, (1 - k / q + k * k) * n)
    return scipy.signal.lfilter(b[kind], a, np.asarray(x, float))


@functools.partial(jax.jit, static_argnums=0)
def run(component, params, x):
    return component.step(params, component.init(x.dtype), x)[1]


def noisy_hit(length, seed=0):
    x = np.random.default_rng(seed).uniform(-1, 1, length)
    return (x * 0.9995 ** np.arange(length)).astype(np.float32)


@pytest.mark.parametrize("q", [0.5, 0.707, 10.0])
@pytest.mark.parametrize("kind", ["lowpass", "highpass"])
@pytest.mark.parametrize("method", FORMS)
def test_biquads_are_scipys_over_the_whole_range(kind, method, q, error_db):
    """-80 dB of the output; where a highpass stops all, 1e-6 of the input."""
    x, filter_ = noisy_hit(4096), Biquad(kind, 44_100, method=method)
    freqs = [100.0, 2500.0, 12_000.0, 20_000.0]
    if method != "frequency":  # what rings for longer than twice the signal wraps
        freqs += [20.0, 22_049.0, 22_050.0]
    for freq_hz in freqs:
        got = np.asarray(run(filter_, (f32(freq_hz), f32(q)), x))
        wanted = biquad_oracle(kind, freq_hz, q, 44_100, x)
        if freq_hz >= 22_049 and kind == "highpass":
            assert np.abs(got - wanted).max() < 1e-6, freq_hz
        else:
            assert error_db(got, wanted) < -80, freq_hz


def test_a_filter_at_the_top_is_the_limit_of_its_equations(x64):
    """At half the sample rate K is infinite: lowpass all, highpass nothing."""
    x = f64(noisy_hit(500))
    top = (f64(22_050.0), f64(2.0))
    np.testing.assert_allclose(run(Biquad("lowpass", 44_100), top, x), x, atol=1e-12)
    np.testing.assert_allclose(run(Biquad("highpass", 44_100), top, x), 0, atol=1e-12)


@pytest.mark.parametrize("kind", ["lowpass", "highpass"])
@pytest.mark.parametrize("sample_rate", RATES)
def test_biquads_are_the_published_ones(golden, error_db, kind, sample_rate):
    data = golden("modules")
    cases = [(False, "x_small", f"biquad_{kind}_{sample_rate}_f64")]
    if sample_rate == 44_100:
        cases.append((True, "x_large", f"biquad_{kind}_44100_clamped_f64"))
    freqs = physical(data["biquad_freq_norm"], 20, sample_rate // 2)
    qs = physical(data["biquad_q_norm"], 0.5, 10)
    for clip, x, wanted in cases:
        for i in range(4):
            filter_ = Biquad(kind, sample_rate, clip=clip)
            got = run(filter_, (f32(freqs[i]), f32(qs[i])), f32(data[x][i]))
            assert error_db(got, data[wanted][i]) < -80


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("kind", ["lowpass", "highpass"])
def test_the_published_gradients_of_biquads(golden, x64, kind, size):
    data = golden("modules")
    w = f64(data["biquad_grad_weight"])
    filter_ = Biquad(kind, 44_100, clip=True)

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1, 2))
    def gradient(freq, q, x):
        return jnp.sum(w * run(filter_, (freq, q), x))

    freqs = physical(data["biquad_freq_norm"], 20, 22_050)
    qs = physical(data["biquad_q_norm"], 0.5, 10)
    for i in range(4):
        freq, q, x = gradient(freqs[i], qs[i], f64(data[f"x_{size}"][i]))
        key = f"biquad_{kind}_{size}_dL_d"
        assert freq * (22_050 - 20) == pytest.approx(data[f"{key}freq_f64"][i, 0], 1e-6)
        assert q * 9.5 == pytest.approx(data[f"{key}q_f64"][i, 0], 1e-6)
        wanted = data[f"{key}x_f64"][i]
        np.testing.assert_allclose(x, wanted, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("method", FORMS)
def test_gradients_of_biquads_are_finite_differences(method, x64):
    """With respect to cutoff, q, input and state, against SciPy's own slope."""
    length = 40
    x, w = noisy_hit(length), np.cos(np.arange(length))
    filter_, freq, q = Biquad("highpass", 44_100, method=method), 5000.0, 1.5
    start = f64([0.3, -0.2])

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1, 2, 3))
    def gradient(freq, q, x, state):
        return jnp.sum(w * filter_.step((freq, q), state, x)[1])

    def slope(function, h):
        return (function(h) - function(-h)) / (2 * h)

    def loss(freq, q, x):
        return np.sum(w * biquad_oracle("highpass", freq, q, 44_100, x))

    d_freq, d_q, d_x, d_state = gradient(freq, q, f64(x), f64([0.0, 0.0]))
    assert d_freq == pytest.approx(slope(lambda h: loss(freq + h, q, x), 1e-3), 1e-6)
    assert d_q == pytest.approx(slope(lambda h: loss(freq, q + h, x), 1e-5), 1e-6)
    for i in (0, 17, 39):
        wanted = loss(freq, q, np.eye(length)[i])  # linear in its input
        assert d_x[i] == pytest.approx(wanted, 1e-6)

    # linear in its state: the response to each part of it, by stepping
    @jax.jit
    def response(state):
        at = (f64(freq), f64(q))
        return jnp.sum(w * filter_.step(at, state, f64(0 * x))[1])

    for i, unit in enumerate(np.eye(2)):
        assert d_state[i] == pytest.approx(float(response(f64(unit))), 1e-6)
    # and the gradients hold from any state: a longer signal, cut in two
    _, _, d_later, d_start = gradient(freq, q, f64(x), start)
    np.testing.assert_allclose(d_later, d_x, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(d_start, d_state, rtol=1e-9)


@pytest.mark.parametrize("method", FORMS)
def test_forward_mode_is_reverse_mode(method, x64):
    x = f64(noisy_hit(40))
    filter_ = Biquad("lowpass", 44_100, method=method)

    def loss(params):
        state = params[2:]
        state, y = filter_.step((params[0], params[1]), state, x)
        return jnp.stack([jnp.sum(y * y), jnp.sum(state)])

    at = f64([5000.0, 1.5, 0.1, -0.1])
    reverse = jax.jit(jax.jacrev(loss))(at)
    forward = jax.jit(jax.jacfwd(loss))(at)
    np.testing.assert_allclose(forward, reverse, rtol=1e-9, atol=1e-12)


def test_an_unknown_filter_names_the_choices():
    other: Any = "allpass"
    with pytest.raises(ValueError, match=r"one of lowpass, .* got 'allpass'"):
        Biquad(other, 44_100)
    other = "magic"
    filter_ = Biquad("lowpass", 44_100, method=other)
    with pytest.raises(ValueError, match=r"'auto' or one of scan, .*, got 'magic'"):
        filter_.step((f32(1e3), f32(1.0)), filter_.init(), jnp.ones(4))


# followers


def follower_oracle(up, down, start, x):
    y, out = start, []
    for value in np.asarray(x, float):
        y += (up if value > y else down) * (value - y)
        out.append(y)
    return np.array(out)


@pytest.mark.parametrize(
    ("up_ms", "down_ms", "start"), [(3 / 44.1, 383 / 44.1, 0.0), (50.0, 50.0, -55.0)]
)
def test_a_follower_is_its_loop(up_ms, down_ms, start, error_db):
    x = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    follower = Follower(44_100, start)
    got = run(follower, (f32(up_ms), f32(down_ms)), x)
    per_ms = 1000 / 44_100
    wanted = follower_oracle(per_ms / up_ms, per_ms / down_ms, start, x)
    assert error_db(got, wanted) < -100
    # faster than a sample is a sample
    got = run(follower, (f32(1e-3), f32(1e-3)), x)
    np.testing.assert_allclose(got, x, atol=1e-5)


def test_the_limiter_is_transparent_up_to_full_scale_and_never_above():
    limiter, release = Limiter(44_100), f32(50.0)
    x = noisy_hit(20_000)
    x[7], x[8] = 1.0, -1.0
    np.testing.assert_array_equal(run(limiter, release, x), x)

    loud = x.copy()
    loud[5000:6000] *= 70.0
    assert np.abs(loud).max() > 4.0
    got = np.asarray(run(limiter, release, loud))
    assert np.abs(got).max() <= 1.0
    np.testing.assert_array_equal(got[:5000], x[:5000])
    peak, keep, wanted = 0.0, np.exp(-1000 / (50 * 44_100)), []
    for value in loud.astype(float):
        peak = max(abs(value), keep * peak)
        wanted.append(value / max(peak, 1.0))
    np.testing.assert_allclose(got, wanted, atol=1e-5)


# shapers


def test_shapers_are_the_published_ones(golden, error_db):
    data = golden("modules")
    x, x2, u = f32(data["x"]), f32(data["x2"]), data["u"]
    for i in range(4):
        drive, gain_db, wide = (
            f32(physical(u, *r)[i]) for r in ((-24, 24), (-60, 6), (-48, 48))
        )
        assert error_db(tanh_drive(x[i], drive), data["tanh_f64"][i]) < -100
        assert error_db(gain(x[i], gain_db), data["gain_f64"][i]) < -100
        assert error_db(gain(x[i], wide), data["gain_custom_f64"][i]) < -100
        got = crossfade(x[i], x2[i], f32(u[i, 0]))
        assert error_db(got, data["crossfade_f64"][i]) < -100


def test_a_crossfade_keeps_finite_gradients_at_its_ends():
    x, y = jnp.ones(4), 2 * jnp.ones(4)
    for amount, wanted in ((0.0, y), (1.0, x)):
        np.testing.assert_array_equal(crossfade(x, y, f32(amount)), wanted)
        slope = jax.grad(lambda a: jnp.sum(crossfade(x, y, a)))(f32(amount))
        assert np.isfinite(slope)


@pytest.mark.parametrize("block", [1, 7, 200])
def test_a_ramp_glides_from_where_it_was_to_the_target(block):
    ramp, time_ms = Ramp(RATES[0]), jnp.float32(5.0)
    state, held = ramp.step((jnp.float32(1.0), time_ms), ramp.init(), jnp.zeros(9))
    np.testing.assert_array_equal(held, np.ones(9, np.float32))
    got = []
    for start in range(0, 200, block):
        x = jnp.zeros(min(block, 200 - start))
        state, values = ramp.step((jnp.float32(0.25), time_ms), state, x)
        got.append(values)
    wanted = 0.25 + 0.75 * np.exp(-np.arange(1, 201) / (0.005 * RATES[0]))
    np.testing.assert_allclose(np.concatenate(got), wanted, atol=1e-5)


def test_the_peak_follower_holds_and_falls():
    x = np.random.default_rng(0).normal(size=500).astype(np.float32)
    peak, wanted = 0.0, []
    for value in x.astype(float):
        peak = max(abs(value), peak * np.exp(-1 / (0.003 * RATES[0])))
        wanted.append(peak)
    follower = PeakFollower(RATES[0])
    _, got = follower.step(jnp.float32(3.0), follower.init(), jnp.asarray(x))
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
