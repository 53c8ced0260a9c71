"""What a recommender without gradient training is to the evaluation: fit on train, then score users."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from hnlmrec.config import Config
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset, Numbers
from hnlmrec.errors import ConfigError


class Recommender(ABC):
    """A baseline that is fitted in one step.

    Args:
        config: an instance of the class's own `Config`.
    """

    Config: ClassVar[type[Config]]
    needs_item_vectors: ClassVar[bool] = False
    """Whether `fit` must be given the items' text vectors."""

    def check_catalogue(self, n_items: int) -> None:  # noqa: B027 most recommenders fit any catalogue
        """Raise ConfigError where a catalogue of this size is too large for it, before anything is computed."""

    @abstractmethod
    def fit(self, dataset: InteractionDataset, item_vectors: EmbeddingTable | None = None) -> None:
        """Learn from the train split alone.

        Args:
            dataset: what to fit.
            item_vectors: text vectors by item id, where `needs_item_vectors` is set; others do not read them.
        """

    @abstractmethod
    def score(self, users: Numbers) -> Tensor:
        """Return float32 scores [B, n_items] of the users (numbers, int64 [B]); a `Scorer` of the evaluation."""


class ItemItemRecommender(Recommender):
    """A recommender whose score of (u, i) is the sum of weight(h, i) over the user's train items h."""

    def __init__(self) -> None:
        self._train: sparse.csr_array[np.float32] | None = None
        self._weights: Tensor | sparse.csr_array[np.float32] | None = None  # [n_items, n_items]

    def score(self, users: Numbers) -> Tensor:
        """Return float32 scores [B, n_items]."""
        if self._train is None or self._weights is None:
            raise ConfigError(f"{type(self).__name__} was not fitted: call fit(dataset) before score(users).")
        rows = self._train[users]
        if isinstance(self._weights, Tensor):
            return torch.from_numpy(np.asarray(rows @ self._weights.numpy(), dtype=np.float32))
        return torch.from_numpy((rows @ self._weights).toarray().astype(np.float32))


def squares_gib(n_items: int) -> float:
    """Return what the three float64 matrices [n_items, n_items] that EASE holds at once need, in GiB."""
    return 3 * 8 * n_items**2 / 2**30


def check_square_memory(n_items: int, limit_gib: float, name: str) -> None:
    """Refuse to make EASE's dense item-by-item matrices where they are larger than the limit.

    Args:
        n_items: size of the catalogue.
        limit_gib: the user's limit, in GiB.
        name: of the recommender, for the message.

    Raises:
        ConfigError: the matrices need more than the limit.
    """
    needed = squares_gib(n_items)
    if needed > limit_gib:
        raise ConfigError(
            f"{name} on {n_items} items needs about {needed:.1f} GiB of memory, the limit is {limit_gib:g} GiB: "
            "raise memory_limit_gib if the machine has it, filter the items (k-core), or use item_knn."
        )
