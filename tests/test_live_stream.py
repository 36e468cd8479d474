"""The player's callbacks and choices, with a sound library that makes no sound."""

import builtins
from typing import Any

import numpy as np
import pytest
from fake_sound import BLOCK, RATE, Doubler, Status, call, make_player

from jaxsnare.live.engine import Hit, Names, Played
from jaxsnare.live.stats import LAST_BLOCKS, Stats
from jaxsnare.live.stream import JACK, devices, find_device


def test_the_next_engine_fades_in_over_a_block(sound):
    class Tripler(Doubler):
        def process(self, x):
            return Played(3 * x, 3 * x, x, 1.0, 0, ())

    tripler: Any = Tripler()
    player, ones = make_player(input=3, output=3), np.ones((BLOCK, 2))
    doubler = player.engine
    player.switch(doubler)  # no change
    assert np.array_equal(call(player, ones), 2 * ones)
    player.switch(tripler)
    assert np.array_equal(call(player, ones)[:, 0], [2.25, 2.5, 2.75, 3])
    assert tripler.before is doubler
    assert np.array_equal(call(player, ones), 3 * ones)


def test_chosen_inputs_are_averaged_and_chosen_outputs_play(sound):
    engine = Doubler()
    player = make_player(engine, input=3, output="card", in_channels=(1, 2))
    assert player.warnings == []
    x = np.arange(8.0).reshape(4, 2)
    assert np.array_equal(call(player, x), np.repeat(2 * x.mean(1)[:, None], 2, 1))
    player = make_player(engine, input=3, output=3, in_channels=(2,), out_channels=(2,))
    out = call(player, x)
    assert np.array_equal(out[:, 1], 2 * x[:, 1])
    assert not out[:, 0].any()
    assert player.latency == (240, 144, RATE)
    assert player.latency.ms == pytest.approx(8.0)


def test_the_callback_fills_the_output_whatever_happens(sound):
    engine = Doubler()
    player = make_player(engine, input=3, output=3)
    x, stats = np.ones((4, 2)), player.stats
    assert not call(player, np.ones((3, 2)), frames=3).any()
    assert stats.other_lengths == 1
    engine.fails = True
    assert not call(player, x).any()
    assert (stats.faults, stats.fault, engine.forgot) == (
        1,
        "RuntimeError: by intent",
        0,
    )
    engine.fails = False
    assert call(player, x).all()
    assert engine.forgot == 1  # the step that failed has left no usable state
    status = Status()
    status.output_underflow = status.input_overflow = True
    call(player, x, status=status)
    assert (stats.underflows, stats.overflows, stats.blocks) == (1, 1, 2)
    assert stats.lost == 2  # that call once, and the one of another length


@pytest.mark.parametrize(("block", "added"), [(4, 0), (8, 0), (6, 6), (16, 16)])
def test_blocks_of_jack_come_as_they_are_where_ours_divide_them(
    sound, api, block, added
):
    """What PortAudio states on JACK lacks a period at each side; the ports' do not."""
    api[:] = [JACK]
    engine = Doubler()
    engine.block = block
    player = make_player(engine, input=0, output=1)
    (stream,) = player._streams  # though two devices, one clock
    assert stream.settings["blocksize"] == added
    assert player.latency == (240, 144 + added, RATE)
    words = f"plays 8 samples at once: to fit blocks of {block} to that adds"
    assert [words in warning for warning in player.warnings] == [True] * bool(added)
    frames = 2 * block
    x = np.arange(2.0 * frames).reshape(frames, 2)
    assert np.array_equal(call(player, x, frames)[:, 0], 2 * x[:, 0])
    assert player.stats.blocks == 2
    assert not call(player, x[1:], frames - 1).any()
    assert player.stats.other_lengths == player.stats.lost == 1
    said = player.stats.misfit(block)
    assert f"asked for {frames - 1} samples at once, which blocks of {block} do" in said


def test_two_devices_are_two_streams_with_a_warning(sound):
    player = make_player(input=0, output=1)
    (warning,) = player.warnings
    assert "input (Microphone) and output (Speaker (USB)) are two devices" in warning
    out = np.empty((BLOCK, 2), np.float32)

    def play():
        player._streams[0].callback(out, BLOCK, 0, Status())
        return out[0, 0]

    def hear(value):
        x = np.full((BLOCK, 1), value, np.float32)
        player._streams[1].callback(x, BLOCK, 0, Status())

    assert play() == 0
    assert player.stats.starved == 1
    hear(1)
    hear(2)
    assert [play(), play()] == [2, 4]
    limit = round(0.02 * RATE / BLOCK)
    assert player._queue.maxlen == limit
    for k in range(limit + 3):
        hear(k)
    assert player.stats.dropped == 3
    assert play() == 2 * 3  # the oldest are dropped


