"""Synths against the published renders and float64 NumPy; voices and their triggers."""

from functools import cache, partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from jaxsnare import FMDrumSynth, SimpleDrumSynth, Snare808, load_preset, render
from jaxsnare.component import min_gap_samples
from jaxsnare.dsp.noise import BufferNoise, SeededNoise
from jaxsnare.features import TargetFeatures
from jaxsnare.losses import feature_difference
from jaxsnare.params import as_params
from jaxsnare.synths import find_synth
from jaxsnare.synths.synth import play_revised

RATE = 44_100


@partial(jax.jit, static_argnums=(0, 2))
def rendered(synth, values, samples, hit=1):
    return render(synth, values, samples=samples, hit=hit)


def published(golden, synth_class, rate, **config):
    """A synth with the published noise, one object for each case: noise by buffer has
    no equality, and a new object is a new compilation."""
    noise = BufferNoise(golden("snare808")["noise"])
    return synth_class(rate, noise=noise, **config)


def from_unit(synth, unit, dtype=jnp.float32):
    """Physical values of a position in the unit interval, rounded only once."""
    return {
        spec.name: jnp.asarray(spec.lo + float(u) * (spec.hi - spec.lo), dtype)
        for spec, u in zip(synth.specs, unit, strict=True)
    }


# parity with the published renders


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_presets_sound_as_published(golden, error_db, rate):
    data = golden("snare808")
    synth = published(golden, Snare808, rate, clip_filter=True)
    for name, wanted in zip(
        data["preset_names"], data[f"preset_audio_{rate}"], strict=True
    ):
        got = rendered(synth, as_params(load_preset(str(name), synth)), len(wanted))
        assert error_db(got, wanted) < -80, name


@pytest.mark.parametrize(
    ("file", "synth_class", "config"),
    [
        ("snare808", Snare808, {"clip_filter": True}),
        ("simple_drum_synth", SimpleDrumSynth, {}),
    ],
)
def test_random_patches_sound_as_published(golden, error_db, file, synth_class, config):
    clip = {"clip_filter": True} if synth_class is Snare808 else {}
    data = golden(
        {"Snare808": "snare808"}.get(synth_class.__name__, "simple_drum_synth")
    )
    synth = published(golden, synth_class, RATE, **clip)
    assert list(synth.specs.names) == list(data["param_names"])
    for unit, wanted in zip(
        data["random_norm"], data["random_audio_44100"], strict=True
    ):
        got = rendered(synth, from_unit(synth, unit), len(wanted))
        assert error_db(got, wanted) < -80


FM_MODERATE = (0, 2)
"""Rows at a modulation index whose phase a float32 holds. In the others the error of
the modulator, times its gain and up to 2000 Hz, adds up over the render: they are
compared in float64."""


def test_fm_patches_sound_as_published(golden, error_db):
    data = golden("fm_drum_synth")
    synth = published(golden, FMDrumSynth, RATE)
    assert list(synth.specs.names) == list(data["param_names"])
    np.testing.assert_allclose(
        [(s.lo, s.hi) for s in synth.specs], data["ranges_44100"]
    )
    for row in FM_MODERATE:
        wanted = data["random_audio_44100"][row]
        got = rendered(synth, from_unit(synth, data["random_norm"][row]), len(wanted))
        assert error_db(got, wanted) < -80, row


def test_all_fm_patches_sound_as_published_in_double_precision(golden, x64, error_db):
    data = golden("fm_drum_synth")
    synth = published(golden, FMDrumSynth, RATE)
    for unit, wanted in zip(
        data["random_norm"], data["random_audio_44100"], strict=True
    ):
        got = rendered(synth, from_unit(synth, unit, jnp.float64), len(wanted))
        assert error_db(got, wanted) < -100


# an oracle of our own: another rate, our noise, no clipping


