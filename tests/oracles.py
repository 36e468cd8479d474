"""What several tests compare with, in float64."""

from typing import Any

import numpy as np
import scipy.signal


def biquad(kind: str, freq_hz: Any, q: Any, x: Any, sample_rate: int) -> Any:
    """A second-order filter by the bilinear transform (RBJ cookbook), through SciPy."""
    w = 2 * np.pi * freq_hz / sample_rate
    alpha, c = np.sin(w) / (2 * q), np.cos(w)
    b = {
        "lowpass": np.array([0.5, 1, 0.5]) * (1 - c),
        "highpass": np.array([0.5, -1, 0.5]) * (1 + c),
        "bandpass": np.array([alpha, 0, -alpha]),
        "notch": np.array([1, -2 * c, 1]),
    }[kind]
    a = (1 + alpha, -2 * c, 1 - alpha)
    return scipy.signal.lfilter(b, a, np.asarray(x, float))
