"""Hold a part of train out, so that a judge is fitted and measured on positives that it has not seen."""

from __future__ import annotations

import numpy as np

from hnlmrec.data.interactions import InteractionDataset, Interactions
from hnlmrec.data.splitting import ranks_within
from hnlmrec.errors import DataError


def hold_out_of_train(
    dataset: InteractionDataset, fraction: float, rng: np.random.Generator
) -> InteractionDataset:
    """Split train into an inner train and a held-out part; the given valid and test splits are left behind.

    Every user keeps at least one train item, and as a rule `fraction` of a user's items are held out; a rest is
    drawn, so that users with few items count too.

    Args:
        dataset: only its train split is read.
        fraction: share held out, in (0, 1).
        rng: decides which.

    Returns:
        The inner train as `train`, the held-out pairs as `valid`, and an empty `test`.

    Raises:
        DataError: nothing can be held out, since no user has two train items.
    """
    train = dataset.train
    wanted = train.degrees * fraction
    counts = np.minimum(np.floor(wanted + rng.random(train.n_users)), np.maximum(train.degrees - 1, 0))
    held = ranks_within(train.users, rng.random(len(train)))[1] < counts[train.users]
    if not held.any():
        raise DataError(
            "no interaction of train can be held out to fit a judge on: no user has two train items (or the "
            "share is too small). Use more data, or a sampler without a judge."
        )

    def part(mask: np.ndarray) -> Interactions:
        return Interactions.from_pairs(train.users[mask], train.indices[mask], train.n_users, train.n_items)

    nothing = np.zeros(len(train), dtype=np.bool_)
    return InteractionDataset(dataset.users, dataset.items, part(~held), part(held), part(nothing))
