"""Batches of the fine-tuning: which triplets together, which task each serves, which documents are negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnlmrec.data.interactions import Interactions, Numbers
from hnlmrec.finetuning.inputs import Floats, Prompt, hard_negative_prompt, preference_prompt
from hnlmrec.finetuning.triplets import Triplets

_POOL = 32  # batches whose triplets are sorted by length together


@dataclass(frozen=True, eq=False)
class ContrastiveBatch:
    """Queries, the distinct items that are their documents, and who is whose negative.

    Attributes:
        queries: B prompts.
        is_preference: bool [B], the task of each.
        items: int64 [M], distinct items.
        targets: int64 [B], the place in `items` of each query's positive document.
        weights: float32 [B, M], how often an item counts as a negative; 0 where it does not.
    """

    queries: Sequence[Prompt]
    is_preference: npt.NDArray[np.bool_]
    items: Numbers
    targets: Numbers
    weights: Floats


def epoch_batches(
    n: int, batch_size: int, lengths: Sequence[int], rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Return the rows of each batch of an epoch: random, but with rows of like length together.

    Args:
        n: triplets.
        batch_size: triplets a batch; the last ones that fill no batch are left to another epoch, since a smaller
            batch would have fewer negatives. A set smaller than a batch makes one batch.
        lengths: how long the query of each row is, in any unit.
        rng: decides the order.
    """
    order = rng.permutation(n)
    whole = max(n // batch_size, 1) * batch_size
    order = order[:whole]
    pool = _POOL * batch_size
    pools = [order[start : start + pool] for start in range(0, len(order), pool)]
    sizes = np.asarray(lengths)
    ordered = np.concatenate([part[np.argsort(sizes[part], kind="stable")] for part in pools])
    batches = [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
    return [batches[place] for place in rng.permutation(len(batches))]


def contrastive_batch(
    triplets: Triplets,
    is_preference: npt.NDArray[np.bool_],
    observed: Interactions,
    random_items: Numbers,
    *,
    own_weight: float = 1.0,
) -> ContrastiveBatch:
    """Put the triplets of a batch together.

    Task `hard_negative`, query (u, i): the positive is the hard item j, the negatives are the interacted items of
    the whole batch, as in the paper, but for j itself where another user interacted with it.

    Task `preference`, query u with i left out of the history: the positive is i, the negatives are all items of
    the batch that u has not, the hard item j and the random items among them. An in-batch item that u
    has would be a false negative, and is masked. Interacted items of other users are popular ones, so a judge
    that has no other negatives learns to think little of what is popular; the random items set that right.

    Args:
        triplets: B rows.
        is_preference: bool [B], the task of each.
        observed: all pairs that are known to be interactions.
        random_items: int64 [r], drawn uniformly.
        own_weight: how often the negative of the same triplet counts, where the others count once.
    """
    users = triplets.users.astype(np.int64)
    both = np.concatenate([triplets.positives, triplets.hard, random_items]).astype(np.int64)
    items, places = np.unique(both, return_inverse=True)
    n = len(triplets)
    targets = np.where(is_preference, places[:n], places[n : 2 * n])
    interacted = np.bincount(places[:n], minlength=len(items)).astype(np.float32)
    everything = np.bincount(places, minlength=len(items)).astype(np.float32)
    allowed = ~observed.contains(users[:, None], items[None, :])
    weights = np.where(is_preference[:, None], everything * allowed, interacted)
    own = np.where(is_preference, places[n : 2 * n], places[:n])
    weights[np.arange(n), own] += own_weight - 1
    weights[np.arange(n), targets] = 0.0
    queries = [
        preference_prompt(user, hidden=positive) if prefers else hard_negative_prompt(user, positive)
        for user, positive, prefers in zip(users, triplets.positives, is_preference, strict=True)
    ]
    return ContrastiveBatch(queries, is_preference, items, targets, weights.astype(np.float32))
