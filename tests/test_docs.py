"""What README and documentation say to type can be typed, and does what they say."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from functools import partial
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np
import pytest
from jack_server import MISSING, jackd

from jaxsnare import bench
from jaxsnare.audio import read_audio, write_audio
from jaxsnare.cli import COMMANDS, _parse, main
from jaxsnare.drummer import SnareDrum, practice
from jaxsnare.model import Model
from jaxsnare.synths.registry import GROUP

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
STUDIES = sorted((ROOT / "experiments").glob("*/README.md"))
TEXTS = {page: page.read_text("utf-8") for page in [*PAGES, *STUDIES]}
# On a line of its own, or within a sentence; there it may be wrapped.
COMMAND = re.compile(
    r"^ {4,}(?:.* && |time )?(jaxsnare .*?)(?:\s+#.*)?$|`(?:time )?(jaxsnare\s[^`]+)`",
    re.MULTILINE,
)
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
STUDY = re.compile(r"python (experiments/\w+/\w+\.py)((?:\\\n|[^`#\n])*)")


def commands(page: Path) -> list[str]:
    """The commands of a page, from `jaxsnare` on, on one line each."""
    return [" ".join("".join(found).split()) for found in COMMAND.findall(TEXTS[page])]


LINES: dict[str, str] = {}
for page in PAGES:
    for line in commands(page):
        # a command that is spoken of by its name alone is not one to type
        typed = len(line.split()) > 2 or f"    {line}" in TEXTS[page]
        if typed and "COMMAND" not in line:
            LINES.setdefault(line, f"{page.stem}: {line}")
NAMED = {line.split()[1] for page in TEXTS for line in commands(page)}
STUDIED = sorted({found for text in TEXTS.values() for found in STUDY.findall(text)})
BLOCKS = {
    (page.stem, kind): [
        code for name, code in FENCE.findall(TEXTS[page]) if name == kind
    ]
    for page in PAGES
    for kind in ("python", "toml")
}
README = BLOCKS["README", "python"]
COWBELL = BLOCKS["compose-a-synth", "python"][0]


def test_what_is_looked_at_is_there():
    assert len(LINES) >= 35
    assert len(STUDIED) >= 15
    assert {key: len(code) for key, code in BLOCKS.items() if code} == {
        ("README", "python"): 2,
        ("compose-a-synth", "python"): 2,  # tests/test_compose.py tries the other
        ("compose-a-synth", "toml"): 1,
    }


@pytest.mark.parametrize("line", LINES, ids=LINES.values())
def test_a_command_has_the_options_that_are_given_to_it(line):
    args = _parse(shlex.split(line)[1:])
    assert args is not None
    assert args.command == line.split()[1]


def test_the_commands_that_are_named_are_commands():
    assert NAMED - {"COMMAND"} <= set(COMMANDS)


@pytest.mark.parametrize(("path", "words"), STUDIED, ids=map("".join, STUDIED))
def test_a_study_has_the_options_that_are_given_to_it(
    path, words, script, monkeypatch, capsys
):
    options = re.findall(r"--[\w-]+", words)
    monkeypatch.syspath_prepend(str((ROOT / path).parent))
    study = script(path)
    if options:
        monkeypatch.setattr(sys, "argv", [path, "--help"])
        with pytest.raises(SystemExit, match="0"):
            study.main()
        known = re.findall(r"--[\w-]+", capsys.readouterr().out)
        assert set(options) <= set(known)


def test_what_is_installed_is_there_to_be_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = {
        extra
        for text in TEXTS.values()
        for names in re.findall(r"pip install[^`\n]*\[([\w,]+)\]", text)
        for extra in names.split(",")
    }
    assert {"dev", "docs", "torchdrum"} <= extras
    assert extras <= set(project["optional-dependencies"])


def test_the_entry_point_of_the_page_is_one_that_is_looked_for():
    (block,) = BLOCKS["compose-a-synth", "toml"]
    points = tomllib.loads(block)["project"]["entry-points"]
    assert list(points) == [GROUP]
    for name, value in points[GROUP].items():
        assert EntryPoint(name, value, GROUP).attr == name


@pytest.mark.slow
def test_the_snippets_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_audio("practice.wav", practice(48_000, seconds=8).audio, 48_000)
    names: dict = {}
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        exec(README[0], names)
        short = README[1].replace("Recipe(", "Recipe(epochs=1, ")
        exec(short.replace("(1, 2, 3)", "(1,)").replace("(5)", "(1)"), names)
    # the quieter oscillator of two: turning it up by 1 dB adds less than 1 dB
    assert 0 < float(names["grads"]["osc1_gain.gain"]) < 1
    assert "LKFS per dB" in capsys.readouterr().out
    assert names["audio"].shape == names["played"].audio.shape == (48_000,)
    assert np.isfinite(names["played"].audio).all()
    assert Model.load("my-model").sample_rate == 48_000


SHORT = {
    "train": ["--epochs", "1"],
    "reach": ["--steps", "2"],
    "match": ["--seconds", "0.1"],
    "bench": ["--seconds", "0.1", "--blocks", "64", "--synth", "SimpleDrumSynth"],
}
"""What makes a command quick; of options that are given twice the last one counts."""

ELSEWHERE = {
    "check-synth": "test_compose.py",
    "devices": "below",
    "live": "below",
    "calibrate my-snare": "below",
    "match clap.wav --synth Clap808 --out clap.json": "test_match.py",
}
"""Where a command runs, if not here."""


def written(rate: int) -> None:
    """What the documentation takes for granted: recordings, and models of others."""
    lesson = practice(rate, seconds=12)
    song = practice(rate, seconds=4, seed=1).audio
    for folder in ("samples", "take1"):
        Path(folder).mkdir()
    files = {"practice": lesson.audio, "song": song, "take1/input": song}
    files |= {"head": lesson.audio, "rim": practice(rate, seconds=12, seed=2).audio}
    room = np.random.default_rng(0).normal(0, 1e-4, 5 * rate).astype(np.float32)
    files |= {"bleed": files["rim"], "room": room}
    files |= {"sample": SnareDrum(rate).strike(0.8)}
    files["clap"] = files["sample"]
    for start in lesson.onsets:
        files[f"samples/{start}"] = lesson.audio[max(start - 100, 0) : start + 20_000]
    for name, audio in files.items():
        write_audio(f"{name}.wav", audio, rate)


@pytest.mark.slow
def test_the_commands_of_the_documentation_run_in_their_order(
    tmp_path, monkeypatch, capsys
):
    """From a recording to a played performance, as a newcomer types it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxsnare.live.engine.settle", lambda: None)
    written(44_100)
    # what is compiled takes longest: as little of it as shows that they run
    monkeypatch.setattr(bench, "_train", partial(bench._train, batches=(2,)))
    monkeypatch.setattr(bench, "_stages", lambda *_: [])
    done = set()
    with jax.numpy_dtype_promotion("standard"):
        for line in LINES:
            command, *words = shlex.split(line)[1:]
            if command == "bench":
                words = words[:1]  # one of each kind
            if words[-1:] in (["--room"], ["--bleed"]):
                words += [f"{words[-1][2:]}.wav"]  # in place of the microphone
            what = " ".join([command, *words])
            if what in done or {command, what} & set(ELSEWHERE):
                continue
            done.add(what)
            if "torchscript" in line and find_spec("torch") is None:
                continue
            for part in ("my-head", "my-rim"):
                if part in words:
                    shutil.copytree("my-snare", part, dirs_exist_ok=True)
            words += SHORT.get(command, [])
            if command in ("train", "onsets") and "--overwrite" not in words:
                words += ["--overwrite"]
            assert main([command, *words]) == 0, (line, capsys.readouterr().err)
            if line.endswith("new-synth Cowbell"):
                Path("cowbell.py").write_text(COWBELL)
    assert Path("report.png").stat().st_size > 10_000
    assert len(read_audio("synth.wav", 44_100)) == 4 * 44_100
    assert Model.load("both").parts
    assert type(Model.load("my-bell").synth).__name__ == "Cowbell"


