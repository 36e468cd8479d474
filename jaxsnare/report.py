"""One picture of a training run that a musician can read."""

import io
from pathlib import Path

import numpy as np

from jaxsnare.files import write_whole
from jaxsnare.terminal import signed

SIZE_INCHES = (14.0, 14.0)
DPI = 150

# The short names of the features, in words; other names are shown as they come.
FULL_NAMES = {
    "SPL_T": "transient loudness",
    "SPL_S": "sustain loudness",
    "SC_T": "transient brightness",
    "SC_S": "sustain brightness",
    "SF_T": "transient noisiness",
    "SF_S": "sustain noisiness",
    "TC": "attack length",
}

_COLUMNS = 4  # of panels, one feature each

# Okabe & Ito: told apart by colour-blind readers too.
_BLUE, _VERMILLION, _GREY = "#0072B2", "#D55E00", "#777777"


def save_report(
    path,
    *,
    audio,
    sample_rate,
    onsets,
    feature_names,
    feature_units,
    target,
    achieved,
    baseline_error,
    test_error,
    loudness,
    modulation,
    parameter_names,
    title,
) -> None:
    """Save a PNG (2100 x 2100): the recording, what the synth follows, and how.

    audio: [samples] within [-1, 1], at sample_rate Hz. onsets: [strokes], samples.
    feature_names, feature_units: F words each ("" for no unit).
    target, achieved: [N, F], differences of N test hits from the reference hit, of the
    drum and of the synth, in the units of the features.
    baseline_error, test_error: [F], mean absolute error of the preset alone and of the
    model. loudness: [M] in dB, of the hits of modulation: [M, P], in [-1, 1] of each
    parameter's range. parameter_names: P words. title: one line.

    The file appears whole or not at all: it is written beside `path`, then moved.

    Raises ValueError if shapes disagree, or values are not finite.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_report(Path(folder, "report.png"), audio=np.zeros(999),
    ...         sample_rate=48000, onsets=[9], feature_names=["TC"],
    ...         feature_units=["ms"], target=[[2.0]], achieved=[[1.5]],
    ...         baseline_error=[2.0], test_error=[0.5], loudness=[-20.0],
    ...         modulation=[[0.3]], parameter_names=["osc1.freq"], title="One hit")
    ...     [path.name for path in Path(folder).iterdir()]
    ['report.png']
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    names = [FULL_NAMES.get(name, name) for name in map(str, feature_names)]
    features, parameters = len(names), len(parameter_names)
    target = _array("target", target, (None, features))
    achieved = _array("achieved", achieved, target.shape)
    baseline_error = _array("baseline_error", baseline_error, (features,))
    test_error = _array("test_error", test_error, (features,))
    loudness = _array("loudness", loudness, (None,))
    modulation = _array("modulation", modulation, (len(loudness), parameters))
    if len(feature_units) != features:
        raise ValueError(f"{len(feature_units)} feature_units for {features} features")

    figure = Figure(
        figsize=SIZE_INCHES,
        dpi=DPI,
        facecolor="white",
        layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.1),  # inches
    )
    figure.suptitle(title, fontsize=19, fontweight="bold")
    rows = -(-(features + 1) // _COLUMNS)
    above, middle, below = figure.subfigures(
        3, 1, squeeze=False, height_ratios=[2.5, 3.7 * rows, 5]
    )[:, 0]

    audio = _array("audio", audio, (None,))
    onsets = _array("onsets", onsets, (None,), empty=True)
    found = f"{len(onsets)} stroke{'s' * (len(onsets) != 1)} found (marked on top)"
    _head(above, f"What was played: {len(audio) / sample_rate:.1f} s, {found}")
    _draw_recording(above.subplots(), audio, sample_rate, onsets)

    _head(
        middle,
        "How the synth follows the drum: every dot is a hit it was not trained on; "
        "on the dashed line it follows exactly",
    )
    grid = middle.add_gridspec(rows, _COLUMNS)
    for i, name in enumerate(names):
        axes = middle.add_subplot(grid[divmod(i, _COLUMNS)])
        _draw_differences(axes, target[:, i], achieved[:, i], feature_units[i])
        share = _share(test_error[i], baseline_error[i])
        error, baseline = (
            f"{x:.2g} {feature_units[i]}".strip()
            for x in (test_error[i], baseline_error[i])
        )
        _caption(
            axes, name, f"error {error}: {share:.0f} %\nof preset alone, {baseline}"
        )
    _draw_shares(
        middle.add_subplot(grid[divmod(features, _COLUMNS)]),
        names,
        _share(test_error, baseline_error),
    )

    _head(below, "How each knob is turned, from soft to loud hits")
    _draw_modulation(below.subplots(), loudness, modulation, parameter_names)

    _save(figure, path)


def save_onsets(
    path, *, audio, sample_rate, onsets, level_db, threshold_db, title
) -> None:
    """Save a PNG: a recording, what a detector makes of it, and the onsets found.

    audio: [samples] at sample_rate Hz. onsets: [N], samples. level_db, threshold_db:
    [samples], the detection signal and what it must exceed. title: one line.

    The file appears whole or not at all. Raises ValueError if shapes disagree, or
    values are not finite.
    """
    from matplotlib.figure import Figure

    audio = _array("audio", audio, (None,))
    onsets = _array("onsets", onsets, (None,), empty=True)
    level = _array("level_db", level_db, audio.shape)
    threshold = _array("threshold_db", threshold_db, audio.shape)
    figure = Figure(figsize=(14.0, 7.0), layout="constrained")
    figure.suptitle(title, x=0.012, ha="left", fontsize=14)
    above, below = figure.subplots(2, 1, sharex=True)
    _draw_recording(above, audio, sample_rate, onsets)
    above.set_xlabel("")
    starts, _, high = _envelope(level)
    seconds = starts / sample_rate
    below.plot(seconds, high, color=_BLUE, linewidth=0.8, label="detection signal")
    # where it rises a hit masks what follows: the highest of each stretch again
    _, _, limit = _envelope(threshold)
    below.plot(seconds, limit, color=_GREY, linewidth=1.0, label="threshold")
    # just after a hit the threshold is far above what is to be seen here
    top = 1.3 * max(high.max(), np.median(limit))
    below.plot(
        onsets / sample_rate,
        np.full(len(onsets), 0.97 * top),
        "|",
        color=_VERMILLION,
        markersize=9,
        label="hits found",
    )
    below.set_ylim(0, top)
    below.set_xlabel("time (s)", size=11)
    below.set_ylabel("dB", size=11)
    # above the picture: in it, it would hide hits
    above_it = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0)}
    below.legend(fontsize=10, ncols=3, frameon=False, **above_it)
    _plain(below)
    _save(figure, path)


def save_moves(
    path,
    *,
    audio,
    sample_rate,
    moves,
    parameter_names,
    feature_names,
    feature_units,
    title,
) -> None:
    """Save a PNG: a hit of a synth, and which parameter moves which feature how far.

    audio: [samples] at sample_rate Hz. moves: [parameters, features], in the features'
    units. The colours are by feature, the numbers are as they came; what is not finite
    is a dash.

    The file appears whole or not at all. Raises ValueError if shapes disagree.
    """
    from matplotlib.figure import Figure

    audio = _array("audio", np.nan_to_num(audio, posinf=0.0, neginf=0.0), (None,))
    shape = len(parameter_names), len(feature_names)
    known = np.isfinite(moves)
    moves = _array("moves", np.where(known, moves, 0.0), shape)
    figure = Figure(figsize=(11.0, 3.0 + 0.4 * shape[0]), layout="constrained")
    figure.suptitle(title, x=0.012, ha="left", fontsize=14)
    above, below = figure.subplots(2, 1, height_ratios=(2.0, 0.4 * shape[0] + 0.5))
    _draw_recording(above, audio, sample_rate, np.array([], int))
    most = np.abs(moves).max(axis=0)
    share = moves / np.where(most > 0, most, 1.0)
    below.imshow(
        share,
        aspect="auto",
        cmap="PuOr_r",
        vmin=-1,
        vmax=1,
        alpha=0.8,
    )
    for (row, column), value in np.ndenumerate(moves):
        words = signed(value) if known[row, column] else "-"
        ink = "white" if abs(share[row, column]) > 0.6 else "black"
        place = {"ha": "center", "va": "center", "size": 11, "color": ink}
        below.text(column, row, words, **place)
    names = [str(FULL_NAMES.get(name, name)) for name in feature_names]
    wrapped = [
        name.replace(" ", "\n", 1) + (f" ({unit})" if unit else "")
        for name, unit in zip(names, feature_units, strict=True)
    ]
    below.set_xticks(range(shape[1]), wrapped, size=10)
    below.set_yticks(range(shape[0]), parameter_names, size=10)
    below.tick_params(length=0)
    below.spines[:].set_visible(False)
    below.set_title("from the lowest to the highest value", size=11, loc="left")
    _save(figure, path)


def save_match(path, *, sounds, sample_rate, title) -> None:
    """Save a PNG: sounds above each other, each as waveform and spectrogram.

    sounds: {name: [samples]} at sample_rate Hz, of one length. Waveforms have one
    scale, and so have the colours: 80 dB, down from the first sound's highest level.

    The file appears whole or not at all. Raises ValueError if shapes disagree.
    """
    from matplotlib.figure import Figure

    rows = {name: _array(name, audio, (None,)) for name, audio in sounds.items()}
    figure = Figure(figsize=(12.0, 2.6 * len(rows) + 0.6), layout="constrained")
    figure.suptitle(title, x=0.012, ha="left", fontsize=14)
    axes = figure.subplots(
        len(rows), 2, squeeze=False, width_ratios=(1, 2), sharex=True
    )
    peak = max(np.abs(audio).max() for audio in rows.values())
    top = None
    for (name, audio), (left, right) in zip(rows.items(), axes, strict=True):
        _draw_recording(left, audio, sample_rate, np.array([], int))
        left.set_title(name, size=11, loc="left")
        left.set_ylim(-1.05 * peak - 1e-6, 1.05 * peak + 1e-6)
        left.set_xlabel("")
        size = next((n for n in (4096, 1024) if 4 * n <= len(audio)), len(audio))
        audio = np.pad(audio, (size // 2, size // 2))  # frames from end to end
        starts = np.arange(0, len(audio) - size + 1, max(1, size // 16))
        framed = audio[starts[:, None] + np.arange(size)] * np.hanning(size)
        level = 20 * np.log10(np.abs(np.fft.rfft(framed)).T + 1e-9)
        top = level.max() if top is None else top
        hz = np.fft.rfftfreq(size, 1 / sample_rate)
        right.pcolormesh(
            starts / sample_rate,
            hz[1:],
            level[1:],
            vmin=top - 80,
            vmax=top,
            cmap="magma",
            rasterized=True,
        )
        right.set_yscale("log")
        right.set_ylim(40, sample_rate / 2)
        right.set_ylabel("Hz", size=10)
        right.tick_params(labelsize=9)
    for below in axes[-1]:
        below.set_xlabel("time (s)", size=11)
    _save(figure, path)


def _save(figure, path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI)
    write_whole(Path(path), picture.getbuffer())


def _array(name, value, shape, *, empty=False) -> np.ndarray:
    """The value as float64, refused unless finite and of this shape (None: any)."""
    value = np.asarray(value, np.float64)
    fits = value.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, value.shape, strict=True)
    )
    if not fits or not (value.size or empty):
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name} has shape {value.shape}; allowed is ({wanted})")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} has values that are not finite")
    return value


def _share(error, baseline):
    """Error in percent of the baseline's; a feature that never moves counts as 100."""
    still = baseline <= 0
    return np.where(still, 100.0, 100 * error / np.where(still, 1, baseline))


