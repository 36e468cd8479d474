"""The drum machines: their equations in float64, and that presets sound as they say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import scipy.special
from oracles import biquad

from jaxsnare import load_preset, render
from jaxsnare.dsp.oscillators import CYMBAL_808_HZ
from jaxsnare.params import as_params
from jaxsnare.presets import preset_names, read_preset
from jaxsnare.synths import (
    Clap808,
    FMPercussion,
    HiHat808,
    Kick808,
    ModalDrum,
    Snare909,
)
from jaxsnare.synths.modal_drum import MODES, shapes

RATE = 44_100
LENGTH = RATE
DRUMS = (Kick808, Clap808, HiHat808, Snare909, ModalDrum, FMPercussion)
N = np.arange(LENGTH)


@functools.partial(jax.jit, static_argnums=0)
def _render(synth, values):
    return render(synth, values, samples=LENGTH)


@functools.cache
def sound(kind, preset):
    synth = kind(RATE)
    return np.asarray(_render(synth, as_params(load_preset(preset, synth))), float)


PRESETS = [(kind, name) for kind in DRUMS for name in preset_names(kind(RATE))]


# the equations


def fall(decay_ms, attack_ms=0.0):
    """r^n, after a linear attack."""
    attack, r = int(attack_ms * RATE / 1000), 1 - 6.91 / (decay_ms * RATE / 1000)
    return np.where(
        attack > N, (N + 1) / max(attack, 1), r ** np.maximum(N - attack, 0)
    )


def phase(freq_hz):
    """Turns so far of a frequency [T]."""
    return np.concatenate([[0.0], np.cumsum(freq_hz / RATE)[:-1]])


def sine(turns):
    return np.sin(2 * np.pi * turns)


def amp(db):
    return 10 ** (db / 20)


def kick808(p, noise):
    freq = 1 + p["attack.mod"] * fall(p["attack_env.decay"])
    freq = p["osc.freq"] * (freq + p["sigh.mod"] * fall(p["amp_env.decay"]))
    tone = sine(phase(freq)) * fall(p["amp_env.decay"])
    rate, pulse = 2 * np.pi * p["click_filter.freq"] / RATE, RATE / 1000
    charged = 1 - np.exp(-rate * np.minimum(N, pulse))
    click = np.where(pulse > N, charged, charged * np.exp(-rate * (N - pulse)))
    mix = amp(p["osc_gain.gain"]) * tone + amp(p["click_gain.gain"]) * click
    return amp(p["gain.gain"]) * np.tanh(amp(p["tanh.in_gain"]) * mix)


def clap808(p, noise):
    noise = biquad("bandpass", p["noise_filter.freq"], p["noise_filter.q"], noise, RATE)
    teeth = np.zeros(LENGTH)
    for k in range(4):
        since = N - k * p["bursts.spacing"] * RATE / 1000
        ms = p["last.decay"] if k == 3 else p["bursts.decay"]
        tooth = np.exp(-6.91 * np.maximum(since, 0) / (ms * RATE / 1000))
        # between two samples: a share of the way up
        teeth += np.clip(since + 1, 0, 1) * (tooth - teeth)
    level = amp(p["bursts_gain.gain"]) * teeth
    level = level + amp(p["room_gain.gain"]) * fall(p["room_env.decay"])
    return np.tanh(amp(p["tanh.in_gain"]) * noise * level)


def hihat808(p, noise):
    metal = np.zeros(LENGTH)
    for freq in p["metal.tune"] * np.array(CYMBAL_808_HZ):
        for k in range(1, 6 * RATE // int(freq), 2):  # through a cubic B-spline
            heavy = np.sinc(k * freq / RATE) ** 4 * 4 / (np.pi * k)
            if heavy > 1e-7:
                metal += heavy * sine(k * freq / RATE * N) / 6
    mix = amp(p["metal_gain.gain"]) * metal + amp(p["noise_gain.gain"]) * noise
    band = biquad("bandpass", p["bandpass.freq"], p["bandpass.q"], mix, RATE)
    struck = np.tanh(amp(p["tanh.in_gain"]) * band * fall(p["amp_env.decay"], 1.0))
    high = biquad("highpass", p["highpass.freq"], 0.7, struck, RATE)
    return amp(p["gain.gain"]) * high


def snare909(p, noise):
    sweep = 1 + p["osc.mod"] * fall(p["freq_env.decay"])
    mix = np.zeros(LENGTH)
    for name in ("osc1", "osc2"):
        turns = phase(p[f"{name}.freq"] * sweep)
        bent = np.tanh(1.5 * (1 - 4 * np.abs((turns + 0.25) % 1 - 0.5)))
        level = amp(p[f"{name}_gain.gain"]) * fall(p[f"{name}_env.decay"], 1.0)
        mix += level * bent
    low = biquad("lowpass", p["noise_lowpass.freq"], 0.7, noise, RATE)
    snap = biquad("highpass", p["snap_highpass.freq"], 0.7, low, RATE)
    mix += amp(p["noise_gain.gain"]) * low * fall(p["noise_env.decay"])
    mix += amp(p["snap_gain.gain"]) * snap * fall(p["snap_env.decay"])
    return np.tanh(amp(p["tanh.in_gain"]) * mix)


def modal_drum(p, noise):
    glide = 1 + p["glide.mod"] * fall(p["glide_env.decay"])
    head = np.zeros(LENGTH)
    for m, k in [(m, k) for m in range(7) for k in range(1, 4)]:
        zero = scipy.special.jn_zeros(m, k)[-1]
        if zero > 9.94:
            continue
        ratio = (zero / scipy.special.jn_zeros(0, 1)[0]) ** p["membrane.stretch"]
        freq = p["membrane.freq"] * ratio
        a = scipy.special.jv(m, zero * p["strike.position"])
        a *= np.exp(-((freq * p["strike.contact"] / 1000) ** 2))
        ms = p["membrane.decay"] * ratio ** -p["membrane.damping"]
        ring = np.exp(-6.91 * N / (ms * RATE / 1000))
        head += a * ring * sine(phase(freq * glide)) * (freq < RATE / 2)
    lowest = np.cos(2 * np.pi * phase(p["membrane.freq"] * glide))
    opened = 1 - p["wires.rattle"] * (1 + lowest) / 2
    wires = noise * fall(p["wires_env.decay"], 1.0) * opened
    wires = biquad("bandpass", p["wires.freq"], p["wires.q"], wires, RATE)
    mix = amp(p["membrane_gain.gain"]) * head + amp(p["wires_gain.gain"]) * wires
    return np.tanh(amp(p["tanh.in_gain"]) * mix)


def fm_percussion(p, noise):
    sweep = 1 + p["sweep.mod"] * fall(p["sweep_env.decay"])
    carrier = 2 * np.pi * phase(p["carrier.freq"] * sweep)
    modulator = sine(phase(p["carrier.freq"] * p["modulator.ratio"] * sweep))
    index = p["modulator.index"] * fall(p["index_env.decay"], 1.0)
    tone = np.sin(carrier + index * modulator) * fall(p["amp_env.decay"], 1.0)
    stick = noise * fall(p["stick_env.decay"], 1.0)
    mix = amp(p["tonal_gain.gain"]) * tone + amp(p["stick_gain.gain"]) * stick
    return amp(p["gain.gain"]) * np.tanh(amp(p["tanh.in_gain"]) * mix)


ORACLES = {
    Kick808: kick808,
    Clap808: clap808,
    HiHat808: hihat808,
    Snare909: snare909,
    ModalDrum: modal_drum,
    FMPercussion: fm_percussion,
}
CLOSE = {Snare909: -50}  # whose triangle has round corners


@pytest.mark.parametrize(("kind", "preset"), PRESETS)
def test_drums_are_their_equations(kind, preset, error_db):
    synth = kind(RATE)
    p = {k: float(np.float32(v)) for k, v in load_preset(preset, synth).items()}
    noise = synth.noise(jnp.asarray(N), jnp.int32(1), 0, jnp.float32)
    wanted = ORACLES[kind](p, np.asarray(noise, float))
    assert error_db(sound(kind, preset), wanted) < CLOSE.get(kind, -70)


# the sound


def spectrum(y):
    return np.fft.rfftfreq(len(y), 1 / RATE), np.abs(np.fft.rfft(y)) ** 2


def centroid_hz(y):
    freqs, power = spectrum(y)
    return np.sum(freqs * power) / np.sum(power)


def decay_ms(y):
    """Time to fall by 60 dB, from the slope of what is left of the energy."""
    left = 10 * np.log10(np.cumsum((y**2)[::-1])[::-1] / np.sum(y**2) + 1e-30)
    early, late = np.argmax(left < -5), np.argmax(left < -35)
    return 2 * (late - early) * 1000 / RATE


def pitch_hz(y, at_ms):
    """From the crossings of zero, upwards, around a time."""
    up = np.flatnonzero((y[:-1] < 0) & (y[1:] >= 0))
    exact = up + y[up] / (y[up] - y[up + 1])
    k = np.argmin(np.abs(exact[:-1] - at_ms * RATE / 1000))
    return RATE / (exact[k + 1] - exact[k])


@pytest.mark.parametrize("kind", DRUMS)
def test_every_drum_has_three_presets_which_keep_their_pitch(kind):
    names = preset_names(kind(RATE))
    assert len(names) == 3
    for name in names:
        assert min(read_preset(name, kind(RATE)).damping.values()) < 0.1


@pytest.mark.parametrize(("kind", "preset"), PRESETS)
def test_presets_are_loud_do_not_clip_and_end(kind, preset):
    y = sound(kind, preset)
    assert 0.25 < np.abs(y).max() < 1.0
    assert np.abs(y[: RATE // 50]).max() > 0.1, "starts within 20 ms"
    if "bell" not in preset and "long" not in preset:
        assert np.abs(y[-RATE // 50 :]).max() < 0.01, "over after a second"


def test_a_kick_falls_to_its_pitch_and_decays_in_its_time():
    y = sound(Kick808, "808_kick")
    assert pitch_hz(y, 10) > 52
    assert pitch_hz(y, 300) == pytest.approx(50, abs=0.5)
    early = np.flatnonzero((y[:-1] >= 0) & (y[1:] < 0))[0]
    assert RATE / early / 2 > 60, "the first half wave is higher"
    assert decay_ms(y) == pytest.approx(600, rel=0.05)
    assert decay_ms(sound(Kick808, "808_kick_tight")) < 250
    assert centroid_hz(y) < 100


def test_a_clap_is_four_bursts_ten_milliseconds_apart():
    y = sound(Clap808, "808_clap")
    level = np.sqrt(np.convolve(y**2, np.ones(66) / 66, "same"))  # 1.5 ms
    for k in range(1, 4):
        tooth = level[int((10 * k + 0.5) * 44.1) : int((10 * k + 5) * 44.1)].max()
        gap = level[int((10 * k - 2.5) * 44.1) : int((10 * k - 0.5) * 44.1)].min()
        assert tooth > 2 * gap, k
    assert 700 < spectrum(y)[0][np.argmax(spectrum(y)[1])] < 1300
    room = sound(Clap808, "808_clap_hall")
    assert decay_ms(room) > 3 * decay_ms(sound(Clap808, "808_clap_dry"))


def test_hats_are_high_and_open_by_their_decay():
    closed, opened = (sound(HiHat808, f"808_hat_{k}") for k in ("closed", "open"))
    for y in (closed, opened):
        assert centroid_hz(y) > 6000
        freqs, power = spectrum(y)
        assert np.sum(power[freqs < 3000]) < 0.02 * np.sum(power)
    assert decay_ms(closed) == pytest.approx(90, rel=0.1)
    assert decay_ms(opened) == pytest.approx(700, rel=0.1)
    # metal, not noise: lines far above what is between them
    freqs, power = spectrum(opened)
    band = power[(freqs > 6000) & (freqs < 9000)]
    assert np.exp(np.mean(np.log(band))) < 0.25 * np.mean(band), "noise has 0.56"


def test_a_909_snare_is_two_tones_and_noise():
    y = sound(Snare909, "909_snare")
    freqs, power = spectrum(y)

    def peak(low, high):
        inside = (freqs > low) & (freqs < high)
        return freqs[inside][np.argmax(power[inside])]

    assert peak(120, 240) == pytest.approx(180, abs=8)
    assert peak(250, 400) == pytest.approx(290, abs=15)
    share = np.sum(power[freqs > 1500]) / np.sum(power)
    assert 0.1 < share < 0.6
    snappy = sound(Snare909, "909_snare_snappy")
    assert centroid_hz(snappy) > 1.5 * centroid_hz(y)


def test_a_membrane_rings_at_the_zeros_of_bessel_functions():
    for m, zero in MODES:
        assert np.abs(scipy.special.jn_zeros(m, 3) - zero).min() < 1e-6
    for radius in (0.0, 0.3, 0.95):
        wanted = [scipy.special.jv(m, zero * radius) for m, zero in MODES]
        got = jax.jit(shapes)(jnp.float32(radius))
        np.testing.assert_allclose(got, wanted, atol=3e-6)
    y = sound(ModalDrum, "modal_conga")
    freqs, power = spectrum(y[4410:])  # the glide is over
    lines = freqs[scipy.signal.find_peaks(power, power.max() * 1e-4, distance=20)[0]]
    for ratio in (1.0, 1.594, 2.136):
        assert np.abs(lines - 260 * ratio).min() < 5, ratio


def test_a_bell_rings_at_the_sums_and_differences_of_its_ratio():
    """Carrier 200 Hz, modulator 280 Hz: partials at |200 + 280 k|."""
    y = sound(FMPercussion, "fm_bell")
    freqs, power = spectrum(y * np.hanning(len(y)))
    near = np.zeros(len(freqs), bool)
    for k in range(-12, 13):
        near |= np.abs(freqs - abs(200 + 280 * k)) < 6
    assert np.sum(power[near]) > 0.97 * np.sum(power)
    early, late = y[2205:6615], y[-4410:]
    assert centroid_hz(early) > 1.5 * centroid_hz(late), "the index falls"
