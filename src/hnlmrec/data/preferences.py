"""What a language model thinks of unobserved items: of two, which one a user would like, which not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from hnlmrec.data.interactions import InteractionDataset, Numbers
from hnlmrec.data.tables import read_parquet
from hnlmrec.errors import DataError

FILE = "preferences.parquet"


@dataclass(frozen=True, eq=False)
class PreferenceTable:
    """Extra pairs to rank, as a language model or a person gives them.

    Attributes:
        users: int64 [n], user numbers.
        liked: int64 [n], item numbers, none of them in the user's train split.
        disliked: int64 [n], likewise.
    """

    users: Numbers
    liked: Numbers
    disliked: Numbers

    def __post_init__(self) -> None:
        if not len(self.users) == len(self.liked) == len(self.disliked):
            raise DataError("a table of preferences needs a user, a liked and a disliked item in each row.")
        same = int((self.liked == self.disliked).sum())
        if same:
            raise DataError(f"{same} preferences name one item as liked and disliked: give two different items.")

    def __len__(self) -> int:
        return len(self.users)

    def save(self, folder: Path, dataset: InteractionDataset) -> None:
        """Write preferences.parquet (user_id, liked_id, disliked_id)."""
        folder.mkdir(parents=True, exist_ok=True)
        columns = {
            "user_id": dataset.users.ids(self.users.tolist()),
            "liked_id": dataset.items.ids(self.liked.tolist()),
            "disliked_id": dataset.items.ids(self.disliked.tolist()),
        }
        pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)).write_parquet(folder / FILE)

    @classmethod
    def load(cls, folder: Path, dataset: InteractionDataset) -> PreferenceTable:
        """Read what `save` wrote, or what the user made in the same format.

        Raises:
            MissingFileError: the file is not there.
            UnknownIdError: a row names a user or an item that the data set does not hold.
            DataError: a column is missing, or a row names an item of the user's train split.
        """
        frame = read_parquet(folder / FILE, ["user_id", "liked_id", "disliked_id"])
        users = dataset.users.numbers(frame["user_id"].to_list())
        liked, disliked = (dataset.items.numbers(frame[name].to_list()) for name in ("liked_id", "disliked_id"))
        observed = dataset.train.contains(users, liked) | dataset.train.contains(users, disliked)
        if observed.any():
            raise DataError(
                f"{folder / FILE}: {int(observed.sum())} preferences name an item of the user's train split. Name "
                "unobserved items only."
            )
        return cls(users, liked, disliked)
