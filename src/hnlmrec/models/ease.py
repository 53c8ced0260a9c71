"""EASE: the item-item weights of least squares with a zero diagonal, in closed form (Steck, 2019)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy import linalg

from hnlmrec.config import Config
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.errors import ConfigError
from hnlmrec.models.recommender import ItemItemRecommender, check_square_memory

_BLOCK = 1_024  # rows mirrored at once


class EASEConfig(Config):
    """Settings of EASE."""

    regularization: float = Field(200.0, gt=0)
    """Lambda, the weight of the squared norm of the weights."""

    memory_limit_gib: float = Field(8.0, gt=0)
    """Refuse a catalogue whose dense matrices need more than this, in GiB."""


class EASE(ItemItemRecommender):
    """Score X B, where B minimises ||X - X B||^2 + lambda ||B||^2 with diag(B) = 0.

    With P = (X'X + lambda I)^-1: B_ij = -P_ij / P_jj off the diagonal (Steck, 2019, equation 8).
    """

    Config: ClassVar[type[Config]] = EASEConfig

    def __init__(self, config: EASEConfig) -> None:
        super().__init__()
        self.config = config

    def check_catalogue(self, n_items: int) -> None:
        """Refuse a catalogue whose matrices are larger than `memory_limit_gib`."""
        check_square_memory(n_items, self.config.memory_limit_gib, "EASE")

    def fit(self, dataset: InteractionDataset, item_vectors: EmbeddingTable | None = None) -> None:  # noqa: ARG002
        """Solve for the weights. Time grows with n_items cubed, memory with n_items squared.

        Raises:
            ConfigError: the matrices are larger than `memory_limit_gib`.
        """
        self._train = dataset.train.to_scipy()
        self._weights = torch.from_numpy(ease_weights(dataset, self.config).astype(np.float32))


def ease_weights(dataset: InteractionDataset, config: EASEConfig) -> npt.NDArray[np.float64]:
    """Return B, float64 [n_items, n_items].

    Raises:
        ConfigError: the matrices are larger than `memory_limit_gib`.
    """
    check_square_memory(dataset.n_items, config.memory_limit_gib, "EASE")
    train = dataset.train.to_scipy().astype(np.float64)
    gram: npt.NDArray[np.float64] = (train.T @ train).toarray()
    gram[np.diag_indices_from(gram)] += config.regularization
    inverse = _inverse(gram)
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


def _inverse(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Invert a positive definite matrix [n, n] in its own memory, by Cholesky: n^3 operations in all.

    Solving against the identity would take more than twice as many.
    """
    columns = matrix.T  # LAPACK's order of memory; the matrix is symmetric
    factor, failed = linalg.lapack.dpotrf(columns, lower=True, overwrite_a=True, clean=False)
    if failed:
        raise ConfigError("EASE's matrix is not positive definite: raise regularization.")
    inverse, _ = linalg.lapack.dpotri(factor, lower=True, overwrite_c=True)
    result: npt.NDArray[np.float64] = inverse.T  # its upper triangle holds the values
    for start in range(0, len(result), _BLOCK):
        stop = start + _BLOCK
        result[start:stop, :start] = result[:start, start:stop].T
        block = result[start:stop, start:stop]
        block[:] = np.triu(block) + np.triu(block, 1).T
    return result
