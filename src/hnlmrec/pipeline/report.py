"""Hands a run's result files to the report."""

from __future__ import annotations

from pathlib import Path

from hnlmrec.errors import DataError
from hnlmrec.pipeline.results import Run
from hnlmrec.reporting import Experiment, ReportInputs, write_report


def write_run_report(run: Run) -> Path:
    """Write report.html into the run's folder, from its result files alone, and return its path.

    Raises:
        DataError: the run was stopped before anything was evaluated.
    """
    evaluated = [row for row in run.result.get("experiments", []) if f"evaluate/{row['label']}" in run.stages]
    if not evaluated:
        raise DataError(f"the run {run.folder} has evaluated nothing yet, so there is nothing to report.")
    inputs = ReportInputs(
        name=run.result["name"],
        config=run.result["config"],
        stages=list(run.stages.values()),
        prepare=run.payload("prepare"),
        profiles=_optional(run, "profiles"),
        hard_negatives=_optional(run, "hard_negatives"),
        encode=_optional(run, "encode/texts"),
        negatives=_optional(run, "encode/hard_negatives"),
        experiments=tuple(
            Experiment(
                row["label"],
                row["sampler"],
                row["initialisation"],
                run.payload(f"train/{row['label']}"),
                run.payload(f"evaluate/{row['label']}"),
            )
            for row in evaluated
        ),
        baselines=tuple(
            (row["name"], run.payload(f"recommender/{row['name']}")) for row in run.result["recommenders"]
        ),
    )
    return write_report(inputs, run.folder / "report.html")


def _optional(run: Run, label: str) -> Path | None:
    return run.payload(label) if label in run.stages else None
