"""The whole benchmark, side by side in one run: `python benchmarks/suite.py [FOLDER ...] [--peer PYTHON]`.

For each FOLDER (train.txt.gz and test.txt.gz in the text format of LightGCN): an epoch of LightGCN with uniform
negatives and a full evaluation here and in RecBole, in turn, then an epoch with the samplers that must stay near
uniform's. Last, the growth of an epoch with the number of interactions, on synthetic power-law data. Writes
results/epoch.json, results/growth.json, results/growth.svg and results/table.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SAMPLERS = ("dns", "mixgcf", "ahns")
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
BATCH = 2048


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


def compare(folder: Path, peer: Path, peer_epochs: int) -> dict[str, Any]:
    """Measure here, there, and here again, so that a machine whose speed drifts is seen."""
    print(f"{folder.name}: uniform, here and in RecBole", file=sys.stderr)
    first = ours(folder)
    other = run([str(peer), "-W", "ignore", str(HERE / "recbole" / "measure.py"), str(folder), str(peer_epochs)])
    second = ours(folder)
    here = [first["seconds_per_epoch"], second["seconds_per_epoch"]]
    evaluation = [first["seconds_per_evaluation"], second["seconds_per_evaluation"]]
    print(f"{folder.name}: {', '.join(SAMPLERS)}", file=sys.stderr)
    samplers = {name: ours(folder, "--sampler", name, "--epochs", "2") for name in SAMPLERS}
    return {
        "folder": folder.name,
        "dataset": first["dataset"],
        "here": {"epoch": here, "evaluation": evaluation, "runs": [first, second]},
        "recbole": other,
        "epoch_ratio": median(other["train_seconds"]) / median(here),
        "evaluation_ratio": other["evaluate_seconds"] / median(evaluation),
        "samplers": samplers,
        "sampler_ratios": {name: s["seconds_per_epoch"] / median(here) for name, s in samplers.items()},
    }


def growth() -> list[dict[str, Any]]:
    """Milliseconds a step, and with them seconds an epoch, on synthetic data of growing size."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for pairs in SIZES:
            folder = Path(scratch) / str(pairs)
            print(f"synthetic data, {pairs:,} interactions", file=sys.stderr)
            subprocess.run([sys.executable, HERE / "synthetic.py", folder, "--pairs", str(pairs)], check=True)
            measured = ours(folder, "--epochs", "0", "--steps", "20")
            stages = measured["milliseconds_per_step"]
            step = sum(stages[name] for name in ("forward with sampling", "backward", "optimiser"))
            train = measured["dataset"]["train"]
            rows.append({"train": train, **measured, "epoch_from_steps": step / 1e3 * -(-train // BATCH)})
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
    axes.set_xlabel("train interactions (synthetic, power law)")
    axes.set_ylabel("seconds an epoch (steps x median step)")
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def table(results: list[dict[str, Any]]) -> str:
    """Return the figures as Markdown."""
    lines = ["| data | what | here, s | RecBole 1.2.1, s | ratio |", "|---|---|---:|---:|---:|"]
    for row in results:
        here, there = row["here"], row["recbole"]
        lines.append(
            f"| {row['folder']} | epoch, uniform | {median(here['epoch']):.2f} | "
            f"{median(there['train_seconds']):.1f} | {row['epoch_ratio']:.1f} |"
        )
        lines.append(
            f"| {row['folder']} | evaluation, all users | {median(here['evaluation']):.2f} | "
            f"{there['evaluate_seconds']:.2f} | {row['evaluation_ratio']:.1f} |"
        )
        for name, measured in row["samplers"].items():
            ratio = f"{row['sampler_ratios'][name]:.2f} x uniform"
            lines.append(f"| {row['folder']} | epoch, {name} | {measured['seconds_per_epoch']:.2f} | | {ratio} |")
        run_ = here["runs"][0]
        memory = run_["memory_mib"]
        lines.append(f"| {row['folder']} | peak memory beyond the imports, MiB | {memory['beyond_imports']} | | |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--peer", type=Path, help="the Python of RecBole's environment")
    parser.add_argument("--peer-epochs", type=int, default=1)
    parser.add_argument("--no-growth", action="store_true")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    machine = {"cores": os.cpu_count(), "processor": _processor(), "system": platform.system()}
    if options.folders:
        results = [compare(folder, options.peer, options.peer_epochs) for folder in options.folders]
        (RESULTS / "epoch.json").write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")
        text = f"{machine['cores']} cores, {machine['processor']}\n\n{table(results)}"
        (RESULTS / "table.md").write_text(text)
        print(text)
    if not options.no_growth:
        rows = growth()
        (RESULTS / "growth.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
        plot(rows, RESULTS / "growth.svg")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
    ]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
