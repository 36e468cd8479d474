"""The music: one model per preset, heard on performances, on pages to play and look at.

    python experiments/musical/run.py --out musical-results
    python experiments/musical/run.py --practice HITS --performance FILE... \\
        --head HITS/centre* --rim HITS/crossstick* --out musical-results

For each performance a page (one file, nothing else needed) with the drum, each synth
alone and together with the drum; waveform and spectrogram with the onsets marked; and
how the features of drum and synth go along. A last page shows which strokes of two
crescendos, on the head and on the rim, the published detector and ours miss at several
input levels, and the dynamic range that goes in and comes out; with a second model for
each preset, too, that was trained on other strokes of the rim, and a choice of both.
"""

import argparse
import base64
import html
import io
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxsnare.audio import read_audio, write_audio
from jaxsnare.choose import choose_models
from jaxsnare.data import Hits
from jaxsnare.drummer import SnareDrum, groove, practice
from jaxsnare.features import TargetFeatures
from jaxsnare.features.normalise import Normaliser
from jaxsnare.lessons import Job
from jaxsnare.model import Model
from jaxsnare.onset import ONSET_SPECS
from jaxsnare.performance import Remapped, remap
from jaxsnare.presets import read_preset
from jaxsnare.recipe import Recipe
from jaxsnare.report import FULL_NAMES
from jaxsnare.synths import Snare808
from jaxsnare.train import fit_many, listen

