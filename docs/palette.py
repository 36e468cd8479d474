"""The picture of docs/palette.md: spectrograms of the drums that ship.

python docs/palette.py
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from jaxsnare import load_preset, render
from jaxsnare.presets import preset_names
from jaxsnare.synths import find_synth

RATE, SECONDS = 44_100, 0.6
NEW = ("Kick808", "Clap808", "HiHat808", "Snare909", "ModalDrum", "FMPercussion")
OUT = Path(__file__).parent / "images" / "palette.png"

figure, axes = plt.subplots(3, 6, figsize=(12, 5.4), sharex=True, sharey=True)
for column, kind in zip(axes.T, NEW, strict=True):
    synth = find_synth(kind)(RATE)
    for axis, name in zip(column, preset_names(synth), strict=True):
        audio = np.asarray(render(synth, load_preset(name, synth), SECONDS))
        heard = np.concatenate([np.zeros(512), audio])
        heard += np.random.default_rng(0).normal(0, 1e-6, len(heard))  # no log of 0
        axis.specgram(heard, NFFT=512, Fs=RATE, noverlap=448, vmin=-120, vmax=-30)
        axis.set(yscale="symlog", ylim=(40, 20_000), title=name)
        axis.title.set_fontsize(9)
        axis.tick_params(labelsize=7)
        axis.set_yticks([100, 1000, 10_000], ["100", "1k", "10k Hz"])
figure.supxlabel("seconds", fontsize=8)
figure.tight_layout()
figure.savefig(OUT, dpi=72)
