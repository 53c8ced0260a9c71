"""The noise ablation: the semantic sampler with random vectors in place of the generated ones.

An ablation of "HNLMRec" (arXiv 2504.04726): a pair finds as many vectors as it would there, each the same every
time, but they carry no meaning. Where training does as well with them, the LLM adds nothing.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hnlmrec.data.embeddings import HardNegativeTable
from hnlmrec.negative_sampling.semantic import SemanticConfig, SemanticSampler

_ROWS_FITTED = 1_024
_CHUNK = 8_192


class NoiseConfig(SemanticConfig):
    """As `semantic`, K negatives included."""

    match: Literal["covariance", "norms"] = "covariance"
    """What the noise shares with the table's vectors: their mean and covariance, or each vector's length only."""
    seed: int = Field(0, ge=0)
    """Of the random vectors."""


class NoiseSampler(SemanticSampler):
    """Each row of the table gets one random vector of a similar kind.

    `covariance`: mean + sum_m g_m (x_m - mean) / sqrt(M) with g ~ N(0, 1), which has the mean and the covariance
    of the M vectors x: 1,024 random rows of the table, or all. `norms`: a random direction with the row's length.

    Departs from `semantic` in this alone. The random vectors are held in memory.
    """

    Config = NoiseConfig
    config: NoiseConfig

    def items_of(self, table: HardNegativeTable) -> npt.NDArray[np.int64]:
        """Return -1 for each row: its vector was made for no item of this user."""
        return np.full(len(table), -1, dtype=np.int64)

    def vectors_of(self, table: HardNegativeTable) -> npt.NDArray[np.floating[Any]]:
        """Return one random vector for each row of the table, [n, d_text], in the table's type."""
        rng = np.random.default_rng(self.config.seed)
        noise = np.empty(table.vectors.shape, dtype=table.vectors.dtype)
        if not len(noise):
            return noise
        rows = np.sort(rng.permutation(len(noise))[:_ROWS_FITTED])
        fitted = table.vectors[rows].astype(np.float32)
        mean = fitted.mean(axis=0)
        for at in range(0, len(noise), _CHUNK):
            part = table.vectors[at : at + _CHUNK].astype(np.float32)
            if self.config.match == "covariance":
                mixing = rng.standard_normal((len(part), len(rows)), dtype=np.float32)
                noise[at : at + _CHUNK] = mean + mixing @ (fitted - mean) / np.sqrt(len(rows))
            else:
                drawn = rng.standard_normal(part.shape, dtype=np.float32)
                lengths = np.linalg.norm(part, axis=1) / np.linalg.norm(drawn, axis=1)
                noise[at : at + _CHUNK] = drawn * lengths[:, None]
        return noise
