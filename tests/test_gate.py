"""The gate for bleed: what sounds unlike the hits or like the others is not played."""

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsnare.drummer import SnareDrum
from jaxsnare.gate import (
    MOST,
    SIZE,
    STEP,
    Examples,
    examples_of,
    fit_gate,
    gate_features,
    log_odds,
    merged,
    no_examples,
    open_gate,
    passes,
)
from jaxsnare.model import Model
from jaxsnare.performance import remap

RATE = 48_000
FADE = np.exp(-np.arange(2400) / 200)


def hits(count):
    """Strokes from soft to loud, from the pre-roll on."""
    drum, rng = SnareDrum(sample_rate=RATE), np.random.default_rng(0)
    return np.stack(
        [
            np.pad(
                drum.strike(rng.uniform(0.2, 1), rng.uniform(0, 0.8), seed=i), (17, 0)
            )[:512]
            for i in range(count)
        ]
    )


def hiss(count, length=512, seed=1):
    """Something like a hi-hat: high noise."""
    noise = np.random.default_rng(seed).normal(size=(count, length + 4))
    return np.float32(0.05 * np.diff(noise, n=4))


@jax.jit
@jax.vmap
def measure(window):
    return gate_features(window, RATE)


def features(windows):
    """Of the first 256 samples; always 40 at once, so that it compiles once."""
    rows = np.stack([w[:256] for w in windows]).astype(np.float32)
    padded = np.pad(rows, ((0, 40 - len(rows)), (0, 0)))
    return np.asarray(measure(padded))[: len(rows)]


def odds(gate, windows):
    rows = features(windows)
    padded = np.pad(rows, ((0, 40 - len(rows)), (0, 0)))
    return np.asarray(all_odds(gate, padded))[: len(rows)]


all_odds = jax.jit(jax.vmap(log_odds, (None, 0)))


@pytest.fixture(scope="module")
def examples():
    """Of half of the hits, and of nothing else."""
    return no_examples()._replace(hits=examples_of(hits(40)[::2], 256, RATE))


@pytest.fixture(scope="module")
def with_others(examples):
    hats = np.pad(hiss(30, 495, seed=2) * FADE[:495], ((0, 0), (17, 0)))
    return examples._replace(others=examples_of(hats, 256, RATE))


def oracle(examples, at):
    """Log odds as sums of Gaussians in float64; the width, too, by its definition."""
    sides = [np.asarray(s, float) for s in examples if len(s)]
    each = [(s - s.mean(axis=0)).T @ (s - s.mean(axis=0)) for s in sides]
    spread = sum(each) / sum(map(len, sides))
    spread = 0.9 * spread + 0.1 * np.diag(np.diag(spread)) + 9.0 * np.eye(SIZE)
    inverse = np.linalg.inv(spread)

    def kernel(a, b, width):
        d = (a - b) @ inverse @ (a - b) / width**2
        return np.exp(-d / 2) / width**SIZE

    def density(side, x, width, without=None):
        chosen = [y for k, y in enumerate(side) if k != without]
        return np.mean([kernel(x, y, width) for y in chosen])

    def likelihood(width):
        return sum(
            np.log(density(s, x, width, k)) for s in sides for k, x in enumerate(s)
        )

    width = max((0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.3), key=likelihood)
    usual = [np.log(density(sides[0], x, width, k)) for k, x in enumerate(sides[0])]
    away = (3 / width) ** 2 / 2 if len(sides) == 2 else STEP
    other = np.exp(np.quantile(usual, 0.05) - away)
    if len(sides) == 2:
        other += density(sides[1], at, width)
    return np.log(density(sides[0], at, width)) - np.log(other)


@pytest.mark.parametrize("others", [0, 12])
def test_the_odds_are_those_of_sums_of_gaussians(others):
    rng = np.random.default_rng(3)
    examples = Examples(rng.normal(-10, 6, (15, SIZE)), rng.normal(-6, 5, (12, SIZE)))
    examples = examples._replace(others=examples.others[:others])
    gate = fit_gate(examples)
    for at in (examples.hits[0], examples.hits[1] + 2.0, rng.normal(-8, 4, SIZE)):
        got = float(log_odds(gate, jnp.float32(at)))
        assert got == pytest.approx(oracle(examples, at), abs=0.02)


