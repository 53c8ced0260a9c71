"""Data for tests of judges: users of a group like its items, whose texts are near each other."""

from __future__ import annotations

import numpy as np

from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.data.judgements import JudgementTable

N_USERS, N_ITEMS, N_GROUPS = 120, 60, 4


def grouped_dataset(*, held: int = 1) -> InteractionDataset:
    """Users of group g like items of group g only; one item of each user is its test item."""
    rng = np.random.default_rng(0)
    users, items, tests = [], [], []
    for user in range(N_USERS):
        own = rng.permutation(np.arange(user % N_GROUPS, N_ITEMS, N_GROUPS))[:8]
        users += [user] * (8 - held)
        items += own[held:].tolist()
        tests += own[:held].tolist()
    return dataset(users, items, np.repeat(np.arange(N_USERS), held), tests)


def dataset(users: object, items: object, test_users: object = (), test_items: object = ()) -> InteractionDataset:
    def split(left: object, right: object) -> Interactions:
        return Interactions.from_pairs(left, right, N_USERS, N_ITEMS)  # type: ignore[arg-type]

    return InteractionDataset(
        Vocabulary((f"u{n}" for n in range(N_USERS)), "user"),
        Vocabulary((f"i{n}" for n in range(N_ITEMS)), "item"),
        split(users, items),
        split((), ()),
        split(test_users, test_items),
    )


def item_texts(data: InteractionDataset) -> EmbeddingTable:
    rng = np.random.default_rng(1)
    groups = np.eye(N_GROUPS, 6, dtype=np.float32)[np.arange(N_ITEMS) % N_GROUPS]
    return EmbeddingTable(data.items, groups + 0.3 * rng.standard_normal(groups.shape).astype(np.float32))


def some_judgements() -> JudgementTable:
    return JudgementTable(
        np.array([0, 0, 0, 1]),
        np.array([5, 4, 6, 9]),
        np.array([0.2, 0.9, 0.9, 0.5], dtype=np.float32),
        np.array([1.0, 2.0, 3.0, 1.0], dtype=np.float32),
    )
