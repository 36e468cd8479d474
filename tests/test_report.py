"""The report: one whole picture, with something drawn where it should be."""

import errno
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from jaxsnare.report import DPI, SIZE_INCHES, _envelope, save_report

PARAMETERS = ("osc1.freq", "noise_env.decay", "noise_gain.gain", "tanh.in_gain")
BLUE, VERMILLION = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)


def content(hits=9, seconds=2.0, **changes):
    """Made-up results of a run: the synth follows the drum by 80 %."""
    rng = np.random.default_rng(0)
    loudness = np.linspace(-40, -10, hits)
    target = rng.normal(size=(hits, 7)) * [10, 8, 1, 1, 6, 5, 9]
    achieved = 0.8 * target
    audio = 0.01 * rng.normal(size=int(seconds * 48000))
    audio[20000:22000] *= 30
    return {
        "audio": audio.astype(np.float32),
        "sample_rate": 48000,
        "onsets": np.array([20000]),
        "feature_names": ("SPL_T", "SPL_S", "SC_T", "SC_S", "SF_T", "SF_S", "TC"),
        "feature_units": ("dB", "dB", "", "", "dB", "dB", "ms"),
        "target": target,
        "achieved": achieved,
        "baseline_error": abs(target).mean(0),
        "test_error": abs(target - achieved).mean(0),
        "loudness": loudness,
        "modulation": rng.uniform(-0.5, 0.5, size=(hits, len(PARAMETERS))),
        "parameter_names": PARAMETERS,
        "title": "A made-up run",
        **changes,
    }


def picture(path) -> np.ndarray:
    """Pixels as integers, [height, width, RGB]."""
    return np.round(255 * imread(path)[..., :3]).astype(int)


def coloured(pixels, colour) -> np.ndarray:
    return abs(pixels - np.array(colour)).max(-1) < 12


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.png"
    save_report(path, **content())
    return picture(path)


def test_picture_has_the_stated_size(saved):
    width, height = (round(DPI * inches) for inches in SIZE_INCHES)
    assert (width, height) == (2100, 2100)
    assert saved.shape == (height, width, 3)


def test_waveform_and_onset_are_where_they_belong(saved):
    strip = saved[:320]
    marks = np.flatnonzero(coloured(strip, VERMILLION).any(0))
    assert 0 < len(marks) < 20  # one stroke, one mark
    blue = coloured(strip, BLUE)
    first, *_, last = np.flatnonzero(blue.any(0))
    at = first + (last - first) * 20000 / 96000
    assert abs(marks.mean() - at) < 15
    # The burst after the mark is taller than the noise before it.
    column = round(marks.mean())
    assert blue[:, column + 20].sum() > 3 * blue[:, column - 40].sum()


def test_every_panel_has_dots(saved):
    dots = coloured(saved[400:1400], BLUE)
    for row in np.array_split(dots, 2, axis=0):
        for panel in np.array_split(row, 4, axis=1):
            assert panel.sum() > 400


def test_heatmap_shows_both_directions_over_the_whole_width(saved):
    heat = saved[1500:2000, 250:1850]
    orange = heat[..., 0] > heat[..., 2] + 40
    purple = heat[..., 2] > heat[..., 0] + 10
    for shown in (orange, purple):
        halves = np.array_split(shown, 2, axis=1)
        assert min(half.mean() for half in halves) > 0.05


def test_results_change_the_picture(saved, tmp_path):
    save_report(tmp_path / "r.png", **content(achieved=np.zeros((9, 7))))
    other = picture(tmp_path / "r.png")
    assert (saved[400:1400] != other[400:1400]).any()
    assert np.array_equal(saved[:320], other[:320])


def test_one_hit_silence_and_a_feature_that_never_moves(tmp_path):
    values = content(hits=1, audio=np.zeros(100), onsets=[], feature_names=range(7))
    values["target"][:, 0] = values["achieved"][:, 0] = 0
    values["baseline_error"][0] = values["test_error"][0] = 0
    save_report(tmp_path / "r.png", **values)
    assert picture(tmp_path / "r.png").std() > 10


def test_envelope_keeps_every_extreme_of_a_long_recording():
    audio = np.zeros(1_000_000)
    audio[[7, 333_333, 999_999]] = 1, -1, 0.5
    starts, low, high = _envelope(audio)
    assert len(starts) == len(low) == len(high) == 2400
    assert (high[0], low.min(), high[-1]) == (1, -1, 0.5)
    assert abs(starts[low.argmin()] - 333_333) < 1_000_000 / 2400
    assert len(_envelope(audio[:10])[0]) == 10


def test_a_failed_save_leaves_the_old_report_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "report.png"
    path.write_bytes(b"old")

    def fail(new, data):
        new.open("wb").close()
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(ValueError, match="cannot be written: disk full"):
        save_report(path, **content())
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.png"]


def test_report_leaves_no_global_state(saved):
    """Other drawing code of the caller keeps its backend and its figures."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"achieved": np.zeros((9, 6))}, r"achieved has shape \(9, 6\); .*\(9, 7\)"),
        ({"target": np.zeros((0, 7))}, r"target has shape \(0, 7\)"),
        ({"loudness": np.zeros(8)}, r"modulation has shape \(9, 4\); .*\(8, 4\)"),
        ({"test_error": np.full(7, np.nan)}, "test_error has values that are not"),
        ({"feature_units": ("dB",)}, "1 feature_units for 7 features"),
        ({"audio": np.zeros((2, 9))}, r"audio has shape \(2, 9\)"),
    ],
)
def test_bad_arguments_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        save_report(tmp_path / "r.png", **content(**changes))
    assert not list(tmp_path.iterdir())
