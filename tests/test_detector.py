"""The default detector against a plain loop in float64, and what it must (not) hear."""

import json
import sys
from functools import cache
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
import soxr

from jaxsnare.component import min_gap_samples, run_blocks
from jaxsnare.detector import HitDetector, detector_of, find_detector
from jaxsnare.drummer import SnareDrum
from jaxsnare.knobs import HIT_SPECS
from jaxsnare.onset import ONSET_SPECS, OnsetDetector, find_onsets
from jaxsnare.params import as_params

RATE = 44_100
DETECTOR = HitDetector(RATE)
EXPERIMENT = Path(__file__).resolve().parents[1] / "experiments" / "missed_hits"


def settings(**turned):
    values = HIT_SPECS.defaults | {f"onset.{k}": v for k, v in turned.items()}
    return as_params(values)


def onsets(audio, rate=RATE, **turned):
    return find_onsets(
        HitDetector(rate), settings(**turned), np.asarray(audio, np.float32)
    )


def oracle(x, rate, values):
    """The docstring in float64, sample by sample."""
    at = {name.removeprefix("onset."): value for name, value in values.items()}
    x = np.asarray(x, float)
    change = np.diff(x, prepend=x[0])
    before = np.concatenate([[0.0, 0.0], change])
    change = np.median([before[:-2], before[1:-1], before[2:]], axis=0)
    edges = np.array([200.0, 600.0, 2500.0, 8000.0, 20_000.0])
    pole = np.exp(-2 * np.pi * np.minimum(edges, 0.45 * rate) / rate)
    weights = np.array([at[k] for k in ("body", "head", "wires", "stick")])
    floor = 10 ** (at["floor"] / 10)
    margin = 10 ** (at["noise"] / 10)
    zero_db = at["floor"] + at["noise"]
    keep = np.exp(-1000 / (rate * at["hold"]))
    share = 1 - np.exp(-1000 / (rate * at["past"]))
    smooth, band, peak, noise, loudest = np.zeros((5, 4))
    past, mask, age = np.zeros((3, 4))
    since = int(0.65 * at["wait"] * rate / 1000)
    wave = np.array([abs(x[0]), abs(x[0]) + 5 * abs(x[1] - x[0])])
    start = 20 * np.log10(wave + 1e-8) - zero_db
    signal, found = [], []
    for n, value in enumerate(change):
        smooth = pole[1:] * smooth + value
        band = pole[:-1] * band + smooth
        peak = np.maximum(((pole[:-1] - pole[1:]) * band) ** 2, keep * peak)
        up_db_s = 1.5 + 600 * np.exp(-(n + 1) / (0.1 * rate))
        up = 1 + up_db_s * np.log(10) / 10 / rate
        least = floor
        if n < round(0.01 * rate):
            least = np.maximum(noise, floor)
            least = np.maximum(least, wave[n] ** 2 / margin if n < 2 else 0.0)
        noise = np.maximum(np.minimum(peak, up * noise), least)
        level = 10 * np.log10((peak + margin * noise) / (margin * floor))
        if n < 2:
            past, mask = np.maximum(past, start[n]), np.maximum(mask, start[n])
        below = np.maximum.reduce([past, mask - at["mask"], loudest - at["range"]])
        rise = weights @ np.clip(level - below, 0, at["most"])
        threshold = max(at["on"] - 0.3 * at["sensitivity"], 0.5)
        threshold += at["retrigger"] * max(0, 1 - since / (at["wait"] * rate / 1000))
        fires = rise > threshold and since >= min_gap_samples(rate)
        past = past + share * (level - past)
        mask = np.maximum(mask - at["mask_slope"] * 1000 / rate, level)
        loudest = loudest - np.where(age >= 2 * rate, 12 / rate, 0.0)
        age = np.where(level >= loudest, 0, age + 1)
        loudest = np.maximum(loudest, level)
        since = 0 if fires else since + 1
        signal.append(rise)
        if fires:
            found.append(n)
    return np.array(signal), np.array(found)


@cache
def load(path):
    return soundfile.read(path, dtype="float32")[0]


