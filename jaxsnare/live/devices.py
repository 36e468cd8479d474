"""Sound devices: which there are, and by which name; sounddevice is imported here."""

from typing import Any, NamedTuple

USUAL_RATES_HZ = 44_100, 48_000, 88_200, 96_000


def sounddevice() -> Any:
    """The module, or a ValueError that says how to get PortAudio."""
    try:
        import sounddevice
    except ImportError:
        raise ValueError(
            "sounddevice is missing: install it with `pip install sounddevice`"
        ) from None
    except OSError:
        raise ValueError(
            "PortAudio is missing: `apt install libportaudio2` (Debian, Ubuntu), "
            "`brew install portaudio` (macOS); on Windows sounddevice brings it along"
        ) from None
    return sounddevice


class Device(NamedTuple):
    """A sound device, as PortAudio knows it."""

    number: int  # PortAudio's index
    name: str
    host_api: str
    inputs: int  # channels
    outputs: int
    default_input: bool
    default_output: bool
    default_rate_hz: int
    rates_hz: tuple[int, ...]  # of the usual ones, those that it opens
    input_latency_ms: float  # the low ones, as stated
    output_latency_ms: float


def devices() -> list[Device]:
    """All sound devices. ValueError if PortAudio is missing."""
    sd = sounddevice()
    apis = sd.query_hostapis()
    default_in, default_out = _default(sd, "input"), _default(sd, "output")
    return [
        Device(
            d["index"],
            d["name"],
            apis[d["hostapi"]]["name"],
            d["max_input_channels"],
            d["max_output_channels"],
            d["index"] == default_in,
            d["index"] == default_out,
            round(d["default_samplerate"]),
            rates_of(sd, d),
            1e3 * d["default_low_input_latency"],
            1e3 * d["default_low_output_latency"],
        )
        for d in sd.query_devices()
    ]


def _default(sd: Any, kind: str) -> int | None:
    try:
        return sd.query_devices(kind=kind)["index"]
    except (sd.PortAudioError, ValueError):
        return None


def rates_of(sd: Any, device: dict[str, Any]) -> tuple[int, ...]:
    """Of the usual rates, those at which all directions of a device run."""
    kinds = [k for k in ("input", "output") if device[f"max_{k}_channels"]]
    return tuple(
        rate
        for rate in USUAL_RATES_HZ
        if all(opens_at(sd, device["index"], kind, rate) for kind in kinds)
    )


def opens_at(sd: Any, index: int, kind: str, rate_hz: int) -> bool:
    """Whether a device runs at a rate, as "input" or as "output"."""
    check = {"input": sd.check_input_settings, "output": sd.check_output_settings}
    try:
        check[kind](device=index, channels=1, dtype="float32", samplerate=rate_hz)
    except sd.PortAudioError:
        return False
    return True


def find_device(name_or_number: str | int | None, kind: str) -> int:
    """Number of a device for "input" or "output".

    By number, by name or a part of it (case does not matter; "name, host API" tells
    devices of one name apart), or None for the default. ValueError that lists the
    choices where none or several fit.
    """
    sd = sounddevice()
    apis = [api["name"] for api in sd.query_hostapis()]
    usable = {
        d["index"]: f"{d['name']}, {apis[d['hostapi']]}"
        for d in sd.query_devices()
        if d[f"max_{kind}_channels"] > 0
    }
    choices = "; ".join(f"{i}: {name}" for i, name in usable.items())
    if not usable:
        raise ValueError(f"there is no {kind} device: no sound card or server")
    if name_or_number is None:
        index = _default(sd, kind)
        if index is None:
            raise ValueError(f"there is no default {kind} device; there are: {choices}")
        return index
    wanted = str(name_or_number).strip().lower()
    if wanted.isdecimal() and int(wanted) in usable:
        return int(wanted)
    lower = {i: name.lower() for i, name in usable.items()}
    exact = [i for i, n in lower.items() if wanted in (n, n.rsplit(", ", 1)[0])]
    found = exact or [i for i, n in lower.items() if wanted and wanted in n]
    if len(found) != 1:
        what = "several devices fit" if found else "no device fits"
        raise ValueError(f"{what} {kind} {name_or_number!r}; there are: {choices}")
    return found[0]
