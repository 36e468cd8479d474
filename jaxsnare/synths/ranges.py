"""The kinds of parameter that the published synths share, with their ranges."""

from jaxsnare.params import ParamSpec


def osc_freq(name: str, default: float = 200.0) -> ParamSpec:
    return ParamSpec(name, "Hz", 20.0, 2000.0, default)


def osc_mod(name: str, default: float = 0.4) -> ParamSpec:
    return ParamSpec(name, "ratio", -1.0, 2.0, default)


def decay_ms(name: str, default: float = 200.0) -> ParamSpec:
    return ParamSpec(name, "ms", 10.0, 2000.0, default)


def gain_db(name: str, default: float = -6.0) -> ParamSpec:
    return ParamSpec(name, "dB", -60.0, 6.0, default)


def drive_db(name: str, default: float = 0.0) -> ParamSpec:
    return ParamSpec(name, "dB", -24.0, 24.0, default)


def filter_freq(name: str, sample_rate: int, default: float = 2500.0) -> ParamSpec:
    return ParamSpec(name, "Hz", 20.0, sample_rate // 2, default)


def filter_q(name: str, default: float = 1.0) -> ParamSpec:
    return ParamSpec(name, "", 0.5, 10.0, default)