RATE = 44_100
PRESETS = ("808_snare_1", "808_snare_2", "808_snare_3")
UNITS = {"LKFS": "dB", "dB": "dB", "kazazis": "as heard", "schlauch": "as heard"}
FOLLOW = 0.2
EARLY_S, HEARD_S = 0.002, 0.02
LEVELS_DB = 0.0, -12.0, -24.0
STROKES, APART_S, ROOM_DBFS = 24, 0.6, -75.0
BLACK, BLUE, VERMILLION = "#222222", "#0072B2", "#D55E00"

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; color: #222; background: #fff }
img, audio { width: 100% } figure { margin: 1rem 0 } table { border-collapse: collapse }
td, th { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd }
"""


class Struck(NamedTuple):
    """Strokes on one place of the drum: every second is played, the others learned."""

    played: list[np.ndarray]
    learned: list[np.ndarray]


class Piece(NamedTuple):
    """What is played on the drum."""

    name: str
    audio: np.ndarray
    strokes: np.ndarray | None = None  # samples, where they are known


class Page:
    """A page in one file: words, pictures and sounds are inside."""

    def __init__(self, title: str):
        self.parts = [f"<h1>{html.escape(title)}</h1>"]
        self.title = title

    def words(self, text: str, tag: str = "p") -> None:
        self.parts.append(f"<{tag}>{html.escape(text)}</{tag}>")

    def sound(self, name: str, audio: np.ndarray) -> None:
        buffer = io.BytesIO()
        soundfile.write(buffer, audio, RATE, format="FLAC", subtype="PCM_16")
        self.words(name, "h3")
        data = base64.b64encode(buffer.getvalue()).decode()
        self.parts.append(
            f'<audio controls src="data:audio/flac;base64,{data}"></audio>'
        )

    def picture(self, figure: Figure, words: str) -> None:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100)
        data = base64.b64encode(buffer.getvalue()).decode()
        about = html.escape(words)
        self.parts.append(
            f'<figure><img alt="{about}" src="data:image/png;base64,{data}">'
            f"<figcaption>{about}</figcaption></figure>"
        )

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        def row(cells: Sequence[str], tag: str) -> str:
            return "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells)

        head, *body = rows
        lines = [row(head, "th"), *(row(cells, "td") for cells in body)]
        self.parts.append(f"<table>{''.join(f'<tr>{x}</tr>' for x in lines)}</table>")

    def save(self, path: Path) -> None:
        body = "\n".join(self.parts)
        path.write_text(
            f"<!doctype html><html lang=en><meta charset=utf-8>"
            f"<title>{html.escape(self.title)}</title><style>{STYLE}</style>{body}",
            "utf-8",
        )


def crescendo(name: str, hits: Sequence[np.ndarray]) -> Piece:
    """Hits one after another, each from its stroke on, in a quiet room."""
    apart = round(APART_S * RATE)
    noise = np.random.default_rng(0).normal(size=(len(hits) + 2) * apart)
    audio = 10 ** (ROOM_DBFS / 20) * noise
    at = apart * (1 + np.arange(len(hits)))
    for start, hit in zip(at, hits, strict=True):
        room = audio[start : start + len(hit)]
        room += hit[: len(room)]
    return Piece(name, audio.astype(np.float32), at)


def struck(paths: list[Path], kind: str, position: float) -> Struck:
    """Single hits, softest first: those of files, or of the embedded drum."""
    if paths:
        hits = [from_stroke(read_audio(path, RATE)) for path in paths]
        hits.sort(key=lambda hit: float(loudness(hit, np.zeros(1, int))[0]))
    else:
        rng, drum = np.random.default_rng(0), SnareDrum(RATE)
        velocities = np.linspace(0, 1, 2 * STROKES)
        hits = [drum.strike(v, position, kind, seed=rng) for v in velocities]
    return Struck(hits[::2], hits[1::2])


def from_stroke(audio: np.ndarray) -> np.ndarray:
    loud = np.flatnonzero(np.abs(audio) >= 0.05 * np.abs(audio).max())
    return audio[loud[0] :]


def waveform_and_spectrogram(audio: np.ndarray, onsets: np.ndarray) -> Figure:
    figure = Figure(figsize=(11, 4), layout="constrained")
    wave, spectrum = figure.subplots(2, sharex=True)
    seconds = np.arange(len(audio)) / RATE
    wave.plot(seconds[::8], audio[::8], color=BLACK, lw=0.4)
    floor = 1e-8 * np.random.default_rng(0).normal(size=len(audio))
    spectrum.specgram(
        audio + floor, NFFT=512, Fs=RATE, noverlap=256, vmin=-160, cmap="magma"
    )
    spectrum.set_ylabel("Hz")
    spectrum.set_xlabel("s")
    marks(wave, onsets)
    spectrum.vlines(onsets / RATE, 0.92 * RATE / 2, RATE / 2, color="white", lw=0.8)
    bare(wave, spectrum)
    return figure


def marks(axes: Axes, onsets: np.ndarray, color: str = VERMILLION) -> None:
    low, high = axes.get_ylim()
    axes.vlines(onsets / RATE, low, high, color=color, lw=0.8)


def bare(*several: Axes) -> None:
    for axes in several:
        axes.spines[["top", "right"]].set_visible(False)


def measured(audio: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Target features [N, 7] of the sounds that begin at some samples."""
    target = TargetFeatures(RATE)
    padded = np.pad(audio, (0, target.samples))
    ends = np.minimum([*starts[1:], len(padded)], starts + target.samples)
    sounds = np.zeros((len(starts), target.samples), np.float32)
    for row, start, end in zip(sounds, starts, ends, strict=True):
        row[: end - start] = padded[start:end]
    return np.asarray(_features(target, sounds))


@partial(jax.jit, static_argnums=0)
def _features(target: TargetFeatures, sounds: jax.Array) -> jax.Array:
    return jax.lax.map(target, sounds, batch_size=4)


def trajectories(played: Remapped, drum: np.ndarray, latency: int) -> Figure:
    """Features of every hit of the drum and of its answer, each from its own mean."""
    target = TargetFeatures(RATE)
    of_drum = measured(drum, np.maximum(played.triggers - latency, 0))
    of_synth = measured(played.synth, played.triggers)
    figure = Figure(figsize=(11, 10), layout="constrained")
    panels = figure.subplots(len(target.names), sharex=True)
    at = played.triggers / RATE
    for k, (axes, name) in enumerate(zip(panels, target.names, strict=True)):
        drum_line = of_drum[:, k] - of_drum[:, k].mean()
        synth_line = of_synth[:, k] - of_synth[:, k].mean()
        axes.plot(at, drum_line, "o-", ms=3, lw=0.8, color=BLACK, label="drum")
        axes.plot(at, synth_line, "o-", ms=3, lw=0.8, color=VERMILLION, label="synth")
        moves = len(at) > 2 and drum_line.any() and synth_line.any()
        same = np.corrcoef(drum_line, synth_line)[0, 1] if moves else np.nan
        words = FULL_NAMES[name].replace(" ", "\n", 1)
        axes.set_ylabel(f"{words}\n({UNITS[target.units[k]]})", size=8)
        axes.set_title(f"correlation {same:.2f}", size=8, loc="right")
        bare(axes)
    above = {"loc": "lower left", "bbox_to_anchor": (0, 0.95)}
    figure.axes[0].legend(frameon=False, ncols=2, **above)
    figure.axes[-1].set_xlabel("s")
    return figure


