"""The music: one model per preset, heard on performances, on pages to play and look at.

For each performance a page (one file, nothing else needed) with the drum, each synth
alone and together with the drum; waveform and spectrogram with the onsets marked; and
how the features of drum and synth go along. A last page shows which strokes of two
crescendos, on the head and on the rim, the published detector and ours miss, and the
dynamic range that goes in and comes out.
"""

import argparse
import base64
import html
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxsnare.audio import read_audio_native, write_audio
from jaxsnare.drummer import SnareDrum, groove, practice
from jaxsnare.features import TargetFeatures
from jaxsnare.model import Model
from jaxsnare.onset import ONSET_SPECS
from jaxsnare.presets import read_preset
from jaxsnare.recipe import Recipe
from jaxsnare.remapper import Remapped, remap
from jaxsnare.report import FULL_NAMES
from jaxsnare.synths import Snare808
from jaxsnare.train import Job, fit_many, listen

RATE = 44_100
PRESETS = ("808_snare_1", "808_snare_2", "808_snare_3")
SHOWN = ("SPL_T", "SC_T", "SF_T", "TC")
ANSWER_S = 0.1
HEARD_S = 0.02
STROKES, APART_S = 24, 0.6
BLACK, BLUE, VERMILLION = "#222222", "#0072B2", "#D55E00"

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; color: #222; background: #fff }
img, audio { width: 100% } table { border-collapse: collapse }
td, th { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd }
"""


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
        self.parts.append(f'<img alt="{about}" src="data:image/png;base64,{data}">')

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


def crescendo(name: str, kind: str, position: float) -> Piece:
    """As soft as the drum can be played to as loud, one place."""
    rng = np.random.default_rng(0)
    drum = SnareDrum(RATE)
    apart = round(APART_S * RATE)
    audio = 10 ** (-75 / 20) * rng.normal(size=(STROKES + 2) * apart)
    at = apart * (1 + np.arange(STROKES))
    for start, velocity in zip(at, np.linspace(0, 1, STROKES), strict=True):
        hit = drum.strike(velocity, position, kind, seed=rng)
        room = audio[start : start + len(hit)]
        room += hit[: len(room)]
    return Piece(name, audio.astype(np.float32), at)


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
    bare(wave, spectrum)
    return figure


def marks(axes: Axes, onsets: np.ndarray, color: str = VERMILLION) -> None:
    low, high = axes.get_ylim()
    axes.vlines(onsets / RATE, low, high, color=color, lw=0.6, alpha=0.7)


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
    several = jax.jit(lambda x: jax.lax.map(target, x, batch_size=4))
    return np.asarray(several(sounds))


def trajectories(played: Remapped, drum: np.ndarray, latency: int) -> Figure:
    """Features of every hit of the drum and of its answer, each from its own mean."""
    names, units = TargetFeatures(RATE).names, TargetFeatures(RATE).units
    of_drum = measured(drum, np.maximum(played.triggers - latency, 0))
    of_synth = measured(played.synth, played.triggers)
    figure = Figure(figsize=(11, 6), layout="constrained")
    for axes, name in zip(figure.subplots(len(SHOWN), sharex=True), SHOWN, strict=True):
        k = names.index(name)
        at = played.triggers / RATE
        drum_line = of_drum[:, k] - of_drum[:, k].mean()
        synth_line = of_synth[:, k] - of_synth[:, k].mean()
        axes.plot(at, drum_line, "o-", ms=3, lw=0.8, color=BLACK, label="drum")
        axes.plot(at, synth_line, "o-", ms=3, lw=0.8, color=VERMILLION, label="synth")
        same = np.corrcoef(drum_line, synth_line)[0, 1] if len(at) > 2 else np.nan
        axes.set_ylabel(f"{FULL_NAMES[name]}\n{units[k]}", size=8)
        axes.set_title(f"correlation {same:.2f}", size=8, loc="right")
        bare(axes)
    figure.axes[0].legend(frameon=False, ncols=2, loc="upper left")
    figure.axes[-1].set_xlabel("s")
    return figure


def show(piece: Piece, models: dict[str, Model], out: Path) -> None:
    """The page of a performance, and its sounds as files."""
    page = Page(piece.name)
    page.sound("the drum", piece.audio)
    for preset, model in models.items():
        remapper = model.remapper()
        played = remap(remapper, model.params(), piece.audio)
        mixed = remap(remapper, model.params(mix=0.5), piece.audio)
        page.words(preset, "h2")
        page.sound("synth alone", played.audio)
        page.sound("synth and drum", mixed.audio)
        latency = remapper.latency
        figure = waveform_and_spectrogram(played.audio, played.triggers)
        page.picture(figure, f"{preset}: waveform and spectrogram, voices marked")
        figure = trajectories(played, piece.audio, latency)
        page.picture(figure, f"{preset}: features of drum and synth, hit by hit")
        for what, sound in (("synth", played.audio), ("mix", mixed.audio)):
            name = f"{piece.name}-{preset}-{what}.flac".replace(" ", "-")
            write_audio(out / name, sound, RATE, overwrite=True)
    page.save(out / f"{piece.name.replace(' ', '-')}.html")


def levels_db(audio: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Level of what follows each of some samples."""
    padded = np.pad(audio, (0, round(ANSWER_S * RATE)))
    pieces = np.stack([padded[s : s + round(ANSWER_S * RATE)] for s in starts])
    return 10 * np.log10(np.mean(np.square(pieces, dtype=float), axis=1) + 1e-12)


