"""The stream on a real audio clock: a JACK server without a sound card."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from jaxsnare.component import fade_samples
from jaxsnare.drummer import groove
from jaxsnare.live.engine import Engine, Played
from jaxsnare.live.recorder import TRACKS
from jaxsnare.live.stream import Player, devices, find_device
from jaxsnare.remap import remap

try:
    import jack
except (ImportError, OSError):
    jack = None

RATE, PERIOD = 48_000, 64
GROOVE = groove(RATE).audio
MISSING = (
    "JACK-Client is not installed"
    if jack is None
    else "jackd is not installed"
    if shutil.which("jackd") is None
    else ""
)
pytestmark = [
    pytest.mark.realtime,
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
]


@contextmanager
def jackd(name: str):
    """A server without a sound card, as the default one of this process.

    Names are fixed: JACK keeps the places of killed servers, of which it has eight,
    until a server of the same name starts.
    """
    assert jack is not None
    jack.set_error_function(lambda message: None)
    jack.set_info_function(lambda message: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JACK_DEFAULT_SERVER", name)
        patch.setenv("JACK_NO_START_SERVER", "1")
        command = ["jackd", "-n", name, "-d", "dummy", "-r", str(RATE)]
        server = subprocess.Popen(
            [*command, "-p", str(PERIOD)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(runs, 10)
            yield server
        finally:
            server.terminate()
            try:
                server.wait(3)
            except subprocess.TimeoutExpired:
                server.kill()


def runs() -> bool:
    """Asked from outside: one process cannot be a client of two servers."""
    ask = "import jack; jack.Client('probe', no_start_server=True).close()"
    return not subprocess.run(
        [sys.executable, "-c", ask], capture_output=True
    ).returncode


def wait_for(condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {condition}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def server():
    try:
        import sounddevice as sd
    except (ImportError, OSError) as error:
        pytest.skip(str(error))
    with jackd("jaxsnare-test") as process:
        sd._terminate()  # PortAudio looks for servers only when it begins
        sd._initialize()
        yield process
        sd._terminate()  # it would abort if it ended after its server
    sd._initialize()


@pytest.fixture(scope="module")
def model(random_model):
    return random_model()


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


class Studio:
    """Client A plays a signal into the stream, client B records what comes out.

    What B hears is put in place by JACK's clock, so that cycles that a client misses
    are holes and shift nothing. `heard[t]` belongs to `signal[t]`.
    """

    def __init__(self, audio: np.ndarray, seconds: float):
        assert jack is not None
        self.audio = audio
        self.heard = np.zeros(int(seconds * RATE) // PERIOD * PERIOD, np.float32)
        self.sent = np.zeros(len(self.heard) // PERIOD, bool)  # cycles of A
        self.recorded = self.sent.copy()  # cycles of B
        self.playing = False
        self.start = -1
        self.last = -1  # sample up to which B has heard
        self.a, self.b = jack.Client("A"), jack.Client("B")
        self.out: Any = self.a.outports.register("out")
        self.into: Any = self.b.inports.register("in")
        self.a.set_process_callback(self.play)
        self.b.set_process_callback(self.record)

    def play(self, frames):
        buffer = self.out.get_array()
        buffer[:] = 0
        if not self.playing:
            return
        if self.start < 0:
            self.start = self.a.last_frame_time
        at = self.a.last_frame_time - self.start
        piece = self.audio[at : at + frames]
        buffer[: len(piece)] = piece
        self.sent[at // PERIOD : at // PERIOD + 1] = True

    def record(self, frames):
        if self.start < 0:
            return
        at = self.b.last_frame_time - self.start
        if 0 <= at <= len(self.heard) - frames:
            self.heard[at : at + frames] = self.into.get_array()
            self.recorded[at // PERIOD] = True
            self.last = at + frames

    def __enter__(self):
        self.a.activate()
        self.b.activate()
        into = self.a.get_ports("PortAudio:in_", is_input=True)[0]
        out = self.a.get_ports("PortAudio:out_", is_output=True)[0]
        self.a.connect(self.out, into)
        self.b.connect(out, self.into)
        return self

    def __exit__(self, *_):
        for client in (self.a, self.b):
            client.deactivate()
            client.close()

    def run(self, freewheel: bool):
        if freewheel:
            self.a.set_freewheel(True)
        self.playing = True
        end = len(self.heard) - PERIOD
        wait_for(lambda: self.last >= end, 60 + 2 * len(self.heard) / RATE)
        if freewheel:
            self.a.set_freewheel(False)


def buffering(player: Player) -> int:
    """Samples of the stated latency that lie between two clients of the server.

    The rest is what PortAudio takes over from the ports of the driver: their latency
    without a period each.
    """
    (system,) = [d for d in devices() if d.name == "system"]
    ports_ms = system.input_latency_ms + system.output_latency_ms
    return player.latency.device - round(ports_ms * RATE / 1e3) + 2 * PERIOD


def shifted(audio: np.ndarray, delay: int, length: int) -> np.ndarray:
    return np.concatenate([np.zeros(delay, np.float32), audio])[:length]


@pytest.mark.parametrize("block", [64, 256, 441])
def test_what_is_played_is_what_remap_renders(server, engines, model, block, error_db):
    """In freewheel: every sample counts, and none is lost."""
    audio = GROOVE[: 10 * RATE]
    wanted = remap(model.remapper(), model.params(), audio).audio
    with Player(engines(block)) as player, Studio(audio, 10) as studio:
        delay = buffering(player)
        assert delay == block
        studio.run(freewheel=True)
    assert studio.sent.all()
    assert studio.recorded.all()
    assert error_db(studio.heard, shifted(wanted, delay, len(studio.heard))) < -80
    assert player.stats.faults == player.stats.other_lengths == 0


def test_the_answer_to_a_click_comes_when_it_is_stated(server, engines, model):
    """To the sample, at every place within a block: no jitter."""
    clicks = np.zeros(3 * RATE, np.float32)
    at = 4800 + np.arange(8) * (16_000 + 37)
    clicks[at] = 1
    with Player(engines(64)) as player, Studio(clicks, 3) as studio:
        stated = player.latency.trigger + buffering(player)
        studio.run(freewheel=True)
    assert player.latency.trigger == 256 - 17
    first = np.flatnonzero(studio.heard)[0]
    assert first == at[0] + stated
    voice = studio.heard[first : first + 4000]
    for t in at[1:]:
        answer = studio.heard[t + stated : t + stated + 4000]
        # Equal but for the voice before, which is faded out; and a sample beside not.
        fade = fade_samples(RATE)
        assert np.abs(answer - voice)[fade:].max() < 1e-4
        assert np.abs(np.diff(voice)[fade:]).max() > 1e-2


STUDIO = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from test_live_jack import Studio
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
    assert checked > 0
    assert lost < 0.05


def test_ten_seconds_in_real_time(server, engines, model, tmp_path):
    real_time(engines(64), model, tmp_path, 10)


def test_a_minute_in_real_time(server, engines, model, tmp_path):
    real_time(engines(64), model, tmp_path, 60)


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


def test_a_rate_that_the_server_does_not_run_at_is_refused(server, model):
    engine = Engine(model.remapper(44_100), model.params(), 64)
    with pytest.raises(ValueError, match=r"not run at 44100 Hz; it runs at 48000 Hz"):
        Player(engine)


VICTIM = """
import sys, time
from jaxsnare.live.engine import Engine
from jaxsnare.live.recorder import Recorder
from jaxsnare.live.stream import Player, leave
from jaxsnare.model import Model
model = Model.load(sys.argv[1])
engine = Engine(model.remapper(), model.params(), 64)
engine.warm_up()
names = model.specs.names, model.features.names
recorder = Recorder(sys.argv[2], model.sample_rate, *names)
player = Player(engine, recorder=recorder)
player.start()
time.sleep(0.5)
print("playing", flush=True)
while player.alive():
    time.sleep(0.05)
summary = recorder.close()
closed = player.close(timeout=0.5)
print(f"lost after {summary.seconds:.2f} s, closed: {closed}, {summary.error}")
leave(1)
"""


def test_a_server_that_is_killed_ends_the_program_in_time(model, tmp_path):
    model.save(tmp_path / "model")
    arguments = [str(tmp_path / "model"), str(tmp_path / "take")]
    with jackd("jaxsnare-kill") as server:
        victim = subprocess.Popen(
            [sys.executable, "-c", VICTIM, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        )
        assert victim.stdout is not None
        try:
            line = victim.stdout.readline()
            assert line == "playing\n", victim.communicate()
            time.sleep(1)
            server.send_signal(signal.SIGKILL)
            killed = time.monotonic()
            out, err = victim.communicate(timeout=10)
            took = time.monotonic() - killed
        finally:
            victim.kill()
    print(out, err, f"{took:.2f} s")
    assert victim.returncode == 1
    assert took < 3
    seconds = float(re.findall(r"lost after ([\d.]+) s", out)[0])
    for track in TRACKS:
        audio, _ = soundfile.read(tmp_path / "take" / f"{track}.wav")
        assert len(audio) / RATE == pytest.approx(seconds, abs=0.01)
    assert seconds > 0.5
