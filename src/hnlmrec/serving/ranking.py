"""The best items of users, a chunk of users at a time, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.data.embeddings import unit_rows
from hnlmrec.data.interactions import Interactions, Numbers
from hnlmrec.data.judgements import JudgementTable
from hnlmrec.errors import ConfigError
from hnlmrec.evaluation.top_k import select_top
from hnlmrec.serving.vectors import TrainedVectors, numbers_of, rows_of

Matrix = npt.NDArray[np.float32]

RANKED = {"user_id": pl.String, "rank": pl.Int32, "item_id": pl.String, "title": pl.String, "score": pl.Float32}
SIMILAR = {"rank": pl.Int32, "item_id": pl.String, "title": pl.String, "score": pl.Float32}
_CELLS = 2**22  # scores held at once: 16 MiB


def best_items(
    users: Matrix, items: Matrix, k: int, masked: Interactions, rows: Numbers
) -> tuple[npt.NDArray[np.int32], Matrix]:
    """Return the k best items of each user and their scores, best first, [B, k] both.

    Args:
        users: [B, d].
        items: [n_items, d].
        k: from 1 to n_items.
        masked: what must not be recommended.
        rows: int64 [B], the row of `masked` that belongs to each user.

    Returns:
        (items int32 [B, k], scores [B, k]); -1 and minus infinity where a user has fewer than k items left.
    """
    scores = np.ascontiguousarray(users @ items.T)
    best = np.empty((len(users), k), dtype=np.int32)
    bad = select_top(scores, rows, masked.indptr, masked.indices, best)
    if bad >= 0:
        raise ValueError(f"the scores of row {bad} hold a value that is not a number.")
    found = np.take_along_axis(scores, np.maximum(best, 0), axis=1)
    return best, np.where(best >= 0, found, -np.inf).astype(np.float32)


def recommend(vectors: TrainedVectors, user_ids: list[str], k: int) -> pl.DataFrame:
    """Return the k best items of each user that the user is not known to have: columns as in `RANKED`.

    A user who has nearly the whole catalogue gets fewer than k rows.

    Raises:
        UnknownIdError: a user is not in the data set.
        ConfigError: k is not between 1 and the size of the catalogue.
    """
    numbers = numbers_of(vectors.dataset.users, user_ids)
    frames = list(_ranked(vectors, numbers, vectors.check_k(k)))
    return pl.concat(frames) if frames else pl.DataFrame(schema=RANKED)


def recommend_all(vectors: TrainedVectors, k: int) -> Iterator[pl.DataFrame]:
    """Yield the recommendations of all users in the order of their numbers, some a frame; see `recommend`."""
    return _ranked(vectors, np.arange(vectors.dataset.n_users), vectors.check_k(k))


def recommend_judged(
    vectors: TrainedVectors, table: JudgementTable, user_ids: Sequence[str], k: int
) -> pl.DataFrame:
    """Return the k items that a judge lists first for each user and that are not known: columns as in `RANKED`.

    The score is the judge's. A user of whom less is listed gets fewer than k rows.

    Raises:
        UnknownIdError: a user is not in the data set.
        ConfigError: k is below 1, or larger than the longest list.
    """
    numbers = numbers_of(vectors.dataset.users, user_ids)
    longest = int(np.bincount(table.users).max(initial=0))
    if not 1 <= k <= longest:
        raise ConfigError(
            f"k = {k} was given, and the judge lists {longest:,} items for a user: give a k from 1 to that, or "
            "run with a larger judge.top."
        )
    place = np.full(vectors.dataset.n_users, -1)
    place[numbers] = np.arange(len(numbers))
    wanted = (place[table.users] >= 0) & ~vectors.seen.contains(table.users, table.items)
    listed = table.rows(np.flatnonzero(wanted)).best(k)
    cells = place[listed.users], np.arange(len(listed)) - np.searchsorted(listed.users, listed.users)
    best = np.full((len(numbers), k), -1, dtype=np.int32)
    scores = np.full(best.shape, -np.inf, dtype=np.float32)
    best[cells], scores[cells] = listed.items, listed.scores
    return _frame(vectors, user_ids, best, scores)


def recommend_to_vector(
    vectors: TrainedVectors, user: Matrix, k: int, *, history: Numbers, name: str
) -> pl.DataFrame:
    """Return the k best items of one vector [d], the history (item numbers) left out: columns as in `RANKED`."""
    masked = Interactions.from_pairs(np.zeros(len(history)), history, 1, vectors.dataset.n_items)
    items = rows_of(vectors.items, slice(None))
    best = best_items(user[None], items, vectors.check_k(k), masked, np.zeros(1, dtype=np.int64))
    return _frame(vectors, [name], *best)


def similar_items(vectors: TrainedVectors, item_id: str, k: int) -> pl.DataFrame:
    """Return the k items whose vectors have the largest cosine with that of an item: columns as in `SIMILAR`.

    Raises:
        UnknownIdError: the item is not in the data set.
        ConfigError: k is not between 1 and the number of other items.
    """
    vectors.check_k(k, vectors.dataset.n_items - 1)
    number = numbers_of(vectors.dataset.items, [item_id])
    items = rows_of(vectors.items, slice(None))
    items = unit_rows(items)
    itself = Interactions.from_pairs([0], number, 1, len(items))
    best = best_items(items[number], items, k, itself, np.zeros(1, dtype=np.int64))
    return _frame(vectors, [""], *best).select(list(SIMILAR))


def _ranked(vectors: TrainedVectors, numbers: Numbers, k: int) -> Iterator[pl.DataFrame]:
    items = rows_of(vectors.items, slice(None))
    size = max(_CELLS // len(items), 1)
    for start in range(0, len(numbers), size):
        chunk = numbers[start : start + size]
        best = best_items(rows_of(vectors.users, chunk), items, k, vectors.seen, chunk)
        yield _frame(vectors, vectors.dataset.users.ids(chunk.tolist()), *best)


def _frame(
    vectors: TrainedVectors, names: Sequence[str], best: npt.NDArray[np.int32], scores: Matrix
) -> pl.DataFrame:
    there = best >= 0
    ids = vectors.dataset.items.ids(best[there].tolist())
    n_items = best.shape[1]
    columns = {
        "user_id": [name for name, n in zip(names, there.sum(axis=1).tolist(), strict=True) for _ in range(n)],
        "rank": np.broadcast_to(np.arange(1, n_items + 1), best.shape)[there],
        "item_id": ids,
        "title": [vectors.titles.get(id_, "") for id_ in ids],
        "score": scores[there],
    }
    return pl.DataFrame(columns, schema=RANKED)