class Answers(NamedTuple):
    """How the strokes of a crescendo were answered."""

    played: Remapped
    answered: np.ndarray  # [strokes], whether
    into_db: np.ndarray  # [strokes], level of the stroke
    out_db: np.ndarray  # [strokes], level of the answer, or of the silence

    @property
    def ranges_db(self) -> tuple[float, float]:
        """From the softest to the loudest stroke that was answered: in and out."""
        heard = self.answered
        if heard.sum() < 2:
            return 0.0, 0.0
        return float(np.ptp(self.into_db[heard])), float(np.ptp(self.out_db[heard]))


def answers(model: Model, piece: Piece) -> Answers:
    assert piece.strokes is not None
    remapper = model.remapper()
    played = remap(remapper, model.params(), piece.audio)
    late = played.onsets[None, :] - piece.strokes[:, None]
    answered = np.any((late >= -0.002 * RATE) & (late <= HEARD_S * RATE), axis=1)
    starts = piece.strokes + remapper.latency
    return Answers(
        played,
        answered,
        levels_db(piece.audio, piece.strokes),
        levels_db(played.synth, starts),
    )


def missed_hits(pieces: list[Piece], model: Model, out: Path) -> dict:
    """The page of what is missed: by the published detector and by ours."""
    page = Page("Missed hits")
    page.words(
        f"Crescendos of {STROKES} strokes, as soft to as loud as the drum can be "
        "played, through the model of the first preset. Marked: strokes that are "
        "answered (blue) and missed (red)."
    )
    rows = [["", "", "answered", "range in", "range out", "slope"]]
    found: dict = {}
    detectors = {
        "published": replace(model, onset=dict(ONSET_SPECS.defaults)),
        "ours": model,
        "ours, loudness follow 0.5": replace(
            model, play=model.play | {"loudness_follow": 0.5}
        ),
    }
    for piece in pieces:
        assert piece.strokes is not None
        page.words(piece.name, "h2")
        page.sound("the drum", piece.audio)
        figure = Figure(figsize=(11, 7), layout="constrained")
        plots = figure.subplots(len(detectors), 2, width_ratios=(3, 1))
        for (wave, ranges), (name, hearing) in zip(
            plots, detectors.items(), strict=True
        ):
            got = answers(hearing, piece)
            wave.plot(
                np.arange(len(piece.audio))[::8] / RATE,
                piece.audio[::8],
                color=BLACK,
                lw=0.3,
            )
            marks(wave, piece.strokes[got.answered], BLUE)
            marks(wave, piece.strokes[~got.answered])
            wave.set_title(name, loc="left", size=9)
            ranges.plot(got.into_db[got.answered], got.out_db[got.answered], ".")
            ranges.set_xlabel("stroke, dB")
            ranges.set_ylabel("answer, dB")
            bare(wave, ranges)
            into, outof = got.ranges_db
            slope = (
                float(
                    np.polyfit(got.into_db[got.answered], got.out_db[got.answered], 1)[
                        0
                    ]
                )
                if got.answered.sum() > 1
                else 0.0
            )
            share = f"{got.answered.sum()} of {STROKES}"
            rows.append(
                [
                    piece.name,
                    name,
                    share,
                    f"{into:.1f} dB",
                    f"{outof:.1f} dB",
                    f"{slope:.2f}",
                ]
            )
            found[f"{piece.name}, {name}"] = {
                "answered": int(got.answered.sum()),
                "strokes": STROKES,
                "range_in_db": into,
                "range_out_db": outof,
                "slope": slope,
            }
            page.sound(f"{name}: the synth", got.played.audio)
        page.picture(figure, f"{piece.name}: strokes that are answered and missed")
    page.words("Dynamic range", "h2")
    page.table(rows)
    page.save(out / "missed-hits.html")
    for row in rows:
        print("  ".join(f"{cell:>26}" for cell in row))
    return found


def pieces_of(paths: list[Path]) -> Iterator[Piece]:
    """The performances that were named, or those of the embedded drummer."""
    if not paths:
        yield Piece("groove", groove(RATE).audio)
    for path in paths:
        audio, rate = read_audio_native(path)
        if rate != RATE:
            raise SystemExit(f"{path}: is at {rate} Hz; wanted: {RATE} Hz")
        yield Piece(path.stem, audio)


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
    add("--epochs", type=int, default=Recipe().epochs)
    add("--out", type=Path, default=Path("musical-results"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    sources = args.practice
    if not sources:
        sources = [args.out / "practice.flac"]
        write_audio(sources[0], practice(RATE).audio, RATE, overwrite=True)
    hits = listen(sources, RATE)
    synth, recipe = Snare808(RATE), Recipe(epochs=args.epochs)
    jobs = [Job(hits, read_preset(name, synth), recipe) for name in PRESETS]

    def tell(rows):
        at = rows[0]
        print(f"\r  epoch {at.epoch}/{at.epochs} ", end="", file=sys.stderr, flush=True)

    trained = fit_many(jobs, synth, tell)
    print(file=sys.stderr)
    models = {n: t.model for n, t in zip(PRESETS, trained, strict=True)}
    names = []
    for piece in pieces_of(args.performance):
        show(piece, models, args.out)
        names.append(piece.name.replace(" ", "-"))
    crescendos = [
        crescendo("crescendo on the head", "head", 0.2),
        crescendo("crescendo on the rim", "crossstick", 0.3),
    ]
    found = missed_hits(crescendos, models[PRESETS[0]], args.out)
    (args.out / "missed-hits.json").write_text(json.dumps(found, indent=2) + "\n")
    print(
        f"look at {', '.join(f'{n}.html' for n in [*names, 'missed-hits'])} "
        f"in {args.out}"
    )


if __name__ == "__main__":
    main()
