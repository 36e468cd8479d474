"""What synths are made of, against float64 oracles of NumPy and SciPy."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.signal
from oracles import biquad

from jaxsnare import ParamSet, ParamSpec, Synth, render
from jaxsnare.dsp.delays import Comb, Room
from jaxsnare.dsp.envelopes import adsr, bursts, decay, decay_sum, stages
from jaxsnare.dsp.filters import Bands, Biquad, StateVariable
from jaxsnare.dsp.followers import Compressor
from jaxsnare.dsp.oscillators import (
    CYMBAL_808_HZ,
    Wave,
    metallic,
    sin_turns,
    steady_turns,
    triangle,
)
from jaxsnare.dsp.resonators import Resonators, ring
from jaxsnare.dsp.shapers import SHAPES, Shaper
from jaxsnare.params import as_params
from jaxsnare.synths.combine import choose

RATE = 48_000
QUICK = {"xla_backend_optimization_level": 0}
N = np.arange(2048, dtype=np.int32)
NOISE = np.random.default_rng(0).uniform(-1, 1, 2048).astype(np.float32)
PULSE = (N == 0).astype(np.float32)


def params(*values) -> Any:
    return tuple(jnp.asarray(v, jnp.float32) for v in values)


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def run(component, params, x) -> Any:
    return component.step(params, component.init(), x)[1]


# oscillators


def wave_oracle(kind, freq_hz, width, n):
    """Fourier series of the wave, each partial as heavy as a cubic B-spline makes it:
    all of them, those too that the sample rate folds back."""
    k = np.arange(1, 40 * RATE // int(freq_hz))[:, None]
    turns = k * freq_hz / RATE * n
    if kind == "saw":
        parts = -2 / (np.pi * k) * (-1.0) ** k * np.sin(2 * np.pi * turns)
    elif kind == "pulse":
        parts = np.sin(np.pi * k * width) * 4 / (np.pi * k)
        parts = parts * np.cos(2 * np.pi * (turns - k * width / 2))
    else:
        parts = np.sin(np.pi * k * width) * 2 / ((np.pi * k) ** 2 * width * (1 - width))
        parts = parts * np.sin(2 * np.pi * turns)
    return np.sum(np.sinc(k * freq_hz / RATE) ** 4 * parts, axis=0)


@pytest.mark.parametrize("kind", ["saw", "pulse", "triangle"])
def test_waves_are_their_series_through_a_spline(kind, error_db):
    """And what they fold back is far below what sampling the plain wave would."""
    n, still = N[:1024], np.zeros(1024, np.float32)
    for cycles, width in ((17, 0.5), (61, 0.2)):  # whole cycles in the 1024 samples
        freq_hz = cycles * RATE / 1024
        got = np.asarray(run(Wave(kind, RATE), params(freq_hz, 0.0, width), (n, still)))
        assert error_db(got, wave_oracle(kind, freq_hz, width, n)) < -80

        def folded(y, cycles=cycles):
            spectrum = np.abs(np.fft.rfft(y)) ** 2
            audible = np.arange(len(spectrum)) < 10_000 / RATE * 1024
            others = np.arange(len(spectrum)) % cycles != 0
            return np.sum(spectrum[audible & others])

        # a hair off the jumps, where the plain wave has no value
        turns = (cycles / 1024 * (n + 1e-6)) % 1.0
        shifted = (turns + width / 2) % 1.0
        plain = {
            "saw": 2 * ((turns + 0.5) % 1.0) - 1,
            "pulse": np.where(turns < width, 2 - 2 * width, -2 * width),
            "triangle": 2 * np.minimum(shifted / width, (1 - shifted) / (1 - width))
            - 1,
        }[kind]
        assert folded(got) < 1e-3 * folded(plain), "30 dB less"


def test_phases_in_closed_form_are_exact_after_hours():
    n = np.int32(2**30) + N
    phases = jax.jit(lambda n: steady_turns(n, jnp.float32(440.0), RATE))
    got = phases(n)
    wanted = n.astype(float) * float(np.float32(440.0) / np.float32(RATE))
    away = np.asarray(got, float) - wanted
    # the product is exact; the step is rounded to 2^-33 of a turn
    assert np.abs(away - np.round(away)).max() <= 2**30 * 2**-33 + 1e-6
    first = phases(N)
    away = np.asarray(first, float) - N * 440 / RATE
    assert np.abs(away - np.round(away)).max() < 2e-6
    np.testing.assert_allclose(
        sin_turns(jnp.asarray(NOISE)),
        np.sin(2 * np.pi * NOISE.astype(float)),
        atol=6e-7,
    )


def test_the_metal_of_a_cymbal_is_six_squares(error_db):
    n = np.arange(-100, 1024, dtype=np.int32)
    cluster = functools.partial(metallic, sample_rate=RATE)
    got = jax.jit(cluster, compiler_options=QUICK)(n, jnp.float32(1.2))
    squares = [wave_oracle("pulse", 1.2 * f, 0.5, n[100:]) for f in CYMBAL_808_HZ]
    assert error_db(got[100:], sum(squares) / 6) < -80
    assert not np.any(got[:100])


def test_the_even_triangle_is_that_of_the_wave(error_db):
    turns = 1234.0 / RATE
    phase = N * turns - np.round(N * turns)
    got = jax.jit(triangle)(phase.astype(np.float32), jnp.float32(turns))
    assert error_db(got, wave_oracle("triangle", 1234.0, 0.5, N)) < -80


# envelopes


def test_an_adsr_is_its_stages():
    n, (a, d, s, h, r) = np.arange(-5, 900), (4.0, 30.0, 0.3, 12.0, 20.0)
    got = jax.jit(adsr, static_argnums=6)(n, *params(a, d, s, h, r), RATE)
    per_ms, wanted = RATE / 1000, []
    for i in n + 1:
        t = min(max(i, 0), h * per_ms)
        up = t / (a * per_ms)
        late = t - a * per_ms
        level = up if late < 0 else s + (1 - s) * np.exp(-6.91 * late / (d * per_ms))
        wanted.append(level * np.exp(-6.91 * max(i - h * per_ms, 0) / (r * per_ms)))
    np.testing.assert_allclose(got, wanted, atol=2e-6)
    assert not np.any(np.asarray(got)[n < 0])


@pytest.mark.parametrize("curve", [0.0, 3.0])
def test_stages_go_from_level_to_level(curve):
    times, levels = np.array([5.0, 2.0, 10.0]), np.array([1.0, 0.4, 0.7])
    n = np.arange(-5, 1200)
    args = params(times, levels, curve)
    got = jax.jit(stages, static_argnums=4)(n, *args, RATE)
    ends = np.concatenate([[0.0], np.cumsum(times)]) * RATE / 1000
    levels = np.concatenate([[0.0], levels])
    k = np.clip(np.searchsorted(ends, n, "right") - 1, 0, 2)
    way = np.clip((n - ends[k]) / (ends[k + 1] - ends[k]), 0, 1)
    if curve:
        way = (1 - np.exp(-curve * way)) / (1 - np.exp(-curve))
    wanted = levels[k] + (levels[k + 1] - levels[k]) * way
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_bursts_are_a_sawtooth():
    n = np.arange(-20, 2000)
    got = jax.jit(bursts, static_argnums=(4, 5))(n, *params(10.0, 18.0, 60.0), 4, RATE)
    tooth = np.clip(n // 480, 0, 3)
    fall_ms = np.where(tooth == 3, 60.0, 18.0)
    wanted = np.exp(-6.91 * (n - 480 * tooth) / (fall_ms * RATE / 1000))
    np.testing.assert_allclose(got, np.where(n < 0, 0, wanted), atol=1e-5)


def test_the_sum_of_a_decay_is_its_sum():
    n = jnp.arange(-3, 3000)
    both = jax.jit(lambda n, ms: (decay_sum(n, ms, RATE), decay(n, ms, RATE)))
    got, steps = both(n, jnp.float32(40.0))
    steps = np.asarray(steps, float)
    wanted = np.concatenate([[0.0], np.cumsum(steps)[:-1]])
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


# filters


@pytest.mark.parametrize("kind", ["bandpass", "notch"])
def test_bandpass_and_notch_are_scipys(kind, error_db):
    for freq_hz, q in ((60.0, 0.7), (7100.0, 8.0), (23_000.0, 2.0)):
        got = run(Biquad(kind, RATE), params(freq_hz, q), NOISE)
        assert error_db(got, biquad(kind, freq_hz, q, NOISE, RATE)) < -80


def test_bands_are_filters_side_by_side(error_db):
    freqs, qs, gains = [300.0, 2000.0, 9000.0], [1.0, 4.0, 0.7], [0.0, -6.0, 3.0]
    got = run(Bands(3, RATE), params(freqs, qs, gains), NOISE)
    wanted = sum(
        10 ** (g / 20) * biquad("bandpass", f, q, NOISE, RATE)
        for f, q, g in zip(freqs, qs, gains, strict=True)
    )
    assert error_db(got, wanted) < -80


@pytest.mark.parametrize("kind", ["lowpass", "highpass", "bandpass", "notch"])
def test_a_moving_filter_is_its_loop(kind, error_db):
    """Simper's form (Solving the continuous SVF equations, 2013) with the tangent."""
    freq_hz, q = np.geomspace(40, 20_000, 2048), 3.0
    got = run(StateVariable(kind, RATE), params(q)[0], (NOISE, np.float32(freq_hz)))
    one = two = 0.0
    wanted = []
    for x, f in zip(NOISE.astype(float), freq_hz, strict=True):
        g, k = np.tan(np.pi * f / RATE), 1 / q
        band = (one + g * (x - two)) / (1 + g * (g + k))
        low = two + g * band
        one, two = 2 * band - one, 2 * low - two
        high = x - k * band - low
        every = {"lowpass": low, "highpass": high, "bandpass": k * band}
        wanted.append((every | {"notch": low + high})[kind])
    assert error_db(got, wanted) < -80


