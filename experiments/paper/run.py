"""The published numerical experiment, for any folder of drums.

drums x presets x onset windows x mappings, trained together in groups; the best a
preset can do (direct optimisation); and no modulation at all. Killed at any point and
started again it goes on where it was, to the same table.
"""

import argparse
import json
import os
import platform
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from jaxsnare.data import Hits
from jaxsnare.direct import Settings, reach_many
from jaxsnare.features import TargetFeatures
from jaxsnare.lessons import Job, describe
from jaxsnare.presets import read_preset
from jaxsnare.recipe import Recipe
from jaxsnare.saved import Saved
from jaxsnare.synths import Snare808
from jaxsnare.train import fit_many, listen, saved_state

RATE = 44_100
PRESETS = (
    "808_snare_1",
    "808_snare_2",
    "808_snare_3",
    "808_noisy_snare",
    "808_open_snare",
)
WINDOWS = 256, 2048
FEATURES = TargetFeatures(RATE).names
NONE, DIRECT, OURS = "preset", "direct", "ours"
METHODS = "linear", "mlp", "mlp_large", DIRECT, OURS


@dataclass(frozen=True)
class Run:
    """One line of results: a method on a drum with a preset."""

    drum: str
    preset: str
    method: str  # a mapping, or "direct"
    window: int  # 0: it hears nothing
    seed: int

    @property
    def file(self) -> str:
        """Where it is kept."""
        method = f"{self.method}_{self.window}" if self.window else self.method
        return f"{self.drum}__{self.preset}__{method}__{self.seed}.json"


def main() -> None:
    arguments = parse()
    out: Path = arguments.out
    (out / "runs").mkdir(parents=True, exist_ok=True)
    folders = sorted(p for p in arguments.drums.iterdir() if p.is_dir())
    if arguments.only:
        folders = [p for p in folders if p.name in arguments.only]
    if not folders:
        sys.exit(f"no folder of a drum in {arguments.drums}")
    plan = list(runs(arguments, [p.name for p in folders]))
    done = [run for run in plan if stored(arguments, run)]
    say(f"{len(plan)} runs, of which {len(done)} are done")
    # The groups are of the plan, not of what is left of it: so a state finds its group.
    left = [g for g in groups(plan, arguments.together) if not set(g) <= set(done)]
    if left:
        work(arguments, folders, left)
    write_tables(out, [stored(arguments, run) or {} for run in plan])
    print((out / "table.md").read_text())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("drums", type=Path, help="a folder with a folder per drum")
    parser.add_argument("--out", type=Path, default=Path("paper-results"))
    parser.add_argument("--only", nargs="+", help="names of some of the drums")
    parser.add_argument("--presets", nargs="+", default=PRESETS)
    parser.add_argument("--windows", nargs="+", type=int, default=WINDOWS)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=250)
    parser.add_argument("--steps", type=int, default=1000, help="of direct")
    parser.add_argument("--together", type=int, default=60, help="models at once")
    return parser.parse_args()


def runs(arguments: argparse.Namespace, drums: list[str]) -> Iterator[Run]:
    """All runs, in the order in which they are made."""
    seeds = range(arguments.seeds)
    for method in arguments.methods:
        for window in (0,) if method == DIRECT else arguments.windows:
            for drum, preset in product(drums, arguments.presets):
                for seed in seeds:
                    yield Run(drum, preset, method, window, seed)


def groups(plan: list[Run], together: int) -> list[list[Run]]:
    """Runs that are made at once: of one method, and of one window."""
    kinds = dict.fromkeys((run.method, run.window) for run in plan)
    same = [[r for r in plan if (r.method, r.window) == kind] for kind in kinds]
    return [g[i : i + together] for g in same for i in range(0, len(g), together)]


def recipe_of(arguments: argparse.Namespace, run: Run) -> Recipe:
    """The published recipe; of direct, what its reference and loss are.

    Of ours the one for single hits, with the published reference hit: so every method
    is judged by the same differences.
    """
    recipe = Recipe.named("published", seed=run.seed, epochs=arguments.epochs)
    if run.method == OURS:
        settings = {"seed": run.seed, "window": run.window}
        return Recipe.named("single", reference=recipe.reference, **settings)
    if run.method == DIRECT:
        return replace(recipe, window=max(arguments.windows), epochs=1)
    return replace(recipe, mapping=run.method, window=run.window)


def config(arguments: argparse.Namespace, run: Run) -> dict[str, Any]:
    """All that fixes a run, as plain values."""
    found = {"run": asdict(run), "recipe": asdict(recipe_of(arguments, run))}
    if run.method == DIRECT:
        found["direct"] = asdict(Settings(steps=arguments.steps))
        found["recipe"]["window"] = 0
    return found


