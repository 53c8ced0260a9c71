"""Exported negatives as a plain `torch.utils.data.Dataset`, for any trainer."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hnlmrec.data.interactions import Vocabulary
from hnlmrec.data.tables import read_parquet

_COLUMNS = ("user_id", "positive_id", "item_id")


class NegativesDataset(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Triplets (user, positive, negative) of numbers, each a scalar int64 tensor; a loader makes [B] of each.

    Args:
        path: the folder that `hnlmrec export --format torch` wrote, whose numbers are the rows of the exported
            embeddings; or one Parquet file with user_id, item_id and positive_id, whose ids are numbered in order.

    Attributes:
        users: the user ids by number.
        items: the item ids by number.

    Raises:
        MissingFileError: a file is not there.
        DataError: it is no Parquet file, or lacks a column.
        UnknownIdError: a row names an id that the folder's lists do not hold.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        frame = read_parquet(path / "negatives.parquet" if path.is_dir() else path, _COLUMNS)
        if path.is_dir():
            ids = [
                read_parquet(path / f"{kind}s.parquet", [f"{kind}_id"]).to_series() for kind in ("user", "item")
            ]
        else:
            items = frame["positive_id"].append(frame["item_id"].rename("positive_id"))
            ids = [series.unique().sort() for series in (frame["user_id"], items)]
        self.users, self.items = Vocabulary(ids[0], "user"), Vocabulary(ids[1], "item")
        kinds = (self.users, self.items, self.items)
        columns = [ids.numbers(frame[name].to_list()) for ids, name in zip(kinds, _COLUMNS, strict=True)]
        self._columns = tuple(map(torch.from_numpy, columns))  # int64 [n] each

    def __len__(self) -> int:
        return len(self._columns[0])

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor, Tensor]:
        users, positives, negatives = self._columns
        return users[row], positives[row], negatives[row]
