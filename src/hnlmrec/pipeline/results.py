"""What a finished run leaves behind, and what can be done with it: JSON, tables, comparisons, recommendations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hnlmrec.artifacts import open_artifact
from hnlmrec.data.tables import read_json
from hnlmrec.errors import DataError, MissingFileError
from hnlmrec.evaluation.files import read_evaluation
from hnlmrec.evaluation.significance import Comparison, compare
from hnlmrec.pipeline.build import SOURCE, Experiment, experiments
from hnlmrec.pipeline.config import RunConfig
from hnlmrec.pipeline.graph import NodeResult

RESULT = "result.json"
STAGES = "stages.json"


@dataclass(frozen=True)
class Run:
    """A run's folder: `result` is what `--json` printed, `stages` the lines of stages.json by their label."""

    folder: Path
    result: Mapping[str, Any]
    stages: Mapping[str, Mapping[str, Any]]

    def payload(self, label: str) -> Path:
        """Return the folder of a node's artefact, checked against its manifest."""
        if label not in self.stages:
            stage = label.partition("/")[0]
            raise DataError(f"the run {self.folder} was stopped before the stage {stage!r}; run it to the end.")
        return open_artifact(Path(self.stages[label]["path"])).path

    @property
    def experiment(self) -> str:
        """Label of the main experiment."""
        if "experiment" not in self.result:
            raise DataError(f"the run {self.folder} was stopped before anything was trained; run it to the end.")
        return str(self.result["experiment"])


def open_run(folder: Path) -> Run:
    """Read a run by its folder, or by its name below runs/.

    Raises:
        MissingFileError: there is no finished run.
    """
    folder = folder if folder.exists() else Path("runs") / folder
    try:
        result = dict(json.loads((folder / RESULT).read_text(encoding="utf-8")))
        stages = json.loads((folder / STAGES).read_text(encoding="utf-8"))
        return Run(folder, result, {str(stage["label"]): stage for stage in stages})
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(
            f"{folder} is not the folder of a finished run: give one that holds {RESULT} and {STAGES}, "
            "as `hnlmrec run` and `hnlmrec train` make."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"the result files of {folder} cannot be read ({error!r}). Run it again.") from None


def describe_run(
    config: RunConfig, folder: Path, results: Mapping[str, NodeResult], *, seconds: float
) -> dict[str, Any]:
    """Return the JSON of a run: of its main experiment at the top, of all others in "experiments".

    The counts in "llm" are what this call did: a run that finds its artefacts makes no request.
    """
    described: dict[str, Any] = {
        "name": config.name,
        "run_dir": str(folder),
        "dataset": dict(results["prepare"].counts),
        "model": config.model.name,
        "sampler": config.sampler.name,
        "enhancement": None if config.enhancement is None else config.enhancement.name,
        "initialisation": config.initialisation,
        "config": config.model_dump(mode="json"),
        "seconds": {"total": round(seconds, 3)},
        "llm": _llm_counts(results),
        "stages": [result.describe() for result in results.values()],
    }
    if not any(label.startswith("train/") for label in results):
        return described
    described["experiments"] = [_describe_experiment(experiment, results) for experiment in experiments(config)]
    main = described["experiments"][0]
    described |= {name: main[name] for name in ("best_epoch", "epochs", "select_on", "metrics", "fhns_rate")}
    described["experiment"] = main["label"]
    described["seconds"] = {**main["seconds"], "total": round(seconds, 3)}
    described["recommenders"] = [
        {"name": label.removeprefix("recommender/"), "metrics": read_json(result.path / "metrics.json")}
        for label, result in results.items()
        if label.startswith("recommender/")
    ]
    return described


