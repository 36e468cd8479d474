"""Matching: what the distance feels, and that a sound is found again."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import soundfile

from jaxsnare import ParamSet, ParamSpec, Snare808, Synth, render
from jaxsnare.cli import main
from jaxsnare.dsp.envelopes import attack_decay
from jaxsnare.dsp.oscillators import Sine
from jaxsnare.dsp.shapers import gain
from jaxsnare.losses import multi_resolution_stft
from jaxsnare.match import LOSSES, _bands, find_loss, match, transport, trimmed
from jaxsnare.params import as_params
from jaxsnare.presets import usual_preset
from jaxsnare.synths import SHIPPED, find_synth

RATE = 16_000


class Ping(Synth):
    """A sine that dies away."""

    @property
    def specs(self):
        return ParamSet(
            (
                ParamSpec("freq", "Hz", 100.0, 4000.0, 200.0, scale="log"),
                ParamSpec("fall", "ms", 50.0, 500.0, 200.0),
                ParamSpec("level", "dB", -80.0, 0.0, -6.0),
            )
        )

    def voice_init(self, dtype):
        return Sine(self.sample_rate).init(dtype)

    def voice(self, p, state, n, white):
        fall = attack_decay(n, p["fall"], self.sample_rate)
        pitch = p["freq"], jnp.zeros_like(p["freq"])
        state, tone = Sine(self.sample_rate).step(pitch, state, (n, fall))
        return state, gain(tone * fall, p["level"])


PING = Ping(RATE)


def ping(freq, fall=200.0, level=-6.0):
    values = {"freq": freq, "fall": fall, "level": level}
    return np.asarray(render(PING, as_params(values), 0.25))


def test_transport_is_the_distance_of_wasserstein():
    """Against SciPy, frame by frame, in float64."""
    size, share = 1024, _bands(1024, RATE)
    rng = np.random.default_rng(0)
    x, y = (
        np.convolve(rng.normal(size=4000), rng.normal(size=9)).astype(np.float32)
        for _ in range(2)
    )
    hann = scipy.signal.get_window("hann", size)

    def amplitudes(signal):
        padded = np.pad(signal.astype(float), (size // 2, size))
        starts = range(0, len(padded) - size + 1, size // 4)
        framed = np.stack([padded[s : s + size] * hann for s in starts])
        return np.sqrt((np.abs(np.fft.rfft(framed)) ** 2) @ share)

    a, b = amplitudes(x), amplitudes(y)
    places = np.arange(share.shape[1]) / 12
    carried = [
        scipy.stats.wasserstein_distance(places, places, u, v)
        for u, v in zip(a, b, strict=True)
        if u.sum() and v.sum()
    ]
    weight = b.sum(axis=1)[: len(carried)]
    floor = 1e-3 * b.max() + 1e-4
    wanted = np.average(carried, weights=weight)
    wanted += np.abs(np.log(a + floor) - np.log(b + floor)).mean()
    got = transport(jnp.asarray(x), jnp.asarray(y), sample_rate=RATE, size=size)
    assert float(got) == pytest.approx(wanted, rel=5e-3)


def test_transport_feels_the_direction_where_spectrograms_do_not():
    """From two octaves away, the gradient by pitch points to the target."""
    target = jnp.asarray(ping(800.0))

    def along(loss, freq):
        values = as_params(PING.specs.defaults) | {"freq": freq}
        return loss(render(PING, values, samples=len(target)), target)

    far = partial(transport, sample_rate=RATE)
    both = [jax.grad(partial(along, loss)) for loss in (far, multi_resolution_stft)]
    slopes = jax.jit(lambda freq: [slope(freq) for slope in both])
    below = np.array([slopes(jnp.float32(f)) for f in (200.0, 300.0, 400.0, 600.0)])
    above = np.array([slopes(jnp.float32(f)) for f in (1100.0, 1600.0, 2400.0, 3200.0)])
    assert (below[:, 0] < 0).all()
    assert (above[:, 0] > 0).all()
    signs = np.sign(np.concatenate([below[:, 1], -above[:, 1]]))
    assert not (signs < 0).all()  # the trap


@pytest.mark.slow
def test_losses_are_0_at_the_target_only():
    x, y = jnp.asarray(ping(300.0)), jnp.asarray(ping(330.0))
    for name in LOSSES:
        loss = find_loss(name, RATE)
        assert float(loss(x, x)) == pytest.approx(0.0, abs=1e-5)
        assert float(loss(y, x)) > 0.01
        assert find_loss(name, RATE) is loss  # no new compilation
    with pytest.raises(ValueError, match="unknown loss 'sftf': did you mean 'stft'"):
        find_loss("sftf", RATE)


def test_a_sound_is_trimmed_to_its_onset():
    sound = np.concatenate([np.full(50, 1e-3), ping(500.0)]).astype(np.float32)
    assert 50 <= len(sound) - len(trimmed(sound, len(sound))) <= 55
    assert len(trimmed(sound, 1000)) == 1000
    with pytest.raises(ValueError, match="the sound is silent"):
        match(np.zeros(9000, np.float32), PING)


@pytest.mark.slow
def test_a_tone_is_found_again_wherever_it_lies():
    """However quiet it is: the losses hear it at full scale."""
    for freq, fall, level in ((1234.0, 300.0, -6.0), (137.0, 120.0, -60.0)):
        with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
            found = match(ping(freq, fall, level), PING)
            again = match(ping(freq, fall, level), PING)
        assert abs(1200 * np.log2(found.values["freq"] / freq)) < 5
        assert found.values["fall"] == pytest.approx(fall, rel=0.05)
        assert found.values["level"] == pytest.approx(level, abs=0.5)
        assert found.distance < 0.05 * found.distance_before
        assert again.values == found.values


@pytest.mark.slow
def test_match_finds_a_snare_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    synth = Snare808(44_100)
    values = {**synth.specs.defaults, "osc1.freq": 320.0, "noise_env.decay": 90.0}
    audio = np.asarray(render(synth, as_params(values), seconds=0.4))
    soundfile.write("hit.wav", np.pad(audio, (500, 0)), 44_100)
    argv = ["match", "hit.wav", "--seconds", "0.4", "--out", "hit.json"]
    with jax.numpy_dtype_promotion("standard"):
        made = ["--plot", "hit.png", "--audio", "both.wav", "--json"]
        assert main([*argv, *made]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["distance"] < 0.1 * found["distance_before"]
    assert (tmp_path / "hit.png").read_bytes().startswith(b"\x89PNG")
    heard, rate = soundfile.read("both.wav")
    assert len(heard) == 3 * len(trimmed(audio, rate)) + 2 * round(0.3 * rate)
    assert main(["render", "again.wav", "--preset", "hit.json"]) == 0
    assert main([*argv]) == 2
    assert "hit.json exists already" in capsys.readouterr().err


def test_the_experiment_knows_the_pitch_of_every_synth(script):
    pitches = script("experiments/match/run.py").PITCHES
    assert list(pitches) == list(SHIPPED)
    for name, tuned in pitches.items():
        assert set(tuned) <= set(find_synth(name)(RATE).specs.names)


def test_matching_begins_with_a_preset_that_ships():
    usual = {name: usual_preset(find_synth(name)(48_000)) for name in SHIPPED}
    assert usual["Snare808"] == "808_snare_1"
    assert usual["Kick808"] == "808_kick"
    assert usual["FMDrumSynth"] == "default"  # none ships for it
    assert usual_preset(find_synth("HiHat808")(8_000)) == "default"  # out of range