# resonators


def test_resonators_ring_as_scipys_two_poles(error_db):
    freqs, decays = np.array([180.0, 411.0, 5000.0]), np.array([300.0, 40.0, 12.0])
    amplitudes = np.array([1.0, -0.5, 0.8])

    def wanted(x):
        total = np.zeros(len(x))
        for f, d, a in zip(freqs, decays, amplitudes, strict=True):
            r, w = np.exp(-6.91 / (d * RATE / 1000)), 2 * np.pi * f / RATE
            poles = (1, -2 * r * np.cos(w), r * r)
            total += a * scipy.signal.lfilter((0, r * np.sin(w)), poles, x)
        return total

    modes = params(freqs, decays, amplitudes)
    got = run(Resonators(3, RATE), modes, NOISE[:1990])  # blocks and a rest
    assert error_db(got, wanted(NOISE[:1990].astype(float))) < -80
    struck = jax.jit(ring, static_argnums=4, compiler_options=QUICK)
    for n in (N, N[:64]):  # a whole signal and a block
        got = struck(n, *modes, RATE)
        assert error_db(got, wanted(PULSE.astype(float))[: len(n)]) < -80


def test_modes_glide_together(error_db):
    """With a bend all phases are ahead by as many samples."""
    ahead = (500 * (1 - np.exp(-N / 400))).astype(np.float32)
    modes = params([180.0, 411.0], [300.0, 40.0], [1.0, -0.5])
    got = jax.jit(ring, static_argnums=4)(N, *modes, RATE, ahead)
    wanted = np.zeros(len(N))
    for f, d, a in ((180, 300, 1), (411, 40, -0.5)):
        fall = np.exp(-6.91 * N / (d * RATE / 1000))
        wanted += a * fall * np.sin(2 * np.pi * f / RATE * (N + ahead.astype(float)))
    assert error_db(got, wanted) < -80