def stored(arguments: argparse.Namespace, run: Run) -> dict[str, Any] | None:
    """The result of a run, None if it is not there whole."""
    path = arguments.out / "runs" / run.file
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if found["config"] != config(arguments, run):
        sys.exit(f"{path} was made with other settings: choose another --out")
    return found


def work(arguments, folders: list[Path], left: list[list[Run]]) -> None:
    """Make the groups of runs that are left."""
    synth = Snare808(RATE)
    heard: dict[str, Hits] = {}
    for folder in folders:
        say(f"listening to {folder.name}")
        heard[folder.name] = listen([folder], RATE, max(arguments.windows))

    def cost(run: Run) -> float:
        """In sounds that are made, about."""
        hits = len(heard[run.drum].audio)
        if run.method == DIRECT:
            return 0.1 * hits * arguments.steps
        if run.method == OURS:  # slopes cost as much as some gradients
            return 4.0 * hits * recipe_of(arguments, run).passes
        return 0.83 * hits * arguments.epochs

    whole = sum(cost(run) for group in left for run in group)
    done, started = 0.0, time.monotonic()

    def show(what: str, part: float) -> None:
        spent = time.monotonic() - started
        share = (done + part) / whole
        ends = spent * (1 / share - 1) if share else 0.0
        say(f"{what}; {100 * share:.1f} %, {clock(spent)}, {clock(ends)} left", "\r")

    for group in left:
        first = group[0]
        jobs = [job_of(arguments, synth, heard, run) for run in group]
        name = f"{len(group)} x {first.method} {first.window or ''}".rstrip()
        sounds = sum(map(cost, group))
        files = "".join(run.file for run in group)
        state = arguments.out / f"state-{zlib.crc32(files.encode()):08x}"
        begun = time.monotonic()
        if first.method == DIRECT:
            settings = Settings(steps=arguments.steps)

            def direct_step(at, of, loss, name=name, sounds=sounds):
                show(f"{name}, step {at}/{of}, loss {loss:.3f}", sounds * at / of)

            found = reach_many(jobs, synth, settings, direct_step, state)
            about = describe(jobs, synth) | {"direct": asdict(settings)}
            saved = Saved(state, about)
            interrupted = found[0].interrupted
            results = [{"test": one.test} for one in found]
        else:

            def epoch(rows, name=name, sounds=sounds):
                loss = float(np.mean([row.best_loss for row in rows]))
                at, of = rows[0].epoch, rows[0].epochs
                show(f"{name}, epoch {at}/{of}, loss {loss:.3f}", sounds * at / of)

            trained = fit_many(jobs, synth, epoch, state)
            saved = saved_state(jobs, synth, state)
            records = [one.model.training for one in trained]
            interrupted = records[0]["interrupted"]
            results = [{k: r[k] for k in ("test", "best", "epochs")} for r in records]
        if interrupted:
            sys.exit("\ninterrupted: the same command goes on from here")
        seconds = (time.monotonic() - begun) / len(group)
        for run, result in zip(group, results, strict=True):
            result |= {"config": config(arguments, run), "seconds": round(seconds, 2)}
            write(arguments.out / "runs" / run.file, result | {"made_by": versions()})
        saved.remove()
        done += sounds
    say("")


def job_of(arguments, synth: Snare808, heard: dict[str, Hits], run: Run) -> Job:
    """The hits, cut to the run's window; each window begins where the longest does."""
    recipe = recipe_of(arguments, run)
    key = f"{run.drum} {recipe.window}"
    if key not in heard:
        hits = heard[run.drum]
        windows = np.ascontiguousarray(hits.windows[:, : recipe.window])
        heard[key] = hits._replace(windows=windows)
    return Job(heard[key], read_preset(run.preset, synth), recipe)


def versions() -> dict[str, str]:
    """What made a run."""
    names = "jaxsnare", "jax", "jaxlib", "flax", "optax", "numpy"
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name in names:
        try:
            found[name] = version(name)
        except ModuleNotFoundError:  # not installed, but run from its folder
            found[name] = __import__(name).__version__
    return found


