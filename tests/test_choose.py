"""Synths of synths, and models that take turns by what was struck."""

import json
from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from playing import joined, play

from jaxsnare import SimpleDrumSynth, Snare808, render
from jaxsnare.audio import write_audio
from jaxsnare.choose import StruckFeatures, _rows, choose_models, fit_classifier
from jaxsnare.cli import main
from jaxsnare.drummer import SnareDrum
from jaxsnare.features import OnsetFeatures
from jaxsnare.features.normalise import normalise
from jaxsnare.live.engine import Engine
from jaxsnare.mapping import map_features
from jaxsnare.model import Model
from jaxsnare.params import as_params
from jaxsnare.synths import find_synth
from jaxsnare.synths.combine import Choice, chain, choose, layer
from jaxsnare.train import listen

RATE = 48_000


@cache
def hits(kind, count=20, seed=0):
    """Windows of strokes: on a head, or on a rim, which is short and bright."""
    rng, drum = np.random.default_rng(seed), SnareDrum(RATE)
    windows = []
    for i in range(count):
        stroke = drum.strike(float(rng.uniform(0.2, 1.0)), seed=i)[:256]
        if kind == "rim":
            n = np.arange(256)
            tone = np.sin(2 * np.pi * rng.uniform(1500, 1900) * n / RATE)
            stroke = rng.uniform(0.1, 0.8) * tone * np.exp(-n / 60)
        windows.append(stroke + 1e-4 * rng.normal(size=256))
    return np.asarray(windows, np.float32)


@pytest.fixture
def parts(random_model):
    return {
        "head": random_model(seed=1, told=64),
        "rim": random_model(seed=2, hidden=(8,), told=128),
    }


@pytest.fixture
def both(parts):
    return choose_models(parts, {k: hits(k) for k in parts})


def test_what_tells_where_it_was_struck_is_that_of_a_plain_spectrum():
    """As always: the weights of choices that were saved go with it."""
    window = hits("head")[0].astype(np.float64)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)
    power = np.abs(np.fft.rfft(window * hann)) ** 2
    band = np.searchsorted(
        [120, 250, 500, 1000, 2000, 4000, 8000], np.fft.rfftfreq(256, 1 / RATE), "right"
    )
    shares = np.bincount(band, power, 8) + 1e-9
    first, second = np.square(window.reshape(2, 128)).mean(axis=1) + 1e-9
    wanted = [*shares / (power.sum() + 1e-9), first / second]
    got = StruckFeatures(RATE)(jnp.asarray(window, np.float32))
    assert got.shape == (12,)
    np.testing.assert_allclose(got[3:], 10 * np.log10(wanted), atol=0.01)
    np.testing.assert_array_equal(got[:3], OnsetFeatures(RATE)(jnp.float32(window)))


# synths of synths


@cache
def renderer(synth):
    quick = {"xla_backend_optimization_level": 0}
    return jax.jit(partial(render, synth, samples=2000), compiler_options=quick)


def rendered(synth, values):
    return np.asarray(renderer(synth)(as_params(values)))


@pytest.mark.slow
def test_a_layer_is_the_sum_and_each_part_has_noise_of_its_own():
    kind = layer("Two", a=SimpleDrumSynth, b=SimpleDrumSynth)
    two, one = kind(RATE), SimpleDrumSynth(RATE)
    defaults = one.specs.defaults
    assert two.specs.defaults == {
        f"{part}.{k}": v for part in "ab" for k, v in defaults.items()
    }
    quiet = {"noise_gain.gain": -60.0, "tonal_gain.gain": -60.0}
    tone = defaults | {"noise_gain.gain": -60.0, "osc.freq": 500.0}
    noise = defaults | {"tonal_gain.gain": -60.0}

    def play(a, b):
        a, b = ({f"{k}.{n}": v for n, v in p.items()} for k, p in (("a", a), ("b", b)))
        return rendered(two, a | b)

    floor = rendered(one, defaults | quiet)
    np.testing.assert_allclose(
        play(tone, defaults | quiet), rendered(one, tone) + floor, atol=2e-3
    )
    first, second = play(noise, defaults | quiet), play(defaults | quiet, noise)
    np.testing.assert_allclose(first, rendered(one, noise) + floor, atol=2e-3)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2