def test_what_is_unlike_the_hits_does_not_pass(examples):
    gate = fit_gate(examples)
    assert np.mean(odds(gate, hits(40)[1::2]) > 0) > 0.8
    assert odds(gate, hiss(10)).max() < -STEP


def test_a_gate_that_knows_the_others_tells_them_better(examples, with_others):
    """Hits with a soft hat at once: nearer to hits than to what is known else."""
    both = hits(40)[1::2] + 0.01 * hiss(20)
    alone, knowing = fit_gate(examples), fit_gate(with_others)
    assert np.mean(odds(knowing, both) > 0) > np.mean(odds(alone, both) > 0) + 0.1
    assert odds(knowing, hiss(10) * FADE[:512]).max() < -STEP


def struck(wires_s, count=15, seed=4):
    """High noise that fades over a head of 190 to 230 Hz: wires, or a tom's click."""
    rng = np.random.default_rng(seed)
    n = np.arange(512 - 17) / RATE
    sounds = []
    for _ in range(count):
        head = np.sin(2 * np.pi * rng.uniform(190, 230) * n) * np.exp(-n / 0.05)
        high = np.diff(rng.normal(size=len(n) + 1)) * np.exp(-n / wires_s)
        high *= rng.uniform(0.06, 0.1) / np.sqrt(np.mean(np.square(high[:239])))
        sounds.append(np.pad(rng.uniform(0.1, 1) * (head + high), (17, 0)))
    return np.asarray(sounds, np.float32)


def test_a_click_is_no_wires():
    """Of as much power in the window as theirs, and without having been heard."""
    wires, clicks = 0.02, 0.0015
    gate = fit_gate(
        Examples(examples_of(struck(wires), 256, RATE), np.zeros((0, SIZE)))
    )
    assert np.mean(odds(gate, struck(wires, seed=5)) > 0) > 0.8
    assert odds(gate, struck(clicks)).max() < 0


def test_what_is_far_from_hits_and_others_does_not_pass(with_others):
    """Though it is, by far, nearer to the hits than to the others."""
    gate = fit_gate(with_others)
    assert float(gate.elsewhere) > -1e3
    middle = with_others.hits.mean(axis=0)
    away = middle + 4.0 * (middle - with_others.others.mean(axis=0))
    assert float(log_odds(gate, jnp.float32(middle))) > 0
    assert float(log_odds(gate, jnp.float32(away))) < 0
    near = gate._replace(elsewhere=np.float32(-np.inf))
    assert float(log_odds(near, jnp.float32(away))) > 0


def test_the_level_does_not_matter(examples):
    gate, windows = fit_gate(examples), hits(5)
    near, soft = odds(gate, windows), odds(gate, 1e-4 * windows)
    np.testing.assert_allclose(near, soft, atol=0.01)


def test_an_open_gate_lets_all_through_and_so_does_strength_zero(with_others):
    far = features(hiss(1))[0]
    assert all(passes(open_gate(), jnp.float32(s), far) for s in (0.0, 0.5, 2.0))
    gate = fit_gate(with_others)
    assert bool(passes(gate, jnp.float32(0.0), far))
    assert not bool(passes(gate, jnp.float32(0.1), far))
    assert bool(passes(fit_gate(no_examples()), jnp.float32(2.0), far))


def plain_shares(pieces, edges):
    """In dB, of the bands of all pieces together; less than 0.001 is none."""
    bands = []
    for piece in pieces:
        size = len(piece)
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
        power = np.abs(np.fft.rfft(piece * hann)) ** 2
        hz = np.fft.rfftfreq(size, 1 / RATE)
        borders = pairwise([0, *edges, RATE])
        bands += [power[(hz >= a) & (hz < b)].sum() for a, b in borders]
    return 10 * np.log10(np.array(bands) / sum(bands) + 1e-3)


def test_the_features_are_those_of_plain_spectra():
    window = hits(1)[0, :256].astype(np.float64)
    whole = plain_shares([window], [120, 250, 500, 1000, 2000, 4000, 8000])
    halves = plain_shares([window[:128], window[128:]], [500, 2000, 6000])
    got = features([window])[0]
    assert got.shape == (SIZE,) == (16,)
    np.testing.assert_allclose(got, np.concatenate([whole, halves]), atol=0.01)
    silent = features([np.zeros(256)])[0]
    np.testing.assert_allclose(silent, -30.0, atol=0.01)


