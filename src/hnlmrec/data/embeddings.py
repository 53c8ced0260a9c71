"""Tables of vectors on disk, memory-mapped: where the text side and the collaborative side meet.

Vectors are `.npy`, ids and pairs parquet. A table is a folder, so that it can be an artefact's payload.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.data.interactions import InteractionDataset, Vocabulary
from hnlmrec.data.pickles import refuse_pickle
from hnlmrec.data.tables import read_parquet, reading
from hnlmrec.errors import DataError

Vectors = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """One vector for each id.

    Attributes:
        ids: the vocabulary of the rows.
        vectors: [n, d], float16 or float32.
    """

    ids: Vocabulary
    vectors: Vectors

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.ids):
            raise DataError(
                f"an embedding table needs one vector for each id: {len(self.ids)} ids, "
                f"vectors of shape {self.vectors.shape}."
            )

    @property
    def size(self) -> int:
        """Length d of a vector."""
        return int(self.vectors.shape[1])

    def rows(self, ids: Sequence[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return (vectors float32 [n, d], found [n]); a row that was not found is zero and marked."""
        found = np.fromiter((id_ in self.ids for id_ in ids), dtype=np.bool_, count=len(ids))
        vectors = np.zeros((len(ids), self.size), dtype=np.float32)
        vectors[found] = self.vectors[
            self.ids.numbers([id_ for id_, here in zip(ids, found, strict=True) if here])
        ]
        return vectors, found

    def save(self, folder: Path, name: str) -> None:
        """Write `<name>.parquet` (ids) and `<name>.npy`."""
        folder.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"id": list(self.ids.all_ids)}, schema={"id": pl.String}).write_parquet(
            folder / f"{name}.parquet"
        )
        np.save(folder / f"{name}.npy", self.vectors, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, name: str) -> EmbeddingTable:
        """Read what `save` wrote; the vectors are memory-mapped."""
        vectors = _open_npy(folder / f"{name}.npy")
        return cls(Vocabulary(read_parquet(folder / f"{name}.parquet", ["id"])["id"], name), vectors)


