"""Which systems of a report are tested against which, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hnlmrec.evaluation.files import UserResult
from hnlmrec.evaluation.significance import Comparison, PairedTest, compare
from hnlmrec.reporting.inputs import Experiment, ReportInputs
from hnlmrec.reporting.tables import LEVEL, System, metric_title

UNIFORM, NOISE = "uniform", "noise"
_PREFERRED_K = 20


def main_k(results: Mapping[str, UserResult]) -> int:
    """Return the K that the report is about: 20 if it was measured, else the largest."""
    ks = {int(name.partition("@")[2]) for result in results.values() for name in result.per_user}
    return _PREFERRED_K if _PREFERRED_K in ks else max(ks, default=_PREFERRED_K)


def columns(results: Mapping[str, UserResult], k: int) -> list[str]:
    """Return the names at that K which any result has, in the order of the results."""
    names = {name: None for result in results.values() for name in result.means()}
    return [name for name in names if name.partition("@")[2] == str(k)]


def headline(results: Mapping[str, UserResult], k: int) -> list[str]:
    """Return the one or two metrics that are tested and spoken of."""
    names = [name for name in columns(results, k) if all(name in result.per_user for result in results.values())]
    return [name for name in (f"recall@{k}", f"ndcg@{k}") if name in names] or names[:2]


def against(inputs: ReportInputs, sampler: str, names: Sequence[str]) -> Comparison | None:
    """Test every experiment against the one with that sampler and the same initialisation, corrected together.

    Against noise, only experiments with semantic negatives are tested. None where there is no pair.
    """
    base = {e.initialisation: e.label for e in inputs.experiments if e.sampler == sampler}
    pairs = {
        e.label: base[e.initialisation]
        for e in inputs.experiments
        if e.initialisation in base and e.sampler != sampler and (sampler != NOISE or is_semantic(e))
    }
    if not pairs or not names:
        return None
    return compare(inputs.results, baseline=pairs, metrics=names)


def is_semantic(experiment: Experiment) -> bool:
    """Whether its negatives are the generated ones (and no ablation of them)."""
    return experiment.sampler.startswith("semantic")


def systems(inputs: ReportInputs) -> list[System]:
    """Return the rows of a table: experiments by initialisation, then the recommenders without training."""
    order = list(dict.fromkeys(e.initialisation for e in inputs.experiments))
    rows = [
        System(
            e.label,
            f"{e.initialisation} initialisation",
            e.label,
            "selected on test" if e.selected_on_test else "",
        )
        for e in sorted(inputs.experiments, key=lambda e: order.index(e.initialisation))
    ]
    return rows + [System(label, "without training", label) for label, _ in inputs.baselines]


def describe_test(test: PairedTest) -> str:
    """Return a sentence that says the difference, how sure it is, and whether it is significant."""
    relative = f"{100 * test.difference / test.baseline_mean:+.1f} %, " if test.baseline_mean else ""
    low, high = test.interval
    verdict = "significant" if test.p_adjusted < LEVEL else "not significant: the data do not show a difference"
    return (
        f"{test.label} against {test.baseline}: {metric_title(test.metric)} {test.mean:.4f} against "
        f"{test.baseline_mean:.4f} ({relative}95 % interval of the difference {low:+.4f} to {high:+.4f}, "
        f"{format_p(test.p_adjusted)} after Holm's correction, {test.n_users:,} users): {verdict}."
    )


def format_p(p_value: float) -> str:
    """Return "p = 0.031" or "p < 0.001"."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
