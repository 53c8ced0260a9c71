"""Metrics against naive implementations and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.evaluation.false_negatives import fhns_rate
from hnlmrec.evaluation.metrics import METRICS, arp, coverage, gini

USER_METRICS = [name for name, metric in METRICS.items() if metric.per_user]


def naive(name, hits, n_relevant, k):
    ranks = [rank for rank, hit in enumerate(hits[:k], start=1) if hit]
    ideal = range(1, min(k, n_relevant) + 1)
    return {
        "recall": len(ranks) / n_relevant,
        "precision": len(ranks) / k,
        "hit_rate": 1.0 if ranks else 0.0,
        "mrr": 1 / ranks[0] if ranks else 0.0,
        "ndcg": sum(1 / math.log2(r + 1) for r in ranks) / sum(1 / math.log2(r + 1) for r in ideal),
        "map": sum((n + 1) / rank for n, rank in enumerate(ranks)) / min(k, n_relevant),
    }[name]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), k=st.integers(1, 20), name=st.sampled_from(USER_METRICS))
def test_against_the_naive_form(data, k, name):
    lists = data.draw(st.lists(st.lists(st.booleans(), min_size=20, max_size=20), min_size=1, max_size=8))
    hits = np.array(lists)
    missed = np.array(data.draw(st.lists(st.integers(0, 30), min_size=len(lists), max_size=len(lists))))
    n_relevant = np.maximum(hits.sum(axis=1) + missed, 1)
    values = METRICS[name].per_user(hits, n_relevant, k)
    assert values.shape == (len(lists),)
    assert values.dtype == np.float64
    assert ((values >= 0) & (values <= 1)).all()
    assert values == pytest.approx([naive(name, h, n, k) for h, n in zip(lists, n_relevant.tolist(), strict=True)])
    order = np.random.default_rng(0).permutation(len(lists))
    assert np.array_equal(METRICS[name].per_user(hits[order], n_relevant[order], k), values[order])


def test_a_perfect_and_an_empty_list():
    hits = np.array([[True, True, False, False], [False] * 4])
    for name in ("recall", "ndcg", "hit_rate", "mrr", "map"):
        assert METRICS[name].per_user(hits, np.array([2, 3]), 4).tolist() == [1.0, 0.0]


def test_metrics_of_the_catalogue_by_hand():
    items = np.array([[0, 1], [0, -1], [0, 2]])
    popularity = np.array([10, 4, 2, 0])
    assert coverage(items, popularity, 1) == 0.25
    assert coverage(items, popularity, 2) == 0.75
    assert arp(items, popularity, 2) == pytest.approx((7 + 10 + 6) / 3)
    exposure = [3, 1, 1, 0]
    pairs = sum(abs(a - b) for a in exposure for b in exposure)  # the mean difference form of Gini
    assert gini(items, popularity, 2) == pytest.approx(pairs / (2 * 4 * 4 * (5 / 4)))
    assert gini(np.array([[0, 1], [2, 3]]), popularity, 2) == 0.0


def dataset():
    users, items = Vocabulary("ab", "user"), Vocabulary("vwxyz", "item")
    parts = [([0, 0, 1], [0, 1, 0]), ([0], [2]), ([0, 1], [3, 4])]
    return InteractionDataset(users, items, *(Interactions.from_pairs(u, i, 2, 5) for u, i in parts))


def test_fhns_rate_by_hand():
    # user 0: 3 items to draw from, 2 of them held out; user 1: 4 items, 1 held out
    rate = fhns_rate([0, 0, 1, 1, 1], [2, 4, 4, 1, -1], dataset())
    assert rate["pairs"] == 4
    assert rate["drawn"] == pytest.approx(2 / 4)
    assert rate["uniform"] == pytest.approx((2 / 3 + 2 / 3 + 1 / 4 + 1 / 4) / 4)
    assert rate["ratio"] == pytest.approx(rate["drawn"] / rate["uniform"])


def test_a_mixed_negative_is_as_false_as_its_parts():
    # Held out: 2 and 3 of user 0, 4 of user 1. False are a tenth; nine tenths; all; all; the last has no item.
    items, generated = [4, 2, 3, -1, -1], [2, 4, -1, 4, -1]
    rate = fhns_rate([0, 0, 0, 1, 1], items, dataset(), generated=generated, shares=[0.1, 0.1, 0.1, 0.1, 0.1])
    assert rate["pairs"] == 4
    assert rate["drawn"] == pytest.approx((0.1 + 0.9 + 1 + 1) / 4)
    assert rate["uniform"] == pytest.approx((3 * 2 / 3 + 1 / 4) / 4)


def test_fhns_rate_of_exhaustive_uniform_draws_is_one():
    data = dataset()
    pairs = [(u, i) for u in range(2) for i in range(5) if not data.train.contains(u, i)]
    for user in (0, 1):
        rate = fhns_rate([u for u, _ in pairs if u == user], [i for u, i in pairs if u == user], data)
        assert rate["ratio"] == pytest.approx(1.0)


def test_fhns_rate_of_nothing():
    assert fhns_rate([0], [-1], dataset()) == {"drawn": None, "uniform": None, "ratio": None, "pairs": 0}