def oracle(name, p, sample_rate, samples, noise):
    """The equations of system.md, sections 2 and 3, in float64."""
    n = np.arange(samples)
    attack = int(0.001 * sample_rate)

    def env(decay):
        r = 1 - 6.91 / (p[decay] * sample_rate / 1000)
        return np.where(n < attack, (n + 1) / attack, r ** np.maximum(n - attack, 0))

    def osc(freq, mod, sweep):
        step = 2 * np.pi * p[freq] / sample_rate * (1 + p[mod] * sweep)
        return np.sin(np.concatenate([[0.0], np.cumsum(step)[:-1]]))

    def amp(gain):
        return 10 ** (p[gain] / 20)

    if name == "Snare808":
        sweep = env("freq_env.decay")
        tones = sum(
            amp(f"osc{i}_gain.gain")
            * env(f"osc{i}_env.decay")
            * osc(f"osc{i}.freq", f"osc{i}.mod", sweep)
            for i in (1, 2)
        )
        k, q = np.tan(np.pi * p["noise_filter.freq"] / sample_rate), p["noise_filter.q"]
        norm = 1 / (1 + k / q + k * k)
        a = (1, 2 * (k * k - 1) * norm, (1 - k / q + k * k) * norm)
        noise = scipy.signal.lfilter(
            (norm, -2 * norm, norm), a, noise * env("noise_env.decay")
        )
        return np.tanh(amp("tanh.in_gain") * (tones + amp("noise_gain.gain") * noise))

    noise = amp("noise_gain.gain") * noise * env("noise_env.decay")
    if name == "SimpleDrumSynth":
        tone = osc("osc.freq", "osc.mod", env("freq_env.decay")) * env("amp_env.decay")
        both = amp("tonal_gain.gain") * tone + noise
        return amp("gain.gain") * np.tanh(amp("tanh.in_gain") * both)

    modulator = osc("mod_osc.freq", "mod_osc.mod", env("mod_freq_env.decay"))
    modulator = amp("mod_gain.gain") * env("mod_amp_env.decay") * modulator
    sweep = env("freq_env.decay") + modulator
    tone = amp("tonal_gain.gain") * osc("osc.freq", "osc.mod", sweep)
    tone = tone * env("amp_env.decay")
    return np.tanh(amp("tanh.in_gain") * (tone + noise))


@pytest.mark.parametrize("name", ["Snare808", "SimpleDrumSynth", "FMDrumSynth"])
def test_synths_are_their_equations_at_another_rate(name, error_db):
    synth = find_synth(name)(32_000, noise=SeededNoise(seed=7))
    values = as_params(synth.specs.defaults)
    noise = synth.noise(jnp.arange(16_000), jnp.int32(1), 0, jnp.float32)
    exact = {key: float(value) for key, value in values.items()}
    wanted = oracle(name, exact, 32_000, 16_000, np.asarray(noise, float))
    assert error_db(rendered(synth, values, 16_000), wanted) < -80
    assert np.abs(wanted).max() > 0.1


# voices


SNARE = Snare808(RATE)
FADE, GAP = 88, 151  # 2 ms; a fade and a sub-block less one
PATCHES = [
    as_params(load_preset(name, SNARE)) for name in ("808_snare_1", "808_open_snare")
]


@cache
def stepper(synth):
    return jax.jit(synth.step)


def play(synth, events, length, block=1000):
    """Audio of values that hold from their sample on: {trigger: values}."""
    step, state, out = stepper(synth), synth.init(), []
    trigger = np.isin(np.arange(length), list(events))
    values = next(iter(events.values()))
    cuts = sorted({*range(0, length, block), length})
    for start, end in pairwise(cuts):
        for at in events:
            if start <= at < end:
                values = events[at]
        state, audio = step(values, state, trigger[start:end])
        out.append(np.asarray(audio))
    return np.concatenate(out)


def test_a_trigger_inside_a_block_starts_a_render(error_db):
    first, second = 137, 1444
    got = play(SNARE, {first: PATCHES[0], second: PATCHES[1]}, 4000)
    assert not np.any(got[:first])
    one, two = (np.asarray(rendered(SNARE, patch, 4000)) for patch in PATCHES)
    assert error_db(got[first:second], one[: second - first]) < -80
    assert error_db(got[second + FADE :], two[FADE : 4000 - second]) < -80
    # in between the old voice, a straight line to nothing, and all of the new one
    line = 1 - np.arange(FADE) / FADE
    old = one[second - first :][:FADE]
    assert np.abs(old).max() > 0.01
    assert error_db(got[second:][:FADE], two[:FADE] + old * line) < -80


