"""ItemKNN: items that share users with the user's own items (Sarwar et al., 2001), with shrunk cosine."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy import sparse

from hnlmrec.config import Config
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.models.recommender import ItemItemRecommender

_ROWS = 512  # items whose similarities are worked out at once


class ItemKNNConfig(Config):
    """Settings of ItemKNN."""

    n_neighbours: int = Field(100, ge=1)
    """Number of most similar items that each item keeps."""

    shrinkage: float = Field(10.0, ge=0)
    """Added to the denominator of the cosine, so that similarities that rest on few users count for less."""


class ItemKNN(ItemItemRecommender):
    """weight(h, i) = |U_h and U_i| / (sqrt(|U_h| |U_i|) + shrinkage), if h is among the neighbours of i."""

    Config: ClassVar[type[Config]] = ItemKNNConfig

    def __init__(self, config: ItemKNNConfig) -> None:
        super().__init__()
        self.config = config

    def fit(self, dataset: InteractionDataset, item_vectors: EmbeddingTable | None = None) -> None:  # noqa: ARG002
        """Find every item's neighbours; memory grows with n_items x n_neighbours."""
        self._train = dataset.train.to_scipy()
        norms = np.sqrt(dataset.train.item_degrees.astype(np.float64))
        by_item = sparse.csr_array(self._train.T)
        blocks = [
            self._neighbours(by_item[start : start + _ROWS] @ self._train, norms, start)
            for start in range(0, dataset.n_items, _ROWS)
        ]
        self._weights = sparse.csr_array(sparse.vstack(blocks, format="csr").T)  # row h, column i

    def _neighbours(
        self, shared: sparse.csr_array[np.float32], norms: np.ndarray, start: int
    ) -> sparse.csr_array[np.float32]:
        """Turn counts of shared users [B, n_items] into similarities, the largest of each row kept."""
        counts = sparse.coo_array(shared)
        rows, columns = counts.coords
        similar = counts.data / (norms[rows + start] * norms[columns] + self.config.shrinkage)
        other = rows + start != columns
        rows, columns, similar = rows[other], columns[other], similar[other]
        order = np.lexsort((columns, -similar, rows))  # equal similarities: the smaller item number first
        first = np.searchsorted(rows[order], np.arange(shared.shape[0]))
        keep = order[np.arange(len(order)) - first[rows[order]] < self.config.n_neighbours]
        values = similar[keep].astype(np.float32)
        return sparse.csr_array((values, (rows[keep], columns[keep])), shape=shared.shape)
