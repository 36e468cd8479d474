"""The stream on a real audio clock: a JACK server without a sound card."""

import os
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from jack_server import (
    PERIOD,
    RATE,
    Studio,
    jack,
    jackd,
    look_again,
    needs_jack,
    period,
    wait_for,
)

from jaxsnare.audio import read_audio
from jaxsnare.cli import main
from jaxsnare.component import fade_samples
from jaxsnare.drummer import groove
from jaxsnare.live.controls import Controls
from jaxsnare.live.engine import Engine, Played
from jaxsnare.live.rack import Rack
from jaxsnare.live.stream import Player, devices, find_device
from jaxsnare.onset import ONSET_SPECS
from jaxsnare.performance import remap

GROOVE = groove(RATE).audio
pytestmark = needs_jack


@pytest.fixture(scope="module")
def server():
    try:
        import sounddevice as sd
    except (ImportError, OSError) as error:
        pytest.skip(str(error))
    with jackd("jaxsnare-test") as process:
        look_again()
        yield process
        sd._terminate()  # it would abort if it ended after its server
    sd._initialize()


@pytest.fixture(scope="module")
def model(random_model):
    """With the published detector, which forgets what it heard long ago.

    How much silence a stream hears before a test plays is not known to the sample, and
    neither is what a block that was lost changes for the other detector.
    """
    return replace(random_model(), onset=dict(ONSET_SPECS.defaults))


@pytest.fixture(scope="module")
def engines(model):
    made = {}

    def get(block: int) -> Engine:
        if block not in made:
            made[block] = Engine(model.remapper(), model.params(), block)
        made[block].warm_up()
        return made[block]

    return get


class Keeper:
    """A recorder in memory."""

    def __init__(self):
        self.played: list[Played] = []

    def put(self, played):
        self.played.append(played)


def buffering(player: Player) -> int:
    """Samples of the stated latency that lie between two clients of the server.

    The rest is that of the driver's ports: to a period of listening, the dummy driver
    adds one that plays and, as servers do that do not wait for their clients, one more.
    """
    assert jack is not None
    client = jack.Client("asks")
    ports = 3 * client.blocksize
    client.close()
    return player.latency.device - ports


@contextmanager
def as_a_device(studio: Studio):
    """A studio whose client A is among PortAudio's devices."""
    studio.a.activate()
    studio.b.activate()
    look_again()
    try:
        yield studio
    finally:
        studio.b.close()
        studio.a.close()
        look_again()


def shifted(audio: np.ndarray, delay: int, length: int) -> np.ndarray:
    return np.concatenate([np.zeros(delay, np.float32), audio])[:length]


def through_the_server(engine: Engine, model, audio: np.ndarray, error_db) -> int:
    """Play it in freewheel, where every sample counts and none is lost: the delay."""
    wanted = remap(model.remapper(), model.params(), audio).audio
    with Player(engine) as player, Studio(audio, len(audio) / RATE) as studio:
        delay = buffering(player)
        studio.run(freewheel=True)
    assert studio.sent.all()
    assert studio.recorded.all()
    assert error_db(studio.heard, shifted(wanted, delay, len(studio.heard))) < -80
    assert player.stats.faults == player.stats.other_lengths == 0
    assert player.stats.hits > 10
    return delay


@pytest.mark.parametrize(("block", "delay"), [(64, 0), (256, 256)])
def test_a_performance_is_played_as_remap_renders_it(
    server, random_model, shared, block, delay, error_db
):
    """With the detector that is the default."""
    path = shared / "data/snare/performances/fs_14x05_maple__groove.flac"
    audio, model = read_audio(path, RATE), random_model()
    engine = Engine(model.remapper(), model.params(), block)
    engine.warm_up()
    assert through_the_server(engine, model, audio, error_db) == delay


def test_a_block_of_any_length_plays_as_remap_renders(server, engines, model, error_db):
    audio = GROOVE[: 5 * RATE]
    assert through_the_server(engines(441), model, audio, error_db) == 441


SOAK = "JAXSNARE_SOAK" in os.environ
"""Half an hour instead of 100 s, and a minute of real time instead of 6 s."""

CLICKS = np.zeros(3 * RATE, np.float32)
AT = 4800 + np.arange(8) * (16_000 + 37)  # at every place within a block
for t in AT:
    CLICKS[t : t + 48] = np.cos(np.arange(48)) * np.hanning(96)[48:]


