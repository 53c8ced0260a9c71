"""Paired significance tests over users, with Holm's correction and effect sizes.

The same users are measured under both systems, so tests are on the differences user by user. What varies here is
the sample of users; the variation between training seeds is not in it, so that a small p-value says that *these*
trained systems differ, not that the methods do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hnlmrec.errors import ConfigError, DataError, lookup
from hnlmrec.evaluation.files import UserResult

Values = npt.NDArray[np.float64]
CONFIDENCE = 0.95
N_RESAMPLES = 1000


@dataclass(frozen=True)
class PairedTest:
    """One system against its baseline on one metric.

    Attributes:
        label: the system.
        baseline: what it is compared with.
        metric: "recall@20", say.
        n_users: number of users that both were measured on.
        mean: of the system.
        baseline_mean: of the baseline.
        difference: mean - baseline_mean.
        interval: 95 % confidence interval of the difference.
        p_value: two-sided, before correction.
        p_adjusted: after correction over all tests of the comparison.
        effect_size: Cohen's d_z, mean difference / standard deviation of the differences.
    """

    label: str
    baseline: str
    metric: str
    n_users: int
    mean: float
    baseline_mean: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    p_adjusted: float
    effect_size: float


@dataclass(frozen=True)
class Comparison:
    """All tests of one comparison, corrected together.

    Attributes:
        test: name of the test.
        correction: name of the correction.
        tests: one for each system and metric.
    """

    test: str
    correction: str
    tests: tuple[PairedTest, ...]

    def find(self, label: str, metric: str) -> PairedTest | None:
        """Return the test of a system on a metric; None for a baseline."""
        return next((test for test in self.tests if (test.label, test.metric) == (label, metric)), None)


def compare(
    results: Mapping[str, UserResult],
    *,
    baseline: str | Mapping[str, str] | None = None,
    metrics: Sequence[str] | None = None,
    test: str = "t",
    correction: str = "holm",
    seed: int = 0,
) -> Comparison:
    """Compare systems with a baseline, user by user.

    Args:
        results: by label, each measured on the same users.
        baseline: the label that all others are compared with (by default the first), or label -> its own
            baseline.
        metrics: names such as "recall@20"; by default all that every result has.
        test: "t" (paired t-test, t interval), "wilcoxon" (signed ranks, Pratt's zeros; bootstrap interval) or
            "bootstrap" (of the mean difference, percentile interval).
        correction: "holm" (over all systems and metrics of this call) or "none".
        seed: of the bootstrap.

    Raises:
        ConfigError: an unknown name of a test, correction, metric or baseline.
        DataError: two results are not of the same users.
    """
    run, adjust = lookup(TESTS, test, "significance test"), lookup(CORRECTIONS, correction, "correction")
    names = list(metrics) if metrics is not None else _common_metrics(list(results.values()))
    rows = [
        _Row(label, base, name, *_paired(results, label, base, name))
        for label, base in _pairs(results, baseline)
        for name in names
    ]
    outcomes = [run(row.mine - row.other, np.random.default_rng([seed, n])) for n, row in enumerate(rows)]
    adjusted = adjust(np.array([p_value for p_value, _ in outcomes]))
    tests = (
        row.test(*outcome, float(p_adjusted))
        for row, outcome, p_adjusted in zip(rows, outcomes, adjusted, strict=True)
    )
    return Comparison(test, correction, tuple(tests))


@dataclass(frozen=True)
class _Row:
    label: str
    baseline: str
    metric: str
    mine: Values  # [U]
    other: Values  # [U]

    def test(self, p_value: float, interval: tuple[float, float], p_adjusted: float) -> PairedTest:
        differences = self.mine - self.other
        deviation = float(differences.std(ddof=1))
        return PairedTest(
            label=self.label,
            baseline=self.baseline,
            metric=self.metric,
            n_users=len(differences),
            mean=float(self.mine.mean()),
            baseline_mean=float(self.other.mean()),
            difference=float(differences.mean()),
            interval=interval,
            p_value=p_value,
            p_adjusted=p_adjusted,
            effect_size=float(differences.mean()) / deviation if deviation > 0 else 0.0,
        )


def holm(p_values: Values) -> Values:
    """Return p-values corrected by Holm's step-down method (1979): they bound the family-wise error rate."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p_values[order]), 1.0)
    return adjusted


def bootstrap_interval(values: Values, rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of `values` [n], from resamples of them."""
    return _percentiles(_resampled_means(values, rng))


def _resampled_means(values: Values, rng: np.random.Generator) -> Values:
    n = len(values)
    means = (values[rng.integers(0, n, n)].mean() for _ in range(N_RESAMPLES))
    return np.fromiter(means, np.float64, N_RESAMPLES)


def _percentiles(means: Values) -> tuple[float, float]:
    low, high = np.quantile(means, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return float(low), float(high)


def _t_test(differences: Values, rng: np.random.Generator) -> tuple[float, tuple[float, float]]:  # noqa: ARG001
    mean, error = differences.mean(), differences.std(ddof=1) / np.sqrt(len(differences))
    if error == 0:  # all differences are equal: no test is possible unless they are all zero
        return (1.0 if mean == 0 else 0.0), (float(mean), float(mean))
    from scipy import stats  # noqa: PLC0415 - slow to import

    half = stats.t.ppf(0.5 + CONFIDENCE / 2, len(differences) - 1) * error
    p_value = 2 * stats.t.sf(abs(mean / error), len(differences) - 1)
    return float(p_value), (float(mean - half), float(mean + half))


def _wilcoxon(differences: Values, rng: np.random.Generator) -> tuple[float, tuple[float, float]]:
    _, interval = _bootstrap(differences, rng)
    if not differences.any():
        return 1.0, interval
    from scipy import stats  # noqa: PLC0415 - slow to import

    result: Any = stats.wilcoxon(differences, zero_method="pratt", method="approx")
    return float(result.pvalue), interval


def _bootstrap(differences: Values, rng: np.random.Generator) -> tuple[float, tuple[float, float]]:
    mean, means = differences.mean(), _resampled_means(differences, rng)
    beyond = np.count_nonzero(np.abs(means - mean) >= abs(mean))  # under the hypothesis that the mean is 0
    return (float(beyond) + 1) / (N_RESAMPLES + 1), _percentiles(means)


def _pairs(results: Mapping[str, UserResult], baseline: str | Mapping[str, str] | None) -> list[tuple[str, str]]:
    if not results:
        raise ConfigError("there is nothing to compare: give two results or more.")
    if isinstance(baseline, Mapping):
        chosen = dict(baseline)
    else:
        chosen = dict.fromkeys(results, next(iter(results)) if baseline is None else baseline)
    return [(label, base) for label, base in chosen.items() if label != base]


def _paired(results: Mapping[str, UserResult], label: str, base: str, metric: str) -> tuple[Values, Values]:
    mine, other = (lookup(results, name, "result to compare") for name in (label, base))
    if not np.array_equal(mine.users, other.users):
        raise DataError(
            f"{label!r} and {base!r} were not measured on the same users ({len(mine.users)} and "
            f"{len(other.users)}): evaluate both on the same data set and split."
        )
    if len(mine.users) < 2:
        raise DataError(f"{label!r} was measured on {len(mine.users)} users: a paired test needs two or more.")
    return _values(mine, metric), _values(other, metric)


def _values(result: UserResult, metric: str) -> Values:
    return np.asarray(lookup(result.per_user, metric, "metric of a result"), dtype=np.float64)


def _common_metrics(results: Sequence[UserResult]) -> list[str]:
    if not results:
        return []
    return [name for name in results[0].per_user if all(name in result.per_user for result in results)]


Test = Callable[[Values, np.random.Generator], tuple[float, tuple[float, float]]]
TESTS: dict[str, Test] = {"t": _t_test, "wilcoxon": _wilcoxon, "bootstrap": _bootstrap}
CORRECTIONS: dict[str, Callable[[Values], Values]] = {"holm": holm, "none": lambda p_values: p_values}