def strokes(at_s, velocities, rate=RATE, seconds=None):
    """Strokes of the embedded drummer at times in s."""
    seconds = seconds or at_s[-1] + 1.0
    audio = np.zeros(round(seconds * rate))
    for i, (at, velocity) in enumerate(zip(at_s, velocities, strict=True)):
        hit = SnareDrum(sample_rate=rate).strike(velocity, seed=i)
        start = round(at * rate)
        room = audio[start : start + len(hit)]
        room += hit[: len(room)]
    return audio


def noise(rms_db, seconds, seed=0):
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(0, 10 ** (rms_db / 20), round(seconds * RATE)))


def assert_one_each(found, at_s, rate=RATE):
    """One onset for each stroke, from 2 ms before to 10 ms after, and no other."""
    assert len(found) == len(at_s)
    late_s = found / rate - np.asarray(at_s)
    assert ((late_s >= -0.002) & (late_s <= 0.010)).all()


@pytest.mark.parametrize(
    ("name", "turned"),
    [
        ("gogodze2_snare__groove", {}),
        ("fs_14x05_maple__roll", {"sensitivity": 3.0, "range": 20.0, "stick": 0.8}),
        # from within a stroke
        ("fs_14x05_maple__roll", {"begin": 30_000}),
    ],
)
def test_a_performance_gives_the_onsets_of_a_loop(performance, name, turned):
    turned = dict(turned)
    begin = turned.pop("begin", 0)
    x = performance(name)[begin:][: 2 * RATE]
    values = {k: float(v) for k, v in settings(**turned).items()}
    signal, found = oracle(x, RATE, values)
    assert len(found) >= 5
    got = run_blocks(DETECTOR, settings(**turned), x)
    assert np.abs(got.level - signal).max() < 0.1
    np.testing.assert_allclose(np.flatnonzero(got.fired), found, atol=1)


@pytest.mark.parametrize("block", [441, 100_000])
def test_a_file_gives_the_same_onsets_in_blocks_of_any_size(performance, block):
    x = performance("gogodze2_snare__groove")[: 2 * RATE]
    got = run_blocks(DETECTOR, settings(), x, block)
    wanted = run_blocks(DETECTOR, settings(), x)
    np.testing.assert_array_equal(got.fired, wanted.fired)
    np.testing.assert_allclose(got.level, wanted.level, atol=1e-3)


@pytest.mark.parametrize("gain_db", [-12, -24])
@pytest.mark.parametrize("kind", ["crescendo", "groove", "roll"])
@pytest.mark.parametrize(
    "drum", ["fs_14x05_maple", "fs_16x07_sapele", "gogodze2_snare"]
)
def test_soft_input_gives_the_same_onsets(performance, drum, kind, gain_db):
    """Within 1 ms, but for one where a slow rise just reaches the threshold."""
    x = performance(f"{drum}__{kind}")
    loud, soft = onsets(x), onsets(x * 10 ** (gain_db / 20))
    assert len(loud) == len(soft) > 15
    moved = np.sort(np.abs(loud - soft)) / RATE
    assert moved[-1] < 0.003
    assert moved[-2] <= 0.001


def test_the_published_detector_hears_less_of_soft_input(performance):
    x = performance("fs_14x05_maple__crescendo")
    published = OnsetDetector(RATE)
    quiet = np.asarray(x * 10 ** (-24 / 20), np.float32)
    assert len(find_onsets(published, published.defaults, quiet)) < 24


@pytest.mark.parametrize("rate", [48_000, 96_000])
def test_onsets_do_not_depend_on_the_rate(performance, rate):
    x = performance("fs_14x08_birch__crescendo")[: 8 * RATE]
    at_44 = onsets(x) / RATE
    there = onsets(soxr.resample(x, RATE, rate, quality="VHQ"), rate) / rate
    assert len(at_44) >= 15
    assert len(there) == len(at_44)
    assert np.abs(there - at_44).max() < 1e-3


def test_ghost_notes_after_accents_are_heard():
    at = 0.3 + 0.15 * np.arange(16)
    loud = np.where(np.arange(16) % 4 == 0, 1.0, 0.35)
    assert_one_each(onsets(strokes(at, loud)), at)


