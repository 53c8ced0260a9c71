"""Popularity: everybody gets the items that most users have. The floor of every comparison."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from hnlmrec.config import Config
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset, Numbers
from hnlmrec.errors import ConfigError
from hnlmrec.models.recommender import Recommender


class PopularityConfig(Config):
    """Popularity has nothing to set."""


class Popularity(Recommender):
    """score(u, i) = number of users who have i in train."""

    Config: ClassVar[type[Config]] = PopularityConfig

    def __init__(self, config: PopularityConfig) -> None:
        self.config = config
        self._counts: Tensor | None = None  # [n_items]

    def fit(self, dataset: InteractionDataset, item_vectors: EmbeddingTable | None = None) -> None:  # noqa: ARG002
        """Count the users of each item."""
        self._counts = torch.from_numpy(dataset.train.item_degrees).float()

    def score(self, users: Numbers) -> Tensor:
        """Return the same counts for every user, float32 [B, n_items]."""
        if self._counts is None:
            raise ConfigError("Popularity was not fitted: call fit(dataset) before score(users).")
        return self._counts.expand(len(users), -1)