def show(piece: Piece, models: dict[str, Model], out: Path) -> None:
    """The page of a performance, and its sounds as files."""
    page = Page(piece.name)
    page.sound("the drum", piece.audio)
    for preset, model in models.items():
        remapper = model.remapper()
        played = remap(remapper, model.params(mix=0.5), piece.audio)
        if preset == PRESETS[0]:
            figure = waveform_and_spectrogram(piece.audio, played.onsets)
            page.picture(figure, "the drum: waveform and spectrogram, hits marked")
        page.words(preset, "h2")
        page.sound("synth alone", played.synth)
        page.sound("synth and drum", played.audio)
        figure = waveform_and_spectrogram(played.synth, played.triggers)
        page.picture(figure, f"{preset}: waveform and spectrogram, voices marked")
        figure = trajectories(played, piece.audio, remapper.latency)
        page.picture(figure, f"{preset}: features of drum and synth, hit by hit")
        for what, sound in (("synth", played.synth), ("mix", played.audio)):
            name = f"{piece.name}-{preset}-{what}.flac".replace(" ", "-")
            write_audio(out / name, sound, RATE, overwrite=True)
    page.save(out / f"{piece.name.replace(' ', '-')}.html")


def loudness(audio: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Of the first 58 ms after each of some samples, in LKFS, as it is trained."""
    return measured(audio, starts)[:, TargetFeatures(RATE).names.index("SPL_T")]


class Answers(NamedTuple):
    """How the strokes of a crescendo were answered."""

    played: Remapped
    answered: np.ndarray  # [strokes], whether
    into_db: np.ndarray  # [strokes], loudness of the stroke
    out_db: np.ndarray  # [strokes], loudness of the answer, or of the silence

    def row(self) -> dict[str, float | int]:
        """Strokes answered; from the softest to the loudest of them, in and out."""
        heard = self.answered
        into, out = self.into_db[heard], self.out_db[heard]
        some = len(into) > 1
        return {
            "strokes": len(heard),
            "answered": int(heard.sum()),
            "range_in_db": float(np.ptp(into)) if some else 0.0,
            "range_out_db": float(np.ptp(out)) if some else 0.0,
            "slope": float(np.polyfit(into, out, 1)[0]) if some else 0.0,
        }


def answers(model: Model, piece: Piece, level_db: float = 0.0) -> Answers:
    """A crescendo, heard at another level by a mapping that makes up for it."""
    assert piece.strokes is not None
    model = at_level(model, level_db)
    remapper = model.remapper()
    heard = (10 ** (level_db / 20) * piece.audio).astype(np.float32)
    played = remap(remapper, model.params(), heard)
    due = piece.strokes + remapper.latency
    first = np.searchsorted(played.triggers, due - round(EARLY_S * RATE))
    starts = np.append(played.triggers, len(heard) + RATE)[first]
    answered = starts <= due + HEARD_S * RATE
    into = loudness(piece.audio, piece.strokes)
    out = loudness(played.synth, np.where(answered, starts, due))
    return Answers(played, answered, into, out)


def at_level(model: Model, level_db: float) -> Model:
    """As if trained with the microphone at that level.

    `jaxsnare calibrate` sets a trim, which detector and mapping hear alike, and every
    level is the same. Here only the mapping is calibrated: the detector hears the
    level as it comes.
    """
    levels = "RMS", "early", "late"  # of the window, and of bands in its halves
    moved = [level_db * name.startswith(levels) for name in model.features.names]
    ranges = [side + np.asarray(moved, np.float32) for side in model.normaliser]
    return replace(model, normaliser=Normaliser(*ranges))


PUBLISHED, OURS = "published", "ours"
TURNS = "ours, a model for the head and one for the rim"


def ways(model: Model, both: Model) -> dict[tuple[str, float], Model]:
    """What plays, by detector and level in dB."""
    published = replace(model, onset=dict(ONSET_SPECS.defaults))
    follow = replace(model, play=model.play | {"loudness_follow": FOLLOW})
    found = {(PUBLISHED, level): published for level in LEVELS_DB}
    found |= {(OURS, level): model for level in LEVELS_DB}
    found[f"{OURS}, loudness_follow {FOLLOW}", 0.0] = follow
    found[TURNS, 0.0] = both
    return found


def missed_hits(
    pieces: list[Piece], models: dict[str, Model], both: dict[str, Model], out: Path
) -> dict:
    """The page of what is missed: by the published detector and by ours."""
    page = Page("Missed hits")
    page.words(
        "Crescendos, as soft to as loud as the drum was played, at the level of the "
        "training and at lower ones. Blue: strokes that are answered. Orange: strokes "
        "that are missed. At each level the mapping is the same, calibrated to it; the "
        "detector is not."
    )
    found: dict[str, dict] = {}
    head = ["crescendo", "preset", "detector", "level", "answered", "in", "out"]
    rows = [[*head, "slope"]]
    for piece in pieces:
        page.words(piece.name, "h2")
        page.sound("the drum", piece.audio)
        for preset, model in models.items():
            heard = {}
            for (name, level), way in ways(model, both[preset]).items():
                got = heard[f"{name}, {level:g} dB"] = answers(way, piece, level)
                row = got.row()
                words = [piece.name, preset, name, f"{level:g} dB"]
                found[" | ".join(words)] = row
                share = f"{row['answered']} of {row['strokes']}"
                ranges = (f"{row[f'range_{end}_db']:.1f} dB" for end in ("in", "out"))
                rows.append([*words, share, *ranges, f"{row['slope']:.2f}"])
            if preset == PRESETS[0]:
                for name, got in heard.items():
                    page.sound(f"{name}: the synth, {preset}", got.played.audio)
                words = f"{piece.name}: strokes that are answered and missed, {preset}"
                page.picture(drawn(piece, heard), words)
    page.words("Dynamic range, from the softest to the loudest stroke answered", "h2")
    page.table(rows)
    page.save(out / "missed-hits.html")
    text = summary(found)
    (out / "missed-hits.md").write_text(text)
    print(text)
    return found


def summary(found: dict[str, dict]) -> str:
    """Markdown: a row for each crescendo, detector and level; presets as columns."""
    head = ["", "answered", "in", *(f"{preset}: out, slope" for preset in PRESETS)]
    rows = [head, ["---"] * len(head)]
    for key, first in found.items():
        place, preset, *way = key.split(" | ")
        if preset == PRESETS[0]:
            same = (found[" | ".join([place, other, *way])] for other in PRESETS)
            cells = (f"{r['range_out_db']:.1f} dB, {r['slope']:.2f}" for r in same)
            heard = f"{first['answered']} of {first['strokes']}"
            into = f"{first['range_in_db']:.1f} dB"
            rows.append([", ".join([place, *way]), heard, into, *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def drawn(piece: Piece, heard: dict[str, Answers]) -> Figure:
    """The crescendo with its strokes marked, and level out over level in."""
    assert piece.strokes is not None
    figure = Figure(figsize=(11, 1.7 * len(heard)), layout="constrained")
    plots = figure.subplots(len(heard), 2, width_ratios=(3, 1), sharex="col")
    seconds = np.arange(len(piece.audio))[::8] / RATE
    for (wave, ranges), (name, got) in zip(plots, heard.items(), strict=True):
        wave.plot(seconds, piece.audio[::8], color=BLACK, lw=0.3)
        marks(wave, piece.strokes[got.answered], BLUE)
        marks(wave, piece.strokes[~got.answered])
        wave.set_title(name, loc="left", size=9)
        ranges.plot(got.into_db[got.answered], got.out_db[got.answered], ".")
        ranges.set_ylabel("answer, LKFS")
        bare(wave, ranges)
    plots[-1, 0].set_xlabel("s")
    plots[-1, 1].set_xlabel("stroke, LKFS")
    return figure


def pieces_of(paths: list[Path]) -> Iterator[Piece]:
    """The performances that were named, or those of the embedded drummer."""
    if not paths:
        yield Piece("groove", groove(RATE).audio)
    for path in paths:
        yield Piece(path.stem, read_audio(path, RATE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add(
        "--practice",
        type=Path,
        nargs="+",
        metavar="FILE|FOLDER",
        default=[],
        help="what to train on (default: the embedded drummer's minute)",
    )
    add(
        "--performance",
        type=Path,
        nargs="+",
        metavar="FILE",
        default=[],
        help="what to play (default: the embedded drummer's groove)",
    )
    for place in ("head", "rim"):
        words = (
            f"single hits on the {place}: every second for the crescendo, the others "
        )
        words += "for a choice of two models (default: embedded)"
        add(f"--{place}", type=Path, nargs="+", metavar="FILE", default=[], help=words)
    add("--models", type=Path, metavar="FOLDER", help="play those, trained before")
    add("--epochs", type=int, default=Recipe().epochs)
    add("--out", type=Path, default=Path("musical-results"))
    args = parser.parse_args()
    try:
        run(args)
    except ValueError as error:  # of what was given
        sys.exit(str(error))


def run(args: argparse.Namespace) -> None:
    """All that is given is read before anything is trained."""
    stored = [loaded(args.models, kind) for kind in KINDS] if args.models else None
    pieces = list(pieces_of(args.performance))
    head = struck(args.head, "head", 0.2)
    rim = struck(args.rim, "crossstick", 0.3)
    args.out.mkdir(parents=True, exist_ok=True)
    learned = {n: heard(hits.learned, n) for n, hits in (("head", head), ("rim", rim))}
    models, of_rim = stored or trained(args, learned["rim"])
    windows = {place: hits.windows for place, hits in learned.items()}
    both = {
        preset: choose_models({"head": model, "rim": of_rim[preset]}, windows).model
        for preset, model in models.items()
    }
    for piece in pieces:
        show(piece, models, args.out)
    crescendos = [crescendo("head", head.played), crescendo("rim", rim.played)]
    found = missed_hits(crescendos, models, both, args.out)
    (args.out / "missed-hits.json").write_text(json.dumps(found, indent=2) + "\n")
    names = [piece.name.replace(" ", "-") for piece in pieces]
    print(
        f"look at {', '.join(f'{n}.html' for n in [*names, 'missed-hits'])} "
        f"in {args.out}"
    )


KINDS = "", "rim-"
"""Of the models: for all strokes, and for those on the rim; how their folders begin."""


def heard(hits: list[np.ndarray], name: str) -> Hits:
    """Strokes as `jaxsnare train` hears a folder of them."""
    with tempfile.TemporaryDirectory() as folder:
        for k, hit in enumerate(hits):
            write_audio(Path(folder) / f"{name}-{k:02d}.wav", hit, RATE)
        return listen([folder], RATE)


def loaded(folder: Path, kind: str) -> dict[str, Model]:
    return {name: Model.load(folder / f"{kind}{name}") for name in PRESETS}


def trained(args: argparse.Namespace, rim: Hits) -> Iterator[dict[str, Model]]:
    """For each of KINDS a model for each preset, kept in OUT/models."""
    sources = args.practice
    if not sources:
        sources = [args.out / "practice.flac"]
        write_audio(sources[0], practice(RATE).audio, RATE, overwrite=True)
    synth, recipe = Snare808(RATE), Recipe(epochs=args.epochs)
    jobs = [
        Job(hits, read_preset(name, synth), recipe)
        for hits in (listen(sources, RATE), rim)
        for name in PRESETS
    ]

    def tell(rows):
        at = rows[0]
        print(f"\r  epoch {at.epoch}/{at.epochs} ", end="", file=sys.stderr, flush=True)

    models = [training.model for training in fit_many(jobs, synth, tell)]
    print(file=sys.stderr)
    (args.out / "models").mkdir(exist_ok=True)
    for kind in KINDS:
        of_kind = {name: models.pop(0) for name in PRESETS}
        for name, model in of_kind.items():
            model.save(args.out / "models" / f"{kind}{name}", overwrite=True)
        yield of_kind


if __name__ == "__main__":
    main()
