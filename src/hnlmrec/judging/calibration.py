"""A choice model over evidence, isotonic calibration, and the measures of a judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
_RIDGE = 1e-3  # keeps the solution finite where an evidence separates the classes


@dataclass(frozen=True)
class ConditionalLogit:
    """Score weights . x, by which a user chooses among items: P(i | u) = exp(s_ui) / sum_j exp(s_uj).

    McFadden's conditional logit. It compares the items of one user with one another, as a ranking does; a logistic
    regression over all pairs spends its weights on telling active users and popular items apart.
    """

    weights: Doubles

    @classmethod
    def fit(
        cls,
        features: npt.NDArray[Any],
        outcomes: npt.NDArray[np.bool_],
        importance: Doubles,
        users: npt.NDArray[np.int64],
        precision: float = 0.0,
    ) -> ConditionalLogit:
        """Fit by maximum likelihood, or a posteriori, each positive against all rows of its user.

        Args:
            features: [n, f].
            outcomes: bool [n], the rows that were chosen.
            importance: [n], the inverse of the chance that a row would be here had it not been chosen.
            users: int64 [n], ascending; a user may have several positives.
            precision: of a normal prior, with mean 0, on the weights of features that have a standard deviation
                of 1; 0 for none.
        """
        from scipy import optimize  # noqa: PLC0415 - slow to import

        scale = features.std(axis=0)
        scale[scale == 0] = 1.0
        x = (features / scale).astype(np.float64)
        offset = np.log(importance)
        starts = np.flatnonzero(np.diff(users, prepend=users[:1] - 1))
        place = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(users))))
        chosen = np.bincount(place, outcomes)
        observed, n = x[outcomes].sum(axis=0), max(float(chosen.sum()), 1.0)

        ridge = _RIDGE + precision / n

        def objective(weights: Doubles) -> tuple[float, Doubles]:
            utility = x @ weights
            logits = utility + offset
            highest = np.maximum.reduceat(logits, starts)
            terms = np.exp(logits - highest[place])
            totals = np.add.reduceat(terms, starts)
            likelihood = observed @ weights - chosen @ (np.log(totals) + highest)
            expected = (terms * (chosen / totals)[place]) @ x
            penalty = 0.5 * ridge * float(weights @ weights)
            return -likelihood / n + penalty, (expected - observed) / n + ridge * weights

        found = optimize.minimize(objective, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B")
        return cls(found.x / scale)

    def scores(self, features: npt.NDArray[Any]) -> Doubles:
        """Return [..., f] -> [...]."""
        return np.asarray(features @ self.weights)


@dataclass(frozen=True)
class IsotonicCalibration:
    """A rising step function from scores to probabilities, interpolated between its steps."""

    scores: Doubles
    probabilities: Doubles

    @classmethod
    def fit(cls, scores: Doubles, outcomes: npt.NDArray[Any], importance: Doubles) -> IsotonicCalibration:
        """Fit by the pool-adjacent-violators algorithm, weighted by `importance` [n]."""
        from scipy import optimize  # noqa: PLC0415 - slow to import

        order = np.argsort(scores, kind="stable")
        result: Any = optimize.isotonic_regression(outcomes[order].astype(np.float64), weights=importance[order])
        starts = result.blocks[:-1]
        means = np.add.reduceat(scores[order] * importance[order], starts) / result.weights
        return cls(means, result.x[starts])

    def __call__(self, scores: Doubles) -> Doubles:
        """Return the probabilities; beyond the ends, those of the ends."""
        return np.interp(scores, self.scores, self.probabilities)


def area_under_curve(
    scores: npt.NDArray[Any], outcomes: npt.NDArray[np.bool_], importance: Doubles | None = None
) -> float:
    """Return the probability that a positive scores above a negative, ties counted half (ROC AUC).

    Args:
        scores: [n].
        outcomes: bool [n].
        importance: [n], how many pairs of the population a row stands for; None for one each.

    Returns:
        NaN where one of the two classes is empty.
    """
    weights = np.ones(len(scores)) if importance is None else importance
    distinct, places = np.unique(scores, return_inverse=True)
    negative = np.bincount(places, weights * ~outcomes, minlength=len(distinct))
    positive = np.bincount(places, weights * outcomes, minlength=len(distinct))
    pairs = positive.sum() * negative.sum()
    below = np.cumsum(negative) - negative / 2  # ties count half
    return float(positive @ below / pairs) if pairs else float("nan")


def brier_score(probabilities: Doubles, outcomes: npt.NDArray[Any], importance: Doubles) -> float:
    """Return the weighted mean of (p - outcome)^2."""
    return float(np.average(np.square(probabilities - outcomes), weights=importance))


def calibration_bins(
    probabilities: Doubles, outcomes: npt.NDArray[Any], importance: Doubles, n_bins: int = 12
) -> list[dict[str, float]]:
    """Return, for bins with about the same number of rows, the mean probability beside the share of positives."""
    edges = np.unique(np.quantile(probabilities, np.linspace(0, 1, n_bins + 1)))
    places = np.clip(np.searchsorted(edges, probabilities, side="right") - 1, 0, max(len(edges) - 2, 0))
    bins = []
    for place in np.unique(places):
        rows = places == place
        weights = importance[rows]
        bins.append(
            {
                "low": float(edges[place]),
                "high": float(edges[min(place + 1, len(edges) - 1)]),
                "mean_probability": float(np.average(probabilities[rows], weights=weights)),
                "share_positive": float(np.average(outcomes[rows], weights=weights)),
                "n": int(rows.sum()),
            }
        )
    return bins
