"""Published figures of LightGCN with four samplers on the splits of the DENS paper's code, repeated.

    python experiments/parity_dens.py ../shared/data     # the folder that holds dens_toy and dens_baby

Protocol of the publication (Lai et al., WSDM 2023, their code and its training logs): d 64, 3 layers, learning
rate 1e-3, L2 1e-4, batch 2048, K = 1, measured every 5 epochs, stopped after 10 measurements without a gain, the
best epoch picked on test. Not given: the number of candidates, so it is searched. gamma and T0 of DENS are read
off the logs (the first epoch's loss is (1 + gamma) log 2 a step; it jumps at T0), and searched around as well.

Each finished run is one line of experiments/results/parity_dens.jsonl and is never run again; a run that was
killed goes on from its checkpoint. The table is written to experiments/results/parity_dens.md after each run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from hnlmrec.artifacts import ArtifactStore
from hnlmrec.pipeline.run import run_pipeline
from hnlmrec.pipeline.shipped import training_config

RESULTS = Path(__file__).parent / "results"
PUBLISHED = {
    "toy": {"uniform": 0.0444, "dns": 0.0477, "mixgcf": 0.0471, "dens": 0.0501},
    "baby": {"uniform": 0.0351, "dns": 0.0346, "mixgcf": 0.0354, "dens": 0.0390},
}
PUBLISHED_LOSS = {  # of the tenth epoch, a step, as the logs have it: tells which n they took
    "toy": {"dns": 12.4314 / 21, "mixgcf": 13.3909 / 21, "dens": 16.5594 / 21},
    "baby": {"dns": 8.6904 / 15, "mixgcf": 9.4554 / 15, "dens": 14.4894 / 15},
}
PROTOCOL = [
    "training.select_on=test",
    "training.epochs=400",
    "training.evaluate_every=5",
    "training.patience=10",
    "training.learning_rate=1e-3",
    "training.regularization=1e-4",
    "training.batch_size=2048",
    "training.device=cpu",
    "model.embedding_size=64",
    "model.n_layers=3",
    "runtime.threads=1",
]


def candidates(*numbers: int, **fields: float) -> list[dict[str, float]]:
    return [{"n_candidates": n, **fields} for n in numbers]


def runs() -> list[tuple[str, str, dict[str, float]]]:
    """Return (data, sampler, settings), the most informative first."""
    dens = {"toy": {"gamma": 0.4, "warmup_epochs": 50}, "baby": {"gamma": 1.0, "warmup_epochs": 100}}
    first: list[tuple[str, str, dict[str, float]]] = []
    for data, n in (("toy", 8), ("baby", 4)):
        first += [(data, "dens", *candidates(n, **dens[data])), (data, "dns", *candidates(n))]
        first += [(data, "mixgcf", *candidates(n)), (data, "uniform", {})]
    grid: list[tuple[str, str, dict[str, float]]] = []
    for data in ("toy", "baby"):
        grid += [(data, "dens", settings) for settings in candidates(4, 16, 32, 2, 6, 8, **dens[data])]
        grid += [(data, "dens", *candidates(6, gamma=0.3, warmup_epochs=100))]
        grid += [(data, "dns", settings) for settings in candidates(2, 4, 8, 16, 32)]
        grid += [(data, "mixgcf", settings) for settings in candidates(2, 4, 8, 16, 32)]
    return first + grid


def measure(data: str, sampler: str, settings: dict[str, float], folder: Path, work: Path) -> dict[str, Any]:
    """Train once; return the line of the results file."""
    overrides = [f"sampler.{name}={value}" for name, value in settings.items()]
    overrides += [*PROTOCOL, f"runtime.artifacts={work / 'artifacts'}", f"runtime.runs={work / 'runs'}"]
    config = training_config(str(folder / f"dens_{data}"), "lightgcn", sampler, overrides)
    result = run_pipeline(config, ArtifactStore(work / "artifacts"), until="evaluate")
    lines = (Path(result["run_dir"]) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    tenth = next(record["loss"] for record in map(json.loads, lines) if record["epoch"] == 10)
    return {
        "data": data,
        "sampler": sampler,
        "settings": settings,
        "recall@20": result["metrics"]["test"]["recall@20"],
        "ndcg@20": result["metrics"]["test"]["ndcg@20"],
        "best_epoch": result["best_epoch"],
        "epochs": result["epochs"],
        "loss_of_epoch_10": tenth,
        "seconds_per_epoch": result["seconds"]["train_per_epoch"],
        "seed": config.seed,
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return the comparison as Markdown: the best of each search first, then every run."""
    lines = [
        "# Parity with the DENS paper's code, Recall@20",
        "",
        "Written by `experiments/parity_dens.py`. LightGCN, 3 layers, d 64, learning rate 1e-3, L2 1e-4, batch",
        "2048, K = 1, seed 0; the best epoch is picked on test, as in the publication, so these figures are",
        "optimistic.",
        "",
        "| data | sampler | published | ours, best of the search | difference | settings |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for data, samplers in PUBLISHED.items():
        for sampler, published in samplers.items():
            here = [r for r in results if (r["data"], r["sampler"]) == (data, sampler)]
            best = max(here, key=lambda r: float(r["recall@20"]), default=None)
            lines.append(_row(data, sampler, published, best))
    lines += [
        "",
        "Every run. The loss is the mean of a step in epoch 10; in brackets that of the published log, which is",
        "nearest where the settings are those of the publication.",
        "",
        "| data | sampler | settings | Recall@20 | difference | NDCG@20 | best epoch | loss | s/epoch, 1 thread |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in sorted(results, key=lambda r: (r["data"], r["sampler"], json.dumps(r["settings"], sort_keys=True))):
        logged = PUBLISHED_LOSS[r["data"]].get(r["sampler"])
        loss = f"{r['loss_of_epoch_10']:.4f}" + (f" ({logged:.4f})" if logged else "")
        change = r["recall@20"] / PUBLISHED[r["data"]][r["sampler"]] - 1
        lines.append(
            f"| {r['data']} | {r['sampler']} | {_settings(r['settings'])} | {r['recall@20']:.4f} | "
            f"{100 * change:+.1f} % | {r['ndcg@20']:.4f} | {r['best_epoch']} of {r['epochs']} | {loss} | "
            f"{r['seconds_per_epoch']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _row(data: str, sampler: str, published: float, best: dict[str, Any] | None) -> str:
    if best is None:
        return f"| {data} | {sampler} | {published:.4f} | not run yet | | |"
    ours = best["recall@20"]
    return (
        f"| {data} | {sampler} | {published:.4f} | {ours:.4f} | {100 * (ours / published - 1):+.1f} % | "
        f"{_settings(best['settings'])} |"
    )


def _settings(settings: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in settings.items()) or "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds dens_toy and dens_baby")
    parser.add_argument("--work", type=Path, default=Path("build/parity_dens"), help="artefacts and checkpoints")
    parser.add_argument("--table-only", action="store_true", help="write the table anew, run nothing")
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "parity_dens.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    results = [json.loads(line) for line in lines]
    for data, sampler, settings in [] if arguments.table_only else runs():
        if any((r["data"], r["sampler"], r["settings"]) == (data, sampler, settings) for r in results):
            continue
        print(f"{data}, {sampler}, {_settings(settings)}", flush=True)
        results.append(measure(data, sampler, settings, arguments.folder, arguments.work))
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(results[-1]) + "\n")
        (RESULTS / "parity_dens.md").write_text(table(results), encoding="utf-8")
        print(json.dumps(results[-1]), flush=True)
    (RESULTS / "parity_dens.md").write_text(table(results), encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
