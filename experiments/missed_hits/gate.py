"""What the gate makes of bleed: precision and recall over its strength.

    python experiments/missed_hits/gate.py DATA --out missed-hits-results

DATA as for run.py, and real/<drum>/*.flac (single hits) and distractors/. Every groove
with bleed, and every clean groove mixed with hi-hat and kick, is played through the
live step, whose voices are judged. The detector has the settings that were fitted
without the drum (settings.json). The gate has as examples the drum's single hits less
those that the groove was assembled from; "calibrated", also what `jaxsnare calibrate
--bleed` learns from recordings of hi-hat and kick that are not in the groove. The
strength is no one's choice: calibrated it is 0.5, at which the likelier side wins. The
last lines are for all performances at recorded level at that strength, by kind and in
all. refused.png shows their hits that are found, and that a calibrated gate refuses.
"""

import argparse
import csv
import json
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from mixing import bleed_to_learn, mixed_grooves
from run import SETTINGS, draw_hits, hear, settings_for
from score import Performance, Score, judge, performances

from jaxsnare.audio import read_audio_native
from jaxsnare.calibrate import learn_bleed
from jaxsnare.features import OnsetFeatures
from jaxsnare.features.normalise import Normaliser
from jaxsnare.gate import examples_of, no_examples
from jaxsnare.mapping import Mapping
from jaxsnare.model import Model
from jaxsnare.performance import remap
from jaxsnare.presets import read_preset
from jaxsnare.synths import Snare808
from jaxsnare.train import listen

STRENGTHS = (0.0, 0.25, 0.35, 0.5, 0.7, 1.0)
OFF, USUAL = STRENGTHS.index(0.0), STRENGTHS.index(0.5)
WINDOW = 256


def other_hits(data: Path, p: Performance, rate: int) -> np.ndarray:
    """The drum's single hits that are not in the performance, from the pre-roll on."""
    with open(data / "performances" / f"{p.drum}__{p.kind}.csv", newline="") as file:
        used = {Path(row["hit"]).name for row in csv.DictReader(file)}
    with tempfile.TemporaryDirectory() as folder:
        for file in sorted((data / "real" / p.drum).glob("*.flac")):
            if file.name not in used:
                (Path(folder) / file.name).symlink_to(file.resolve())
        return listen([folder], rate, WINDOW).audio


def model_of(hits: np.ndarray | None, rate: int, settings: dict[str, float]) -> Model:
    """A model that no one trained, which hears what one of these hits would."""
    examples = no_examples()
    if hits is not None:
        examples = examples._replace(hits=examples_of(hits, WINDOW, rate))
    synth = Snare808(rate)
    mapping = Mapping(3, len(synth.specs), (32,))
    return Model(
        synth,
        synth.specs,
        read_preset("808_snare_1", synth),
        mapping,
        mapping.init(jax.random.key(0)),
        OnsetFeatures(rate, WINDOW),
        Normaliser(jnp.full(3, -60.0), jnp.zeros(3)),
        jnp.full(3, 0.5),
        settings,
        examples=examples,
    )


def judge_groove(
    model: Model, audio: np.ndarray, p: Performance, rate: int
) -> tuple[list[Score], list[np.ndarray]]:
    """The score of the voices, and the hits that are missed, for each strength."""
    remapper, scores, lost = model.remapper(rate), [], []
    padded = np.pad(audio, (0, remapper.latency)).astype(np.float32)
    for strength in STRENGTHS:
        played = remap(remapper, model.params(gate=strength), padded)
        score, missed, _ = judge(played.triggers - remapper.latency, p, rate)
        scores.append(score)
        lost.append(missed)
    return scores, lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("missed-hits-results"))
    parser.add_argument("--drums", nargs="+", help="only these (default: all)")
    arguments = parser.parse_args()
    data = arguments.data
    folds = json.loads(SETTINGS.read_text("utf-8"))
    grooves = [
        (p, read_audio_native(p.path)[0], "bleed")
        for p in performances(data)
        if p.condition == "bleed" and p.gain_db == 0
    ]
    grooves += [(p, audio, "mixed") for p, _, audio in mixed_grooves(data)]
    rate = read_audio_native(grooves[0][0].path)[1]
    grooves += [
        (p, read_audio_native(p.path)[0], "elsewhere")
        for p in performances(data)
        if p.condition != "bleed" and p.gain_db == 0
    ]
    totals: dict[tuple[str, str], list[Score]] = {}
    by_kind: dict[tuple[str, str], Score] = {}
    hits: dict[str, np.ndarray] = {}
    refused = []
    for p, audio, kind in grooves:
        if arguments.drums and p.drum not in arguments.drums:
            continue
        if p.drum not in hits:
            hits[p.drum] = other_hits(data, p, rate)
        alone = model_of(hits[p.drum], rate, settings_for(folds, p.drum))
        bleed = np.concatenate(bleed_to_learn(data, p, rate)).astype(np.float32)
        knowing, _ = learn_bleed(alone, bleed)
        for name, model in (("hits alone", alone), ("calibrated", knowing)):
            scores, lost = judge_groove(model, audio, p, rate)
            so_far = totals.setdefault((name, kind), [Score()] * len(STRENGTHS))
            totals[name, kind] = [a + b for a, b in zip(so_far, scores, strict=True)]
            if kind == "mixed":
                continue
            for group in (p.kind, "all"):
                so_far = by_kind.get((name, group), Score())
                by_kind[name, group] = so_far + scores[USUAL]
            if name == "calibrated":
                heard = hear(audio, rate, settings_for(folds, p.drum))
                for at in np.setdiff1d(lost[USUAL], lost[OFF]):
                    refused.append((p.name.replace("__", "\n", 1), heard, int(at)))
        print(".", end="", file=sys.stderr, flush=True)
    rows = {
        f"{name}, {kind}, gate {strength:g}": score.row()
        for (name, kind), scores in totals.items()
        for strength, score in zip(STRENGTHS, scores, strict=True)
    }
    for (name, group), score in sorted(by_kind.items(), reverse=True):
        rows[f"{name}, {group}, gate 0.5"] = score.row()
    print()
    for name, row in rows.items():
        print(
            f"{name:32s} precision {row['precision']:.3f} recall {row['recall']:.3f} "
            f"F {row['F']:.3f} late, 95 % {row['late_ms_95']:.1f} ms"
        )
    arguments.out.mkdir(parents=True, exist_ok=True)
    if refused:
        draw_hits(refused, arguments.out / "refused.png")
    (arguments.out / "gate.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
