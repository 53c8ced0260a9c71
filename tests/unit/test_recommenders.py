"""Recommenders without gradient training: formulas, planted structure, bad input."""

import numpy as np
import pytest
import torch

from hnlmrec.config import build
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.errors import ConfigError
from hnlmrec.evaluation.evaluator import evaluate
from hnlmrec.models.recommenders import RECOMMENDERS


def checkerboard(n_users=60, n_items=40, seed=0):
    """Even users have even items, odd users odd ones: a third is hidden as test."""
    rng = np.random.default_rng(seed)
    pairs = np.array([(u, i) for u in range(n_users) for i in range(n_items) if (u + i) % 2 == 0])
    hidden = rng.random(len(pairs)) < 1 / 3
    users = Vocabulary((f"u{n}" for n in range(n_users)), "user")
    items = Vocabulary((f"i{n}" for n in range(n_items)), "item")
    empty = np.empty((0, 2), np.int64)
    parts = (pairs[~hidden], empty, pairs[hidden])
    splits = (Interactions.from_pairs(p[:, 0], p[:, 1], n_users, n_items) for p in parts)
    return InteractionDataset(users, items, *splits)


def text_of(dataset, seed=0):
    """Text vectors that show the parity of the item, with noise."""
    noise = 0.1 * np.random.default_rng(seed).standard_normal((dataset.n_items, 4))
    signs = np.where(np.arange(dataset.n_items)[:, None] % 2 == 0, 1.0, -1.0)
    return EmbeddingTable(dataset.items, (signs + noise).astype(np.float32))


def fitted(name, dataset, **values):
    model = RECOMMENDERS[name](build(RECOMMENDERS[name].Config, values))
    model.fit(dataset, text_of(dataset))
    return model


@pytest.mark.parametrize("name", RECOMMENDERS)
def test_shapes_and_determinism(name):
    dataset = checkerboard()
    users = np.array([3, 0, 3])
    scores = fitted(name, dataset).score(users)
    assert scores.shape == (3, dataset.n_items)
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()
    assert torch.equal(scores[0], scores[2])
    assert torch.equal(scores, fitted(name, dataset).score(users))


@pytest.mark.parametrize("name", [name for name in RECOMMENDERS if name != "popularity"])
def test_a_checkerboard_is_solved(name):
    dataset = checkerboard()
    values = {"regularization": 5.0} if name.startswith("ease") else {}
    found = evaluate(fitted(name, dataset, **values).score, dataset, ks=(20,), metrics=("recall",)).means()
    assert found["recall@20"] > 0.99  # EASE gives a few of the right items a negative weight


def test_popularity_ranks_by_the_number_of_users():
    dataset = checkerboard()
    assert fitted("popularity", dataset).score(np.array([0]))[0].tolist() == dataset.train.item_degrees.tolist()


def test_ease_is_the_closed_form():
    dataset = checkerboard(seed=2)
    train = dataset.train.to_scipy().toarray().astype(np.float64)
    inverse = np.linalg.inv(train.T @ train + 30.0 * np.eye(dataset.n_items))
    weights = np.eye(dataset.n_items) - inverse @ np.diag(1 / np.diag(inverse))
    scores = fitted("ease", dataset, regularization=30.0).score(np.arange(dataset.n_users))
    np.testing.assert_allclose(scores.numpy(), train @ weights, rtol=1e-4, atol=1e-6)


def test_ease_text_adds_the_cubed_cosine_off_the_diagonal():
    dataset = checkerboard(seed=2)
    users = np.arange(dataset.n_users)
    vectors = text_of(dataset).vectors
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    added = 0.5 * np.maximum(unit @ unit.T, 0) ** 3
    np.fill_diagonal(added, 0)
    difference = fitted("ease_text", dataset, text_weight=0.5).score(users) - fitted("ease", dataset).score(users)
    train = dataset.train.to_scipy().toarray()
    np.testing.assert_allclose(difference.numpy(), train @ added, rtol=1e-3, atol=1e-4)


def test_item_knn_is_the_shrunk_cosine_of_the_nearest():
    dataset = checkerboard(seed=2)
    train = dataset.train.to_scipy().toarray().astype(np.float64)
    norms = np.sqrt(train.sum(axis=0))
    similar = (train.T @ train) / (np.outer(norms, norms) + 4.0)
    np.fill_diagonal(similar, 0)
    kept = np.zeros_like(similar)
    for item in range(dataset.n_items):  # the five nearest of each item, equal ones by number
        best = np.argsort(-similar[item], kind="stable")[:5]
        kept[best, item] = similar[item, best]
    scores = fitted("item_knn", dataset, n_neighbours=5, shrinkage=4.0).score(np.arange(dataset.n_users))
    np.testing.assert_allclose(scores.numpy(), train @ kept, rtol=1e-5, atol=1e-6)


def test_bad_input_is_named():
    dataset = checkerboard()
    with pytest.raises(ConfigError, match="raise memory_limit_gib"):
        fitted("ease", dataset, memory_limit_gib=1e-6)
    ease_text = RECOMMENDERS["ease_text"]
    with pytest.raises(ConfigError, match="text vectors"):
        ease_text(ease_text.Config()).fit(dataset)
    for kind in RECOMMENDERS.values():
        with pytest.raises(ConfigError, match="was not fitted"):
            kind(kind.Config()).score(np.array([0]))