def _envelope(audio, columns: int = 2400):
    """Lowest and highest sample of each of at most `columns` equal stretches."""
    starts = np.linspace(0, len(audio), min(columns, len(audio)), endpoint=False)
    starts = starts.astype(int)
    low = np.minimum.reduceat(audio, starts)
    return starts, low, np.maximum.reduceat(audio, starts)


def _head(part, words: str) -> None:
    part.suptitle(words, x=0.012, ha="left", fontsize=14)


def _caption(axes, title: str, detail: str) -> None:
    axes.set_title(title, size=12, pad=9 + 13 * len(detail.splitlines()))
    axes.text(0.5, 1.03, detail, size=10, ha="center", transform=axes.transAxes)


def _plain(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=10)


def _draw_recording(axes, audio, sample_rate, onsets) -> None:
    starts, low, high = _envelope(audio)
    seconds = len(audio) / sample_rate
    peak = max(abs(low).max(), abs(high).max(), 1e-6)
    # step="post" would leave the last stretch out: it is closed by hand.
    edges = np.append(starts, len(audio)) / sample_rate
    low, high = np.append(low, low[-1]), np.append(high, high[-1])
    axes.fill_between(edges, low, high, step="post", color=_BLUE, linewidth=0.4)
    # Above the waveform, for a line through it would hide the stroke it marks.
    axes.vlines(
        onsets / sample_rate, 1.08 * peak, 1.3 * peak, color=_VERMILLION, linewidth=1.4
    )
    axes.set_xlim(0, seconds)
    axes.set_ylim(-1.05 * peak, 1.35 * peak)
    axes.set_yticks([])
    axes.set_xlabel("time (s)", size=11)
    _plain(axes)
    axes.spines["left"].set_visible(False)