@pytest.mark.parametrize("gap_ms", [30, 40, 50])
def test_flams_and_buzz_strokes_are_kept(gap_ms):
    at = np.r_[0.3, 0.3 + gap_ms / 1000]
    assert_one_each(onsets(strokes(at, [0.4, 0.8])), at)


@pytest.mark.parametrize(("gap_ms", "least"), [(30, 0.55), (40, 0.85), (50, 0.95)])
def test_the_strokes_of_a_buzz_are_kept_on_real_drums(shared, gap_ms, least):
    """Three alike: the middle one, which must rise above the one before."""
    mixing, score = experiment("mixing"), experiment("score")
    found = []
    for p, audio in mixing.flams(shared / "data" / "snare"):
        _, missed, _ = score.judge(onsets(audio), p, RATE)
        gaps = np.r_[np.inf, np.diff(p.hits), np.inf] * 1000 / RATE
        near = (np.abs(gaps[:-1] - gap_ms) < 1) & (np.abs(gaps[1:] - gap_ms) < 1)
        found += [hit not in missed for hit in p.hits[near & ~p.excused]]
    assert len(found) >= 20
    assert np.mean(found) >= least


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_a_stroke_is_one_hit(rate):
    at = 0.2 + 0.6 * np.arange(5)
    velocities = [0.1, 0.3, 0.5, 0.8, 1.0]
    assert_one_each(onsets(strokes(at, velocities, rate), rate), at, rate)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_minute_of_room_noise_is_no_hit(seed):
    assert len(onsets(noise(-50, 60, seed))) == 0


@pytest.mark.parametrize("rms_db", [-70, -50, -30])
@pytest.mark.parametrize("slope", [0, 1, 2])
def test_a_start_within_noise_is_no_hit(slope, rms_db):
    """White, pink and brown: fifty starts each."""
    size, level = round(0.4 * RATE), 10 ** (rms_db / 20)
    hz = np.maximum(np.fft.rfftfreq(size, 1 / RATE), 20.0)
    fired = 0
    for seed in range(50):
        spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=size))
        audio = np.fft.irfft(spectrum * hz ** (-slope / 2), size)
        fired += len(onsets(audio * level / audio.std())) > 0
    assert fired == 0


@pytest.mark.parametrize("softer_db", [24, 28])
def test_a_ghost_note_in_the_range_is_heard_after_an_accent(softer_db):
    """A quarter of a second after it, as sixteenths of a slow groove are."""
    accent = strokes([0.3], [1.0], seconds=1.0)
    audio = accent.copy()
    at = round(0.25 * RATE)
    audio[at:] += 10 ** (-softer_db / 20) * accent[:-at]
    assert_one_each(onsets(audio), [0.3, 0.55])


def test_a_bump_does_not_make_soft_playing_unheard_for_long():
    """Of strokes 36 dB below it, all that come 3 s after it are heard."""
    rng = np.random.default_rng(0)
    at = 1.0 + 0.5 * np.arange(12)
    soft = strokes(at, np.full(12, 0.5))
    audio = soft * 10 ** (-36 / 20) / np.abs(soft).max()
    bump = rng.normal(size=2000) * np.exp(-np.arange(2000) / 300)
    audio[4000:6000] += bump / np.abs(bump).max()
    found = onsets(audio) / RATE
    assert_one_each((found[found > 3.4] * RATE), at[at > 3.4])


def test_a_hit_in_noise_is_heard():
    audio = strokes([2.0], [0.5]) + noise(-50, 3)
    assert_one_each(onsets(audio), [2.0])


def test_silence_and_steps_of_the_offset_are_no_hits():
    silence = np.zeros(RATE)
    assert len(onsets(silence)) == 0
    assert len(onsets(silence + 0.5)) == 0
    # of one sample: one that takes longer sounds like any other attack
    stepped = silence.copy()
    stepped[9000:] += 0.1
    stepped[20_000:] -= 0.3
    assert len(onsets(stepped)) == 0


def test_a_start_within_a_note_is_no_hit_and_one_at_the_attack_is():
    """Of many starts: where a wave begins at nothing, both look alike at first."""
    hits = [strokes([0.1], [v]) for v in (0.3, 0.6, 0.9)]
    start = round(0.1 * RATE)
    within = [
        onsets(hit[start + round(ms * RATE / 1000) :])
        for hit in hits
        for ms in range(40, 160, 5)
    ]
    assert np.mean([len(found) > 0 for found in within]) < 0.03
    for hit in hits:
        found = onsets(hit[start - 10 :])  # 0.2 ms before it
        assert len(found) == 1
        assert found[0] < 0.010 * RATE


