"""Users, items and their interactions, split for training and evaluation.

An *id* is the user's own string; a *number* is a row: 0 … n-1 in the order of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from hnlmrec.data.tables import read_parquet
from hnlmrec.errors import DataError, UnknownIdError

Numbers = npt.NDArray[np.int64]
Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


class Vocabulary:
    """A one-to-one map between ids (strings) and numbers (rows).

    Args:
        ids: all ids, in the order of their numbers.
        kind: what they identify ("user", "item"), for messages.

    Raises:
        DataError: an id occurs twice.
    """

    def __init__(self, ids: Iterable[str], kind: str = "id") -> None:
        self._ids = tuple(ids)
        self.kind = kind
        self._numbers = {id_: number for number, id_ in enumerate(self._ids)}
        if len(self._numbers) != len(self._ids):
            raise DataError(f"{len(self._ids) - len(self._numbers)} {kind} ids occur more than once.")

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._numbers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._ids == other._ids

    def __hash__(self) -> int:
        return hash(self._ids)

    @property
    def all_ids(self) -> tuple[str, ...]:
        """Every id, in the order of its number."""
        return self._ids

    def ids(self, numbers: Iterable[int]) -> list[str]:
        """Return the ids of these rows."""
        return [self._ids[number] for number in numbers]

    def numbers(self, ids: Sequence[str]) -> Numbers:
        """Return the rows of these ids as int64 [len(ids)].

        Raises:
            UnknownIdError: names the first few that are not in the vocabulary.
        """
        unknown = [id_ for id_ in ids if id_ not in self._numbers]
        if unknown:
            raise UnknownIdError(
                f"{len(unknown)} {self.kind} ids are not in this data set, for example "
                f"{', '.join(repr(id_) for id_ in unknown[:3])}. It holds {len(self)} {self.kind}s, for example "
                f"{', '.join(repr(id_) for id_ in self._ids[:3])}."
            )
        return np.fromiter((self._numbers[id_] for id_ in ids), dtype=np.int64, count=len(ids))


@dataclass(frozen=True, eq=False)
class Interactions:
    """The distinct (user, item) pairs of one split, in CSR form, items ascending within a user.

    Attributes:
        indptr: int64 [n_users + 1].
        indices: int32 [n_pairs], item numbers.
        n_items: number of columns.
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    n_items: int

    @classmethod
    def from_pairs(cls, users: npt.ArrayLike, items: npt.ArrayLike, n_users: int, n_items: int) -> Interactions:
        """Build from parallel arrays of numbers; duplicate pairs become one."""
        keys = np.sort(np.asarray(users, dtype=np.int64) * n_items + np.asarray(items, dtype=np.int64))
        keys = keys[np.diff(keys, prepend=-1) != 0]  # several times faster than np.unique
        counts = np.bincount(keys // n_items, minlength=n_users) if len(keys) else np.zeros(n_users, np.int64)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(indptr, (keys % n_items).astype(np.int32), n_items)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def n_users(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    @cached_property
    def degrees(self) -> npt.NDArray[np.int64]:
        """Number of items of each user, int64 [n_users]."""
        return np.diff(self.indptr)

    @cached_property
    def item_degrees(self) -> npt.NDArray[np.int64]:
        """Number of users of each item (its popularity), int64 [n_items]."""
        return np.bincount(self.indices, minlength=self.n_items).astype(np.int64)

    @cached_property
    def users(self) -> npt.NDArray[np.int32]:
        """The user number of every pair, int32 [n_pairs], parallel to `indices`."""
        return np.repeat(np.arange(self.n_users, dtype=np.int32), self.degrees)

    def of(self, user: int) -> npt.NDArray[np.int32]:
        """Return the item numbers of one user, ascending."""
        return self.indices[self.indptr[user] : self.indptr[user + 1]]

    def cells(self, users: npt.ArrayLike) -> tuple[Numbers, Numbers]:
        """Return (row, item) of the pairs of some users, where row b is users[b], to pick them in a table.

        Args:
            users: int64 [B], user numbers; one may come more than once.
        """
        numbers = np.asarray(users, dtype=np.int64)
        counts = self.degrees[numbers]
        first = np.cumsum(counts) - counts
        places = np.arange(counts.sum()) + np.repeat(self.indptr[numbers] - first, counts)
        return np.repeat(np.arange(len(numbers)), counts), self.indices[places].astype(np.int64)

    def contains(self, users: npt.ArrayLike, items: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return, for arrays of numbers that broadcast together, which pairs are here."""
        keys = np.asarray(users, dtype=np.int64) * self.n_items + np.asarray(items, dtype=np.int64)
        if not len(self):
            return np.zeros(keys.shape, dtype=np.bool_)
        places = np.minimum(np.searchsorted(self._keys, keys), len(self) - 1)
        return np.asarray(self._keys[places] == keys)

    @cached_property
    def _keys(self) -> npt.NDArray[np.int64]:
        return self.users.astype(np.int64) * self.n_items + self.indices

    def to_scipy(self) -> sparse.csr_array[np.float32]:
        """Return a sparse matrix of ones, float32 [n_users, n_items]."""
        ones = np.ones(len(self), dtype=np.float32)
        return sparse.csr_array((ones, self.indices, self.indptr), shape=(self.n_users, self.n_items))


@dataclass(frozen=True, eq=False)
class InteractionDataset:
    """A data set that is ready to train on: two vocabularies and three disjoint splits."""

    users: Vocabulary
    items: Vocabulary
    train: Interactions
    valid: Interactions
    test: Interactions

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.items)

    def split(self, name: Split) -> Interactions:
        """Return a split by its name."""
        splits: dict[Split, Interactions] = {"train": self.train, "valid": self.valid, "test": self.test}
        return splits[name]

    def counts(self) -> dict[str, int]:
        """Return the sizes, as every `--json` output has them."""
        return {
            "users": self.n_users,
            "items": self.n_items,
            **{name: len(self.split(name)) for name in SPLITS},
        }

    def save(self, folder: Path) -> None:
        """Write users.parquet, items.parquet (ids; kept if there with more columns) and interactions.parquet."""
        for vocabulary, name in ((self.users, "user"), (self.items, "item")):
            path = folder / f"{name}s.parquet"
            if not path.exists():
                pl.DataFrame(
                    {f"{name}_id": list(vocabulary.all_ids)}, schema={f"{name}_id": pl.String}
                ).write_parquet(path)
        frames = [
            pl.DataFrame({"user": self.split(name).users, "item": self.split(name).indices}).with_columns(
                split=pl.lit(name)
            )
            for name in SPLITS
        ]
        pl.concat(frames).write_parquet(folder / "interactions.parquet")

    @classmethod
    def load(cls, folder: Path) -> InteractionDataset:
        """Read what `save` wrote.

        Raises:
            MissingFileError: a file is not there.
            DataError: a file lacks a column, or a pair names a user or item that the vocabularies do not hold.
        """
        users = Vocabulary(read_parquet(folder / "users.parquet", ["user_id"])["user_id"], "user")
        items = Vocabulary(read_parquet(folder / "items.parquet", ["item_id"])["item_id"], "item")
        pairs = read_parquet(folder / "interactions.parquet", ["user", "item", "split"])
        for vocabulary in (users, items):
            outside = pairs.filter(~pl.col(vocabulary.kind).is_between(0, len(vocabulary) - 1))
            if len(outside):
                raise DataError(
                    f"{folder / 'interactions.parquet'}: {len(outside):,} pairs name a {vocabulary.kind} that "
                    f"{vocabulary.kind}s.parquet does not hold, for example number {outside[vocabulary.kind][0]}."
                )
        splits: dict[str, Any] = {
            name: Interactions.from_pairs(part["user"], part["item"], len(users), len(items))
            for name in SPLITS
            for part in [pairs.filter(pl.col("split") == name)]
        }
        return cls(users, items, **splits)
