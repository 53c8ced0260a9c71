"""What a finished run says of groups: each user's activity, and its hits among the items of each popularity."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.data.interactions import InteractionDataset, Numbers
from hnlmrec.evaluation.files import read_hits
from hnlmrec.evaluation.groups import counts_by_group, quantile_groups
from hnlmrec.reporting.study.inputs import ACTIVITY, column_of_hits, column_of_test_items


class PreparedGroups:
    """The groups of a prepared data set: items by their train interactions.

    Args:
        prepared: folder of the prepare stage.
        n_groups: how many; 0 for none.
    """

    def __init__(self, prepared: Path, n_groups: int) -> None:
        dataset = InteractionDataset.load(prepared)
        self.n_groups, self.n_users = n_groups, dataset.n_users
        self.popularity = dataset.train.item_degrees
        self.activity = dataset.train.degrees
        self.items = quantile_groups(self.popularity, n_groups)
        self.test_items = self._counts(dataset.test.users, dataset.test.indices)

    def bounds(self) -> pl.DataFrame:
        """Return a row for each group of items that is not empty: group (from 1), low, high, items."""
        frame = pl.DataFrame({"group": self.items + 1, "count": self.popularity})
        ends = (pl.col("count").min().alias("low"), pl.col("count").max().alias("high"), pl.len().alias("items"))
        return frame.group_by("group").agg(*ends).sort("group").cast(pl.Int64)

    def columns(self, evaluated: Path, users: Numbers, k: int) -> dict[str, npt.NDArray[np.int32]]:
        """Return what is kept of each of some users.

        Args:
            evaluated: folder of the evaluation.
            users: int64 [U], their numbers.
            k: length of the lists whose hits count.
        """
        found = read_hits(evaluated, "test").filter(pl.col("rank") <= k)
        hits = self._counts(found["user"].to_numpy(), found["item"].to_numpy())
        columns = {ACTIVITY: self.activity[users].astype(np.int32)}
        for group in range(self.n_groups):
            columns[column_of_hits(group + 1)] = hits[users, group]
            columns[column_of_test_items(group + 1)] = self.test_items[users, group]
        return columns

    def _counts(self, users: npt.NDArray[np.int32], items: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        return counts_by_group(users, self.items[items], self.n_users, self.n_groups)


@functools.lru_cache(maxsize=8)
def prepared_groups(prepared: Path, n_groups: int) -> PreparedGroups:
    """Return the groups of a prepared data set, which many runs share."""
    return PreparedGroups(prepared, n_groups)