def test_what_is_above_half_the_rate_does_not_ring():
    high = params([RATE / 2 + 100.0], [100.0], [1.0])
    assert not np.any(run(Resonators(1, RATE), high, NOISE[:100]))


# delays


def test_a_comb_is_scipys(error_db):
    """At a whole delay, and half a sample more for the mean of Karplus and Strong."""
    comb = Comb(RATE, 100.0, 1000.0)
    for damping, delay in ((0.0, 97), (0.5, 96.5)):
        freq_hz = RATE / (delay + damping)
        loss = np.exp(-6.91 * 1000 / (freq_hz * 50.0))
        a = np.zeros(99)
        a[0] = 1
        if damping:
            # 96.5 = 96 and a half: Lagrange's taps there, then the mean
            taps = np.convolve(np.array([-1, 9, 9, -1]) / 16, [0.5, 0.5])
            a[95 : 95 + 4] -= loss * taps[:4]
            a = np.append(a, -loss * taps[4])
        else:
            a[97] = -loss
        got = run(comb, params(freq_hz, 50.0, damping), NOISE)
        wanted = scipy.signal.lfilter([1.0], a, NOISE.astype(float))
        assert error_db(got, wanted) < -70  # the delay is rounded to 1e-5 of a sample


def test_a_string_is_in_tune_and_decays_in_its_time():
    length, freq_hz = 24_000, 447.3
    pluck = np.where(np.arange(length) < 107, np.resize(NOISE, length), 0)
    pluck = pluck.astype(np.float32)
    y = np.asarray(run(Comb(RATE), params(freq_hz, 900.0, 0.5), pluck), float)
    turns = np.exp(-2j * np.pi * freq_hz * np.arange(length) / RATE)
    window = np.hanning(4800)
    early, late = (np.sum(window * (y * turns)[s : s + 4800]) for s in (9600, 14_400))
    cents = 1200 * np.log2(1 + np.angle(late / early) / (2 * np.pi * 0.1 * freq_hz))
    assert abs(cents) < 1
    # 100 ms of 900 that fall by 60 dB
    assert 20 * np.log10(abs(early / late)) == pytest.approx(60 / 9, abs=0.2)


