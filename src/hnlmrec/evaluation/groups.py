"""Groups of users by activity and of items by popularity: quantiles of counts, equal counts never separated."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def quantile_groups(counts: npt.NDArray[Any], n_groups: int) -> npt.NDArray[np.int64]:
    """Return the group of each row, 0 (lowest counts) … n_groups - 1, int64 [n].

    A row is in the first group whose upper end, the quantile (g + 1) / n_groups of the counts, is not below its
    count. So groups are of about equal size where counts differ; where many are equal, a group may be empty.

    Args:
        counts: [n], for example the train interactions of each user.
        n_groups: at least 1.
    """
    if not len(counts):
        return np.zeros(0, dtype=np.int64)
    ends = np.quantile(counts, np.arange(1, n_groups) / n_groups)
    return np.searchsorted(ends, counts, side="left").astype(np.int64)


def counts_by_group(
    rows: npt.NDArray[Any], groups: npt.NDArray[Any], n_rows: int, n_groups: int
) -> npt.NDArray[np.int32]:
    """Return how often each (row, group) occurs, int32 [n_rows, n_groups].

    Args:
        rows: [n], for example the user of each hit.
        groups: [n], for example the group of the item of each hit.
        n_rows: number of rows.
        n_groups: number of groups.
    """
    flat = np.bincount(rows.astype(np.int64) * n_groups + groups, minlength=n_rows * n_groups)
    return flat.reshape(n_rows, n_groups).astype(np.int32)