def _draw_differences(axes, target, achieved, unit) -> None:
    values = np.concatenate([target, achieved, [0.0]])
    middle = (values.min() + values.max()) / 2
    half = max(0.58 * np.ptp(values), 1e-3)
    ends = (middle - half, middle + half)
    for line in (axes.axhline, axes.axvline):
        line(0, color="#DDDDDD", linewidth=0.8, zorder=0)
    axes.plot(ends, ends, color=_GREY, linewidth=1.2, linestyle="--", zorder=1)
    axes.vlines(target, target, achieved, color=_VERMILLION, linewidth=0.9, alpha=0.6)
    axes.scatter(target, achieved, s=34, color=_BLUE, edgecolor="white", linewidth=0.5)
    axes.set_xlim(ends)
    axes.set_ylim(ends)
    axes.set_box_aspect(1)
    suffix = f" ({unit})" if unit else ""
    axes.set_xlabel(f"wanted: drum{suffix}", size=10)
    axes.set_ylabel(f"got: synth{suffix}", size=10)
    axes.locator_params(nbins=4)
    axes.set_yticks([y for y in axes.get_xticks() if ends[0] <= y <= ends[1]])
    axes.set_xticks(axes.get_yticks())
    _plain(axes)


def _draw_shares(axes, names, percent) -> None:
    places = np.arange(len(names))
    axes.barh(places, percent, color=_BLUE, height=0.6)
    axes.axvline(100, color=_VERMILLION, linewidth=1.6)
    right = 150  # far over the line, a bar is cut: its number says how far
    for place, value in zip(places, percent, strict=True):
        inside = value > 0.8 * right
        axes.text(
            min(value, right) + (-3 if inside else 3),
            place,
            f"{value:.0f}",
            color="white" if inside else "black",
            ha="right" if inside else "left",
            va="center",
            size=10,
            zorder=3,
        )
    labels = [name.replace(" ", "\n", 1) for name in names]
    axes.set_yticks(places, labels, size=9, linespacing=0.9)
    axes.invert_yaxis()
    axes.set_xlim(0, right)
    axes.set_xlabel("error in % of the preset alone", size=10)
    _caption(axes, "what is missed", "shorter is better")
    _plain(axes)


def _draw_modulation(axes, loudness, modulation, parameter_names) -> None:
    order = np.argsort(loudness, kind="stable")
    reach = max(abs(modulation).max(), 0.05)
    image = axes.imshow(
        modulation[order].T,
        aspect="auto",
        interpolation="nearest",
        cmap="PuOr_r",
        vmin=-reach,
        vmax=reach,
    )
    hits = len(order)
    places = np.unique(np.linspace(0, hits - 1, min(hits, 9)).astype(int))
    axes.set_xticks(places, [f"{loudness[order[i]]:.0f} dB" for i in places], size=10)
    axes.set_yticks(range(len(parameter_names)), parameter_names, size=10)
    # White lines between the parameters, so that each row is read as one knob.
    axes.hlines(
        np.arange(1, len(parameter_names)) - 0.5, -0.5, hits - 0.5, color="w", lw=1.5
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("one column per hit, from soft to loud (its loudness)", size=11)
    bar = axes.figure.colorbar(image, ax=axes, pad=0.012, fraction=0.025)
    bar.set_label("turned down      |      turned up", size=10)
    bar.ax.tick_params(labelsize=9)
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_formatter(
        lambda value, _: f"{round(100 * value):+d} %".replace("+0 ", "0 ")
    )