@pytest.mark.parametrize(("samples", "added"), [(64, 0), (32, 64), (96, 64), (1024, 0)])
def test_the_answer_to_a_click_comes_when_it_is_stated(
    server, engines, model, samples, added
):
    """To the sample, at any period of the server, without jitter."""
    with (
        period(samples),
        Player(engines(64)) as player,
        Studio(CLICKS, 3) as studio,
    ):
        stated = player.latency.trigger + buffering(player)
        studio.run(freewheel=True)
    assert stated == 256 - 17 + added
    assert bool(added) == bool(player.warnings)
    if added:
        (warning,) = player.warnings
        assert f"plays {samples} samples at once" in warning
        assert "adds 1.3 ms" in warning
    onsets = remap(model.remapper(), model.params(), CLICKS).onsets
    late = onsets - AT  # of the detector
    assert np.ptp(late) == 0
    assert 0 <= late[0] < 10
    first = np.flatnonzero(studio.heard)[0]
    assert first == onsets[0] + stated
    voice = studio.heard[first : first + 4000]
    for t in onsets[1:]:
        answer = studio.heard[t + stated : t + stated + 4000]
        # Equal but for the voice before, which is faded out; and a sample beside not.
        fade = fade_samples(RATE)
        assert np.abs(answer - voice)[fade:].max() < 1e-4
        assert np.abs(np.diff(voice)[fade:]).max() > 1e-2


class Endless(Studio):
    """Plays a recording over and over; what is heard of each round is compared."""

    def __init__(self, audio: np.ndarray, wanted: np.ndarray, rounds: int):
        super().__init__(audio, rounds * len(audio) / RATE)
        del self.heard
        self.wanted = wanted.astype(float)
        self.error = np.zeros(rounds)  # sum of squares
        self.memory_mb: list[float] = []  # at the end of each round

    def fill(self, buffer, at):
        at %= len(self.audio)
        buffer[:] = self.audio[at : at + len(buffer)]

    def take(self, heard, at):
        turn, at = divmod(at, len(self.audio))
        error = heard - self.wanted[at : at + len(heard)]
        self.error[turn] += np.dot(error, error)
        if at + len(heard) == len(self.audio):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.memory_mb.append(pages * resource.getpagesize() / 1e6)


