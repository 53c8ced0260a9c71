"""The catalogue items whose vectors are nearest to a generated one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hnlmrec.data.embeddings import unit_rows
from hnlmrec.data.interactions import Interactions, Numbers

_COSINES = 2**25  # of a chunk of rows with all items, held at once: 128 MiB


def nearest_items(
    vectors: npt.NDArray[np.floating[Any]],
    users: Numbers,
    item_vectors: npt.NDArray[np.floating[Any]],
    barred: Sequence[Interactions],
    m: int = 1,
    *,
    by_product: bool = False,
) -> Numbers:
    """Return the m items nearest to each vector, nearest first.

    Args:
        vectors: [n, d].
        users: int64 [n], whose vectors they are.
        item_vectors: [n_items, d], in the same space; an item with a row of zeros is near to nothing.
        barred: pairs of a user and an item that is passed over for this user: those of the train split, say.
        m: how many items.
        by_product: whether the items' lengths count, as in the score of a CF model; else the cosine alone.

    Returns:
        int64 [n, m]; -1 where there are no more.
    """
    items = np.asarray(item_vectors, dtype=np.float32) if by_product else unit_rows(item_vectors)
    unknown = ~items.any(axis=1)
    nearest = np.full((len(vectors), m), -1, dtype=np.int64)
    n_best = min(m, len(items))
    size = max(1, _COSINES // max(len(items), 1))
    for start in range(0, len(vectors), size):
        chunk = slice(start, start + size)
        cosines = unit_rows(vectors[chunk]) @ items.T
        cosines[:, unknown] = -np.inf
        for pairs in barred:
            cosines[pairs.cells(users[chunk])] = -np.inf
        near = np.argpartition(-cosines, n_best - 1, axis=1)[:, :n_best]
        order = np.argsort(-np.take_along_axis(cosines, near, axis=1), axis=1, kind="stable")
        near = np.take_along_axis(near, order, axis=1)
        nearest[chunk, :n_best] = np.where(np.take_along_axis(cosines, near, axis=1) > -np.inf, near, -1)
    return nearest
