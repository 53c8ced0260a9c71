"""Hands a run's result files to the report and to the audit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hnlmrec.errors import DataError
from hnlmrec.pipeline.results import Run, left_out_lines
from hnlmrec.reporting import Experiment, ReportInputs, write_report
from hnlmrec.reporting.audit import DEFAULT_USERS, Audit, write_audit, write_user_audit


def write_run_report(run: Run) -> Path:
    """Write report.html into the run's folder, from its result files alone, and return its path.

    Raises:
        DataError: the run was stopped before anything was evaluated.
    """
    return write_report(run_inputs(run), run.folder / "report.html")


def write_run_audit(run: Run, *, users: int = DEFAULT_USERS) -> tuple[Path, Audit]:
    """Write audit.html into the run's folder, and return its path and what it says.

    Raises:
        DataError: the run was stopped before anything was evaluated.
    """
    out = run.folder / "audit.html"
    return out, write_audit(run_inputs(run), out, users=users)


def write_run_user_audit(run: Run, user: str) -> tuple[Path, dict[str, Any]]:
    """Write the page of one user into the run's folder, and return its path and what it says.

    Raises:
        UnknownIdError: there is no such user.
        DataError: the run was stopped before anything was evaluated.
    """
    return write_user_audit(run_inputs(run), run.folder, user)


def run_inputs(run: Run) -> ReportInputs:
    """Return where the stages of a run left their files.

    Raises:
        DataError: the run was stopped before anything was evaluated.
    """
    evaluated = [row for row in run.result.get("experiments", []) if f"evaluate/{row['label']}" in run.stages]
    if not evaluated:
        raise DataError(f"the run {run.folder} has evaluated nothing yet, so there is nothing to show.")
    return ReportInputs(
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
        judge=_judge(run),
        left_out=left_out_lines(run.result),
    )


def _judge(run: Run) -> Path | None:
    """Return the folder of calibration.json: of the stage, or one that was laid into the run's folder."""
    folder = run.folder / "judge"
    return _optional(run, "judge") or (folder if folder.is_dir() else None)


def _optional(run: Run, label: str) -> Path | None:
    return run.payload(label) if label in run.stages else None
