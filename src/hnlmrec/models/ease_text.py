"""EASE plus text: the strong simple hybrid that every LLM-based system has to beat.

Our own combination, not of a publication: B + weight * max(cosine, 0)^power of the items' text vectors, off the
diagonal.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from hnlmrec.config import Config
from hnlmrec.data.embeddings import EmbeddingTable, unit_rows
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.errors import ConfigError
from hnlmrec.models.ease import EASEConfig, ease_weights
from hnlmrec.models.recommender import ItemItemRecommender, check_square_memory


class EASETextConfig(EASEConfig):
    """Settings of EASE, and of the text part."""

    text_weight: float = Field(0.02, ge=0)
    """Factor of the text part."""

    text_power: float = Field(3.0, gt=0)
    """Exponent of the cosine: above 1, near items count and merely related ones hardly do."""


class EASEText(ItemItemRecommender):
    """Score X (B + text_weight * cosine^text_power)."""

    Config: ClassVar[type[Config]] = EASETextConfig
    needs_item_vectors: ClassVar[bool] = True

    def __init__(self, config: EASETextConfig) -> None:
        super().__init__()
        self.config = config

    def check_catalogue(self, n_items: int) -> None:
        """Refuse a catalogue whose matrices are larger than `memory_limit_gib`."""
        check_square_memory(n_items, self.config.memory_limit_gib, "EASE with texts")

    def fit(self, dataset: InteractionDataset, item_vectors: EmbeddingTable | None = None) -> None:
        """Solve for EASE's weights and add the text part; an item without a vector has none.

        Raises:
            ConfigError: no text vectors were given, or the matrices are larger than `memory_limit_gib`.
        """
        if item_vectors is None:
            raise ConfigError(
                "ease_text needs the items' text vectors: call fit(dataset, item_vectors), "
                "or use ease, which reads interactions alone."
            )
        self._train = dataset.train.to_scipy()
        weights = ease_weights(dataset, self.config)
        vectors, _ = item_vectors.rows(dataset.items.all_ids)
        weights += self.config.text_weight * positive_cosines(vectors) ** self.config.text_power
        np.fill_diagonal(weights, 0.0)
        self._weights = torch.from_numpy(weights.astype(np.float32))


def positive_cosines(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return max(cosine, 0) of all pairs of rows, float32 [n, n]."""
    unit = unit_rows(vectors)
    return np.asarray(np.maximum(unit @ unit.T, 0.0))
