"""What a judge says of unobserved pairs: the probability that the user would have liked the item."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.data.interactions import InteractionDataset, Interactions, Numbers
from hnlmrec.data.tables import read_parquet
from hnlmrec.errors import DataError

FILE = "judgements.parquet"


@dataclass(frozen=True, eq=False)
class JudgementTable:
    """The unobserved items that a judge thinks likeliest, for each user; what is not listed counts as unlikely.

    A table and not a function, so that any judge can write it (a person's, too) and any device can look it up.

    Attributes:
        users: int64 [n], user numbers.
        items: int64 [n], item numbers, none of them in the user's train split.
        probabilities: float32 [n], in [0, 1], that the pair is a positive which was not observed.
        scores: float32 [n], utilities: a user prefers a to b with P = e^s_a / (e^s_a + e^s_b). Finer than the
            probabilities, which have ties; they rank the items of a user.
    """

    users: Numbers
    items: Numbers
    probabilities: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        if not len(self.users) == len(self.items) == len(self.probabilities) == len(self.scores):
            raise DataError("a table of judgements needs a user, an item, a probability and a score in each row.")
        outside = ~((self.probabilities >= 0) & (self.probabilities <= 1))  # true of NaN as well
        if outside.any():
            raise DataError(
                f"{int(outside.sum())} judgements are not probabilities, for example "
                f"{self.probabilities[outside][0]}: they must lie in [0, 1]."
            )

    def __len__(self) -> int:
        return len(self.users)

    def best(self, k: int) -> JudgementTable:
        """Return the k rows with the highest scores of each user, in descending order within a user."""
        order = np.lexsort((self.items, -self.scores, self.users))
        users = self.users[order]
        starts = np.searchsorted(users, users)  # where each row's user begins
        return self.rows(order[np.arange(len(order)) - starts < k])

    def rows(self, rows: Numbers) -> JudgementTable:
        """Return some rows, by their numbers."""
        return JudgementTable(self.users[rows], self.items[rows], self.probabilities[rows], self.scores[rows])

    def lists(self, users: Numbers, items: Numbers) -> npt.NDArray[np.bool_]:
        """Return whether each pair is in the table, bool [B]; an item number of -1 is in none."""
        width = max(int(self.items.max(initial=0)), int(items.max(initial=0))) + 1
        inside: npt.NDArray[np.bool_] = np.isin(users * width + items, self.users * width + self.items)
        return inside & (items >= 0)

    def pairs(self, n_users: int, n_items: int) -> Interactions:
        """Return the listed pairs of a data set of that size."""
        return Interactions.from_pairs(self.users, self.items, n_users, n_items)

    def save(self, folder: Path, dataset: InteractionDataset) -> None:
        """Write judgements.parquet (user_id, item_id, probability, score)."""
        folder.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(
            {
                "user_id": dataset.users.ids(self.users.tolist()),
                "item_id": dataset.items.ids(self.items.tolist()),
                "probability": self.probabilities,
                "score": self.scores,
            },
            schema={"user_id": pl.String, "item_id": pl.String, "probability": pl.Float32, "score": pl.Float32},
        ).write_parquet(folder / FILE)

    @classmethod
    def load(cls, folder: Path, dataset: InteractionDataset) -> JudgementTable:
        """Read what `save` wrote, or what the user made in the same format (`score` may be left out).

        Raises:
            MissingFileError: the file is not there.
            UnknownIdError: a row names a user or an item that the data set does not hold.
            DataError: a column is missing, a probability is none, or a row is a pair of the train split.
        """
        frame = read_parquet(folder / FILE, ["user_id", "item_id", "probability"])
        users = dataset.users.numbers(frame["user_id"].to_list())
        items = dataset.items.numbers(frame["item_id"].to_list())
        observed = dataset.train.contains(users, items)
        if observed.any():
            raise DataError(
                f"{folder / FILE}: {int(observed.sum())} judgements are of pairs in the train split, which need "
                "none. Judge unobserved pairs only."
            )
        probabilities = frame["probability"].cast(pl.Float32).to_numpy()
        least = np.finfo(np.float32).tiny
        logs = np.log(np.maximum(probabilities, least))  # as a choice model has it: odds are ratios of these
        scores = frame["score"].cast(pl.Float32).to_numpy() if "score" in frame.columns else logs
        return cls(users, items, probabilities, scores)
