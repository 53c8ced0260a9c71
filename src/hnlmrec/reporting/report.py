"""The HTML report: one file without any request to elsewhere, readable on a phone, in light and in dark."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hnlmrec.evaluation.files import UserResult
from hnlmrec.evaluation.metrics import METRICS
from hnlmrec.reporting import sections
from hnlmrec.reporting.audit.content import Audit
from hnlmrec.reporting.audit.parts import audit_parts
from hnlmrec.reporting.comparisons import NOISE, UNIFORM, against, columns, headline, main_k, systems
from hnlmrec.reporting.examples import OUTCOMES, examples
from hnlmrec.reporting.inputs import ReportInputs, read_json, read_jsonl
from hnlmrec.reporting.pages import write_page
from hnlmrec.reporting.summary import LLM_COUNTS, llm_stages, summarise
from hnlmrec.reporting.tables import metrics_table

_SHOWN_FAILURES = 50
_REPLY_LENGTH = 400  # characters of a reply that a failure shows


def write_report(inputs: ReportInputs, out: Path) -> Path:
    """Write the report of a run as one HTML file, and return its path.

    Args:
        inputs: the folders of the stages; parts that a run has not are left out.
        out: the file to write; an older one is replaced at once, never half.

    Raises:
        MissingFileError: a result file is not there.
        DataError: a result file is not what it should be.
        MissingDependencyError: matplotlib is not installed.
    """
    return write_page("report.html.j2", _content(inputs), out)


def _content(inputs: ReportInputs) -> dict[str, Any]:
    results: Mapping[str, UserResult] = inputs.results
    k = main_k(results)
    names = headline(results, k) if results else []
    uniform, noise = against(inputs, UNIFORM, names), against(inputs, NOISE, names)
    means = {label: result.means() for label, result in results.items()}
    rows = systems(inputs)
    others = [n for kind in names for n in _same_metric(means, kind) if n not in names]
    statistics = read_json(inputs.prepare / "statistics.json")
    content = {
        "name": inputs.name,
        "summary": summarise(inputs, statistics, names, uniform, noise),
        "facts": _facts(inputs, statistics),
        "warnings": [*statistics.get("warnings", []), *inputs.left_out, *_first_is_best(inputs)],
        "llm": llm_stages(inputs),
        "llm_counts": LLM_COUNTS,
        "grounding": _grounding(inputs),
        "table": metrics_table(rows, means, columns(results, k), uniform),
        "other_table": metrics_table(rows, means, others) if others else None,
        "tested": names,
        "tests": [c for c in (uniform, noise) if c is not None],
        "formulas": METRICS,
        "training": [(e, e.training) for e in inputs.experiments],
        "examples": examples(inputs),
        "failures": _failures(inputs),
        "stages": inputs.stages,
        "config": json.dumps(inputs.config, indent=2, ensure_ascii=False, default=str),
    }
    return content | _plots(inputs, k)  # last, since they take long and a broken file is found before


def _plots(inputs: ReportInputs, k: int) -> dict[str, Any]:
    return {
        "curves": sections.learning_curves(inputs, k),
        "degrees": sections.degrees(inputs),
        "audit": audit_parts(Audit(inputs)),
        "maps": sections.maps(inputs),
    }


def _same_metric(means: Mapping[str, Mapping[str, float]], name: str) -> list[str]:
    prefix = name.partition("@")[0] + "@"
    found = {other for values in means.values() for other in values if other.startswith(prefix)}
    return sorted(found, key=lambda other: int(other.partition("@")[2]))


def _first_is_best(inputs: ReportInputs) -> list[str]:
    """Return a line for each system whose first evaluation was its best."""
    return [
        f"{e.label}: its first evaluation, epoch {e.training['best_epoch']}, was its best of "
        f"{e.training['epochs']} epochs, so nothing was gained from there on: negatives may be too hard, or steps "
        "too large."
        for e in inputs.experiments
        if e.training.get("first_is_best")
    ]


def _facts(inputs: ReportInputs, statistics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is known of the data set, as (name, value)."""
    facts = [(name, f"{count:,}") for name, count in inputs.dataset.counts().items()]
    if "density" in statistics:
        facts.append(("density", f"{100 * statistics['density']:.3f} %"))
    for name, title in (("user_degree", "interactions of a user"), ("item_degree", "interactions of an item")):
        if name in statistics:
            spread = statistics[name]
            text = (
                f"{spread['min']:g} to {spread['max']:,g}, median {spread['median']:g}, mean {spread['mean']:.1f}"
            )
            facts.append((title, text))
    for name, value in statistics.get("text", {}).items():
        shown = f"{100 * value:.1f} %" if isinstance(value, float) else f"{value:,}"
        facts.append((name.replace("_", " "), shown))
    return facts


def _grounding(inputs: ReportInputs) -> list[tuple[str, int, float]]:
    """Return (outcome, count, share) of the generated negatives."""
    if inputs.hard_negatives is None:
        return []
    counts = read_json(inputs.hard_negatives / "grounding.json")
    known = {name: counts.get(name, 0) for name in OUTCOMES}
    total = max(sum(known.values()), 1)
    return [(OUTCOMES[name], count, count / total) for name, count in known.items()]


def _failures(inputs: ReportInputs) -> dict[str, Any]:
    """Return the counts by kind of error, and the first rows, of everything that failed."""
    rows = []
    for stage, folder in (("profiles", inputs.profiles), ("hard_negatives", inputs.hard_negatives)):
        for row in read_jsonl(folder / "failures.jsonl" if folder is not None else None):
            about = {name: value for name, value in row.items() if name not in ("error", "message", "reply")}
            rows.append(
                {
                    "stage": stage,
                    "about": ", ".join(f"{name} {value}" for name, value in about.items() if value is not None),
                    "error": str(row.get("error") or "unknown"),
                    "message": str(row.get("message") or ""),
                    "reply": str(row.get("reply") or "")[:_REPLY_LENGTH],
                }
            )
    counts = Counter((row["stage"], row["error"]) for row in rows)
    return {"counts": counts.most_common(), "rows": rows[:_SHOWN_FAILURES], "total": len(rows)}