@pytest.mark.slow
def test_a_choice_is_the_part_that_is_chosen():
    kind = choose("Either", snare=Snare808, drum=SimpleDrumSynth)
    synth = kind(RATE)
    for name, part in (("snare", Snare808(RATE)), ("drum", SimpleDrumSynth(RATE))):
        values = synth.specs.defaults | {f"which.{name}": 1.0}
        np.testing.assert_allclose(
            rendered(synth, values), rendered(part, part.specs.defaults), atol=1e-6
        )


def test_combinations_in_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from jaxsnare import SimpleDrumSynth, Snare808\n"
        "from jaxsnare.synths.combine import layer\n"
        "Stack = layer('Stack', low=SimpleDrumSynth, high=Snare808)\n"
    )
    stack = find_synth("mine.py:Stack")
    assert stack(RATE) == find_synth("mine.py:Stack")(RATE)
    assert stack(RATE).specs.names[-1] == "high.tanh.in_gain"
    with pytest.raises(ValueError, match="Alone: a combination has two parts or more"):
        layer("Alone", a=Snare808)
    no_effect: Any = SimpleDrumSynth
    with pytest.raises(ValueError, match="Wet: room is no subclass of Effect, but Sim"):
        chain("Wet", Snare808, room=no_effect)
    with pytest.raises(ValueError, match="source is the synth; call the effect some"):
        chain("Wet", Snare808, source=no_effect)
    with pytest.raises(ValueError, match="'a stack' is no name of a class"):
        layer("a stack", low=Snare808, high=SimpleDrumSynth)


# models that take turns


@pytest.mark.slow
def test_each_hit_is_answered_by_the_part_that_was_struck(both, parts):
    """With the values that the part's own model gives, by its own features."""
    model = both.model
    assert both.right == 1.0
    assert both.table == {"head": {"head": 4, "rim": 0}, "rim": {"head": 0, "rim": 4}}

    def answers(model, features, windows):
        def one(window):
            heard = normalise(model.normaliser, features(window))
            params = model.map_params()
            return map_features(model.mapping, model.specs, params, heard).values

        return np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(windows)))

    for name, part in parts.items():
        windows = hits(name, count=3, seed=9)
        whole = answers(model, model.features, windows)
        alone = answers(part, part.features, windows)
        for row, own in zip(whole, alone, strict=True):
            values = model.specs.unpack(row)
            for key, wanted in part.specs.unpack(own).items():
                span = part.specs[key].hi - part.specs[key].lo
                assert abs(values[f"{name}.{key}"] - wanted) < 1e-4 * span
            which = {k: float(values[f"which.{k}"]) for k in parts}
            assert which == {k: float(k == name) for k in parts}


def test_a_choice_is_saved_with_its_parts(both, parts, tmp_path):
    both.model.save(tmp_path / "both")
    again = Model.load(tmp_path / "both")
    assert again.remapper(RATE) == both.model.remapper(RATE)
    got, wanted = (m.params()._replace(gate=None) for m in (again, both.model))
    assert jax.tree.all(jax.tree.map(np.array_equal, got, wanted))
    for one, other in zip(again.examples, both.model.examples, strict=True):
        np.testing.assert_allclose(one, other, atol=0.01)  # as they are stored
    assert sorted(p.name for p in (tmp_path / "both" / "parts").iterdir()) == [
        "head",
        "rim",
    ]
    replace(again, play={"trim": -3.0}).save(tmp_path / "both", overwrite=True)
    assert Model.load(tmp_path / "both").play == {"trim": -3.0}
    (tmp_path / "both" / "parts" / "rim" / "weights.npz").unlink()
    with pytest.raises(ValueError, match=r"rim: weights\.npz is missing"):
        Model.load(tmp_path / "both")


def test_what_the_parts_agree_on_is_how_it_is_played(parts):
    play = {"head": {"trim": 2.0, "gate": 0.4}, "rim": {"trim": 2.0, "mix": 0.5}}
    alike = {name: replace(part, play=play[name]) for name, part in parts.items()}
    chosen = choose_models(alike, {k: hits(k) for k in parts})
    assert chosen.model.play == {"trim": 2.0}


