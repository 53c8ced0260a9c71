"""Weighted logistic regression, isotonic calibration, and the measures of a judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

Doubles = npt.NDArray[np.float64]
_RIDGE = 1e-4  # keeps the solution finite where an evidence separates the classes


@dataclass(frozen=True)
class LogisticRegression:
    """logit p = bias + weights . (x - mean) / scale."""

    mean: Doubles
    scale: Doubles
    weights: Doubles
    bias: float

    @classmethod
    def fit(
        cls, features: npt.NDArray[Any], outcomes: npt.NDArray[Any], importance: Doubles
    ) -> LogisticRegression:
        """Fit by maximum likelihood.

        Args:
            features: [n, f].
            outcomes: [n], 0 or 1.
            importance: [n], how many pairs of the population a row stands for.
        """
        shares = importance / importance.sum()
        mean = shares @ features
        scale = np.sqrt(shares @ np.square(features - mean))
        scale[scale == 0] = 1.0
        x, y = (features - mean) / scale, outcomes.astype(np.float64)

        def objective(parameters: Doubles) -> tuple[float, Doubles]:
            weights, bias = parameters[:-1], parameters[-1]
            logits = x @ weights + bias
            losses = np.logaddexp(0.0, logits) - y * logits
            errors = shares * (special.expit(logits) - y)
            gradient = np.append(x.T @ errors + _RIDGE * base * weights, errors.sum())
            return float(shares @ losses + 0.5 * _RIDGE * base * (weights @ weights)), gradient

        base = float(shares @ y)  # positives are rare: the penalty is measured against them
        start = np.zeros(x.shape[1] + 1)
        start[-1] = special.logit(np.clip(base, 1e-12, 1 - 1e-12))
        found = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
        return cls(mean, scale, found.x[:-1], float(found.x[-1]))

    def logits(self, features: npt.NDArray[Any]) -> Doubles:
        """Return [..., f] -> [...]."""
        coefficients = self.weights / self.scale
        return np.asarray(features @ coefficients + (self.bias - self.mean @ coefficients))


@dataclass(frozen=True)
class IsotonicCalibration:
    """A rising step function from logits to probabilities, interpolated between its steps."""

    logits: Doubles
    probabilities: Doubles

    @classmethod
    def fit(cls, logits: Doubles, outcomes: npt.NDArray[Any], importance: Doubles) -> IsotonicCalibration:
        """Fit by the pool-adjacent-violators algorithm, weighted by `importance` [n]."""
        order = np.argsort(logits, kind="stable")
        result: Any = optimize.isotonic_regression(outcomes[order].astype(np.float64), weights=importance[order])
        starts = result.blocks[:-1]
        means = np.add.reduceat(logits[order] * importance[order], starts) / result.weights
        return cls(means, result.x[starts])

    def __call__(self, logits: Doubles) -> Doubles:
        """Return the probabilities; beyond the ends, those of the ends."""
        return np.interp(logits, self.logits, self.probabilities)


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
