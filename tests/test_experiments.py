"""The experiment's tables say what the runs found, and nothing is done twice."""

import argparse
import json
import re
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

from jaxsnare.drummer import practice

PATH = Path(__file__).parents[1] / "experiments" / "paper" / "run.py"


@pytest.fixture(scope="module")
def paper(script):
    return script("experiments/paper/run.py")


@pytest.fixture
def arguments(tmp_path):
    (tmp_path / "runs").mkdir()
    return argparse.Namespace(
        out=tmp_path,
        presets=["808_snare_1", "808_snare_2"],
        windows=(256, 2048),
        methods=["linear", "direct"],
        seeds=2,
        epochs=3,
        steps=5,
    )


def result(paper, arguments, run):
    """Errors that tell the run; baselines that tell the drum and seed."""
    base = 10.0 * (1 + run.seed) + (run.drum == "b")
    error = base / (2 if run.method == "direct" else 1.25) + (run.preset[-1] == "2")
    row = {"error": error, "baseline": base, "ratio": error / base}
    features = dict.fromkeys(paper.FEATURES, row)
    test = {"features": features, "mean_ratio": error / base, "hits": 6}
    return {"config": paper.config(arguments, run), "test": test}


def test_tables_are_mean_and_deviation_over_the_runs(paper, arguments):
    plan = list(paper.runs(arguments, ["a", "b"]))
    assert len(plan) == 2 * 2 * 2 * 2 + 2 * 2 * 2  # linear at two windows, and direct
    results = [result(paper, arguments, run) for run in plan]
    rows = paper.table(results)
    assert {k: len(v) for k, v in rows.items()} == {
        "preset": 4,  # of each drum and seed once
        "linear 256": 8,
        "linear 2048": 8,
        "direct": 8,
    }
    bases = [10.0, 20.0, 11.0, 21.0]
    np.testing.assert_allclose(sorted(rows["preset"][:, 0]), sorted(bases))
    errors = [base / 2 + more for base in bases for more in (0, 1)]
    line = next(x for x in paper.markdown(rows).splitlines() if "direct" in x)
    assert f"{np.mean(errors):.2f} ± {np.std(errors):.2f}" in line
    assert line.endswith(f"| {np.mean(errors) / np.mean(bases):.2f} |")
    assert f"{np.mean(errors):.2f} \\pm {np.std(errors):.2f}" in paper.latex(rows)
    text = paper.comma_separated(rows).splitlines()
    method, name, mean, deviation, count = text[-1].split(",")
    assert (method, name, int(count)) == ("direct", "TC", 8)
    assert float(mean) == pytest.approx(np.mean(errors), rel=1e-5)
    assert float(deviation) == pytest.approx(np.std(errors), rel=1e-5)
    paper.write_tables(arguments.out, results)
    assert (arguments.out / "errors.png").stat().st_size > 1000
    assert (arguments.out / "drums.png").stat().st_size > 1000


def test_groups_are_those_of_the_plan_whatever_is_done(paper, arguments):
    plan = list(paper.runs(arguments, ["a", "b"]))
    groups = paper.groups(plan, 3)
    assert [run for group in groups for run in group] == plan
    assert all(len({(r.method, r.window) for r in group}) == 1 for group in groups)
    assert max(map(len, groups)) == 3


def test_a_run_counts_as_done_if_it_is_whole_and_of_these_settings(paper, arguments):
    run = next(paper.runs(arguments, ["a"]))
    path = arguments.out / "runs" / run.file
    assert paper.stored(arguments, run) is None
    found = result(paper, arguments, run)
    paper.write(path, found)
    assert paper.stored(arguments, run) == json.loads(json.dumps(found))
    path.write_text(path.read_text()[:-40])
    assert paper.stored(arguments, run) is None
    paper.write(path, found)
    arguments.epochs = 4
    with pytest.raises(SystemExit, match="other settings: choose another --out"):
        paper.stored(arguments, run)


def test_the_recipe_is_the_published_one(paper, arguments):
    run = next(paper.runs(arguments, ["a"]))
    recipe = asdict(paper.recipe_of(arguments, run))
    assert (recipe["weights"], recipe["reference"]) == ("none", "median_loudness")
    assert (recipe["mapping"], recipe["window"], recipe["epochs"]) == ("linear", 256, 3)


@pytest.mark.slow
def test_the_music_is_pages_that_need_nothing_else(
    script, tmp_path, monkeypatch, capsys
):
    """One preset, an epoch, and a performance at another rate."""
    music = script("experiments/musical/run.py")
    monkeypatch.setattr(music, "PRESETS", music.PRESETS[:1])
    monkeypatch.setattr(music, "STROKES", 10)
    monkeypatch.setattr(music, "LEVELS_DB", (0.0, -24.0))
    monkeypatch.setattr(music, "practice", partial(practice, seconds=12))
    soundfile.write(tmp_path / "song.wav", practice(48_000, seconds=4).audio, 48_000)
    monkeypatch.chdir(tmp_path)
    asked = ["run.py", "--performance", "song.wav", "--out", "out", "--epochs", "1"]
    monkeypatch.setattr(sys, "argv", asked)
    with jax.numpy_dtype_promotion("standard"):
        music.main()
    assert "look at song.html, missed-hits.html in out" in capsys.readouterr().out
    players = {"song": 3, "missed-hits": 2 * (1 + 6)}  # drum, synth and both; 6 ways
    pictures = {"song": 3, "missed-hits": 2}
    for name in players:
        page = (tmp_path / "out" / f"{name}.html").read_text("utf-8")
        assert page.count("<audio") == players[name]
        assert page.count("<figcaption>") == page.count("<img") == pictures[name]
        sources = re.findall(r'(?:src|href)="(.{9})', page)
        assert len(sources) == players[name] + pictures[name]
        assert all(source.startswith("data:") for source in sources)
    rows = json.loads((tmp_path / "out" / "missed-hits.json").read_text())
    assert {key.split(" | ")[0] for key in rows} == {"head", "rim"}
    table = (tmp_path / "out" / "missed-hits.md").read_text().splitlines()
    assert len(table) == 2 + len(rows)
    assert table[2].startswith("| head, published, 0 dB | ")
    wanted = "strokes", "answered", "range_in_db", "range_out_db", "slope"
    assert all(tuple(row) == wanted for row in rows.values())
    whole = rows["head | 808_snare_1 | ours | 0 dB"]
    quiet = rows["head | 808_snare_1 | ours | -24 dB"]
    assert whole["answered"] == quiet["answered"] == whole["strokes"] == 10
    # The mapping makes up for the level: only what is missed differs, and by a few
    # samples where an onset is heard.
    assert quiet["range_out_db"] == pytest.approx(whole["range_out_db"], rel=0.03)
    audio = soundfile.info(tmp_path / "out" / "song-808_snare_1-mix.flac")
    assert audio.samplerate == music.RATE


def test_the_music_of_models_that_are_not_there_is_one_line(
    script, tmp_path, monkeypatch
):
    music = script("experiments/musical/run.py")
    for asked, said in (
        (["--models", "nowhere"], r"nowhere.808_snare_1: no such folder"),
        (["--performance", "nothing.wav"], r"nothing\.wav: no such file"),
    ):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(music, "STROKES", 1)
        monkeypatch.setattr(sys, "argv", ["run.py", *asked])
        with pytest.raises(SystemExit, match=said):
            music.main()