def left_out_lines(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a line for each recommender that could not be fitted to the catalogue."""
    return tuple(f"{label} was left out: {reason}" for label, reason in result.get("left_out", {}).items())


def summary_table(result: Mapping[str, Any]) -> str:
    """Return the lines that a person sees at the end of a run."""
    data, llm = result["dataset"], result["llm"]
    lines = [
        f"{result['name']}: {data['users']:,} users, {data['items']:,} items, {data['train']:,} train / "
        f"{data['valid']:,} valid / {data['test']:,} test interactions",
        f"LLM: {llm['requests']:,} requests, {llm['prompt_tokens']:,} prompt and {llm['completion_tokens']:,} "
        f"reply tokens, {llm['cache_hits']:,} cache hits, {llm['failures']:,} failures",
    ]
    rows = [
        (row["label"], row["metrics"].get("test", {}), row["fhns_rate"].get("ratio"), row["best_epoch"])
        for row in result.get("experiments", [])
    ]
    rows += [(row["name"], row["metrics"].get("test", {}), None, None) for row in result.get("recommenders", [])]
    if rows:
        names = [name for name in ("recall@20", "ndcg@20") if name in rows[0][1]] or list(rows[0][1])[:2]
        width = max(len(label) for label, *_ in rows)
        lines += ["", f"{result['model'] + ', on test':<{width}}  " + "  ".join(f"{name:>10}" for name in names)]
        lines[-1] += f"  {'FHNS ratio':>10}  {'best epoch':>10}"
        for label, metrics, ratio, epoch in rows:
            cells = [f"{metrics.get(name, float('nan')):>10.4f}" for name in names]
            cells += [f"{ratio:>10.2f}" if ratio is not None else f"{'-':>10}", f"{epoch or '-':>10}"]
            lines.append(f"{label:<{width}}  " + "  ".join(cells))
        if result.get("select_on") == "test":
            lines.append("selected on test: the best epoch was picked on the test split, so these are optimistic.")
    lines += left_out_lines(result)
    lines += ["", f"{result['seconds']['total']:.1f} s; results in {result['run_dir']}"]
    if "report" in result:
        lines.append(f"report: {result['report']}")
    return "\n".join(lines)


def _describe_experiment(experiment: Experiment, results: Mapping[str, NodeResult]) -> dict[str, Any]:
    label = experiment.label
    train = results[f"train/{label}"]
    training = read_json(train.path / "training.json")
    described = {
        "label": label,
        "sampler": experiment.sampler.name,
        "initialisation": experiment.initialisation,
        **{name: training[name] for name in ("best_epoch", "epochs", "select_on", "seconds")},
        "sampler_counts": training["sampler"],
        "metrics": {},
        "fhns_rate": {},
    }
    evaluated = results.get(f"evaluate/{label}")
    if evaluated is not None:
        described["metrics"] = read_json(evaluated.path / "metrics.json")
        described["fhns_rate"] = read_json(evaluated.path / "fhns.json")
        described["seconds"]["evaluate"] = evaluated.counts["evaluate_seconds"]
    return described


def _llm_counts(results: Mapping[str, NodeResult]) -> dict[str, int]:
    asking = ("profiles", "profiles/inner", "hard_negatives", "preferences")
    stages = [results[label] for name in asking for label in (name, f"{SOURCE}{name}") if label in results]
    made = [stage.counts for stage in stages if not stage.reused]
    counts = {
        name: sum(int(stage[name]) for stage in made)
        for name in ("requests", "cache_hits", "prompt_tokens", "completion_tokens")
    }
    return {**counts, "failures": sum(int(stage.counts["failed"]) for stage in stages)}


def compare_runs(runs: Sequence[Run], metric: str) -> Comparison:
    """Test each run against the first, paired over the users that both evaluated on test.

    Raises:
        DataError: the runs are not of one prepared data set, or lack the metric.
    """
    if len({run.stages["prepare"]["key"] for run in runs}) > 1:
        raise DataError("these runs do not share one prepared data set and split, so users cannot be paired.")
    values = {}
    for run in runs:
        values[str(run.folder)] = read_evaluation(run.payload(f"evaluate/{run.experiment}"))["test"]
    return compare(values, baseline=str(runs[0].folder), metrics=(metric,))
