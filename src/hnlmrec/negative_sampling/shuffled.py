"""The shuffling ablation: the semantic sampler with the generated vectors handed to other pairs.

An ablation of "HNLMRec" (arXiv 2504.04726): unlike noise, every vector is a real one, and only its relation to
user and positive is lost. What is better than this is due to that relation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hnlmrec.data.embeddings import HardNegativeTable
from hnlmrec.negative_sampling.semantic import SemanticConfig, SemanticSampler


class ShuffledConfig(SemanticConfig):
    """As `semantic`, K negatives included."""

    seed: int = Field(0, ge=0)
    """Of the permutation."""


class ShuffledSampler(SemanticSampler):
    """The vector of row r is that of row p(r), p a random ring through the table: no row keeps its own vector.

    Departs from `semantic` in this alone. The permuted vectors are held in memory.
    """

    Config = ShuffledConfig
    config: ShuffledConfig

    def items_of(self, table: HardNegativeTable) -> npt.NDArray[np.int64]:
        """Return -1 for each row: its vector was made for no item of this user."""
        return np.full(len(table), -1, dtype=np.int64)

    def vectors_of(self, table: HardNegativeTable) -> npt.NDArray[np.floating[Any]]:
        """Return the table's vectors, each moved to the next row of a random ring, [n, d_text]."""
        ring = np.random.default_rng(self.config.seed).permutation(len(table))
        giver = np.empty_like(ring)
        giver[ring] = np.roll(ring, 1)
        return np.asarray(table.vectors[giver])
