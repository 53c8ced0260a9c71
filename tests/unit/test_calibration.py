"""The choice model that weighs a judge's evidence, and the calibration of its probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from hnlmrec.judging.calibration import (
    ConditionalLogit,
    IsotonicCalibration,
    area_under_curve,
    brier_score,
    calibration_bins,
)


def test_the_choice_model_finds_the_weights_of_the_population() -> None:
    rng = np.random.default_rng(0)
    n_users, n_items = 2_000, 100
    x = rng.standard_normal((n_users, n_items, 2))
    chosen = (x @ [1.5, -0.7] + rng.gumbel(size=(n_users, n_items))).argmax(axis=1)
    y = np.arange(n_items) == chosen[:, None]
    kept = y | (rng.random(y.shape) < 0.2)  # a fifth of the others, each of which stands for five
    importance = np.full(kept.sum(), 5.0)
    users = np.repeat(np.arange(n_users), n_items).reshape(y.shape)[kept]
    found = ConditionalLogit.fit(x[kept], y[kept], importance, users)
    np.testing.assert_allclose(found.weights, [1.5, -0.7], atol=0.08)
    constant = np.concatenate([x[kept], users[:, None] / 100], axis=1)  # the same for all items of a user
    again = ConditionalLogit.fit(constant, y[kept], importance, users)
    np.testing.assert_allclose(again.weights, [*found.weights, 0], atol=1e-2)


@pytest.mark.parametrize("precision", [0.0, 1.0, 50.0])
def test_weights_are_those_of_the_highest_posterior(precision: float) -> None:
    rng = np.random.default_rng(0)
    x, users = rng.standard_normal((60, 4)) * [1, 10, 0.1, 3], np.repeat(np.arange(6), 10)
    chosen = np.tile(np.arange(10) == 0, 6)

    def posterior(weights: np.ndarray) -> float:
        scores = (x @ weights).reshape(6, 10)
        likelihood = (scores[:, 0] - np.log(np.exp(scores).sum(axis=1))).sum()
        sizes = ((weights * x.std(axis=0)) ** 2).sum()
        return float(likelihood - 0.5 * (precision + 6e-3) * sizes)

    found = ConditionalLogit.fit(x, chosen, np.ones(60), users, precision).weights
    around = found + 0.05 * rng.standard_normal((50, 4)) / x.std(axis=0)
    assert max(map(posterior, around)) < posterior(found)


def test_calibration_is_monotone_and_keeps_the_share_of_positives() -> None:
    rng = np.random.default_rng(0)
    logits, weights = rng.standard_normal(5_000), rng.uniform(0.5, 2, 5_000)
    outcomes = rng.random(5_000) < 1 / (1 + np.exp(-(2 * logits - 1)))  # the logits are off by both
    calibration = IsotonicCalibration.fit(logits, outcomes, weights)
    probabilities = calibration(logits)
    assert (np.diff(calibration(np.linspace(-5, 5, 200))) >= 0).all()
    raw = 1 / (1 + np.exp(-logits))
    assert brier_score(probabilities, outcomes, weights) < brier_score(raw, outcomes, weights)
    for line in calibration_bins(probabilities, outcomes, weights):
        assert line["mean_probability"] == pytest.approx(line["share_positive"], abs=0.06)


def test_area_under_curve() -> None:
    outcomes = np.array([True, False, True, False])
    assert area_under_curve(np.array([3.0, 1.0, 2.0, 0.0]), outcomes) == 1
    assert area_under_curve(np.ones(4), outcomes) == 0.5
    assert area_under_curve(np.array([0.0, 1.0, 2.0, 3.0]), outcomes) == 0.25
    assert np.isnan(area_under_curve(np.ones(2), np.array([True, True])))
