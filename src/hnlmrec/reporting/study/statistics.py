"""Every system of a part against the baseline: over users and over seeds, Holm-corrected, with effect sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from hnlmrec.evaluation.files import UserResult
from hnlmrec.evaluation.significance import TESTS, Comparison, bootstrap_interval, compare
from hnlmrec.reporting.study.inputs import NO_START, Outline, Part, key

_MIN_SEEDS = 2
_MIN_USERS = 2


@dataclass(frozen=True)
class PartStatistics:
    """What the tests say of a part.

    Attributes:
        over_users: test -> its comparison; users' values are averaged over the seeds first.
        over_seeds: paired t over the means of the seeds; None where fewer than two are common to all systems.
        intervals: (system, metric) -> 95 % bootstrap interval of the mean over users.
    """

    over_users: Mapping[str, Comparison]
    over_seeds: Comparison | None
    intervals: Mapping[tuple[str, str], tuple[float, float]]


def part_statistics(part: Part, outline: Outline, tests: Sequence[str] = tuple(TESTS)) -> PartStatistics:
    """Test every system of a part against its baseline.

    The baseline is the variant of that name under the same initialisation; for a recommender without one, under
    the first. Holm's correction is over all systems and metrics of the part.

    Args:
        part: one data set, model and varied value.
        outline: names baseline and metrics.
        tests: which of "t", "wilcoxon" and "bootstrap".
    """
    users, seeds = part.by_user(outline.metrics), part.by_seed(outline.metrics)
    pairs = baseline_pairs(part, outline.baseline)
    n_users = min((len(result.users) for result in users.values()), default=0)
    return PartStatistics(
        {test: _compare(users, pairs, outline, test) for test in tests if n_users >= _MIN_USERS},
        _compare_seeds(seeds, pairs, outline),
        {
            (system, name): bootstrap_interval(values, np.random.default_rng(0))
            for system, result in users.items()
            for name, values in result.per_user.items()
            if n_users
        },
    )


def statistics_frame(statistics: Sequence[tuple[Part, PartStatistics]]) -> pl.DataFrame:
    """Return a row a test: the part, over what ("users" or "seeds"), how many, means, interval, p, effect size."""
    rows = []
    for part, found in statistics:
        place = {name: getattr(part, name) for name in ("dataset", "model", "varied", "value")}
        comparisons = [("users", comparison) for comparison in found.over_users.values()]
        comparisons += [("seeds", found.over_seeds)] if found.over_seeds else []
        rows += [
            {**place, "over": over, "test": comparison.test, "correction": comparison.correction, **_row(test)}
            for over, comparison in comparisons
            for test in comparison.tests
        ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _row(test: Any) -> dict[str, Any]:
    values = asdict(test)
    low, high = values.pop("interval")
    base = test.baseline_mean
    relative = 100 * test.difference / base if base else None
    values["n"] = values.pop("n_users")
    return {**values, "interval_low": low, "interval_high": high, "relative_percent": relative}


def baseline_pairs(part: Part, baseline: str) -> dict[str, str]:
    """Return system -> the baseline's system that it is compared with."""
    starts = [start for variant, start in part.systems if variant == baseline]
    if not starts:
        return {}
    pairs = {}
    for variant, start in part.systems:
        base = start if start in starts else starts[0] if start == NO_START else None
        if base is not None and (variant, start) != (baseline, base):
            pairs[key((variant, start))] = key((baseline, base))
    return pairs


def _compare(results: Mapping[str, UserResult], pairs: dict[str, str], outline: Outline, test: str) -> Comparison:
    if not pairs:
        return Comparison(test, "holm", ())
    return compare(results, baseline=pairs, metrics=outline.metrics, test=test)


def _compare_seeds(
    results: Mapping[str, UserResult], pairs: dict[str, str], outline: Outline
) -> Comparison | None:
    paired = {system: base for system, base in pairs.items() if system in results and base in results}
    if not paired or min(len(results[system].users) for system in paired) < _MIN_SEEDS:
        return None
    return compare(results, baseline=paired, metrics=outline.metrics, test="t")