def test_a_room_is_its_loop_and_decays_in_its_time(error_db):
    room, decay_ms, damping = Room(8000, 0.5), 400.0, 0.2
    length = 4000
    x = (np.arange(length) == 3).astype(np.float32)
    got = np.asarray(run(room, params(decay_ms, damping), x), float)
    delays, lines = room.delays, np.zeros((8, length + 1))
    wanted = np.zeros(length)
    for n in range(length):
        back = np.zeros(8)
        for i, d in enumerate(delays):
            past = [lines[i, n - m] if n >= m else 0.0 for m in (d, d + 1)]
            loss = np.exp(-6.91 * (d + damping) / (decay_ms * 8))
            back[i] = loss * ((1 - damping) * past[0] + damping * past[1])
        wanted[n] = np.sum(back * np.resize([1, -1], 8)) / np.sqrt(8)
        lines[:, n] = x[n] + back - back.sum() / 4
    assert error_db(got, wanted) < -80
    # without damping the energy falls by 60 dB in the time
    dry = np.asarray(run(room, params(decay_ms, 0.0), x), float)
    left = 10 * np.log10(np.cumsum(dry[::-1] ** 2)[::-1])
    slope = np.polyfit(np.arange(400, 2400), left[400:2400], 1)[0]
    assert -60 / slope / 8 == pytest.approx(decay_ms, rel=0.05)
    assert not np.any(got[: 3 + delays[0]])


# dynamics and shapers


def test_a_compressor_is_its_loop(error_db):
    threshold, ratio, knee, attack, release, makeup = -24.0, 4.0, 6.0, 1.0, 20.0, 5.0
    got = run(
        Compressor(RATE),
        params(threshold, ratio, knee, attack, release, makeup),
        NOISE * np.float32(0.5 + 0.5 * np.cos(N / 300)),
    )
    less, wanted = 0.0, []
    for x in NOISE * (0.5 + 0.5 * np.cos(N / 300)):
        over = 20 * np.log10(abs(x) + 1e-8) - threshold
        if 2 * abs(over) <= knee:
            curve = (1 / ratio - 1) * (over + knee / 2) ** 2 / (2 * knee)
        else:
            curve = (1 / ratio - 1) * max(over, 0.0)
        speed = attack if -curve > less else release
        less += (-curve - less) * 1000 / (speed * RATE)
        wanted.append(x * 10 ** ((makeup - less) / 20))
    assert error_db(got, wanted) < -80


@pytest.mark.parametrize("kind", SHAPES)
def test_shapers_are_the_mean_of_the_shape_on_the_way(kind: Any, error_db):
    x = 3 * np.sin(2 * np.pi * 1234.5 / RATE * N[:400]) ** 3
    got = run(Shaper(kind), params(6.0)[0], x.astype(np.float32))
    shape = {"tanh": np.tanh, "clip": lambda v: np.clip(v, -1, 1), "fold": np.sin}[kind]
    to = 10 ** (6 / 20) * x.astype(np.float32).astype(float)
    start = np.concatenate([[0.0], to[:-1]])
    way = np.linspace(0, 1, 2001)[:, None]
    values = shape(start + way * (to - start))
    wanted = scipy.integrate.trapezoid(values, way, axis=0)
    assert error_db(got, wanted) < -70  # at a corner within a short line: Gauss's rule


