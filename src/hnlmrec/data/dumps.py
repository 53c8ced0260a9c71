"""Public dumps, read several times rather than held: the ratings first, ids and texts of what the filters leave.

The first pass keeps 36 bytes of a review: a 64-bit hash of each id, the rating, the time and the number of its
line. Hashes become numbers; two ids of one hash are found when the ids are read, and refused. Memory thus grows
with the number of reviews, not with the length of their texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.data.corruption import CorruptLines, corruption_warnings
from hnlmrec.data.dump_files import DumpFiles, find_dump
from hnlmrec.data.dump_layouts import LAYOUTS, Layout
from hnlmrec.data.dump_texts import read_described, read_reviews, timed
from hnlmrec.data.lines import Batch, at_lines, batches
from hnlmrec.data.raw import RawData
from hnlmrec.data.review_lines import ReviewFields, parse
from hnlmrec.data.side_information import items_frame, users_frame
from hnlmrec.errors import HnlmrecError

Hashes = npt.NDArray[np.uint64]


def read_dump(path: Path, name: str) -> RawData:
    """Read the ratings of a dump.

    Args:
        path: its folder, or its file of reviews.
        name: a key of LAYOUTS whose files are there.

    Raises:
        DataError: no line of the file of reviews can be used.
    """
    layout = LAYOUTS[name]
    files = find_dump(path, layout)
    assert files is not None
    corrupt = CorruptLines()
    interactions = _interactions(files.reviews, layout.reviews, corrupt)
    dump = _Dump(RawData(path, name, interactions.clear()), files, layout, corrupt)
    return replace(dump.with_warnings({}), interactions=interactions)


@dataclass(frozen=True)
class _Dump:
    """A dump that is read again: the `Dump` of its RawData.

    Attributes:
        raw: where it lies, without the interactions.
        files: its files.
        layout: what their lines hold.
        corrupt: what the first pass left out.
    """

    raw: RawData
    files: DumpFiles
    layout: Layout
    corrupt: CorruptLines

    def named(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """Return the rows with user_id and item_id, read at the rows' lines."""
        lines = pairs["line"].sort().to_numpy()
        with timed(f"ids in {self.files.reviews.name}"):
            parts = [
                _parse_lines(chosen, numbers, self.layout.reviews).select("line", "user_id", "item_id")
                for numbers, chosen in at_lines(self.files.reviews, lines)
            ]
        named = pairs.join(pl.concat(parts), on="line", how="left", maintain_order="left")
        for number, name in (("user", "user_id"), ("item", "item_id")):
            _require_one_to_one(named, number, name)
        return named

    def described(self, pairs: pl.DataFrame, users: pl.Series, items: pl.Series) -> RawData:
        """Return the source with the texts of these users and items, and with the reviews of these pairs."""
        corrupt: dict[str, CorruptLines] = {}
        found_items, n_items = read_described(self.files.items, items, self.layout.item, corrupt)
        found_users, n_users = read_described(self.files.users, users, self.layout.user, corrupt)
        return replace(
            self.with_warnings(corrupt),
            items=items_frame(found_items),
            users=users_frame(found_users),
            reviews=read_reviews(self.files.reviews, self.layout.reviews, pairs),
            n_others={"items": n_items, "users": n_users},
        )

    def with_warnings(self, corrupt: Mapping[str, CorruptLines]) -> RawData:
        """Return what is known of the source, this dump in it."""
        found = {self.files.reviews.name: self.corrupt, **corrupt}
        missing = (
            () if self.files.items else ("there is no file of items beside the reviews: items have no texts",)
        )
        return replace(
            self.raw,
            corrupt_lines={name: lines for name, lines in found.items() if lines},
            warnings=(*corruption_warnings(found), *missing),
            dump=self,
        )


def _interactions(path: Path, fields: ReviewFields, corrupt: CorruptLines) -> pl.DataFrame:
    """Return user and item (numbers), rating, timestamp, split and position (null) and line: a row a good line."""
    kept: dict[str, list[Any]] = {name: [] for name in ("user", "item", "rating", "timestamp", "line")}
    with timed(f"ratings in {path.name}"):
        for batch in batches(path, corrupt):
            rows = parse(batch, fields, corrupt)
            kept["user"].append(_hashes(rows["user_id"]))
            kept["item"].append(_hashes(rows["item_id"]))
            for name in ("rating", "timestamp", "line"):
                kept[name].append(rows[name].to_numpy())
    corrupt.require_some(
        path,
        sum(map(len, kept["line"])),
        f"Each line must be a JSON object with {fields.user}, {fields.item}, {fields.rating} and {fields.time}.",
    )
    columns = {name: _numbered(kept.pop(name)) for name in ("user", "item")}
    columns |= {name: np.concatenate(kept.pop(name)) for name in ("rating", "timestamp", "line")}
    nothing = (pl.lit(None, dtype=pl.Null).alias(name) for name in ("split", "position"))
    return pl.DataFrame(columns).with_columns(nothing)


def _hashes(ids: pl.Series) -> Hashes:
    return ids.hash().to_numpy()


def _numbered(hashes: list[Hashes]) -> npt.NDArray[np.int32]:
    """Number hashes from 0."""
    distinct, numbers = np.unique(np.concatenate(hashes), return_inverse=True)
    del distinct
    return numbers.astype(np.int32)


def _parse_lines(lines: list[bytes], numbers: npt.NDArray[np.uint32], fields: ReviewFields) -> pl.DataFrame:
    """Parse lines that have been found good, with their numbers."""
    rows = parse(Batch(0, b"\n".join(lines)), fields, CorruptLines())
    if len(rows) != len(lines):
        raise HnlmrecError("a file has changed while it was read: run it again.")
    return rows.with_columns(line=pl.Series(numbers))


def _require_one_to_one(named: pl.DataFrame, number: str, name: str) -> None:
    n_pairs = named.select(number, name).n_unique()
    if n_pairs != named[number].n_unique() or n_pairs != named[name].n_unique():
        raise HnlmrecError(
            f"two values of {name} have the same hash. Report it, please, with the name of the data set."
        )
