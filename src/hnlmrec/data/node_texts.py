"""One text vector for each user and item: a user without a text takes the mean of its train items."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hnlmrec.data.embeddings import EmbeddingTable, Vectors, unit_rows
from hnlmrec.data.interactions import InteractionDataset, Interactions
from hnlmrec.errors import DataError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class NodeTexts:
    """Text vectors of length 1; a row of zeros is a user or an item without any text.

    Attributes:
        users: float32 [n_users, d_text].
        items: float32 [n_items, d_text].
        n_users_from_items: how many users have no text of their own and stand at the mean of their train items.
    """

    users: Floats
    items: Floats
    n_users_from_items: int = 0

    @property
    def size(self) -> int:
        """Length d_text of a vector."""
        return int(self.items.shape[1])

    def counts(self) -> dict[str, int]:
        """Return how many users and items have which kind of text."""
        return {
            "users_at_mean_of_items": self.n_users_from_items,
            "users_without_text_vector": int((~self.users.any(axis=1)).sum()),
            "items_without_text_vector": int((~self.items.any(axis=1)).sum()),
        }

    @classmethod
    def load(cls, folder: Path, dataset: InteractionDataset) -> NodeTexts:
        """Read the tables `items` and `users` that the encode stage writes; rows are found by id.

        Raises:
            MissingFileError: a table is not there.
            DataError: no item has a text, or the vectors of users and items differ in length.
        """
        items, _ = EmbeddingTable.load(folder, "items").rows(dataset.items.all_ids)
        users, _ = EmbeddingTable.load(folder, "users").rows(dataset.users.all_ids)
        return cls.of(items, users, dataset.train)

    @classmethod
    def of(cls, items: Vectors, users: Vectors | None, train: Interactions) -> NodeTexts:
        """Build from the items' and, where there are any, the users' own vectors.

        Args:
            items: [n_items, d_text], a row of zeros for an item without text.
            users: [n_users, d_text], likewise; None where no user has a text.
            train: the only interactions read.

        Raises:
            DataError: as for `load`.
        """
        item_texts = unit_rows(items)
        if not item_texts.any():
            raise DataError(
                "no item has a text vector, so there is nothing to learn from: encode item texts first."
            )
        texts = mean_item_texts(item_texts, train)
        if users is None:
            return cls(texts, item_texts, int(texts.any(axis=1).sum()))
        if users.shape[1] != items.shape[1]:
            raise DataError(
                f"text vectors differ in length: items {items.shape[1]}, users {users.shape[1]}. Encode both with "
                "the same encoder."
            )
        own = unit_rows(users)
        has_own = np.asarray(own.any(axis=1), dtype=np.bool_)
        taken = int((texts[~has_own].any(axis=1)).sum())
        return cls(np.where(has_own[:, None], own, texts), item_texts, taken)


def mean_item_texts(item_texts: Floats, train: Interactions) -> Floats:
    """Return the direction of the mean text of each user's train items, float32 [n_users, d_text], of length 1.

    Args:
        item_texts: float32 [n_items, d_text], of length 1 or zero; items without text do not count.
        train: the only interactions read.
    """
    return unit_rows(train.to_scipy() @ item_texts)
