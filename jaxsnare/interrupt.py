"""Ctrl-C that loses nothing."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def patient_ctrl_c(note: str = "") -> Iterator[Callable[[], None]]:
    """Within, Ctrl-C takes effect where the yielded function is called.

    A second Ctrl-C takes effect at once. An interrupt that comes up anywhere may come
    up in a callback of JAX, which prints and loses it. note: printed when it is asked
    for. Where someone else handles Ctrl-C, or ignores it as background jobs do, and in
    other threads than the main one, nothing changes.
    """
    asked = False

    def ask(number, frame):
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if note:  # os.write, for print may be what has been interrupted
            os.write(2, f"\n{note}\n".encode())

    def stop_if_asked():
        if asked:
            raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    ours = (
        handler is signal.default_int_handler
        and threading.current_thread() is threading.main_thread()
    )
    if ours:
        signal.signal(signal.SIGINT, ask)
    try:
        yield stop_if_asked
    finally:
        if ours:
            signal.signal(signal.SIGINT, handler)
