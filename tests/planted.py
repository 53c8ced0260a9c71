"""Small data sets with a known structure, for tests of models, samplers and the trainer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from hnlmrec.data.interactions import InteractionDataset, Interactions, Split, Vocabulary
from hnlmrec.models.base import Embeddings


def checkerboard(n_users: int = 40, n_items: int = 30, n_held_out: int = 2, seed: int = 0) -> InteractionDataset:
    """Even users like even items, odd users odd ones; some of these pairs are held out."""
    rng = np.random.default_rng(seed)
    parts: dict[Split, list[tuple[int, int]]] = {"train": [], "valid": [], "test": []}
    for user in range(n_users):
        items = rng.permutation(np.arange(user % 2, n_items, 2))
        parts["valid"] += [(user, item) for item in items[:n_held_out]]
        parts["test"] += [(user, item) for item in items[n_held_out : 2 * n_held_out]]
        parts["train"] += [(user, item) for item in items[2 * n_held_out :]]
    splits = [Interactions.from_pairs(*zip(*pairs, strict=True), n_users, n_items) for pairs in parts.values()]
    users = Vocabulary((f"u{n}" for n in range(n_users)), "user")
    return InteractionDataset(users, Vocabulary((f"i{n}" for n in range(n_items)), "item"), *splits)


def separation(dataset: InteractionDataset) -> Callable[[Embeddings, Split], dict[str, float]]:
    """Return an evaluation: the share of held-out pairs that outscore all items of the other colour."""

    def evaluate(embeddings: Embeddings, split: Split) -> dict[str, float]:
        pairs = dataset.split(split)
        scores = (embeddings.users @ embeddings.items.T).cpu().detach()
        users, items = torch.from_numpy(pairs.users).long(), torch.from_numpy(pairs.indices).long()
        other = (torch.arange(dataset.n_items) % 2)[None, :] != (users % 2)[:, None]
        best_other = scores[users].masked_fill(~other, -torch.inf).max(dim=1).values
        return {"recall@20": float((scores[users, items] > best_other).float().mean())}

    return evaluate
