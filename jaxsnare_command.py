"""The `jaxsnare` command, beside the package, whose import takes JAX a second."""

import os
import signal


def _leave(number: int, frame: object) -> None:
    os.write(2, b"jaxsnare: interrupted\n")
    os._exit(130)


def main() -> int:
    """Run the command line; Ctrl-C ends it without a traceback from the beginning."""
    usual = signal.getsignal(signal.SIGINT)
    # Background jobs ignore Ctrl-C; they stay so.
    if usual is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from jaxsnare.cli import main

    signal.signal(signal.SIGINT, usual)
    return main()