def test_shapers_fold_back_less_than_the_plain_shape():
    n, cycles = N[:1024], 101  # 4.7 kHz, driven hard
    x = np.float32(4 * np.sin(2 * np.pi * cycles * n / 1024))
    for kind, shape in (("clip", lambda v: np.clip(v, -1, 1)), ("tanh", np.tanh)):
        twice = np.concatenate([x, x])  # the first round is a start
        shaper = Shaper("clip" if kind == "clip" else "tanh")
        got = np.asarray(run(shaper, params(0.0)[0], twice))[1024:]

        def folded(y):
            spectrum = np.abs(np.fft.rfft(y)) ** 2
            return np.sum(spectrum[:101]) / np.sum(spectrum)

        assert folded(got) < 0.05 * folded(shape(x.astype(float)))


# gradients: the slope, wherever there is one


class Noises(Synth):
    """White noise of a level."""

    @property
    def specs(self):
        return ParamSet((ParamSpec("level", "", 0.0, 1.0, 0.5),))

    def voice_init(self, dtype):
        return ()

    def voice(self, p, state, n, white):
        return (), jnp.where(n < 0, 0.0, p["level"] * white())


SHORT: Any = N[:300]
SWEEP = np.linspace(1, 0, 300)


def signal():
    return jnp.asarray(NOISE[:300], jnp.float64)


def of(component, at, x, pack: Any = tuple):
    def signals(*values):
        state = component.init(jnp.float64)
        return component.step(pack(values), state, x)[1]

    return signals, at


def one(values):
    return values[0]


def arrays(values):
    return tuple(v[None] for v in values)


def two_stages(*values):
    one, two, up, down, curve = values
    times, levels = jnp.stack([one, two]), jnp.stack([up, down])
    return stages(SHORT, times, levels, curve, RATE)


SLOPES: dict[str, Any] = {
    "Wave saw": lambda: of(Wave("saw", RATE), (900.0, 0.3, 0.5), (SHORT, SWEEP)),
    "Wave pulse": lambda: of(Wave("pulse", RATE), (900.0, 0.3, 0.3), (SHORT, SWEEP)),
    "Wave triangle": lambda: of(
        Wave("triangle", RATE), (900.0, 0.3, 0.3), (SHORT, SWEEP)
    ),
    "metallic": lambda: (lambda tune: metallic(SHORT, tune, RATE), (1.1,)),
    "decay_sum": lambda: (lambda ms: decay_sum(SHORT, ms, RATE), (2.2,)),
    "adsr": lambda: (
        functools.partial(adsr, SHORT, sample_rate=RATE),
        (1.03, 2.2, 0.4, 3.3, 2.5),
    ),
    "stages": lambda: (two_stages, (1.3, 2.73, 1.0, 0.3, 1.5)),
    "stages straight": lambda: (two_stages, (1.3, 2.73, 1.0, 0.3, 0.0)),
    "bursts": lambda: (
        lambda gap, fall, last: bursts(SHORT, gap, fall, last, 3, RATE),
        (1.003, 2.2, 4.0),
    ),
    "StateVariable": lambda: of(
        StateVariable("bandpass", RATE), (3.0,), (signal(), 4000 * SWEEP + 100), one
    ),
    "Bands": lambda: of(Bands(1, RATE), (2000.0, 2.0, -3.0), signal(), arrays),
    "ring": lambda: (
        lambda hz, ms, loud: ring(SHORT, hz[None], ms[None], loud[None], RATE),
        (450.0, 8.0, 0.7),
    ),
    "Resonators": lambda: of(Resonators(1, RATE), (450.0, 8.0, 0.7), signal(), arrays),
    "Comb": lambda: of(Comb(RATE), (877.7, 20.0, 0.3), signal()),
    "Room": lambda: of(Room(8000, 0.25), (300.0, 0.2), signal()),
    "Compressor": lambda: of(
        Compressor(RATE), (-20.0, 4.0, 6.0, 1.0, 20.0, 3.0), signal()
    ),
    "Shaper tanh": lambda: of(Shaper("tanh"), (8.0,), signal(), one),
    "Shaper clip": lambda: of(Shaper("clip"), (8.0,), signal(), one),
    "Shaper fold": lambda: of(Shaper("fold"), (8.0,), signal(), one),
}
QUICK_ONES = "metallic", "bursts", "decay_sum", "stages straight"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK_ONES else pytest.mark.slow)
        for name in SLOPES
    ],
)
def test_gradients_are_finite_differences(name, x64):
    signals, at = SLOPES[name]()
    weights = jnp.asarray(np.cos(0.7 * np.arange(300)))

    @functools.partial(jax.jit, compiler_options=QUICK)
    @jax.value_and_grad
    def loss(values):
        return jnp.sum(weights * signals(*values))

    at = tuple(jnp.asarray(v, jnp.float64) for v in at)
    _, gradient = loss(at)
    for i, value in enumerate(at):
        h = 1e-6 * max(abs(float(value)), 1.0)
        up, down = (loss((*at[:i], value + to, *at[i + 1 :]))[0] for to in (h, -h))
        wanted = float(up - down) / (2 * h)
        scale = max(abs(wanted), 1e-3)
        assert float(gradient[i]) == pytest.approx(wanted, abs=2e-4 * scale), (name, i)