@pytest.mark.slow
def test_the_pictures_of_the_documentation_are_made(
    script, random_model, tmp_path, monkeypatch
):
    """All there are, each small; what is trained, or long, is in other tests."""
    figures = script("docs/figures.py")
    monkeypatch.setattr(figures, "IMAGES", tmp_path)
    model = random_model(rate=figures.RATE)
    monkeypatch.setattr(figures, "taught", lambda: model)
    typed = figures.run

    def run(command, *words):
        assert _parse([command, *words])
        made = {"demo": "jaxsnare-demo/report.png", "check-synth": "moves.png"}
        if command not in made:
            return typed(command, *words)
        Path(made[command]).parent.mkdir(exist_ok=True)
        return figures.plt.figure().savefig(made[command])

    monkeypatch.setattr(figures, "run", run)
    for make in figures.FIGURES:
        make()
        figures.plt.close("all")
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {path.name for path in (ROOT / "docs" / "images").iterdir()}
    assert max(sizes.values()) < 150_000
    shown = set(re.findall(r"images/([\w-]+\.png)", "".join(TEXTS.values())))
    assert shown == set(sizes)


@pytest.mark.realtime
@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_the_commands_that_play_run(random_model, tmp_path):
    """One of each kind; what plays files is in other tests."""
    for name in ("my-snare", "my-rim", "my-tom", "my-bell", "both"):
        random_model().save(tmp_path / name)
    write_audio(tmp_path / "practice.wav", practice(48_000, seconds=8).audio, 48_000)
    lines = sorted(line for line in LINES if "--play" not in line)
    kinds = {re.sub(r"my-\w+|both", "MODEL", line): line for line in lines}
    ran = []
    with jackd("jaxsnare-docs"):
        for line in kinds.values():
            command, *words = shlex.split(line)[1:]
            if command == "live":
                words += ["--duration", "1"]
            elif command == "calibrate" and words[-1] not in ("--room", "--bleed"):
                words += ["--play", "practice.wav"]  # who would strike the drum?
            elif command != "devices":
                continue
            done = subprocess.run(
                [sys.executable, "-m", "jaxsnare", command, *words],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
            assert done.returncode == 0, (line, done.stderr)
            ran.append(command)
    assert ran.count("devices") == 1
    assert ran.count("calibrate") == 1
    assert ran.count("live") >= 4
    assert (tmp_path / "take1" / "input.wav").exists()
