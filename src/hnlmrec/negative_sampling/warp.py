"""WARP: the first candidate that comes too near the positive, weighed by the rank that its number of trials tells.

Weston, Bengio, Usunier, "WSABIE: Scaling Up To Large Vocabulary Image Annotation", IJCAI 2011, section 4: a
positive with many items above it is found out after few trials, and counts for more.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling.base import Negatives
from hnlmrec.negative_sampling.candidates import CandidateConfig, CandidateSampler, NCandidates, choose
from hnlmrec.negative_sampling.scoring import positive_scores


class WARPConfig(CandidateConfig):
    """The K negatives are each the first of n candidates of their own that violates the margin."""

    n_candidates: NCandidates = 32
    """Number n of candidates tried, at most, for one negative."""
    margin: float = Field(1.0, ge=0)
    """A candidate violates the margin where s(u,j) > s(u,i) - margin."""


class WARPSampler(CandidateSampler):
    """j = the first candidate with s(u,j) > s(u,i) - margin, weighed by L(rank), L(r) = 1 + 1/2 + … + 1/r.

    Found at the t-th trial, the rank of the positive is about (number of the user's free items) / t. Where no
    candidate violates the margin, the hardest one stands there with a weight of 0.

    Departs from the paper: any ranking loss may follow (`training.loss=hinge` is the nearest to its own), the
    number of trials is bounded, and the weights are divided by L(n_items), so that they are at most 1 and other
    samplers' learning rates do.
    """

    Config = WARPConfig
    draws_by_row = True
    loss_of_rank: Tensor  # [n_items + 1]

    def __init__(self, dataset: InteractionDataset, config: WARPConfig) -> None:
        super().__init__(dataset, config)
        self.margin = config.margin
        sums = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, dataset.n_items + 1))])
        self.register_buffer(
            "loss_of_rank", torch.from_numpy((sums / sums[-1]).astype(np.float32)), persistent=False
        )

    def sample(self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator) -> Negatives:
        """Choose K items for each pair, int64 [B, K], with weights [B, K]."""
        candidates = self.draw(users, rng)
        user_vectors = embeddings.users.detach()[users]
        positive = positive_scores(user_vectors, embeddings.items, positives)
        scores = self.guarded(users, candidates, self.scores(user_vectors, embeddings.items, candidates))
        violates = scores > positive[:, None, None] - self.margin  # [B, K, n]
        found = violates.any(dim=2)
        trial = torch.where(found, violates.int().argmax(dim=2), scores.argmax(dim=2))  # of equals, the first
        rank = (self.candidates.n_free(users)[:, None] // (trial + 1)).clamp(min=1)
        weights = self.loss_of_rank[rank] * found / self.n_negatives
        return Negatives(choose(candidates, trial), weights=weights)