def test_examples_are_windows_as_if_heard_later_and_a_choice_of_many():
    sounds = hits(3)
    late = [np.round(ms * RATE / 1000).astype(int) for ms in (0.0, 0.9, 1.8)]
    wanted = features([x[s:] for s in late for x in sounds])
    np.testing.assert_allclose(examples_of(sounds, 256, RATE), wanted, atol=0.01)
    many = examples_of(np.repeat(sounds, 20, axis=0), 256, RATE)
    assert many.shape == (MOST, SIZE)
    assert len(np.unique(many.round(1), axis=0)) == len(wanted)


@pytest.fixture(scope="module")
def gated(random_model, with_others, tmp_path_factory):
    """A model with a gate, saved and loaded."""
    folder = tmp_path_factory.mktemp("gated") / "model"
    replace(random_model(), examples=with_others).save(folder)
    return Model.load(folder)


def hat_and_strokes(strokes_ms, hat_ms, seconds=0.6):
    audio = np.zeros(round(seconds * RATE), np.float32)
    for k, ms in enumerate(strokes_ms):
        stroke = SnareDrum(sample_rate=RATE).strike(0.7, 0.3, seed=99 + k)
        room = audio[round(ms * RATE / 1000) :]
        room += stroke[: len(room)]
    start = round(hat_ms * RATE / 1000)
    audio[start : start + 2400] += 0.05 * FADE * np.asarray(hiss(1, 2400))[0]
    return audio


@pytest.mark.slow
def test_a_saved_gate_is_the_same_and_what_it_refuses_starts_no_voice(
    gated, with_others
):
    np.testing.assert_allclose(gated.examples.others, with_others.others, atol=0.006)
    audio = hat_and_strokes([100], 400)
    free = remap(gated.remapper(), gated.params(gate=0.0), audio, block=441)
    held = remap(gated.remapper(), gated.params(gate=0.5), audio, block=64)
    assert len(free.triggers) == len(free.onsets) == 2
    np.testing.assert_array_equal(held.triggers, free.triggers[:1])
    np.testing.assert_allclose(held.hits.values[0], free.hits.values[0], rtol=1e-4)


@pytest.mark.slow
def test_a_refused_onset_does_not_hide_the_stroke_after_it(gated):
    """7 ms after a hat: the detector alone takes both for one hit."""
    audio = hat_and_strokes([207], 200)
    latency = gated.remapper().latency
    free = remap(gated.remapper(), gated.params(gate=0.0), audio)
    assert len(free.triggers) == 1
    assert free.onsets[0] < 0.205 * RATE
    results = [
        remap(gated.remapper(), gated.params(gate=0.5), audio, block=block)
        for block in (64, 441, 8192)
    ]
    (trigger,) = results[0].triggers
    assert 0.205 * RATE < trigger - latency < 0.211 * RATE
    for other in results[1:]:  # and so it is in blocks of any size
        np.testing.assert_array_equal(other.onsets, results[0].onsets)
        np.testing.assert_array_equal(other.triggers, results[0].triggers)


def test_together_with_a_model_that_has_no_examples_the_gate_is_open(with_others):
    """It knows nothing of what that one plays."""
    both = merged([with_others, with_others])
    assert len(both.hits) == min(2 * len(with_others.hits), 128)
    assert all(len(side) == 0 for side in merged([no_examples(), with_others]))


def test_an_older_model_has_no_gate(gated, tmp_path):
    import json

    gated.save(tmp_path / "model")
    file = tmp_path / "model" / "model.json"
    record = json.loads(file.read_text())
    examples = record.pop("examples")
    file.write_text(json.dumps(record))
    assert len(Model.load(tmp_path / "model").examples.hits) == 0
    # nor one whose examples are of the features of then
    older = {side: [row[:9] for row in rows] for side, rows in examples.items()}
    file.write_text(json.dumps(record | {"examples": older}))
    assert all(len(side) == 0 for side in Model.load(tmp_path / "model").examples)
    odd = {side: [row[:7] for row in rows] for side, rows in examples.items()}
    file.write_text(json.dumps(record | {"examples": odd}))
    with pytest.raises(ValueError, match=r"examples\.hits must be 16 finite"):
        Model.load(tmp_path / "model")