def test_a_source_takes_the_place_of_the_microphone(sound):
    player = make_player(source=np.arange(6, dtype=np.float32))
    out = np.empty((BLOCK, 2), np.float32)
    player._streams[0].callback(out, BLOCK, 0, Status())
    assert out[:, 1].tolist() == [0, 2, 4, 6]
    assert not player.source_ended
    player._streams[0].callback(out, BLOCK, 0, Status())
    assert out[:, 0].tolist() == [8, 10, 0, 0]
    assert player.source_ended


def test_a_device_is_alive_while_it_calls(sound, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("jaxsnare.live.stream.perf_counter", lambda: now[0])
    player = make_player(input=3, output=3)
    assert not player.alive()
    with player:
        now[0] += 1.0  # a server that was held up
        assert player.alive()
        now[0] += 0.6
        assert not player.alive()
        call(player, np.ones((4, 2)))
        assert player.alive()
        player._streams[0].settings["finished_callback"]()
        assert not player.alive()


def test_of_two_devices_both_must_call(sound, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("jaxsnare.live.stream.perf_counter", lambda: now[0])
    out = np.empty((BLOCK, 2), np.float32)
    with make_player(input=0, output=1) as player:
        for _ in range(3):
            assert player.alive()
            now[0] += 0.5
            player._streams[0].callback(out, BLOCK, 0, Status())
        assert not player.alive()  # the microphone's cable
        player._streams[1].callback(out[:, :1], BLOCK, 0, Status())
        assert player.alive()


def test_the_last_switch_counts(sound):
    player = make_player(input=3, output=3)
    here = player.engine
    there: Any = Doubler()
    player.switch(there)
    player.switch(here)
    call(player, np.ones((BLOCK, 2)))
    assert player.engine is here


@pytest.mark.parametrize(
    ("name", "kind", "number"),
    [
        (None, "input", 0),
        (None, "output", 1),
        ("hdmi", "output", 2),
        ("3", "input", 3),
        ("Card", "output", 3),
        ("card, fake", "input", 3),
    ],
)
def test_devices_are_found_by_name_or_number(sound, name, kind, number):
    assert find_device(name, kind) == number


def test_what_names_no_device_lists_them(sound):
    with pytest.raises(
        ValueError, match=r"several devices fit output 'speaker'; .*1: "
    ):
        find_device("speaker", "output")
    with pytest.raises(
        ValueError, match=r"no device fits input '1'; there are: 0: Mic"
    ):
        find_device("1", "input")
    del sound[:]
    with pytest.raises(ValueError, match="there is no input device: no sound card"):
        find_device(None, "input")


def test_the_list_of_devices_says_what_they_do(sound):
    listed = devices()
    assert [d.default_input for d in listed] == [True, False, False, False]
    assert [d.default_output for d in listed] == [False, True, False, False]
    assert listed[3] == (3, "Card", "Fake", 2, 2, False, False, RATE, (RATE,), 1.0, 2.0)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("PortAudio library not found"), "apt install libportaudio2"),
        (ImportError("No module named 'sounddevice'"), "pip install sounddevice"),
    ],
)
def test_a_missing_library_is_named(monkeypatch, error, message):
    usual = builtins.__import__

    def fail(name, *args, **kwargs):
        if name == "sounddevice":
            raise error
        return usual(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(ValueError, match=message):
        devices()


def test_statistics_keep_the_last_blocks_in_order():
    stats = Stats()
    assert stats.recent().step_s.size == 0
    x = np.zeros(BLOCK, np.float32)
    hit = Hit(7, x, x, x, -20.0, Names((), ()))
    for k in range(LAST_BLOCKS + 10):
        hits = (hit,) if k == 3 else ()
        stats.add(k, Played(x + 2, x, x - 1, 5.0, len(hits), hits))
    recent = stats.recent()
    assert np.array_equal(recent.step_s, np.arange(10, LAST_BLOCKS + 10))
    assert stats.recent(3).step_s.tolist() == [LAST_BLOCKS + k for k in (7, 8, 9)]
    assert (recent.input_peak[0], recent.output_peak[0], recent.level_db[0]) == (
        1,
        2,
        5,
    )
    assert (stats.hits, stats.onsets, stats.last_hit) == (1, 1, hit)
