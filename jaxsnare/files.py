"""Files that appear whole or not at all."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

PARTS = ".*.part"
"""What a program that was killed may leave beside its files."""


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Beside the file first, then in its place: no reader ever sees a part of it.

    Raises ValueError where it cannot be written.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