def test_a_start_within_a_recorded_note_is_no_hit(shared):
    """Half of the starts are where the wave crosses zero: the hardest ones."""
    rng, starts = np.random.default_rng(0), []
    for file in sorted((shared / "data" / "snare" / "real").glob("*/centre_*r1*"))[:24]:
        hit = load(file)
        for start in 441 + rng.integers(round(0.03 * RATE), round(0.4 * RATE), 3):
            crossing = np.flatnonzero(np.diff(np.signbit(hit[start : start + 2000])))
            for at in (start, start + crossing[0] if len(crossing) else start):
                piece = hit[at : at + 1024]
                if len(piece) == 1024:
                    starts.append(piece)
    fired = [len(onsets(piece)) > 0 for piece in starts]
    assert len(fired) > 100
    assert np.mean(fired) < 0.02


def test_a_refused_onset_is_forgotten():
    """Of two strokes 12 ms apart the second is heard if the first is refused."""
    x = jnp.float32(strokes([0.1, 0.112], [0.4, 0.9], seconds=0.3))
    _, plain = DETECTOR.step(settings(), DETECTOR.init(), x)
    (first,) = np.flatnonzero(plain.fired)
    age = np.full(len(x), -1, np.int32)
    age[first + 300] = 300
    _, told = DETECTOR.step(settings(), DETECTOR.init(), x, refused=jnp.asarray(age))
    found = np.flatnonzero(told.fired)
    assert found[0] == first
    assert abs(found[1] - 0.112 * RATE) < 0.008 * RATE
    # what is refused is that onset, and no other
    age[first + 300] = 299
    _, other = DETECTOR.step(settings(), DETECTOR.init(), x, refused=jnp.asarray(age))
    np.testing.assert_array_equal(other.fired, plain.fired)