def test_parts_that_do_not_fit_together(parts, random_model):
    windows = {k: hits(k) for k in parts}
    with pytest.raises(ValueError, match="rim: 9 hits; to tell parts apart takes 10"):
        choose_models(parts, windows | {"rim": hits("rim", 9)})
    other = parts | {"rim": random_model(rate=44_100)}
    with pytest.raises(ValueError, match=r"rim: has another sample rate \(44100\)"):
        choose_models(other, windows)
    with pytest.raises(ValueError, match="between two models or more"):
        choose_models({"head": parts["head"]}, windows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("drum", "strokes"), [("fs_14x05_maple", 48), ("fs_14x08_birch", 56)]
)
def test_head_and_rim_of_real_drums_are_told_apart(shared, drum, strokes):
    """Every stroke by a classifier of the other four fifths."""
    folder = shared / "data" / "snare" / "real" / drum
    rows = []
    for struck in ("centre", "crossstick"):
        heard = listen(sorted(folder.glob(f"{struck}_v*")), 44_100)
        rows.append(_rows(StruckFeatures(44_100), heard.windows))
    right = 0
    for fold in range(5):
        held = [np.arange(len(row)) % 5 == fold for row in rows]
        pairs = list(zip(rows, held, strict=True))
        classifier = fit_classifier([row[~out] for row, out in pairs])
        for part, (row, out) in enumerate(pairs):
            right += int((classifier.struck(row[out]) == part).sum())
    assert sum(map(len, rows)) == strokes
    assert right >= strokes - 1


@pytest.mark.slow
def test_it_plays_live_in_one_step(both, parts, tmp_path, capsys):
    """Each stroke as its part's own engine answers it; and the command line."""
    strokes = [("head", 1), ("rim", 2), ("rim", 3), ("head", 4)]
    audio = np.zeros(4 * RATE // 2 + RATE // 4, np.float32)
    for i, (name, seed) in enumerate(strokes):
        start = RATE // 8 + i * RATE // 2
        stroke = SnareDrum(RATE).strike(0.8, seed=seed)[: RATE // 4]
        if name == "rim":
            n = np.arange(len(stroke))
            stroke = 0.7 * np.sin(2 * np.pi * 1700 * n / RATE) * np.exp(-n / 60)
        audio[start : start + len(stroke)] += stroke.astype(np.float32)

    def answers(model):
        played = play(Engine(model.remapper(RATE), model.params(), 64), audio)
        return [hit for p in played for hit in p.hits], joined(played, "synth")

    found, sound = answers(both.model)
    own = {name: answers(part) for name, part in parts.items()}
    assert len(found) == len(strokes)
    for hit, (name, _) in zip(found, strokes, strict=True):
        which = dict(zip(hit.names.parameters, hit.values, strict=True))
        assert which[f"which.{name}"] == 1.0
        until = slice(hit.sample, hit.sample + RATE // 4)
        wanted = own[name][1][until]
        assert np.abs(wanted).max() > 0.01
        np.testing.assert_allclose(sound[until], wanted, atol=1e-3)

    for name, part in parts.items():
        part.save(tmp_path / name)
        folder = tmp_path / f"{name}-hits"
        folder.mkdir()
        for i, window in enumerate(hits(name, 12)):
            piece = np.concatenate([np.zeros(4800, np.float32), window])
            write_audio(folder / f"{i}.wav", np.pad(piece, (0, 24_000)), RATE)
    argv = ["choose", "--out", str(tmp_path / "both")]
    for name in parts:
        argv += ["--part", name, str(tmp_path / name), str(tmp_path / f"{name}-hits")]
    assert main([*argv, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["right"] == 1.0
    assert main(["show", str(tmp_path / "both")]) == 0
    assert "Chooses head or rim by what is struck" in capsys.readouterr().out


def test_the_choice_of_instances_keeps_their_settings():
    clipped = Snare808(44_100, clip_filter=True)
    synth = Choice(RATE, parts=(("a", clipped), ("b", SimpleDrumSynth)))
    assert synth.members["a"] == Snare808(RATE, clip_filter=True)