def test_values_are_latched_at_the_trigger(error_db):
    """What is turned later is heard with the next hit only."""
    step, state = stepper(SNARE), SNARE.init()
    trigger = np.arange(1000) == 10
    state, head = step(PATCHES[0], state, trigger)
    state, tail = step(PATCHES[1], state, np.zeros(1000, bool))
    got = np.concatenate([head, tail])[10:]
    wanted = rendered(SNARE, PATCHES[0], 4000)[:1990]
    assert error_db(got, wanted) < -80


@pytest.mark.parametrize("block", [64, pytest.param(7, marks=pytest.mark.slow)])
def test_a_voice_is_revised_while_it_sounds(block, error_db):
    """As training hears it, and, of a gain behind all state, as if it always was so."""
    start, at, length = 37, 800, 3000
    trigger, revise = (np.arange(length) == n for n in (start, start + at))

    def play(later):
        step, state, out = jax.jit(SNARE.step), SNARE.init(), []
        for n in range(0, length, block):
            values = PATCHES[0] if n + block <= start + at else later
            part = slice(n, n + block)
            state, audio = step(values, state, trigger[part], 1.0, revise[part])
            out.append(np.asarray(audio))
        return np.concatenate(out)[start:]

    pack = SNARE.specs.pack
    trained = jax.jit(
        lambda a, b: play_revised(SNARE, pack(a), pack(b), at, length - start)
    )
    got = play(PATCHES[1])
    assert error_db(got, trained(PATCHES[0], PATCHES[1])) < -80
    one = np.asarray(rendered(SNARE, PATCHES[0], length - start))
    assert error_db(got[:at], one[:at]) < -80
    assert error_db(got[at:], one[at:]) > -20

    louder = PATCHES[0] | {"tanh.in_gain": PATCHES[0]["tanh.in_gain"] + 6.0}
    got, whole = play(louder), np.asarray(rendered(SNARE, louder, length - start))
    assert error_db(got[at + FADE :], whole[at + FADE :]) < -80
    line = np.arange(FADE) / FADE
    faded = one[at:][:FADE] * (1 - line) + whole[at:][:FADE] * line
    assert error_db(got[at:][:FADE], faded) < -80


@pytest.mark.slow
def test_a_revision_has_the_gradients_that_training_takes():
    """Of the sound's energy after it, to the old values and to the new."""
    at, length = 200, 448
    trigger, revise = (np.arange(length) == n for n in (0, at))
    old, new = (SNARE.specs.pack(patch) for patch in PATCHES)

    def whole(old, new):
        return jnp.sum(play_revised(SNARE, old, new, at, length)[at:] ** 2)

    def blocks(old, new):
        """The piece of 64 samples in which the voice is revised begins at 192."""
        named, state = SNARE.specs.unpack, SNARE.init()
        state, _ = SNARE.step(named(old), state, trigger[:192], 1.0, revise[:192])
        _, audio = SNARE.step(named(new), state, trigger[192:], 1.0, revise[192:])
        return jnp.sum(audio[at - 192 :] ** 2)

    wanted, got = (jax.jit(jax.grad(f, (0, 1)))(old, new) for f in (whole, blocks))
    for a, b in zip(got, wanted, strict=True):
        assert np.abs(b).max() > 1e-3
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max())


def test_triggers_too_close_are_ignored():
    one = play(SNARE, {100: PATCHES[0]}, 2000)
    for near in (1, 40, 63, GAP - 1):
        many = play(SNARE, {100: PATCHES[0], 100 + near: PATCHES[0]}, 2000)
        np.testing.assert_array_equal(many, one)
    apart = play(SNARE, {100: PATCHES[0], 100 + GAP: PATCHES[0]}, 2000)
    assert not np.array_equal(apart, one)