def test_sensitivity_finds_more():
    """And no less; silence is silence at any."""
    at = 0.3 + 0.3 * np.arange(12)
    audio = strokes(at, np.geomspace(0.02, 1.0, 12)) + noise(-55, at[-1] + 1.0, seed=1)
    counts = [len(onsets(audio, sensitivity=s)) for s in (-12.0, -3.0, 0.0, 3.0)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    assert len(onsets(np.zeros(2 * RATE), sensitivity=12.0, on=0.5)) == 0
    most = {
        name: np.float32(v) for name, v in settings(sensitivity=12.0, on=0.5).items()
    }
    assert DETECTOR.threshold_db(most) == 0.5


@pytest.mark.slow
def test_recall_does_not_fall_up_to_the_sensitivity_that_is_recommended(shared):
    score, found = experiment("score"), []
    for sensitivity in (0.0, 3.0):
        total = score.Score()
        for p in score.performances(shared / "data" / "snare"):
            if p.gain_db == 0:
                heard = onsets(load(p.path), sensitivity=sensitivity)
                total += score.judge(heard, p, RATE)[0]
        found.append(total.found)
    assert found[1] >= found[0]


def test_the_defaults_are_what_was_fitted():
    """On all drums, rounded to three digits."""
    fitted = json.loads((EXPERIMENT / "settings.json").read_text("utf-8"))["all"]
    for name, value in fitted["settings"].items():
        assert HIT_SPECS.defaults[name] == pytest.approx(value, rel=0.01, abs=0.005)


def test_a_detector_is_known_by_its_name_and_by_its_settings():
    assert detector_of(HIT_SPECS.defaults) == "adaptive"
    assert detector_of(ONSET_SPECS.defaults) == "published"
    assert find_detector("published", RATE) == OnsetDetector(RATE)
    with pytest.raises(ValueError, match="unknown detector 'adaptiv': did you mean"):
        find_detector("adaptiv", RATE)
    with pytest.raises(ValueError, match=r"missing parameter: onset\.mask"):
        detector_of({k: v for k, v in HIT_SPECS.defaults.items() if k != "onset.mask"})


def test_matching_is_the_best_there_is():
    """One onset for one hit: as many pairs as SciPy's matching finds."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    score = experiment("score")
    rng = np.random.default_rng(0)
    for _ in range(50):
        hits = np.sort(rng.integers(0, 3 * RATE, 40))
        found = np.sort(rng.integers(0, 3 * RATE, 60))
        late = found[None] - hits[:, None]
        fits = (late >= round(-0.002 * RATE)) & (late <= round(0.020 * RATE))
        best = maximum_bipartite_matching(csr_array(fits), perm_type="column")
        served = score.match(found, hits, RATE)
        assert (served >= 0).sum() == (best >= 0).sum()
        used = served[served >= 0]
        assert len(set(used)) == len(used)
        assert fits[served >= 0, used].all()


def test_matching_agrees_with_mir_eval():
    """Whose windows are symmetric: ours is its, 9 ms later."""
    util = pytest.importorskip("mir_eval").util
    score, rng = experiment("score"), np.random.default_rng(1)
    for _ in range(20):
        hits = np.sort(rng.integers(0, 3 * RATE, 40))
        found = np.sort(rng.integers(0, 3 * RATE, 60))
        low, high = round(-0.002 * RATE), round(0.020 * RATE)
        pairs = util.match_events(
            hits + (low + high) / 2, found.astype(float), (high - low) / 2
        )
        assert (score.match(found, hits, RATE) >= 0).sum() == len(pairs)


@pytest.mark.slow
def test_many_settings_at_once_give_the_onsets_of_the_detector(performance):
    fast, fit = experiment("fast"), experiment("fit")
    rng = np.random.default_rng(0)
    drawn = [fit.named(rng.uniform(size=len(fit.RANGES))) for _ in range(4)]
    fast.check(DETECTOR, performance("gogodze2_snare__groove")[: 4 * RATE], drawn)


@pytest.mark.slow
def test_the_figures_of_the_experiment(shared):
    """What experiments/missed_hits/README.md claims, with the default settings."""
    score = experiment("score")
    totals = {}
    for p in score.performances(shared / "data" / "snare"):
        audio = load(p.path) * np.float32(10 ** (p.gain_db / 20))
        totals[p], _, _ = score.judge(onsets(audio), p, RATE)
    rows = score.sums(totals)
    assert rows["0"]["all"]["F"] > 0.98
    assert min(rows[gain]["all"]["F"] for gain in rows) > 0.975
    assert min(rows[gain]["clean"]["F"] for gain in rows) > 0.99
    assert rows["0"]["roll"]["recall"] > 0.98
    assert rows["0"]["all"]["late_ms_95"] < 2.7


def test_the_experiment_runs_on_any_folder_of_that_layout(tmp_path, monkeypatch):
    """A drum that no fold knows, nothing missed, no rolls, no bleed, odd noise."""
    at = 0.3 + 0.3 * np.arange(5)
    audio = strokes(at, np.full(5, 0.8))
    rows = [f"{round(t * RATE)},snare,-3,40" for t in at]
    (tmp_path / "a.csv").write_text(
        "sample,type,peak_dbfs,contrast_db\n" + "\n".join(rows)
    )
    entries = []
    for name, level in (("clean", None), ("noisy", -60.5)):
        more = 0.0 if level is None else noise(level, len(audio) / RATE)
        soundfile.write(tmp_path / f"{name}.wav", 0.5 * audio + more, RATE)
        entries.append(
            {"file": f"{name}.wav", "truth": "a.csv", "drum": "another"}
            | {"kind": "groove", "noise_dbfs": level, "bleed": False}
        )
    (tmp_path / "performances.json").write_text(json.dumps(entries))
    out = tmp_path / "out"
    argv = ["run.py", str(tmp_path), "--out", str(out), "--only", "adaptive"]
    monkeypatch.setattr(sys, "argv", argv)
    experiment("run").main()
    found = json.loads((out / "results.json").read_text())
    assert found["adaptive, cross-validated"]["sums"]["0"]["all"]["F"] == 1.0
    assert found["lost"] == {}
    assert (out / "recall.png").exists()


def experiment(name):
    sys.path.insert(0, str(EXPERIMENT))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(EXPERIMENT))
