"""Searches settings on validation with Optuna's TPE: the same number of trials for every variant.

Of a space with no more points than trials, all are tried.

Trial n of a variant depends on the seed, on n and on the trials before it alone, so that a search that was stopped
goes on as if it had not been. The trials of all variants run side by side, those of one after one another.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.artifacts import storage_errors
from hnlmrec.config import fingerprint_fields, to_toml
from hnlmrec.data.tables import read_json
from hnlmrec.errors import MissingDependencyError
from hnlmrec.reporting.inputs import read_jsonl
from hnlmrec.reporting.study.figures import file_name
from hnlmrec.search_space import Choice, Span
from hnlmrec.studies.cells import Cell, Place
from hnlmrec.studies.config import DatasetSection, ModelEntry, VariantSection
from hnlmrec.studies.files import Study
from hnlmrec.studies.jobs import TRIAL, Job, Plan
from hnlmrec.studies.scheduler import Scheduler
from hnlmrec.studies.spaces import current, search_space

Chosen = dict[Place, list[str]]
FOLDER, TRIALS = "search", "trials.parquet"


def search(study: Study, plan: Plan, scheduler: Scheduler, folder: Path) -> tuple[Chosen, dict[Place, str]]:
    """Run what is missing of the search; return the best settings by arm, and errors of arms without any.

    Writes into FOLDER/search: trials.journal (Optuna's storage), trials.parquet, and the best configuration of
    each arm as TOML, which `hnlmrec run` takes.

    Args:
        study: of `load_study`.
        plan: takes the jobs of the trials.
        scheduler: runs them.
        folder: of the study.

    Raises:
        MissingDependencyError: Optuna is not installed.
    """
    section = study.config.search
    if not section.trials:
        return {}, {}
    with storage_errors(folder):
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        storage = _open_storage(folder / FOLDER / "trials.journal")
        arms = list(_arms(study, storage))
        waiting: dict[str, list[Arm]] = {}
        jobs = [job for arm in arms for job in _next_jobs(arm, plan, waiting)]

        def done(job: Job, error: str) -> Iterable[Job]:
            return [new for arm in waiting.pop(job.id, []) for new in _told(arm, error, plan, waiting)]

        left = sum(arm.n_trials - arm.n_done for arm in arms) - len(waiting)
        scheduler.run("trials of the search", jobs, done, expected=max(left, 0))
        return _write_best(study, arms, folder / FOLDER)


@dataclass
class Arm:
    """The search of one variant: its Optuna study, the trial in progress and the last error."""

    place: Place
    build: Callable[[list[str]], Cell]
    space: Mapping[str, Span | Choice]
    distributions: Mapping[str, Any]
    optuna: Any
    n_trials: int
    seed: int
    trial: Any = None
    cell: Cell | None = None
    error: str = ""

    def trials(self) -> list[Any]:
        """Return the trials whose settings are known; a kill may have come between their making and that."""
        return [t for t in self.optuna.get_trials(deepcopy=False) if t.params.keys() == self.space.keys()]

    @property
    def n_done(self) -> int:
        """Trials that have ended, well or not."""
        return sum(trial.state.is_finished() for trial in self.trials())

    def ask(self) -> Cell | None:
        """Return the cell of the next trial, of the one that was cut off where there is one; None at the end."""
        import optuna  # noqa: PLC0415 - an extra

        if self.n_done >= self.n_trials:
            return None
        running = [trial for trial in self.trials() if trial.state == optuna.trial.TrialState.RUNNING]
        number = self.n_done
        self.optuna.sampler = optuna.samplers.TPESampler(seed=_seed_of(self.seed, number))
        self.trial = running[0] if running else self.optuna.ask(dict(self.distributions))
        params = self.trial.params
        self.cell = self.build([f"{key}={json.dumps(params[key])}" for key in self.space])
        return self.cell

    def tell(self, value: float | None) -> None:
        """Record the trial's value; None where it failed."""
        import optuna  # noqa: PLC0415

        if value is None:
            self.optuna.tell(self.trial.number, state=optuna.trial.TrialState.FAIL)
        else:
            self.optuna.tell(self.trial.number, value)


def _open_storage(path: Path) -> Any:
    try:
        import optuna  # noqa: PLC0415
        from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415
    except ImportError:
        raise MissingDependencyError("optuna", "search") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.storages.JournalStorage(JournalFileBackend(str(path)))


def _arms(study: Study, storage: Any) -> Iterator[Arm]:
    import optuna  # noqa: PLC0415

    section = study.config.search
    for place, dataset, model, variant in study.grid.arms():
        config = study.grid.cell(place, dataset, model, variant).config
        given = [*study.grid.own_settings(dataset, model, variant), *study.grid.overrides]
        space = search_space(config, variant, section, given)
        if not space:
            continue
        build = partial(_trial_cell, study, replace(place, seed=section.seed), (dataset, model, variant))
        content = repr((space, fingerprint_fields(build([]).config), build([]).target))
        name = f"{place.name} {hashlib.sha256(content.encode()).hexdigest()[:8]}"
        found = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        distributions = {key: _distribution(entry) for key, entry in space.items()}
        own = {key: current(config, key) for key in space}
        small = _all_of(space, section.trials)
        first = [own] if all(space[key].holds(own[key]) for key in space) else []  # what the file says
        for settings in [*first, *small]:
            found.enqueue_trial(settings, skip_if_exists=True)
        yield Arm(place, build, space, distributions, found, len(small) or section.trials, section.seed)


def _all_of(space: Mapping[str, Span | Choice], most: int) -> list[dict[str, Any]]:
    """Return all points of a space that has no more than `most`: TPE draws some of them twice and others never."""
    choices = [entry.values for entry in space.values() if isinstance(entry, Choice)]
    if len(choices) < len(space) or math.prod(map(len, choices)) > most:
        return []
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*choices)]