def test_noise_is_the_same_for_every_hit_unless_asked():
    """Two hits of the same values, so far apart that the first is over."""
    quiet = dict.fromkeys(("osc1_gain.gain", "osc2_gain.gain"), jnp.float32(-60))
    patch = PATCHES[0] | quiet | {"noise_env.decay": jnp.float32(10)}

    def hits(noise):
        synth = Snare808(RATE, noise=noise)
        audio = play(synth, {0: patch, 2000: patch}, 4000)
        wanted = [rendered(synth, patch, 1000, hit) for hit in (1, 2)]
        np.testing.assert_allclose(audio[:1000], wanted[0], atol=1e-6)
        np.testing.assert_allclose(audio[2100:3000], wanted[1][100:], atol=1e-6)
        return audio[88:400], audio[2088:2400]

    first, second = hits(SeededNoise())
    np.testing.assert_allclose(first, second, atol=1e-6)
    first, second = hits(SeededNoise(per_hit=True))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.3


def test_synths_are_found_by_name():
    assert find_synth("snare808") is Snare808
    with pytest.raises(ValueError, match=r"'Snare880': did you mean 'Snare808'"):
        find_synth("Snare880")
    with pytest.raises(ValueError, match="sample_rate is 4000 Hz; allowed: whole"):
        Snare808(4000)
    with pytest.raises(ValueError, match="at least one sample, got 0"):
        render(SNARE, PATCHES[0], seconds=0.0)
    with pytest.raises(ValueError, match=r"did you mean 'osc1\.freq'"):
        render(SNARE, PATCHES[0] | {"osc1.frequency": 1.0})


# gradients through features and loss


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [pytest.param("float64", 1e-3, marks=pytest.mark.slow), ("float32", 5e-3)],
)
def test_the_published_loss_and_its_gradients(golden, precision, tolerance):
    """Of each row's largest entry. p4 row 3: flatness where a bin is near zero is
    ill-conditioned, its published gradients differ among themselves."""
    data, dtype = golden("loss_grad"), jnp.dtype(precision)
    synth = published(golden, Snare808, RATE, clip_filter=True)
    features = TargetFeatures(RATE, clip=True)
    with jax.enable_x64(precision == "float64"):
        target = jnp.asarray(data["target_diff"], dtype)

        @jax.jit
        @partial(jax.value_and_grad, has_aux=True)
        def loss(params, reference):
            values = synth.specs.unpack(synth.specs.to_physical(params))
            sounds = jax.vmap(lambda v: features(render(synth, v)))(values)
            return feature_difference(sounds - reference, target), sounds

        for preset, rows in (("p0", [0, 1, 2, 3]), ("p4", [0, 1, 2])):
            params = jnp.asarray(data[f"{preset}_params"], dtype)
            reference = jnp.asarray(data[f"{preset}_reference_f64"], dtype)
            reference = jnp.broadcast_to(reference, (4, 7))
            (value, sounds), gradient = loss(params, reference)
            wanted = data[f"{preset}_loss_f64"].item()
            assert float(value) == pytest.approx(wanted, rel=tolerance)
            np.testing.assert_allclose(
                sounds, data[f"{preset}_features_f64"], rtol=1e-3, atol=0.01
            )
            wanted = data[f"{preset}_dloss_dparams_f64"]
            for row in rows:
                error = np.abs(np.asarray(gradient[row]) - wanted[row]).max()
                assert error < tolerance * np.abs(wanted[row]).max(), (preset, row)


@pytest.mark.slow
def test_hits_as_close_as_they_may_be_play_the_same_in_any_blocks(error_db):
    """The second of two hits may fall anywhere in a sub-block, and in its fade."""
    synth = SimpleDrumSynth(RATE)
    values = as_params(synth.specs.defaults)
    gap = min_gap_samples(RATE)
    step = jax.jit(synth.step)

    def play(triggers, block):
        state, out = synth.init(), []
        for start in range(0, len(triggers), block):
            state, audio = step(values, state, triggers[start : start + block])
            out.append(np.asarray(audio))
        return np.concatenate(out)

    for offset in range(0, 64, 7):
        triggers = np.zeros(768, bool)
        triggers[[5 + offset, 205 + offset, 205 + offset + gap]] = True
        whole = play(triggers, 768)
        for block in (1, 24):
            assert error_db(play(triggers, block), whole) < -80, offset
