"""Audio files: read at any rate, written whole or not at all."""

import io
import os
import re
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import ArrayLike, NDArray

from jaxsnare.component import MAX_RATE_HZ, MIN_RATE_HZ, check_rate
from jaxsnare.files import write_whole

"""Sample rates that are allowed, of files and of models."""

SUFFIXES = (
    ".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus",
    ".rf64", ".snd", ".w64", ".wav",
)  # fmt: skip
"""Suffixes by which audio files are found in a folder."""

_FORMATS = {
    ".wav": ("WAV", "PCM_24"),
    ".flac": ("FLAC", "PCM_24"),
    ".aiff": ("AIFF", "PCM_24"),
    ".ogg": ("OGG", "VORBIS"),
}
_MAX_CHANNELS = 64
_MAX_FRAMES = 2**31  # more is a damaged header, or a stream without a length
_BLOCK = 4096  # Vorbis in long pieces overflows the stack inside libsndfile

# What libsndfile logs of a header that announces more bytes than the file has. From
# _STREAMED up it stands for a length that was unknown when the header was written.
_ANNOUNCED = re.compile(
    r"^\s*(?:data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", re.M
)
_STREAMED = 0x7FFFF000
_SLACK_BYTES = 64  # some writers count the header in


def read_audio(path: str | os.PathLike[str], sample_rate: int) -> NDArray[np.float32]:
    """A file as mono audio at a rate in Hz: float32 [T], T > 0, 1 is full scale.

    Reads what libsndfile reads (wav, flac, ogg, mp3, aiff and more). Channels are
    mixed down to their mean; another rate is resampled (soxr, very high quality).

    Raises ValueError, one line that names the file: missing, a folder, empty,
    truncated (where its format tells its length), not audio, without samples, with
    NaN or infinite samples, or of a rate outside 8000 to 192000 Hz.
    """
    check_rate(sample_rate)
    audio, rate = read_audio_native(path)
    return resample(audio, rate, sample_rate)


def read_audio_native(
    path: str | os.PathLike[str],
) -> tuple[NDArray[np.float32], int]:
    """A file as mono audio [T] at its own rate, and that rate in Hz.

    As `read_audio` in everything else.
    """
    channels, rate = read_channels(path)
    return channels.mean(axis=1, dtype=np.float64).astype(np.float32), rate