class HardNegativeTable:
    """Up to K hard-negative vectors for a (user, positive item) pair, or for a user whatever the positive.

    Rows are found by number, so that a lookup is one vectorised search. A pair's own rows come first; where it has
    none, the rows of its user that were made for no positive in particular (`positive` = -1) stand in. A row that
    neither gives is marked as not found and left zero: this table never invents one.

    Args:
        users: int64 [n], user numbers.
        positives: int64 [n], item numbers, or -1 for "any positive of this user".
        vectors: [n, d], float16 or float32.
        n_items: number of items of the data set.
        items: int64 [n], the catalogue item that a row stands for, or -1 for a free vector.
    """

    def __init__(
        self, users: npt.ArrayLike, positives: npt.ArrayLike, vectors: Vectors, n_items: int, items: npt.ArrayLike
    ) -> None:
        self.users = np.asarray(users, dtype=np.int64)
        self.positives = np.asarray(positives, dtype=np.int64)
        self.items = np.asarray(items, dtype=np.int64)
        self.vectors = vectors
        self.n_items = n_items
        lengths = {len(self.users), len(self.positives), len(self.items), len(vectors)}
        if len(lengths) != 1 or vectors.ndim != 2:
            raise DataError(
                f"a hard negative table needs a user, a positive, an item and a vector for each row; lengths "
                f"{sorted(lengths)}, vectors of shape {vectors.shape}."
            )
        if ((self.positives < -1) | (self.positives >= n_items)).any():  # they would pass for another user's rows
            raise DataError(f"a hard negative table's positives must be -1 or item numbers below {n_items}.")
        keys = self._key(self.users, self.positives)
        self._order = np.argsort(keys, kind="stable")
        self._sorted_keys = keys[self._order]

    def __len__(self) -> int:
        return len(self.users)

    @property
    def size(self) -> int:
        """Length d of a vector."""
        return int(self.vectors.shape[1])

    @property
    def max_per_pair(self) -> int:
        """The largest number of rows that one key has."""
        return int(np.unique(self._sorted_keys, return_counts=True)[1].max(initial=0))

    def rows(self, users: npt.ArrayLike, positives: npt.ArrayLike, k: int) -> npt.NDArray[np.int64]:
        """Return the row numbers of up to k hard negatives of each pair, int64 [B, k]; -1 where there is none."""
        user_numbers = np.asarray(users, dtype=np.int64)
        exact = self._rows(self._key(user_numbers, np.asarray(positives, dtype=np.int64)), k)
        general = self._rows(self._key(user_numbers, np.full_like(user_numbers, -1)), k)
        return np.where(exact[:, :1] >= 0, exact, general)

    def lookup(
        self, users: npt.ArrayLike, positives: npt.ArrayLike, k: int = 1
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return (vectors float32 [B, k, d], found [B, k])."""
        rows = self.rows(users, positives, k)
        found = rows >= 0
        vectors = np.zeros((*rows.shape, self.size), dtype=np.float32)
        vectors[found] = self.vectors[rows[found]]
        return vectors, found

    def save(self, folder: Path, dataset: InteractionDataset) -> None:
        """Write hard_negatives.parquet (user_id, positive_id, item_id; null for -1) and hard_negatives.npy."""
        self.save_keys(folder, dataset)
        np.save(folder / "hard_negatives.npy", self.vectors, allow_pickle=False)

    def save_keys(self, folder: Path, dataset: InteractionDataset) -> None:
        """Write hard_negatives.parquet alone, for vectors that are in the folder's hard_negatives.npy already."""
        folder.mkdir(parents=True, exist_ok=True)
        item_ids = [*dataset.items.all_ids, None]  # -1 takes the last
        pl.DataFrame(
            {
                "user_id": dataset.users.ids(self.users.tolist()),
                "positive_id": [item_ids[number] for number in self.positives],
                "item_id": [item_ids[number] for number in self.items],
            },
            schema={"user_id": pl.String, "positive_id": pl.String, "item_id": pl.String},
        ).write_parquet(folder / "hard_negatives.parquet")

    @classmethod
    def load(cls, folder: Path, dataset: InteractionDataset) -> HardNegativeTable:
        """Read what `save` wrote, or what the user made in the same format; vectors are memory-mapped.

        Raises:
            MissingFileError: one of the two files is not there.
            UnknownIdError: a row names a user or an item that the data set does not hold.
        """
        vectors = _open_npy(folder / "hard_negatives.npy")
        frame = read_parquet(folder / "hard_negatives.parquet", ["user_id", "positive_id", "item_id"])
        return cls(
            dataset.users.numbers(frame["user_id"].to_list()),
            numbers_or_none(dataset.items, frame["positive_id"].to_list()),
            vectors,
            dataset.n_items,
            numbers_or_none(dataset.items, frame["item_id"].to_list()),
        )

    def _key(self, users: npt.NDArray[np.int64], positives: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return users * (self.n_items + 1) + positives + 1

    def _rows(self, keys: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
        if not len(self):
            return np.full((len(keys), k), -1, dtype=np.int64)
        places = np.searchsorted(self._sorted_keys, keys)[:, None] + np.arange(k)  # [B, k]
        inside = np.minimum(places, len(self) - 1)
        return np.where(
            (places < len(self)) & (self._sorted_keys[inside] == keys[:, None]), self._order[inside], -1
        )


def _open_npy(path: Path) -> Vectors:
    refuse_pickle(path)
    try:
        with reading(path):
            vectors: Vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} is not a .npy file of plain numbers: {error}.") from None
    return vectors


def unit_rows(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the rows [n, d] as float32 of length 1; zeros stay zeros."""
    values = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)


def numbers_or_none(vocabulary: Vocabulary, ids: Sequence[str | None]) -> npt.NDArray[np.int64]:
    """Return the rows of these ids as int64 [len(ids)], -1 for None."""
    numbers = np.full(len(ids), -1, dtype=np.int64)
    given = np.array([id_ is not None for id_ in ids], dtype=np.bool_)
    numbers[given] = vocabulary.numbers([id_ for id_ in ids if id_ is not None])
    return numbers
