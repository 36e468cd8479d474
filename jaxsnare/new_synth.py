"""The file that a new synth begins as."""

import ast
import keyword
from pathlib import Path

START = '''\
"""{name}: what it is, and where its circuit or model comes from.

    jaxsnare check-synth {file}:{name}
    jaxsnare render hit.wav --synth {file}:{name}
    jaxsnare train DRUM.wav --out {model} --synth {file}:{name}
    jaxsnare live {model}
"""

import jax.numpy as jnp

from jaxsnare import ParamSet, ParamSpec, Synth
from jaxsnare.dsp.envelopes import attack_decay
from jaxsnare.dsp.filters import Biquad
from jaxsnare.dsp.oscillators import Sine
from jaxsnare.dsp.shapers import gain, tanh_drive


class {name}(Synth):
    """A tone that falls in pitch and filtered noise, softly clipped."""

    # Name, unit, lowest, highest, default. These are the knobs of a player and what a
    # network learns to move; scale="log" suits frequencies and times.
    @property
    def specs(self) -> ParamSet:
        return ParamSet(
            (
                ParamSpec("tone.freq", "Hz", 40.0, 1000.0, 180.0, scale="log"),
                ParamSpec("tone.sweep", "ratio", 0.0, 4.0, 0.5),
                ParamSpec("tone.decay", "ms", 20.0, 1000.0, 150.0, scale="log"),
                ParamSpec("tone.gain", "dB", -60.0, 6.0, -6.0),
                ParamSpec("noise.freq", "Hz", 200.0, 8000.0, 2000.0, scale="log"),
                ParamSpec("noise.decay", "ms", 20.0, 1000.0, 120.0, scale="log"),
                ParamSpec("noise.gain", "dB", -60.0, 6.0, -10.0),
                ParamSpec("drive", "dB", -24.0, 24.0, 0.0),
            )
        )

    @property
    def tone(self) -> Sine:
        return Sine(self.sample_rate)

    @property
    def highpass(self) -> Biquad:
        return Biquad("highpass", self.sample_rate)

    def voice_init(self, dtype):
        # All that a voice remembers from one block to the next.
        return self.tone.init(dtype), self.highpass.init(dtype)

    def voice(self, p, state, n, white):
        # p: the values of this hit by name. n: samples since it was struck, negative
        # before, where the voice must be silent: envelopes are 0 there.
        tone_state, filter_state = state
        rate = self.sample_rate

        bend = attack_decay(n, jnp.float32(40.0), rate)
        tone_state, tone = self.tone.step(
            (p["tone.freq"], p["tone.sweep"]), tone_state, (n, bend)
        )
        tone = gain(tone * attack_decay(n, p["tone.decay"], rate), p["tone.gain"])

        noise = white() * attack_decay(n, p["noise.decay"], rate)
        filter_state, noise = self.highpass.step(
            (p["noise.freq"], jnp.float32(1.0)), filter_state, noise
        )
        noise = gain(noise, p["noise.gain"])

        return (tone_state, filter_state), tanh_drive(tone + noise, p["drive"])
'''


def file_name(name: str) -> str:
    """The file of a class: 'RimShot' is 'rim_shot.py'."""
    parts = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
    return f"{parts.strip('_')}.py"


def model_name(file: str | Path) -> str:
    """What a model of a synth's file may be called: 'my-rim-shot'."""
    return f"my-{Path(file).stem.replace('_', '-')}"


def new_synth(name: str, file: str) -> str:
    """The source of a synth that works, to be changed; file: where it will lie.

    Raises ValueError for what is no name of a class, or of one that it uses.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or not name[0].isupper():
        raise ValueError(
            f"{name!r} is no name of a class: letters and digits that begin with a "
            "capital, as in RimShot"
        )
    source = START.format(name=name, file=file, model=model_name(file))
    imports = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom))
    if name in {alias.name for node in imports for alias in node.names}:
        raise ValueError(f"{name} is what the file imports: choose another name")
    return source