def test_long_playing_in_freewheel(server, engines, model):
    """The same hits sound the same at the end, nothing is lost, nothing piles up."""
    large = 1024  # a period: what the server does in between costs less
    audio = GROOVE[: len(GROOVE) // large * large]
    rounds = ceil((1800 if SOAK else 100) * RATE / len(audio))
    twice = remap(model.remapper(), model.params(), np.tile(audio, 2))
    wanted = twice.audio[len(audio) :]  # with the end of the round before
    hits = np.sum(twice.triggers >= len(audio))
    with (
        period(large),
        Player(engines(256)) as player,
        Endless(audio, wanted, rounds) as studio,
    ):
        began = time.monotonic()
        studio.run(freewheel=True)
        took = time.monotonic() - began
    assert studio.sent.all()
    assert studio.recorded.all()
    energy = np.dot(studio.wanted, studio.wanted)
    error_db = 10 * np.log10(np.maximum(studio.error / energy, 1e-20))
    growth = studio.memory_mb[-1] - studio.memory_mb[rounds // 10]
    print(
        f"\n{rounds * len(audio) / RATE / 60:.1f} minutes in {took:.0f} s: "
        f"{player.stats.hits} hits in {rounds} rounds, error "
        f"{error_db[1]:.0f} dB in the second and {error_db[-1]:.0f} dB in the last, "
        f"{growth:+.1f} MB on {studio.memory_mb[-1]:.0f}"
    )
    assert error_db[1:].max() < -80
    assert error_db[-1] < error_db[1] + 1
    assert abs(player.stats.hits - rounds * hits) <= 2
    assert player.stats.faults == player.stats.other_lengths == 0
    assert growth < 20


STUDIO = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from jack_server import Studio
folder, seconds = sys.argv[2], float(sys.argv[3])
with Studio(np.load(folder + "/audio.npy"), seconds) as studio:
    studio.run(freewheel=False)
np.savez(folder + "/heard.npz", *[studio.heard, studio.sent, studio.recorded])
"""


def run_studio(folder: Path, audio: np.ndarray, seconds: float):
    """A studio of its own process, as in real life: heard, sent, recorded."""
    np.save(folder / "audio.npy", audio)
    here = Path(__file__).parent
    arguments = [sys.executable, "-c", STUDIO, str(here), str(folder), str(seconds)]
    environment = os.environ | {"PYTHONPATH": str(here.parent)}
    subprocess.run(arguments, env=environment, check=True, timeout=120 + 2 * seconds)
    with np.load(folder / "heard.npz") as found:
        return [found[f"arr_{k}"] for k in range(3)]


def real_time(engine: Engine, model, folder: Path, seconds: float) -> None:
    count = int(seconds * RATE)
    audio = np.tile(GROOVE, 1 + count // len(GROOVE))[:count]
    # Faint noise makes every block of the input one of a kind.
    rng = np.random.default_rng(1)
    audio += (1e-4 * rng.standard_normal(count)).astype(np.float32)
    reference = remap(model.remapper(), model.params(), audio)
    keeper = Keeper()
    with Player(engine, recorder=keeper) as player:
        delay = buffering(player)
        sound, sent, recorded = run_studio(folder, audio, seconds)
    place = {audio[t : t + 64].tobytes(): t for t in range(0, count - 63, 64)}
    heard = np.full(len(sound) // 64, False)
    for played in keeper.played:
        if (t := place.get(played.input.tobytes())) is not None:
            there = sound[t + delay : t + delay + 64]
            heard[t // 64] = np.array_equal(there, played.audio)
    # What the two clients themselves missed tells nothing about the stream.
    heard = heard[: len(heard) - delay // 64]
    known = sent[: len(heard)] & recorded[delay // 64 :]
    lost = 1 - heard[known].mean()

    # What the engine answered is right whatever was lost on the way.
    again = remap(
        model.remapper(),
        model.params(),
        np.concatenate([p.input for p in keeper.played]),
        block=64,
    ).audio
    assert np.array_equal(np.concatenate([p.audio for p in keeper.played]), again)

    # A voice that a lost block changed is heard until the next has faded it out.
    fade, checked, wrong = fade_samples(RATE), 0, []
    for onset, trigger in zip(reference.onsets, reference.triggers, strict=False):
        first, end = (onset - 2048) // 64, (trigger + 2048) // 64
        if first < 0 or end > len(heard) or not heard[first:end].all():
            continue
        checked += 1
        answer = slice(trigger + fade, end * 64)
        error = sound[delay:][answer] - reference.audio[answer]
        if np.std(error) > 1e-4 * np.std(reference.audio[answer]):
            wrong.append(trigger)
    steps = player.stats.recent().step_s
    print(
        f"\n{seconds:.0f} s at {PERIOD} frames: {100 * lost:.2f} % of the blocks lost, "
        f"{checked} of {len(reference.triggers)} answers checked, {len(wrong)} wrong; "
        f"step p50 {1e6 * np.median(steps):.0f} us, "
        f"p99 {1e6 * np.quantile(steps, 0.99):.0f} us; {player.stats.underflows} "
        f"underflows; the test's clients missed {100 * (1 - known.mean()):.2f} %"
    )
    assert not wrong
    assert player.stats.faults == 0
    assert checked > len(reference.triggers) / 10
    assert lost < 0.05


def test_seconds_in_real_time(server, engines, model, tmp_path):
    real_time(engines(64), model, tmp_path, 60 if SOAK else 6)


class Clock:
    """A recorder that keeps when a block was played, and how loud."""

    def __init__(self):
        self.times: list[float] = []
        self.peaks: list[float] = []

    def put(self, played):
        self.times.append(time.perf_counter())
        self.peaks.append(float(np.abs(played.audio).max()))


def test_models_are_loaded_and_switched_while_one_plays(server, random_model, tmp_path):
    """Silence of a second at most, and no fault; a model of the same shapes none."""
    models = {"like it": random_model(seed=1), "other": random_model(hidden=(16,))}
    random_model().save(tmp_path / "first")
    rack = Rack([tmp_path / "first"], RATE, 64)
    rack.compile()
    clock, first_engine = Clock(), rack.engine
    noise = np.random.default_rng(0).normal(scale=0.01, size=120 * RATE)
    rack.controls.set("mix", 0.5)  # so that the input is heard all the time
    with Player(rack.engine, source=noise.astype(np.float32), recorder=clock) as player:
        for name, model in models.items():
            time.sleep(1)
            begun, first = time.perf_counter(), len(clock.times)
            model.save(tmp_path / name)
            rack.choose(rack.add(tmp_path / name))
            wait_for(rack.poll, 60)
            player.switch(rack.engine)
            time.sleep(1)
            gap = np.diff(clock.times[first:]).max()
            print(
                f"\n{name}: plays {time.perf_counter() - begun - 1:.1f} s later, "
                f"longest time between two blocks {1e3 * gap:.1f} ms"
            )
            assert rack.playing == tmp_path / name
            assert player.engine is rack.engine
            # other shapes: a program is read, which may take a moment
            assert gap < (0.1 if player.engine is first_engine else 1)
            assert min(clock.peaks[first:]) > 0
        assert player.stats.faults == 0


def test_nan_blocks_are_silence_and_playing_goes_on(server, engines, model, error_db):
    audio = GROOVE[: 3 * RATE].copy()
    poisoned = audio.copy()
    audio[64 * 100 : 64 * 101] = audio[64 * 800 : 64 * 801] = 0
    poisoned[64 * 100 + 7], poisoned[64 * 800 + 9] = np.nan, np.inf
    wanted = remap(model.remapper(), model.params(), audio).audio
    engine = engines(64)
    with Player(engine) as player, Studio(poisoned, 3) as studio:
        delay = buffering(player)
        studio.run(freewheel=True)
    assert (engine.bad_input, player.stats.faults) == (2, 0)
    assert error_db(studio.heard, shifted(wanted, delay, len(studio.heard))) < -80


def test_a_cable_that_is_pulled_is_silence_until_it_is_back(server, engines, model):
    """A client's port disconnected: the server goes on, and so do we."""
    clicks = np.zeros(3 * RATE, np.float32)
    for t in (RATE // 4, RATE, 2 * RATE):
        clicks[t : t + 40] = np.hanning(40)
    with Player(engines(64)) as player, Studio(clicks, 3) as studio:
        studio.playing = True
        wait_for(lambda: player.stats.hits == 1, 5)
        studio.disconnect()
        wait_for(lambda: studio.last > 1.5 * RATE, 5)
        assert player.alive()
        assert player.stats.hits == 1
        studio.connect()
        wait_for(lambda: player.stats.hits == 2, 5)
    assert player.stats.faults == 0


def test_a_period_that_changes_while_playing_is_followed(server, engines):
    """As far as our block divides it; beyond there is silence, which counts as lost."""
    assert jack is not None
    client = jack.Client("changes")
    with Player(engines(64)) as player:
        stats = player.stats
        for samples, fits in (256, True), (32, False), (64, True):
            client.blocksize = samples
            time.sleep(0.1)
            blocks, others = stats.blocks, stats.other_lengths
            time.sleep(0.3)
            assert (stats.blocks > blocks) == fits
            assert (stats.other_lengths > others) != fits
            assert player.alive()
    client.close()
    assert stats.lost >= stats.other_lengths > 0
    assert stats.faults == 0


def test_knobs_hammered_on_the_clock_lose_nothing(server, engines, model, error_db):
    """A thousand turns a second for two seconds, then all back: as if untouched."""
    engine = engines(64)
    controls = Controls(engine, model)
    before = {spec.name: controls[spec.name] for spec in controls.specs}
    rng = np.random.default_rng(0)
    keeper = Keeper()
    with Player(engine, source=np.tile(GROOVE, 2), recorder=keeper) as player:
        wait_for(lambda: player.stats.blocks > 10, 5)
        began, turned = time.monotonic(), 0
        while time.monotonic() - began < 2:
            spec = controls.specs[rng.choice(controls.specs.names)]
            controls.set(spec.name, rng.uniform(spec.lo, spec.hi))
            turned += 1
            time.sleep(0.001)
        hammered = len(keeper.played)
        controls.set_many(before)
        wait_for(lambda: len(keeper.played) > hammered + 2500, 20)
    audio = np.concatenate([p.audio for p in keeper.played])
    after = np.concatenate([p.input for p in keeper.played[hammered + 10 :]])
    untouched = remap(model.remapper(), model.params(), after).audio
    settled = 2 * RATE  # by then, nothing of what was turned sounds or is measured
    assert error_db(audio[-len(after) :][settled:], untouched[settled:]) < -80
    assert np.isfinite(audio).all()
    assert np.abs(audio).max() <= 1
    print(f"\n{turned} turns; {player.stats.xruns} xruns")
    assert turned > 300
    assert player.stats.faults == player.stats.other_lengths == 0
    assert (engine.bad_input, engine.bad_output) == (0, 0)
    # Shared machines lose some blocks anyway; a compilation at each turn, nearly all.
    assert player.stats.xruns < 0.2 * player.stats.blocks


def test_clients_of_one_server_are_one_stream(server, engines, model, error_db):
    """Input and output may be two devices: they have one clock."""
    audio = GROOVE[: 3 * RATE]
    wanted = remap(model.remapper(), model.params(), audio).audio
    with (
        as_a_device(Studio(audio, 3)) as studio,
        Player(engines(64), input="A", output="system") as player,
    ):
        assert player.warnings == []
        studio.connect()
        studio.run(freewheel=True)
    assert error_db(studio.heard, wanted[: len(studio.heard)]) < -80
    assert player.stats.faults == player.stats.other_lengths == 0


def test_two_streams_pass_every_block_on(server, engines, model, monkeypatch):
    """As for devices with two clocks, though here both are the server's."""
    monkeypatch.setattr(Player, "_fit", lambda *_: None)
    audio = GROOVE[: 3 * RATE]
    audio = audio + 1e-4 * np.sin(np.arange(len(audio)), dtype=np.float32)
    keeper = Keeper()
    with (
        as_a_device(Studio(audio, 3)) as studio,
        Player(engines(64), input="A", output="system", recorder=keeper) as player,
    ):
        (warning,) = player.warnings
        assert "are two devices" in warning
        studio.connect()
        studio.run(freewheel=True)
    place = {audio[t : t + 64].tobytes(): t for t in range(0, len(audio) - 63, 64)}
    places = [place.get(p.input.tobytes(), -1) for p in keeper.played]
    found = [t for t in places if t >= 0]
    print(f"\n{player.stats.starved} starved, {player.stats.dropped} dropped")
    assert np.all(np.diff(found) > 0)
    assert len(found) > 0.95 * len(place)
    assert len(found) + player.stats.dropped >= len(place) - 10  # still in the queue
    assert player.stats.faults == 0


def test_a_fault_in_the_engine_is_silence_and_playing_goes_on(
    server, engines, monkeypatch
):
    engine = engines(64)
    process = engine.process

    def fail(x):
        monkeypatch.setattr(engine, "process", process)
        raise RuntimeError("by intent")

    with Player(engine) as player:
        wait_for(lambda: player.stats.blocks > 10, 5)
        monkeypatch.setattr(engine, "process", fail)
        wait_for(lambda: player.stats.faults, 5)
        blocks = player.stats.blocks
        wait_for(lambda: player.stats.blocks > blocks + 10, 5)
        assert player.alive()
    assert player.stats.faults == 1
    assert player.stats.fault == "RuntimeError: by intent"
    assert not player.alive()


def test_a_source_is_played_in_real_time(server, engines):
    keeper = Keeper()
    with Player(engines(64), source=GROOVE[:RATE], recorder=keeper) as player:
        began = time.monotonic()
        wait_for(lambda: player.source_ended, 10)
        assert 0.8 < time.monotonic() - began < 3
    heard = np.concatenate([p.input for p in keeper.played])
    assert np.array_equal(heard[:RATE], GROOVE[:RATE])
    assert not heard[RATE:].any()
    assert player.stats.hits == sum(len(p.hits) for p in keeper.played) > 0
    assert player.stats.recent(100).input_peak.shape == (100,)


def test_the_devices_are_listed_and_found(server):
    (system,) = [d for d in devices() if d.name == "system"]
    assert "JACK" in system.host_api
    assert (system.inputs, system.outputs) == (2, 2)
    assert system.default_input
    assert system.default_output
    assert system.default_rate_hz == RATE
    assert system.rates_hz == (RATE,)
    for name in (None, "system", "SYS", "system, jack", system.number):
        assert find_device(name, "output") == system.number
    for name in ("none such", "", 99):
        with pytest.raises(ValueError, match=r"no device fits input .*: system, JACK"):
            find_device(name, "input")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_channels": (3,)}, r"input device 'system' has no channels 3; .* 1 to 2"),
        ({"out_channels": (0, 1)}, r"output device 'system' has no channels 0, 1"),
        ({"input": "guitar"}, r"no device fits input 'guitar'; there are: "),
    ],
)
def test_what_the_device_has_not_is_refused(server, engines, options, message):
    with pytest.raises(ValueError, match=message):
        Player(engines(64), **options)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "guitar"], "no device fits output 'guitar'; there are: "),
        (["--rate", "44100"], "does not run at 44100 Hz; it runs at 48000 Hz"),
        (["--channels", "3"], "has no channels 3; it has 1 to 2"),
    ],
)
def test_the_command_says_so_in_one_line(
    server, model, words, message, tmp_path, capsys
):
    model.save(tmp_path / "model")
    assert main(["live", str(tmp_path / "model"), *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_a_rate_that_the_server_does_not_run_at_is_refused(server, model):
    engine = Engine(model.remapper(44_100), model.params(), 64)
    with pytest.raises(ValueError, match=r"not run at 44100 Hz; it runs at 48000 Hz"):
        Player(engine)
