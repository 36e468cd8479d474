"""Writes what is played to files, from another thread: playing never waits for it."""

import json
import shutil
import struct
from collections import deque
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple, TextIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from jaxsnare.live.engine import Hit, Played

TRACKS = "input", "synth", "mix"
HITS = "hits.jsonl"
SUBTYPES = {"wav": "FLOAT", "flac": "PCM_24"}
BUFFER_S = 10.0  # how far the writer may fall behind
POLL_S = 0.05
FLUSH_S = 0.5  # what a killed process loses at most
ERRORS = OSError, soundfile.SoundFileError
FULL_BYTES = 1 << 20  # a disk with less room than that counts as full
WAV_BYTES = (1 << 32) - (1 << 16)  # the format counts in 32 bits: 6.2 h at 48 kHz


class Summary(NamedTuple):
    """What a recording became."""

    folder: Path
    seconds: float  # written
    hits: int  # written
    dropped_blocks: int  # of those played, silence in the files
    error: str  # why writing ended early; "" if it did not


class Recorder:
    """Records input, synth and mix, and a line of JSON for every hit.

    folder: made if it is missing. sample_rate in Hz. format: "wav" (float32, bit for
    bit what was played) or "flac" (24 bit). buffer_s: how far writing may fall behind.

    Raises ValueError for another format, files that exist (unless `overwrite`), and a
    folder that cannot be written to.
    """

    def __init__(
        self,
        folder: str | Path,
        sample_rate: int,
        format: str = "wav",
        overwrite: bool = False,
        buffer_s: float = BUFFER_S,
    ) -> None:
        if format not in SUBTYPES:
            raise ValueError(
                f"the format is {format!r}; allowed: {', '.join(SUBTYPES)}"
            )
        self.folder, self.sample_rate, self.format = Path(folder), sample_rate, format
        self.dropped_blocks = 0
        self.error = ""
        self._samples = self._hits = 0
        self._limit = buffer_s * sample_rate  # samples
        self._missing = 0  # samples dropped since the last block that was taken
        self._waiting: deque[tuple[int, Played]] = deque()
        self._closing = Event()
        self._open(overwrite)
        self._thread = Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def _open(self, overwrite: bool) -> None:
        paths = [self.folder / f"{track}.{self.format}" for track in TRACKS]
        there = [p.name for p in (*paths, self.folder / HITS) if p.exists()]
        if there and not overwrite:
            raise ValueError(
                f"{self.folder} has {', '.join(there)} already: add --overwrite to "
                "replace them, or choose another folder"
            )
        self._audio: list[soundfile.SoundFile] = []
        self._log: TextIO | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in paths:
                subtype = SUBTYPES[self.format]
                self._audio.append(
                    soundfile.SoundFile(path, "w", self.sample_rate, 1, subtype)
                )
            self._log = (self.folder / HITS).open("w", encoding="utf-8")
        except ERRORS as error:
            self._close_files()
            self._remove_files()
            raise ValueError(f"cannot record to {self.folder}: {error}") from None

    def put(self, played: Played) -> None:
        """Take a block, or drop and count it if the buffer is full; never blocks.

        In the place of dropped blocks the files have silence: later ones keep their
        time.
        """
        length = len(played.input)
        if self.error or len(self._waiting) * length >= self._limit:
            self.dropped_blocks += 1
            self._missing += length
            return
        self._waiting.append((self._missing, played))
        self._missing = 0

    @property
    def seconds(self) -> float:
        """What is written so far."""
        return self._samples / self.sample_rate

    def close(self, timeout: float = 2.0) -> Summary:
        """Write what waits, for at most `timeout` seconds, and end the files.

        Where nothing was played, nothing is left.
        """
        self._closing.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self.error = self.error or f"the disk took more than {timeout} s"
        elif not self._samples and not self.error:
            self._remove_files()
        return Summary(
            self.folder,
            self.seconds,
            self._hits,
            self.dropped_blocks,
            self.error,
        )

    def _run(self) -> None:
        """The writer's thread: after an error it only ends the files."""
        try:
            unflushed = 0.0
            while not self._closing.wait(POLL_S):
                self._write_waiting()
                unflushed += POLL_S
                if unflushed >= FLUSH_S:
                    self._flush()
                    unflushed = 0.0
            self._write_waiting()
            self._flush()
        except Exception as error:
            self.error = self._reason(error)
            self.dropped_blocks += len(self._waiting)
            self._waiting.clear()
        self._close_files()

    def _write_waiting(self) -> None:
        if not self._waiting:
            return
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        pieces: list[list[NDArray[np.float32]]] = [[], [], []]
        for missing, played in taken:
            gap = [np.zeros(missing, np.float32)] if missing else []
            tracks = played.input, played.synth, played.audio
            for track, signal in zip(pieces, tracks, strict=True):
                track += [*gap, signal]
        samples = self._samples + sum(map(len, pieces[0]))
        if self.format == "wav" and 4 * samples > WAV_BYTES:
            raise ValueError("a WAV file holds no more than 4 GiB; FLAC holds more")
        for file, track in zip(self._audio, pieces, strict=True):
            audio = np.concatenate(track)
            if self.format == "flac":
                audio = np.clip(audio, -1.0, 1.0)
            file.write(audio)
        self._samples = samples
        assert self._log is not None
        for hit in (hit for _, played in taken for hit in played.hits):
            self._log.write(json.dumps(self._line(hit)) + "\n")
            self._hits += 1

    def _line(self, hit: Hit) -> dict[str, Any]:
        """What the log says of a hit; the sample counts from the start of playing."""

        def named(names: tuple[str, ...], values: NDArray) -> dict[str, float]:
            # The shortest decimal that is this float32, not its long double.
            return {n: float(str(v)) for n, v in zip(names, values, strict=True)}

        return {
            "time_s": round(hit.sample / self.sample_rate, 6),
            "sample": hit.sample,
            "zone": hit.zone + 1,
            "features": named(hit.names.features, hit.features),
            "modulation": named(hit.names.parameters, hit.modulation),
            "values": named(hit.names.parameters, hit.values),
        }

    def _flush(self) -> None:
        """Bring the files into a state in which a reader finds all so far written."""
        assert self._log is not None
        self._log.flush()
        for file in self._audio:
            file.flush()
            if self.format == "flac":
                _announce(file.name, self._samples)

    def _reason(self, error: Exception) -> str:
        """libsndfile says no more than "System error" of a full disk."""
        if isinstance(error, ERRORS):
            with suppress(OSError):
                if shutil.disk_usage(self.folder).free < FULL_BYTES:
                    return f"{self.folder}: the disk is full"
        return f"{self.folder}: {error or type(error).__name__}"

    def _remove_files(self) -> None:
        """Those that were begun."""
        begun = [Path(file.name) for file in self._audio]
        for path in (*begun, *([self.folder / HITS] if self._log else [])):
            path.unlink(missing_ok=True)

    def _close_files(self) -> None:
        for file in (*self._audio, self._log):
            try:
                if file is not None:
                    file.close()
            except ERRORS as error:
                self.error = self.error or str(error)


def _announce(path: Any, samples: int) -> None:
    """Write the length so far into a FLAC file that is still being written.

    libsndfile does so at the end only, and without it refuses to read the file. Whole
    blocks are announced, without the last, which the encoder still holds. STREAMINFO:
    block size at byte 8, the length in the lower 36 bits at byte 18 (RFC 9639, 8.2).
    """
    with open(path, "r+b", buffering=0) as file:
        head = file.read(26)
        block, word = struct.unpack_from(">H8xQ", head, 8)
        whole = max(0, samples - 1) // block * block
        file.seek(18)
        file.write(struct.pack(">Q", word >> 36 << 36 | whole))