def _trial_cell(
    study: Study,
    place: Place,
    entries: tuple[DatasetSection, ModelEntry, VariantSection],
    settings: list[str],
) -> Cell:
    """Return a trial: its target is the training, or the recommender's fit, never what reads the test split."""
    cell = study.grid.cell(place, *entries, [*settings, *study.config.search.set])
    label = cell.target.replace("recommender/", TRIAL).replace("evaluate/", "train/")
    return replace(cell, target=label)


def _distribution(entry: Span | Choice) -> Any:
    from optuna import distributions  # noqa: PLC0415

    if isinstance(entry, Choice):
        return distributions.CategoricalDistribution(entry.values)
    if entry.integer:
        return distributions.IntDistribution(int(entry.low), int(entry.high), log=entry.log)
    return distributions.FloatDistribution(entry.low, entry.high, log=entry.log)


def _next_jobs(arm: Arm, plan: Plan, waiting: dict[str, list[Arm]]) -> list[Job]:
    """Return the jobs of an arm's next trial that is not made already."""
    while (cell := arm.ask()) is not None:
        plan.add(cell)
        jobs = plan.missing([cell])
        if jobs:
            waiting.setdefault(plan.target(cell).id, []).append(arm)
            return jobs
        arm.tell(_value(cell, plan))
    return []


def _told(arm: Arm, error: str, plan: Plan, waiting: dict[str, list[Arm]]) -> list[Job]:
    assert arm.cell is not None
    if error:
        arm.error = error
    arm.tell(None if error else _value(arm.cell, plan))
    return _next_jobs(arm, plan, waiting)


def _value(cell: Cell, plan: Plan) -> float:
    """Return what the trial reached on validation, by the metric that chooses its best epoch."""
    folder, name = plan.target(cell).path(plan.store), cell.config.training.select_by
    if cell.target.startswith(TRIAL):
        return float(read_json(folder / "metrics.json")["valid"][name])
    return max(float(record["valid"][name]) for record in read_jsonl(folder / "metrics.jsonl"))


def _seed_of(seed: int, number: int) -> int:
    digest = hashlib.sha256(f"{seed}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _write_best(study: Study, arms: list[Arm], folder: Path) -> tuple[Chosen, dict[Place, str]]:
    chosen: Chosen = {}
    errors: dict[Place, str] = {}
    rows = []
    for arm in arms:
        trials = arm.trials()[: arm.n_trials]
        told = {"arm": arm.place.name}
        rows += [
            told | {"trial": n, "state": t.state.name, "value": t.value, "settings": json.dumps(t.params)}
            for n, t in enumerate(trials)
        ]
        complete = [trial for trial in trials if trial.value is not None]
        if not complete:
            errors[arm.place] = f"every trial of its search failed, the last with: {arm.error}"
            continue
        best = max(complete, key=lambda trial: trial.value)  # the first of equal ones
        chosen[arm.place] = [f"{key}={json.dumps(best.params[key])}" for key in arm.space]
    pl.DataFrame(rows).write_parquet(folder / TRIALS)
    _export(study, chosen, folder)
    return chosen, errors


def _export(study: Study, chosen: Chosen, folder: Path) -> None:
    """Write the configurations that the final runs start from."""
    for place, dataset, model, variant in study.grid.arms():
        if place in chosen:
            cell = study.grid.cell(place, dataset, model, variant, chosen[place])
            head = f"# Chosen on validation in {study.config.search.trials} trials: {'; '.join(chosen[place])}\n"
            (folder / f"{file_name(place.name)}.toml").write_text(head + to_toml(cell.config), encoding="utf-8")