def write(path: Path, content: Any) -> None:
    """Whole or not at all."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    text = content if isinstance(content, str) else json.dumps(content, indent=2)
    new.write_text(text.rstrip("\n") + "\n")
    os.replace(new, path)


def write_tables(out: Path, results: list[dict[str, Any]]) -> None:
    """table.md, table.tex, table.csv, and the figures."""
    rows = table(results)
    write(out / "table.md", markdown(rows))
    write(out / "table.tex", latex(rows))
    write(out / "table.csv", comma_separated(rows))
    draw(rows, results, out)


def table(results: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Errors [runs, 7] on test hits by method; "preset": no modulation."""
    rows: dict[str, list[list[float]]] = {NONE: []}
    seen = set()
    for result in results:
        run, features = result["config"]["run"], result["test"]["features"]
        method = f"{run['method']} {run['window']}" if run["window"] else run["method"]
        errors = [features[name]["error"] for name in FEATURES]
        rows.setdefault(method, []).append(errors)
        if (split := (run["drum"], run["seed"])) not in seen:  # the same for presets
            seen.add(split)
            rows[NONE].append([features[name]["baseline"] for name in FEATURES])
    return {method: np.array(errors) for method, errors in rows.items()}


def markdown(rows: dict[str, np.ndarray]) -> str:
    """Mean and standard deviation over the runs, and the mean ratio to no modulation"""
    lines = [
        f"| method | runs | {' | '.join(FEATURES)} | ratio |",
        "|---" * (len(FEATURES) + 3) + "|",
    ]
    for method, errors in rows.items():
        cells = [
            f"{m:.2f} ± {s:.2f}"
            for m, s in zip(errors.mean(0), errors.std(0), strict=True)
        ]
        cells = [method, str(len(errors)), *cells, f"{ratio(rows, method):.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ratio(rows: dict[str, np.ndarray], method: str) -> float:
    """Mean over the features of the mean error over that of no modulation."""
    return float(np.mean(rows[method].mean(0) / rows[NONE].mean(0)))


def latex(rows: dict[str, np.ndarray]) -> str:
    """A tabular of mean and standard deviation."""
    names = " & ".join(f"$\\mathrm{{{name.replace('_', '}_{')}}}$" for name in FEATURES)
    lines = [
        f"\\begin{{tabular}}{{l{'r' * len(FEATURES)}}}",
        "\\hline",
        f"Method & {names} \\\\",
        "\\hline",
    ]
    for method, errors in rows.items():
        cells = [
            f"${m:.2f} \\pm {s:.2f}$"
            for m, s in zip(errors.mean(0), errors.std(0), strict=True)
        ]
        word = method.replace("_", "\\_")
        lines.append(f"{word} & {' & '.join(cells)} \\\\")
    return "\n".join([*lines, "\\hline", "\\end{tabular}"])


def comma_separated(rows: dict[str, np.ndarray]) -> str:
    """Method, feature, mean, standard deviation, runs."""
    lines = ["method,feature,mean,std,runs"]
    for method, errors in rows.items():
        for k, name in enumerate(FEATURES):
            column = errors[:, k]
            lines.append(
                f"{method},{name},{column.mean():.6g},{column.std():.6g},{len(column)}"
            )
    return "\n".join(lines)


def draw(rows: dict[str, np.ndarray], results: list[dict[str, Any]], out: Path) -> None:
    """errors.png: error over no modulation by feature; drums.png: by drum."""
    from matplotlib.figure import Figure

    methods = [method for method in rows if method != NONE]
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(methods)
    for i, method in enumerate(methods):
        shares = rows[method].mean(0) / rows[NONE].mean(0)
        at = np.arange(len(FEATURES)) + (i - (len(methods) - 1) / 2) * width
        axes.bar(at, shares, width, label=method)
    axes.axhline(1.0, color="0.4", linestyle="--", linewidth=1)
    axes.set_xticks(range(len(FEATURES)), FEATURES)
    axes.set_ylabel("error / error of no modulation")
    axes.legend(ncols=4, fontsize="small")
    figure.savefig(out / "errors.png", dpi=150)

    drums = sorted({r["config"]["run"]["drum"] for r in results})
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplots()
    for i, method in enumerate(methods):
        chosen = {drum: [] for drum in drums}
        for result in results:
            run = result["config"]["run"]
            if method in (run["method"], f"{run['method']} {run['window']}"):
                chosen[run["drum"]].append(result["test"]["mean_ratio"])
        at = np.arange(len(drums)) + (i - (len(methods) - 1) / 2) * width
        axes.bar(at, [np.mean(chosen[drum]) for drum in drums], width, label=method)
    axes.axhline(1.0, color="0.4", linestyle="--", linewidth=1)
    axes.set_xticks(range(len(drums)), drums, rotation=30, ha="right")
    axes.set_ylabel("mean ratio over presets")
    axes.legend(ncols=4, fontsize="small")
    figure.savefig(out / "drums.png", dpi=150)


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def say(text: str, end: str = "\n") -> None:
    print(f"\r\033[K{text}" if end == "\r" else text, end="" if end == "\r" else end,
          file=sys.stderr, flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
