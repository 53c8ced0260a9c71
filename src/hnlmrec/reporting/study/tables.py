"""The table of a part: means over the seeds, marks of the test, gain over the baseline, FHNS ratio, seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hnlmrec.evaluation.significance import Comparison
from hnlmrec.reporting.study.inputs import NO_START, Outline, Part, key
from hnlmrec.reporting.study.statistics import PartStatistics
from hnlmrec.reporting.tables import Cell, System, Table, metric_title, metrics_table

_DASH = "–"


def part_table(part: Part, found: PartStatistics, outline: Outline) -> Table:
    """Return the table of a part; the best value of a column is in place 1, the second in place 2."""
    systems = {system: System(key(system), _group(system), system[0]) for system in part.systems}
    values = {key(system): part.means(system) for system in part.systems}
    comparison = found.over_users.get(outline.test)
    table = metrics_table(list(systems.values()), values, outline.metrics, comparison)
    gains = tuple(f"Δ {metric_title(name)}" for name in outline.metrics)
    rows = tuple(
        replace(row, cells=(*row.cells, *_more(key(system), values, comparison, part, outline)))
        for row, system in zip(table.rows, part.systems, strict=True)
    )
    return Table((*table.columns, *gains, "± seeds", "FHNS ratio", "seeds"), rows)


def caption(part: Part, found: PartStatistics, outline: Outline) -> str:
    """Return what a reader has to know to read the table."""
    head = f"{part.title}: test split, means over the seeds."
    tail = (
        f"± seeds: standard deviation of {metric_title(outline.metrics[0])} over the seeds. FHNS ratio: drawn "
        "false negatives against uniform drawing."
    )
    comparison = found.over_users.get(outline.test)
    if comparison is None or not comparison.tests:
        return f"{head} Nothing is tested: that takes {outline.baseline} and another system, and two users. {tail}"
    words = {"t": "paired t-test", "wilcoxon": "Wilcoxon's signed-rank test", "bootstrap": "paired bootstrap"}
    n_users = comparison.tests[0].n_users
    text = (
        f"{head} ▲ ▼: above or below {outline.baseline} under the same initialisation, p < 0.05, "
        f"{words[outline.test]} over {n_users:,} users on values averaged over the seeds, Holm's correction over "
        f"the table. Δ: against that baseline. {tail}"
    )
    if found.over_seeds is None:
        return f"{text} No test over seeds: it needs two that all systems have."
    return f"{text} {_seed_sentence(found.over_seeds, outline)}"


def _seed_sentence(comparison: Comparison, outline: Outline) -> str:
    tests = [test for test in comparison.tests if test.metric == outline.metrics[0]]
    significant = [test.label for test in tests if test.p_adjusted < 0.05]
    names = ", ".join(significant) or "none"
    return (
        f"Paired t-test over {tests[0].n_users} seeds, {metric_title(outline.metrics[0])}, Holm's correction: "
        f"different from the baseline are {names}."
    )


def _group(system: tuple[str, str]) -> str:
    return "without training" if system[1] == NO_START else f"{system[1]} initialisation"


def _more(
    name: str,
    values: Mapping[str, Mapping[str, float]],
    comparison: Comparison | None,
    part: Part,
    outline: Outline,
) -> list[Cell]:
    cells = []
    for metric in outline.metrics:
        test = comparison.find(name, metric) if comparison is not None else None
        base = test.baseline_mean if test is not None else 0.0
        cells.append(Cell(_percent(test.difference / base) if test is not None and base else _DASH))
    rows = part.of(next(system for system in part.systems if key(system) == name))
    deviation = rows[f"test/{outline.metrics[0]}"].std() if len(rows) > 1 else None
    cells.append(Cell(f"{deviation:.4f}" if isinstance(deviation, float) else _DASH))
    ratio = values[name].get("fhns_ratio")
    cells.append(Cell(f"{ratio:.2f}" if ratio is not None else _DASH))
    n_seeds = rows["seed"].n_unique() if rows["seed"].drop_nulls().len() else 0
    is_partial = 0 < n_seeds < outline.n_seeds
    cells.append(Cell(f"{n_seeds} of {outline.n_seeds}" if is_partial else str(n_seeds or _DASH)))
    return cells


def _percent(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:+.1f} %"  # + 0.0: no "-0.0"
