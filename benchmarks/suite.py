"""The whole benchmark, side by side in one run: `python benchmarks/suite.py FOLDER ... [--peer PYTHON]`.

For each FOLDER (train.txt.gz and test.txt.gz in the text format of LightGCN): an epoch of LightGCN with uniform
negatives and a full evaluation here and in RecBole, in turn, then a step with the samplers that must stay near
uniform's, in turns with uniform's (samplers.py), and the rate of sampling. Then the growth of an epoch with the
number of interactions, on synthetic power-law data, and how far each stage is from what the memory allows.

Each part is kept in build/bench as soon as it is measured: an interrupted run goes on behind it. A run that comes
to its end writes results/*.json, results/growth.svg and results/table.md beside this file (with --docs also into
docs/performance.md), and forgets the parts. With --only-samplers it measures the samplers again, and takes
everything else from results/*.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PARTS = Path("build/bench")
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
BATCH = 2048
NAMES = ("epoch", "growth", "bounds")  # of the files of results


def run(command: list[str]) -> dict[str, Any]:
    """Run a script and return the JSON object at the end of its output."""
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{finished.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(
        finished.stdout[finished.stdout.index("\n{") if finished.stdout[0] != "{" else 0 :]
    )
    return result


def ours(folder: Path, *options: str) -> dict[str, Any]:
    return run([sys.executable, str(HERE / "epoch.py"), str(folder), *options])


def part(name: str, measure: Callable[[], Any]) -> Any:
    """Return what an interrupted run has kept under this name, else measure it and keep it."""
    path = PARTS / f"{name}.json"
    if not path.exists():
        print(f"{name} …", file=sys.stderr)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(measure(), indent=2) + "\n")
        partial.rename(path)
    return json.loads(path.read_text())


def compare(folder: Path, peer: Path | None, peer_epochs: int) -> dict[str, Any]:
    """Measure here, there, and here again, so that a machine whose speed drifts is seen."""
    name = folder.name
    first = part(f"{name} here, first", lambda: ours(folder))
    there = None
    if peer is not None:
        script = [str(peer), "-W", "ignore", str(HERE / "recbole" / "measure.py")]
        there = part(f"{name} in RecBole", lambda: run([*script, str(folder), str(peer_epochs)]))
    second = part(f"{name} here, second", lambda: ours(folder))
    samplers = part(f"{name} samplers", lambda: samplers_of(folder))
    rate = part(f"{name} rate of sampling", lambda: rate_of_sampling(folder))
    result = {"folder": name, "here": [first, second], "recbole": there, "samplers": samplers, "sampling": rate}
    return result | {"ratios": ratios(result)}


def samplers_of(folder: Path) -> dict[str, Any]:
    """Return what a step with each sampler costs, measured in turns with uniform's."""
    return run([sys.executable, str(HERE / "samplers.py"), str(folder)])


def measure_samplers_again(folders: list[Path]) -> list[dict[str, Any]]:
    """Return the kept results of the folders with new figures of the samplers."""
    kept = {own["folder"]: own for own in json.loads((RESULTS / "epoch.json").read_text())["results"]}
    for folder in folders:
        if folder.name not in kept:
            sys.exit(f"results/epoch.json has nothing of {folder.name}: run once without --only-samplers.")
        own = kept[folder.name]
        own["samplers"] = part(f"{folder.name} samplers", lambda here=folder: samplers_of(here))
        own["ratios"] = ratios(own)
    return list(kept.values())


def rate_of_sampling(folder: Path) -> dict[str, Any]:
    """Return uniform's rate: each negative is outside the user's train items by construction."""
    return run([sys.executable, str(HERE / "sampling.py"), str(folder), "--samplers", "uniform"])


def ratios(result: dict[str, Any]) -> dict[str, float]:
    """Return RecBole's time over ours, and each sampler's step over uniform's."""
    epoch = mean_of(result["here"], "seconds_per_epoch")
    samplers = result["samplers"]["milliseconds_per_step"]
    found = {name: own["wall"]["fastest of uniform"] for name, own in samplers.items() if name != "uniform"}
    there = result["recbole"]
    if there is not None:
        found["recbole epoch"] = median(there["train_seconds"]) / epoch
        found["recbole evaluation"] = there["evaluate_seconds"] / mean_of(result["here"], "seconds_per_evaluation")
    return {name: round(value, 2) for name, value in found.items()}


