"""What a source holds before any filter, and what is asked of a source that is too large to be held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import polars as pl

from hnlmrec.data.corruption import CorruptLines
from hnlmrec.data.side_information import DESCRIBING_FIELDS, items_frame, users_frame

INTERACTION_SCHEMA: dict[str, type[pl.DataType]] = {
    "user_id": pl.String,
    "item_id": pl.String,
    "rating": pl.Float64,
    "timestamp": pl.Int64,
    "split": pl.String,
    "position": pl.Int64,
}


READ_COLUMNS = frozenset({*INTERACTION_SCHEMA, *DESCRIBING_FIELDS})
"""All names that are read in any table of a source."""


class Dump(Protocol):
    """A source that is read again for what the filters have left, since it is too large to be held."""

    def named(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """Return the rows with the columns user_id and item_id.

        Args:
            pairs: rows of `RawData.interactions`.
        """
        ...

    def described(self, pairs: pl.DataFrame, users: pl.Series, items: pl.Series) -> RawData:
        """Return the source with the texts of these users and items, and with the reviews of these pairs.

        Args:
            pairs: rows of train, with their ids: no other review is read.
            users: ids of the users that are left.
            items: ids of the items that are left.
        """
        ...


@dataclass(frozen=True)
class RawData:
    """What a source holds, before any filter.

    Attributes:
        source: the folder or file.
        format: the key of READERS that read it.
        interactions: user_id, item_id, rating, timestamp (seconds since 1970), split ("train", "valid", "test"),
            position (rank in the user's history); null where the source lacks the value. In the source's order.
            Those of a dump have `user` and `item`, numbers in no order that means anything, in place of the ids,
            and `line`, the number of the line in the file.
        items: item_id, title, facts, profile; only the items that the source describes.
        users: user_id, facts, profile.
        reviews: user_id, item_id, text; None where the source has none.
        corrupt_lines: by file name, which lines were left out because they cannot be used.
        warnings: what a person should know of this source.
        dump: reads the source again, for ids and texts; None where all is in the tables.
        n_others: how many items and users a dump describes that are not asked for, under "items" and "users".
    """

    source: Path
    format: str
    interactions: pl.DataFrame
    items: pl.DataFrame = field(default_factory=lambda: items_frame([]))
    users: pl.DataFrame = field(default_factory=lambda: users_frame([]))
    reviews: pl.DataFrame | None = None
    corrupt_lines: Mapping[str, CorruptLines] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    dump: Dump | None = None
    n_others: Mapping[str, int] = field(default_factory=dict)
