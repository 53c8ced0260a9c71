"""Runs what is missing of a study, writes its results as they come, and its tables and pictures at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.artifacts import ArtifactStore, alone_in, storage_errors, write_json
from hnlmrec.errors import ConfigError
from hnlmrec.pipeline.graph import environment
from hnlmrec.reporting.study.inputs import CURVES, ITEM_GROUPS, PER_USER, RESULTS, Outline
from hnlmrec.reporting.study.page import write_study
from hnlmrec.studies.cells import Cell
from hnlmrec.studies.collect import Collector
from hnlmrec.studies.config import StudyConfig
from hnlmrec.studies.files import Study
from hnlmrec.studies.jobs import Job, Plan
from hnlmrec.studies.machine import machine, machine_text
from hnlmrec.studies.progress import StudyProgress
from hnlmrec.studies.scheduler import Scheduler
from hnlmrec.studies.search import search

SUMMARY = "study.json"
_WRITE_EVERY = 60.0  # seconds between two writings of the larger tables


def run_study(study: Study, *, quiet: bool = False) -> dict[str, Any]:
    """Run what is missing; return what `--json` prints.

    A cell that fails is named in "failed" with its error, and does not stop the others. Killed at any time, the
    same call goes on: finished artefacts are found, trainings go on from their checkpoints.

    Args:
        study: of `load_study`.
        quiet: show no progress.

    Raises:
        UserInputError: a source is missing, the settings contradict each other, or another call is working on
            the same study: two would write each other's tables, and share the trials of one search.
    """
    cells = study.grid.cells()
    store, folder = _places(cells)
    plan = Plan(store)
    for cell in cells:  # what is missing is told before a folder is made
        plan.add(cell)
    with alone_in(folder, f"the study {study.config.study.name!r}"):
        return _run(study, plan, folder, quiet=quiet)


def _run(study: Study, plan: Plan, folder: Path, *, quiet: bool) -> dict[str, Any]:
    started = time.perf_counter()
    store = plan.store
    resources = study.config.resources
    with StudyProgress(resources.processes, quiet=quiet) as progress:
        scheduler = Scheduler(store.root, resources, progress)
        with scheduler.processes():
            chosen, unfound = search(study, plan, scheduler, folder)
            cells = study.grid.cells(chosen)
            errors = {cell: unfound[cell.place.arm] for cell in cells if cell.place.arm in unfound}
            for cell in cells:
                plan.add(cell)
            section = study.config.study
            writer = ResultFiles(folder, Collector(plan, store, section.metrics, section.groups))
            with storage_errors(folder):  # it tells of the tables of an earlier call, which are now written over
                (folder / SUMMARY).unlink(missing_ok=True)
            errors |= _run_grid(scheduler, plan, [cell for cell in cells if cell not in errors], writer)
    summary = _summary(study, folder, cells, errors, time.perf_counter() - started)
    with storage_errors(folder):
        summary["page"] = str(_write_page(study, folder, summary))
        summary["seconds"] = round(time.perf_counter() - started, 3)
        write_json(folder / SUMMARY, summary)
    return summary


def study_text(result: Mapping[str, Any]) -> str:
    """Return the lines that a person sees at the end of a study."""
    lines = [f"{failure['cell']} failed: {failure['error']}" for failure in result["failed"]]
    lines.append(f"{result['study']}: {result['done']} of {result['cells']} runs, {result['seconds']:.1f} s")
    lines.append(f"tables: {result['run_dir']}/tables.md, page: {result['page']}")
    return "\n".join(lines)


class ResultFiles:
    """Writes the tables of a study; a reader sees the old file or the new one, never half of one."""

    def __init__(self, folder: Path, collector: Collector) -> None:
        self.folder, self.collector = folder, collector
        self._written = float("-inf")

    def write(self, *, all_of_them: bool = False) -> None:
        """Write results.parquet, and the larger tables where the last time is a minute ago."""
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            _replace(self.folder / RESULTS, self.collector.results())
            if all_of_them or time.monotonic() - self._written > _WRITE_EVERY:
                _replace(self.folder / PER_USER, self.collector.users())
                _replace(self.folder / CURVES, self.collector.curves())
                _replace(self.folder / ITEM_GROUPS, self.collector.item_groups())
                self._written = time.monotonic()


def _run_grid(scheduler: Scheduler, plan: Plan, cells: list[Cell], writer: ResultFiles) -> dict[Cell, str]:
    """Run the missing jobs; return the errors of the cells that failed."""
    by_target: dict[str, list[Cell]] = {}
    for cell in cells:
        by_target.setdefault(plan.target(cell).id, []).append(cell)
        writer.collector.collect(cell)

    def done(job: Job, error: str) -> Iterable[Job]:
        if not error and job.id in by_target:
            for cell in by_target[job.id]:
                writer.collector.collect(cell)
            writer.write()
        return ()

    scheduler.run("runs of the study", plan.missing(cells), done)
    writer.write(all_of_them=True)
    return {
        cell: scheduler.errors[job.id]
        for cell in cells
        for job in [plan.target(cell)]
        if job.id in scheduler.errors
    }


def _write_page(study: Study, folder: Path, summary: Mapping[str, Any]) -> Path:
    section = study.config.study
    title = section.title or section.name
    outline = Outline(
        title, summary["baseline"], section.metrics, section.test, len(section.seeds), section.groups
    )
    facts = [
        ("runs", f"{summary['done']} of {summary['cells']}"),
        ("seeds", f"{', '.join(map(str, section.seeds))} ({section.vary})"),
        ("machine", machine_text(summary["machine"])),
        ("this call", f"{summary['seconds']:.0f} s"),
    ]
    return write_study(folder, outline, facts=facts, failed=summary["failed"])


def baseline_of(config: StudyConfig) -> str:
    """Return the label of the variant that others are tested against."""
    trained = [variant.label for variant in config.variants if not variant.recommender]
    return config.study.baseline or (trained or [config.variants[0].label])[0]


def _places(cells: list[Cell]) -> tuple[ArtifactStore, Path]:
    """Return the store and the study's folder."""
    runtimes = {(cell.config.runtime.artifacts, cell.config.runtime.runs) for cell in cells}
    if len(runtimes) > 1:
        raise ConfigError("runtime.artifacts and runtime.runs must be the same for all cells of a study.")
    ((artifacts, runs),) = runtimes
    return ArtifactStore(Path(artifacts)), Path(runs) / cells[0].config.name


def _summary(
    study: Study, folder: Path, cells: list[Cell], errors: dict[Cell, str], seconds: float
) -> dict[str, Any]:
    return {
        "study": study.config.study.name,
        "run_dir": str(folder),
        "cells": len(cells),
        "done": len(cells) - len(errors),
        "failed": [{"cell": cell.place.name, "error": error} for cell, error in errors.items()],
        "seconds": round(seconds, 3),
        "finished": datetime.now(UTC).date().isoformat(),
        "config": study.config.model_dump(mode="json"),
        "settings": list(study.grid.overrides),
        "overrides": list(study.overrides),
        "shipped": study.shipped,
        "baseline": baseline_of(study.config),
        "machine": machine(),
        "environment": environment(),
    }


def _replace(path: Path, frame: pl.DataFrame) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    frame.write_parquet(temporary)
    temporary.replace(path)
