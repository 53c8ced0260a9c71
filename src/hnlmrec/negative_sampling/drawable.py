"""What a semantic sampler may draw: the generated vectors, or catalogue items that stand in for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hnlmrec.data.embeddings import HardNegativeTable
from hnlmrec.data.interactions import Interactions, Numbers
from hnlmrec.data.judgements import JudgementTable
from hnlmrec.data.nearest import nearest_items

Vectors = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class DrawableRows:
    """Parallel arrays [n], and the vectors that they point into.

    Attributes:
        users: int64 [n].
        positives: int64 [n], -1 for any of the user.
        places: int64 [n], rows of `vectors`.
        vectors: [m, d_text].
        items: int64 [m], the item that a row of `vectors` stands for, -1 for none.
        counts: what the report says of them.
    """

    users: Numbers
    positives: Numbers
    places: Numbers
    vectors: Vectors
    items: Numbers
    counts: Mapping[str, int]


def generated_rows(
    table: HardNegativeTable,
    vectors: Vectors,
    items: Numbers,
    train: Interactions,
    judgements: JudgementTable | None,
) -> DrawableRows:
    """Return the rows whose item, as the table has it, the user has not and the judge does not list.

    Args:
        table: the generated negatives, n rows.
        vectors: [n, d_text], theirs, or what an ablation puts in their place.
        items: int64 [n], likewise.
        train: the train split.
        judgements: None lists nothing.
    """
    usable = ~((table.items >= 0) & train.contains(table.users, np.maximum(table.items, 0)))
    counts = {"observed_rows_left_out": int((~usable).sum())}
    if judgements is not None:
        false = usable & judgements.lists(table.users, table.items)
        counts["judged_false_rows_left_out"] = int(false.sum())
        usable &= ~false
    places = np.flatnonzero(usable)
    return DrawableRows(table.users[usable], table.positives[usable], places, vectors, items, counts)


def grounded_rows(
    table: HardNegativeTable,
    vectors: Vectors,
    item_vectors: Vectors,
    barred: Sequence[Interactions],
    m: int,
    *,
    by_product: bool,
) -> DrawableRows:
    """Return the m items nearest to each vector as rows of their own, each with the item's vector.

    Args:
        table: the generated negatives, n rows.
        vectors: [n, d_text], theirs, or what an ablation puts in their place.
        item_vectors: [n_items, d_text], in the same space.
        barred: pairs of a user and an item that may not stand in: those of the train split, or of a judge's list.
        m: how many, at most.
        by_product: see `nearest_items`.
    """
    near = nearest_items(vectors, table.users, item_vectors, barred, m, by_product=by_product)
    row, column = np.nonzero(near >= 0)
    counts = {"stand_ins": len(row), "rows_without_a_stand_in": int((near < 0).all(axis=1).sum())}
    items = np.arange(len(item_vectors))
    return DrawableRows(table.users[row], table.positives[row], near[row, column], item_vectors, items, counts)