def read_channels(
    path: str | os.PathLike[str],
) -> tuple[NDArray[np.float32], int]:
    """The channels of a file [T, C] at its own rate, and that rate in Hz.

    As `read_audio` in everything else.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        raise ValueError(f"{path}: is a folder; wanted: an audio file")
    if not os.path.exists(path):
        raise ValueError(f"{path}: no such file")
    if not os.path.isfile(path):
        raise ValueError(f"{path}: is no regular file; wanted: an audio file")
    if os.path.getsize(path) == 0:
        raise ValueError(f"{path}: is empty (0 bytes); wanted: an audio file")
    try:
        with soundfile.SoundFile(path) as file:
            _check_header(path, file)
            channels = np.asarray(
                file.read(dtype="float32", always_2d=True), np.float32
            )
            frames, rate = file.frames, file.samplerate
    # TypeError: the suffix .raw, whose files say nothing of themselves
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise ValueError(
            f"{path}: cannot be read as audio; it is damaged, truncated or of another "
            "kind (readable are wav, flac, ogg, mp3, aiff and more)"
        ) from error
    # One MPEG frame of grace: decoders and headers differ about the padding.
    if len(channels) + 1152 < frames:
        raise ValueError(
            f"{path}: is truncated; it announces {frames} samples and has "
            f"{len(channels)}"
        )
    if len(channels) == 0:
        raise ValueError(f"{path}: has no samples (it is empty or truncated)")
    bad = np.flatnonzero(~np.isfinite(channels).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{path}: {len(bad)} of {len(channels)} samples are NaN or infinite, the "
            f"first is sample {bad[0]}; allowed are finite samples"
        )
    return channels, rate


def _check_header(path: str, file: soundfile.SoundFile) -> None:
    """Refuse what the header alone gives away, before anything is allocated."""
    if not MIN_RATE_HZ <= file.samplerate <= MAX_RATE_HZ:
        raise ValueError(
            f"{path}: the sample rate is {file.samplerate} Hz; allowed: {MIN_RATE_HZ} "
            f"to {MAX_RATE_HZ} Hz"
        )
    if file.frames > _MAX_FRAMES:
        raise ValueError(
            f"{path}: the header does not tell a usable length (a stream, or damaged); "
            "save the file again, for instance as wav"
        )
    for announced, there in _ANNOUNCED.findall(file.extra_info):
        if int(there) + _SLACK_BYTES < int(announced) < _STREAMED:
            raise ValueError(
                f"{path}: is truncated; it announces {announced} bytes of audio and "
                f"has {there}"
            )


def resample(audio: ArrayLike, from_hz: int, to_hz: int) -> NDArray[np.float32]:
    """Audio [T] at another rate: float32, about T * to_hz / from_hz samples, not 0.

    The filter has linear phase, so that onsets stay in place.

    >>> resample(np.zeros(480, np.float32), 48_000, 44_100).shape
    (441,)
    """
    check_rate(from_hz)
    check_rate(to_hz)
    audio = np.asarray(audio, np.float32)
    if from_hz == to_hz:
        return audio
    shortest = -(-from_hz // to_hz)  # one sample at the new rate
    audio = np.pad(audio, (0, max(0, shortest - len(audio))))
    return soxr.resample(audio, from_hz, to_hz, quality="VHQ")


def peak_dbfs(audio: ArrayLike) -> float:
    """Level of the largest sample in dB; 0 is full scale, silence is -inf.

    >>> peak_dbfs([0.0, -0.1])
    -20.0
    """
    with np.errstate(divide="ignore"):
        return float(20 * np.log10(np.max(np.abs(audio), initial=0.0)))


def write_audio(
    path: str | os.PathLike[str],
    audio: ArrayLike,
    sample_rate: int,
    *,
    overwrite: bool = False,
    subtype: str | None = None,
) -> int:
    """Write audio [T] or [T, C]; returns how many samples had to be clipped.

    The suffix gives the format: .wav, .flac and .aiff (24 bit unless `subtype` names
    another encoding of libsndfile, as "PCM_16" or "FLOAT") or .ogg (Vorbis). Samples
    outside [-1, 1] are clipped and counted, except in "FLOAT" and "DOUBLE", which
    keep them. The file appears whole or not at all.

    Raises ValueError: an unknown suffix or subtype, a file that exists (unless
    `overwrite`), a folder that is missing or cannot be written to, and audio that is
    empty, not floating point, not finite or of another shape.
    """
    path = Path(path)
    check_rate(sample_rate)
    audio = _checked(path, audio)
    if path.suffix.lower() not in _FORMATS:
        raise ValueError(
            f"{path}: the suffix {path.suffix!r} names no format that can be written; "
            f"allowed: {', '.join(_FORMATS)}"
        )
    kind, usual = _FORMATS[path.suffix.lower()]
    subtype = usual if subtype is None else subtype
    allowed = soundfile.available_subtypes(kind)
    if subtype not in allowed:
        raise ValueError(
            f"{path}: the subtype {subtype!r} does not exist in {kind} files; "
            f"allowed: {', '.join(allowed)}"
        )
    if os.path.isdir(path):
        raise ValueError(f"{path}: is a folder; wanted: the name of a file")
    if os.path.exists(path) and not overwrite:
        raise ValueError(
            f"{path}: exists already; to replace it, pass --overwrite (overwrite=True)"
        )
    if not os.path.isdir(path.parent):
        raise ValueError(f"{path}: there is no folder {path.parent}; create it first")

    clipped = 0
    if subtype not in ("FLOAT", "DOUBLE"):
        clipped = int(np.count_nonzero(np.abs(audio) > 1))
        audio = np.clip(audio, -1, 1)
    try:
        data = _encoded(audio, int(sample_rate), kind, subtype)
    except soundfile.SoundFileError as error:
        channels = 1 if audio.ndim == 1 else audio.shape[1]
        raise ValueError(
            f"{path}: {kind} {subtype} cannot hold {channels} channels at "
            f"{sample_rate} Hz ({error})"
        ) from error
    write_whole(path, data)
    return clipped


def _checked(path: Path, audio: ArrayLike) -> NDArray[np.float64]:
    audio = np.asarray(audio)
    if audio.ndim not in (1, 2) or not np.issubdtype(audio.dtype, np.floating):
        raise ValueError(
            f"{path}: the audio is {audio.dtype} of shape {audio.shape}; wanted: "
            "floating point of shape (samples,) or (samples, channels)"
        )
    if audio.size == 0:
        raise ValueError(f"{path}: the audio has no samples; wanted: at least one")
    if audio.ndim == 2 and audio.shape[1] > _MAX_CHANNELS:
        raise ValueError(
            f"{path}: the audio has shape {audio.shape}; wanted: (samples, channels) "
            f"with up to {_MAX_CHANNELS} channels"
        )
    bad = np.count_nonzero(~np.isfinite(audio))
    if bad:
        raise ValueError(f"{path}: {bad} of {audio.size} samples are NaN or infinite")
    return audio.astype(np.float64)


def _encoded(audio: NDArray, sample_rate: int, kind: str, subtype: str) -> memoryview:
    """The bytes of an audio file."""
    data = io.BytesIO()
    channels = 1 if audio.ndim == 1 else audio.shape[1]
    with soundfile.SoundFile(
        data, "w", sample_rate, channels, subtype, None, kind
    ) as f:
        for start in range(0, len(audio), _BLOCK):
            f.write(audio[start : start + _BLOCK])
    return data.getbuffer()