def mean_of(runs: list[dict[str, Any]], key: str) -> float:
    return sum(own[key] for own in runs) / len(runs)


def growth() -> list[dict[str, Any]]:
    """Milliseconds a step, and with them seconds an epoch, on synthetic data of growing size.

    A step is the median of a few; an epoch is not run, but reckoned as its number of steps.
    """
    rows = []
    for pairs in SIZES:
        steps = "8" if pairs > 1_000_000 else "20"
        measured = part(
            f"growth, {pairs}", lambda n=pairs, k=steps: ours(Path(str(n)), "--epochs", "0", "--steps", k)
        )
        stages = measured["milliseconds_per_step"]
        step = sum(stages[name] for name in ("forward with sampling", "backward", "optimiser"))
        train = measured["dataset"]["train"]
        rows.append(
            {"train": train, "milliseconds_per_step": step, "epoch_from_steps": step / 1e3 * -(-train // BATCH)}
            | {"nodes": measured["dataset"]["users"] + measured["dataset"]["items"]}
            | {"memory_mib": measured["memory_mib"]}
        )
    return rows


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw seconds an epoch against interactions, both logarithmic, with a line of slope 1 for comparison."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    sizes, seconds = [row["train"] for row in rows], [row["epoch_from_steps"] for row in rows]
    axes.loglog(sizes, seconds, "o-", color="#0072B2", label="LightGCN, uniform negatives")
    scale = [seconds[0] * size / sizes[0] for size in sizes]
    axes.loglog(sizes, scale, "--", color="#999999", label="proportional to the interactions")
    square = [seconds[-1] * (size / sizes[-1]) ** 2 for size in sizes]
    axes.loglog(sizes, square, ":", color="#999999", label="proportional to their square")
    axes.set_xlabel("train interactions (synthetic, power law)")
    axes.set_ylabel("seconds an epoch (steps x median step)")
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def compared(result: dict[str, Any]) -> list[str]:
    """Return a folder's rows of the table."""
    folder, here, there, found = result["folder"], result["here"], result["recbole"], result["ratios"]
    other = {"epoch": "", "evaluation": ""}
    if there is not None:
        other = {
            "epoch": f"{median(there['train_seconds']):.1f}",
            "evaluation": f"{there['evaluate_seconds']:.2f}",
        }
    rows = []
    for what, label in (("epoch", "epoch, uniform"), ("evaluation", "evaluation, all users")):
        own, ratio = mean_of(here, f"seconds_per_{what}"), found.get(f"recbole {what}")
        rows.append(f"| {folder} | {label}, s | {own:.2f} | {other[what]} | {f'{ratio:.1f} x' if ratio else ''} |")
    for name, measured in result["samplers"]["milliseconds_per_step"].items():
        if name == "uniform":
            continue
        wall, cpu = measured["wall"], measured["cpu"]
        others = f"median {wall['median of uniform']:.2f}; CPU time {cpu['fastest of uniform']:.2f}, "
        others += f"median {cpu['median of uniform']:.2f}"
        rows.append(f"| {folder} | step, {name}, of uniform's | {found[name]:.2f} | | {others} |")
    rate = result["sampling"]["samplers"]["uniform"]["pairs_per_second"] / 1e6
    memory = max(own["memory_mib"]["beyond_imports"] for own in here)
    rows.append(f"| {folder} | checked uniform negatives, millions a second | {rate:.1f} | | |")
    rows.append(f"| {folder} | peak memory beyond the imports, MiB | {memory} | | |")
    return rows


def table(results: list[dict[str, Any]], rows: list[dict[str, Any]], bounds: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = ["| data | what | here | RecBole 1.2.1 | ratio |", "|---|---|---:|---:|---:|"]
    lines += [line for result in results for line in compared(result)]
    lines += [
        "",
        "| data | stage | MB to move | bound, ms | measured, ms | times the bound |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for folder, stages in bounds["stages"].items():
        for stage, own in stages.items():
            if isinstance(own, dict):
                figures = (
                    own["megabytes"],
                    own["bound_milliseconds"],
                    own["milliseconds"],
                    own["times_the_bound"],
                )
                lines.append(f"| {folder} | {stage} | {' | '.join(f'{value:.2f}' for value in figures)} |")
    machine = bounds["machine"]
    lines += ["", "| GB/s, all threads | L2 | L3 | memory |", "|---|---:|---:|---:|"]
    for kind in ("stream", "gather"):
        lines.append(f"| {kind} | {' | '.join(f'{value / 1e9:.1f}' for value in machine[kind].values())} |")
    lines += ["", "| synthetic interactions (train) | nodes | step, ms | epoch, s (steps x median step) |"]
    lines += ["|---:|---:|---:|---:|"]
    for row in rows:
        step, epoch = row["milliseconds_per_step"], row["epoch_from_steps"]
        lines.append(f"| {row['train']:,} | {row['nodes']:,} | {step:.1f} | {epoch:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--peer", type=Path, help="the Python of RecBole's environment")
    parser.add_argument("--peer-epochs", type=int, default=1)
    parser.add_argument("--docs", action="store_true", help="put the figures into docs/performance.md")
    parser.add_argument("--only-samplers", action="store_true", help="measure the samplers alone again")
    options = parser.parse_args()
    if options.only_samplers:
        of_epoch, of_growth, of_bounds = (json.loads((RESULTS / f"{name}.json").read_text()) for name in NAMES)
        machine, rows, bounds = of_epoch["machine"], of_growth["results"], of_bounds["results"]
        results = measure_samplers_again(options.folders)
    else:
        load = round(os.getloadavg()[0], 2)
        machine = {"cores": os.cpu_count(), "processor": _processor(), "system": platform.system(), "load": load}
        results = [compare(folder, options.peer, options.peer_epochs) for folder in options.folders]
        rows = growth()
        RESULTS.mkdir(exist_ok=True)
        plot(rows, RESULTS / "growth.svg")
        script = [sys.executable, str(HERE / "bandwidth.py"), *map(str, options.folders)]
        bounds = part("bounds", lambda: run(script))
    keep(machine, results, rows, bounds, docs=options.docs)


def keep(
    machine: dict[str, Any],
    results: list[dict[str, Any]],
    rows: list[dict[str, Any]],
    bounds: dict[str, Any],
    *,
    docs: bool,
) -> None:
    """Write the results and the table; with `docs`, into the documentation too; forget the parts."""
    for name, content in zip(NAMES, (results, rows, bounds), strict=True):
        text = json.dumps({"machine": machine, "results": content}, indent=2)
        (RESULTS / f"{name}.json").write_text(text + "\n")
    about = f"{machine['cores']} cores, {machine['processor']}, load {machine['load']} at the start"
    loads = " and ".join(f"{own['samplers']['load_average_before']:.1f}" for own in results)
    turns = f"Samplers: the fastest turn, in turns with uniform, load {loads} at the start"
    text = f"{about}. {turns}.\n\n{table(results, rows, bounds)}"
    (RESULTS / "table.md").write_text(text)
    if docs:
        publish(text)
    shutil.rmtree(PARTS)
    print(text)


def publish(text: str) -> None:
    """Put the figures and the plot into docs/performance.md, in place of those before."""
    page = HERE.parent / "docs" / "performance.md"
    before, start, rest = page.read_text().partition("<!-- figures -->\n")
    _, end, after = rest.partition("<!-- end of figures -->")
    if not start or not end:
        sys.exit(f"{page} lacks the comments 'figures' and 'end of figures' that the tables go between.")
    page.write_text(f"{before}{start}\n{text}\n![Growth of an epoch](growth.svg)\n\n{end}{after}")
    shutil.copy(RESULTS / "growth.svg", page.parent / "growth.svg")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
    ]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
