"""Tables of pandas or polars in, tables of the same kind out, with ids of the type that came in."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from hnlmrec.data.filtering import compact
from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.data.splitting import TRAIN, VALID, hold_out_random
from hnlmrec.errors import DataError, MissingDependencyError
from hnlmrec.rng import RandomStreams

IdKind = Literal["int", "str"]


@dataclass(frozen=True)
class FrameStyle:
    """What the user's tables are: which library, and whether ids are whole numbers or strings."""

    library: Literal["pandas", "polars"]
    user_ids: IdKind
    item_ids: IdKind

    def out(self, frame: pl.DataFrame) -> Any:
        """Return a table of ours, whose ids are strings, in the user's style.

        Raises:
            MissingDependencyError: the tables were of pandas, which is not installed here.
        """
        kinds = {"user_id": self.user_ids, "item_id": self.item_ids}
        casts = [pl.col(n).cast(pl.Int64) for n, kind in kinds.items() if kind == "int" and n in frame.columns]
        frame = frame.with_columns(casts)
        if self.library == "polars":
            return frame
        try:
            pandas = importlib.import_module("pandas")
        except ModuleNotFoundError:
            raise MissingDependencyError("pandas", "pandas") from None
        return pandas.DataFrame({column.name: _values(column) for column in frame})


def dataset_of_frames(
    interactions: Any, items: Any, *, valid_fraction: float, seed: int
) -> tuple[InteractionDataset, dict[str, str], FrameStyle]:
    """Number and split a user's interactions; return (data set, titles by item id, style of the tables).

    Args:
        interactions: a table with user_id and item_id; other columns are not read, equal rows count once.
        items: a table with item_id and title, or None.
        valid_fraction: share of each user's items that chooses the best epoch.
        seed: of that split.

    Raises:
        DataError: it is no table, lacks a column, holds an empty id, or is too small to be split.
    """
    pairs, style = _ids(interactions, ("user_id", "item_id"), "interactions")
    titles = {} if items is None else _titles(items)
    pairs = pairs.unique().sort("user_id", "item_id")
    numbered = [_numbered(pairs[name]) for name in ("user_id", "item_id")]
    (users, user_ids), (item_numbers, item_ids) = numbered
    rng = RandomStreams(seed).generator("data.split")
    codes = hold_out_random(users, item_numbers, valid_fraction, 0.0, rng)
    if not (codes == VALID).any():
        raise DataError(
            f"of {len(pairs)} interactions of {len(user_ids)} users none is left to choose the best epoch by: "
            f"give users with more items, or a larger valid_fraction (now {valid_fraction:g})."
        )
    sizes = len(user_ids), len(item_ids)
    train, valid = (
        Interactions.from_pairs(users[codes == c], item_numbers[codes == c], *sizes) for c in (TRAIN, VALID)
    )
    nothing = Interactions.from_pairs([], [], *sizes)
    dataset = InteractionDataset(Vocabulary(user_ids, "user"), Vocabulary(item_ids, "item"), train, valid, nothing)
    return dataset, titles, style


def _titles(items: Any) -> dict[str, str]:
    frame, _ = _ids(items, ("item_id",), "items", more=("title",))
    return {id_: str(title) for id_, title in frame.select("item_id", "title").iter_rows() if title is not None}


def _ids(
    table: Any, names: tuple[str, ...], what: str, more: tuple[str, ...] = ()
) -> tuple[pl.DataFrame, FrameStyle]:
    """Return the columns with ids as strings, and the table's style."""
    library: Literal["pandas", "polars"] = "polars" if isinstance(table, pl.DataFrame) else "pandas"
    if library == "pandas" and not type(table).__module__.partition(".")[0] == "pandas":
        raise DataError(f"{what} is a {type(table).__name__}: give a pandas or polars DataFrame.")
    missing = [name for name in (*names, *more) if name not in table.columns]
    if missing:
        raise DataError(
            f"{what} lacks the column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}."
        )
    kinds: dict[str, IdKind] = {}
    columns: dict[str, list[Any]] = {}
    for name in names:
        values = table[name].to_list()
        kinds[name] = _kind(values, f"{what}.{name}")
        columns[name] = [str(value) for value in values]
    columns |= {name: [_text(value) for value in table[name].to_list()] for name in more}
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    if not len(frame):
        raise DataError(f"{what} has no row.")
    return frame, FrameStyle(library, kinds.get("user_id", "str"), kinds["item_id"])


def _kind(values: list[Any], where: str) -> IdKind:
    if all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in values):
        return "int"
    strange = [
        value for value in values if not isinstance(value, str | int | np.integer) or not str(value).strip()
    ]
    bad = strange or [value for value in values if not isinstance(value, str)]
    if bad:
        raise DataError(f"{where} holds {bad[0]!r}: give ids that are all strings, or all whole numbers.")
    return "str"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None  # pandas writes a missing title as NaN


def _numbered(ids: pl.Series) -> tuple[Any, list[str]]:
    names = ids.unique().sort()
    numbers = names.search_sorted(ids).to_numpy().astype(np.int64)
    return compact(numbers, names.to_list())


def _values(column: pl.Series) -> Any:
    return column.to_list() if column.dtype == pl.String else column.to_numpy()
