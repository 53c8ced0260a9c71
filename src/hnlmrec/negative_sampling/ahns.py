"""AHNS: the negative's hardness adapts to the positive's score.

Lai et al., "Adaptive Hardness Negative Sampling for Collaborative Filtering", AAAI 2024 (arXiv 2401.05191). A
positive that is scored high gets an easier negative, one that is scored low a harder one.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling.base import Negatives
from hnlmrec.negative_sampling.candidates import CandidateConfig, CandidateSampler, NCandidates, choose
from hnlmrec.negative_sampling.scoring import positive_scores


class AHNSConfig(CandidateConfig):
    """The K negatives are each chosen from n candidates of their own."""

    n_candidates: NCandidates = 32
    """Number n of candidates, drawn uniformly outside the user's train items, that one negative is chosen from."""
    alpha: float = 1.0
    """Shift of the positive's score."""
    beta: float = Field(0.1, gt=0)
    """Scale of the wanted hardness: larger values give harder negatives."""
    p: float = Field(-2.0, lt=-1)
    """Exponent: the wanted score is beta (s(u,i) + alpha)^(p + 1), which falls as the positive's score rises."""


class AHNSSampler(CandidateSampler):
    """j = argmin over C of | s(u,j) - beta (s(u,i) + alpha)^(p + 1) |, C uniform outside train(u).

    Departs from the paper: at and below the pole at s(u,i) = -alpha, the wanted score is that of the hardest
    candidate. There the power would change its sign (or, with a broken exponent, not exist), so that the
    worst-ranked positives would get the easiest negatives. No wanted score is above the hardest candidate's.
    """

    Config = AHNSConfig
    draws_by_row = True

    def __init__(self, dataset: InteractionDataset, config: AHNSConfig) -> None:
        super().__init__(dataset, config)
        self.alpha, self.beta, self.p = config.alpha, config.beta, config.p

    def sample(self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator) -> Negatives:
        """Draw K items for each pair, int64 [B, K]."""
        candidates = self.draw(users, rng)
        user_vectors = embeddings.users.detach()[users]
        scores = self.scores(user_vectors, embeddings.items, candidates)
        positive = positive_scores(user_vectors, embeddings.items, positives)
        base = (positive + self.alpha)[:, None, None]
        wanted = torch.where(base > 0, self.beta * base.pow(self.p + 1), torch.inf)
        wanted = torch.minimum(wanted, scores.amax(dim=2, keepdim=True))
        nearness = self.guarded(users, candidates, -(scores - wanted).abs())
        return Negatives(choose(candidates, nearness.argmax(dim=2)))
