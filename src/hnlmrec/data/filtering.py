"""Filters over a table of interactions, each of which records what it left.

The table is that of `readers.RawData` plus `user` and `item`: numbers in the order of the ids, so that a choice
made on numbers does not depend on the order in which a source lists its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.data.interactions import SPLITS, Numbers
from hnlmrec.errors import DataError

Mask = npt.NDArray[np.bool_]
_MILLISECONDS_FROM = 10**11  # as seconds this is the year 5138


@dataclass
class Funnel:
    """What every step has left, in order."""

    steps: list[dict[str, Any]] = field(default_factory=list)

    def record(self, name: str, pairs: pl.DataFrame) -> pl.DataFrame:
        """Count a table's rows, users and items; return the table."""
        counts = {
            "interactions": len(pairs),
            "users": pairs["user"].n_unique(),
            "items": pairs["item"].n_unique(),
        }
        before = self.steps[-1] if self.steps else counts
        lost = {f"lost_{key}": before[key] - value for key, value in counts.items()}
        self.steps.append({"step": name, **counts, **lost})
        return pairs


def number_ids(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str], list[str]]:
    """Put `user` and `item` (int64) in the place of the ids; returns also the ids of users and those of items."""
    users, user_ids = _numbered(frame["user_id"])
    items, item_ids = _numbered(frame["item_id"])
    numbers = {"user": users, "item": items}
    return frame.drop("user_id", "item_id").with_columns(**numbers), user_ids, item_ids


def with_ids(pairs: pl.DataFrame, user_ids: Sequence[str], item_ids: Sequence[str]) -> pl.DataFrame:
    """Add user_id and item_id to the rows whose numbers they are."""
    ids = {"user": pl.Series(user_ids, dtype=pl.String), "item": pl.Series(item_ids, dtype=pl.String)}
    return pairs.with_columns(values.gather(pairs[name]).alias(f"{name}_id") for name, values in ids.items())


def compact(numbers: Numbers, ids: Sequence[str]) -> tuple[Numbers, list[str]]:
    """Renumber without gaps, the order kept; returns (numbers, the ids in use)."""
    is_used = np.bincount(numbers, minlength=len(ids)) > 0
    new_numbers = np.cumsum(is_used) - 1
    return new_numbers[numbers], [ids[number] for number in np.flatnonzero(is_used).tolist()]


def merge_duplicates(pairs: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Merge the rows of equal (user, item) pairs into one, and count them.

    Of a pair in several given splits the row of the earliest split is kept (train before valid before test), so
    that no held-out pair is also trained on. Within a split it is the latest row: by timestamp, then position,
    then place in the source.
    """
    width = int(pairs["item"].max() or 0) + 1  # type: ignore[arg-type]
    is_repeated = pairs.select(
        (pl.col("user").cast(pl.Int64) * width + pl.col("item")).is_duplicated()
    ).to_series()
    if not is_repeated.any():
        return pairs, {"duplicates": 0, "pairs_in_several_splits": 0}
    repeated = pairs.with_row_index("row").filter(is_repeated)
    ranks = {name: number for number, name in enumerate(SPLITS)}
    split_rank = pl.col("split").cast(pl.String).replace_strict(ranks, default=0, return_dtype=pl.Int8)
    repeated = repeated.with_columns(split_rank=split_rank)
    descending = [True, False, False, False]
    ordered = repeated.sort(
        ["split_rank", "timestamp", "position", "row"], descending=descending, nulls_last=False
    )
    kept = ordered.unique(["user", "item"], keep="last", maintain_order=True)
    several = (
        repeated.group_by("user", "item").agg(pl.col("split_rank").n_unique()).filter(pl.col("split_rank") > 1)
    )
    stays = ~is_repeated.to_numpy()
    stays[kept["row"].to_numpy()] = True
    duplicates = len(repeated) - len(kept)
    return pairs.filter(stays), {"duplicates": duplicates, "pairs_in_several_splits": len(several)}


def within_dates(pairs: pl.DataFrame, since: date | None, until: date | None) -> pl.DataFrame:
    """Keep the rows from the first to the last day (UTC, both included); rows without a timestamp are left out.

    Raises:
        DataError: there are no timestamps, or they are not seconds.
    """
    require_values(pairs, "timestamp", "data.since and data.until")
    latest: Any = pairs["timestamp"].max()
    if latest >= _MILLISECONDS_FROM:
        raise DataError("the timestamps are not seconds since 1970 (they look like milliseconds): convert them.")
    inside = pl.col("timestamp").is_not_null()
    if since is not None:
        inside &= pl.col("timestamp") >= _midnight(since)
    if until is not None:
        inside &= pl.col("timestamp") < _midnight(until + timedelta(days=1))
    return pairs.filter(inside)


def require_values(pairs: pl.DataFrame, column: str, wish: str) -> None:
    """Raise DataError where a setting needs a column that the source leaves empty."""
    if pairs[column].null_count() == len(pairs):
        raise DataError(
            f"{wish} needs the column {column}, which this source does not have. Leave that setting out."
        )


def k_core(users: Numbers, items: Numbers, core: int) -> Mask:
    """Return which pairs are left when users and items with fewer than `core` pairs go, again and again.

    Args:
        users: int64 [n], user numbers of distinct pairs.
        items: int64 [n], item numbers.
        core: smallest number of pairs of a user and of an item.
    """
    keep = np.ones(len(users), dtype=np.bool_)
    n_users, n_items = int(users.max(initial=0)) + 1, int(items.max(initial=0)) + 1
    while True:
        enough_users = np.bincount(users[keep], minlength=n_users) >= core
        enough_items = np.bincount(items[keep], minlength=n_items) >= core
        next_keep = keep & enough_users[users] & enough_items[items]
        if next_keep.sum() == keep.sum():
            return keep
        keep = next_keep


def subset(numbers: Numbers, most: int | None, rng: np.random.Generator) -> Mask:
    """Return which rows belong to a random subset of at most `most` of the distinct numbers; None for all."""
    distinct = np.unique(numbers)
    if most is None or len(distinct) <= most:
        return np.ones(len(numbers), dtype=np.bool_)
    return np.isin(numbers, rng.choice(distinct, size=most, replace=False))


def _numbered(ids: pl.Series) -> tuple[pl.Series, list[str]]:
    """Number ids in their order: by value where all are whole numbers, else as text."""
    name = ids.name
    distinct = pl.DataFrame({name: ids.unique()}).with_columns(value=pl.col(name).cast(pl.Int64, strict=False))
    order = ["value", name] if distinct["value"].null_count() == 0 else [name]
    ordered = distinct.sort(order).select(name).with_row_index("number")
    numbers = ids.to_frame().join(ordered, on=name, how="left", maintain_order="left")["number"]
    return numbers.cast(pl.Int64), ordered[name].to_list()


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
