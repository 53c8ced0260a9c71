"""Text vectors tuned on behaviour: what they learn, what they leave alone, and the evidence made of them."""

from __future__ import annotations

import numpy as np
import pytest

from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.errors import DataError
from hnlmrec.judging import CoInteractionConfig, TunedTextEvidence, TunedTexts, tune_on_co_interactions

N_USERS, N_ITEMS, N_TASTES, N_TOPICS = 200, 80, 4, 8
CONFIG = CoInteractionConfig(size=8, steps=60, batch_size=64, learning_rate=0.02)


def world() -> tuple[Interactions, np.ndarray]:
    """Users of taste t choose items of taste t; texts tell it faintly, and loudly a topic that nobody heeds."""
    rng = np.random.default_rng(0)
    tastes, topics = np.arange(N_ITEMS) % N_TASTES, rng.integers(0, N_TOPICS, N_ITEMS)
    texts = np.concatenate([0.5 * np.eye(N_TASTES)[tastes], 2.0 * np.eye(N_TOPICS)[topics]], axis=1)
    texts += 0.3 * rng.standard_normal(texts.shape)
    users = np.repeat(np.arange(N_USERS), 5)
    items = N_TASTES * rng.integers(0, N_ITEMS // N_TASTES, len(users)) + users % N_TASTES
    return Interactions.from_pairs(users, items, N_USERS, N_ITEMS), texts.astype(np.float32)


def taste_gap(vectors: np.ndarray) -> float:
    """Mean cosine of items of the same taste, less that of others."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    same = np.equal.outer(np.arange(N_ITEMS) % N_TASTES, np.arange(N_ITEMS) % N_TASTES) & ~np.eye(
        N_ITEMS, dtype=bool
    )
    cosines = unit @ unit.T
    return float(cosines[same].mean() - cosines[~same & ~np.eye(N_ITEMS, dtype=bool)].mean())


@pytest.mark.parametrize("candidates", [16_384, 20])
def test_what_is_chosen_together_comes_near(candidates: int) -> None:
    train, texts = world()
    config = CONFIG.model_copy(update={"candidates": candidates})
    tuned = tune_on_co_interactions(texts, train, config, np.random.default_rng(1))
    assert tuned.shape == (N_ITEMS, CONFIG.size)
    assert np.linalg.norm(tuned, axis=1) == pytest.approx(np.ones(N_ITEMS), abs=1e-5)
    assert taste_gap(tuned) > 0.5 > 3 * taste_gap(texts)


def test_it_is_the_behaviour_that_it_learns_from() -> None:
    train, texts = world()
    shuffled = np.random.default_rng(2).permutation(train.indices)
    random = Interactions.from_pairs(train.users, shuffled, N_USERS, N_ITEMS)
    learned, other = (
        taste_gap(tune_on_co_interactions(texts, pairs, CONFIG, np.random.default_rng(1)))
        for pairs in (train, random)
    )
    assert learned > other + 0.2


def test_an_item_without_a_text_stays_zero_and_the_same_seed_gives_the_same() -> None:
    train, texts = world()
    texts[3] = 0.0
    first, second = (tune_on_co_interactions(texts, train, CONFIG, np.random.default_rng(1)) for _ in range(2))
    assert not first[3].any()
    assert np.isfinite(first).all()
    assert np.array_equal(first, second)


def test_nothing_chosen_together_is_an_error_that_says_what_to_do() -> None:
    lonely = Interactions.from_pairs(np.arange(N_USERS), np.arange(N_USERS) % N_ITEMS, N_USERS, N_ITEMS)
    with pytest.raises(DataError, match=r"no user has two train items.*ease_text"):
        tune_on_co_interactions(world()[1], lonely, CONFIG, np.random.default_rng(1))


def test_as_evidence_it_reads_the_train_split_that_it_is_given() -> None:
    train, texts = world()
    nothing = Interactions.from_pairs([], [], N_USERS, N_ITEMS)
    users = Vocabulary((f"u{n}" for n in range(N_USERS)), "user")
    items = Vocabulary((f"i{n}" for n in range(N_ITEMS)), "item")
    tuned = TunedTexts(EmbeddingTable(items, texts), CONFIG, seed=1)
    own = np.equal.outer(np.arange(N_TASTES), np.arange(N_ITEMS) % N_TASTES)
    contrasts = []
    for power in (1.0, 3.0):
        evidence = TunedTextEvidence("tuned text", tuned, power, memory_limit_gib=1.0)
        evidence.fit(InteractionDataset(users, items, train, nothing, nothing))
        scores = evidence.scores(np.arange(N_TASTES))
        contrasts.append(scores[own].mean() / scores[~own].mean())
    assert 1.5 < contrasts[0] < contrasts[1]