def test_an_envelope_of_no_time_is_finite():
    n, envelope = np.arange(-3, 9), jax.jit(adsr, static_argnums=6)
    for times in ((0.0, 0.0, 0.5, 0.0, 0.0), (0.0, 0.0, 0.5, 1.0, 0.0)):
        assert np.isfinite(envelope(n, *params(*times), RATE)).all()


def test_times_of_an_envelope_below_a_sample_are_held_there():
    """The envelope is that of one sample, and the gradient by each time is 0."""
    n, short, one = jnp.arange(-3, 40), 0.5e3 / RATE, 1e3 / RATE
    usual = np.array([2.0, 3.0, 0.5, 4.0, 2.0])
    for k in (0, 1, 3, 4):
        held, below = usual.copy(), usual.copy()
        held[k], below[k] = one, short

        @jax.jit
        def total(times):
            return jnp.sum(adsr(n, *(times[i] for i in range(5)), sample_rate=RATE))

        value, slope = jax.value_and_grad(total)(jnp.asarray(below, jnp.float32))
        assert float(value) == pytest.approx(
            float(total(jnp.asarray(held, jnp.float32)))
        )
        assert float(slope[k]) == 0.0


def test_which_part_of_a_choice_sounds_has_no_gradient():
    """It is a switch: what is chosen is learnt by a classifier, not by a slope."""
    synth = choose("Either", low=Noises, high=Noises)(8000)

    @functools.partial(jax.jit, compiler_options=QUICK)
    @jax.grad
    def slope(values):
        return jnp.sum(render(synth, values, samples=64) ** 2)

    slopes = slope(as_params(synth.specs.defaults | {"which.high": 1.0}))
    assert slopes["which.low"] == slopes["which.high"] == 0.0
    assert slopes["low.level"] == 0.0
    assert slopes["high.level"] > 0.0


def test_a_pitch_out_of_a_combs_range_has_no_gradient():
    """It is held at the end of the range: there is no way to feel from there."""
    comb, x = Comb(RATE, 100.0, 1000.0), jnp.asarray(NOISE[:200])

    @functools.partial(jax.jit, compiler_options=QUICK)
    @jax.grad
    def slope(freq_hz):
        at = (freq_hz, jnp.float32(50.0), jnp.float32(0.0))
        return jnp.sum(comb.step(at, comb.init(), x)[1] ** 2)

    assert slope(jnp.float32(2000.0)) == 0.0
    assert slope(jnp.float32(777.0)) != 0.0


# bad input


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (Wave, ("sine", RATE), "'saw', 'pulse' or 'triangle', got 'sine'"),
        (StateVariable, ("peak", RATE), "one of lowpass, .*, got 'peak'"),
        (Shaper, ("fuzz",), "one of tanh, clip, fold, got 'fuzz'"),
        (Bands, (0, RATE), "at least one band, got 0"),
        (Resonators, (0, RATE), "at least one resonator, got 0"),
        (Comb, (RATE, 900.0, 100.0), "900..100 Hz; allowed: a rising range"),
        (Room, (RATE, 9.0), "room size is 9; allowed: 0.25..4"),
    ],
)
def test_bad_configs_are_named(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(*settings)
