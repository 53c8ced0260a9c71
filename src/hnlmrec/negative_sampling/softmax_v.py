"""Softmax-v(rho, N): K uniform negatives, weighted by a softmax whose temperature follows their losses' spread.

Shi et al., "On the Theories Behind Hard Negative Sampling for Recommendation", WWW 2023 (arXiv 2302.03472): the
softmax of the pair losses is the worst case of a distributionally robust objective, and rho its radius.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling.base import Negatives, NegativeSampler, SamplerConfig
from hnlmrec.negative_sampling.candidates import UniformCandidates
from hnlmrec.negative_sampling.scoring import candidate_scores, positive_scores

_LEAST_TEMPERATURE = 1e-6  # where all losses are equal, all weights are


class SoftmaxVConfig(SamplerConfig):
    """All K negatives are used, each with its weight: K is the paper's N, not a number of independent draws."""

    n_negatives: int = Field(16, ge=1)
    """N = K, the number of uniform negatives of a pair; their weights sum to 1. K = 1 is uniform sampling."""
    rho: float = Field(0.1, gt=0)
    """Robustness radius: larger values put more weight on the hardest negatives."""


class SoftmaxVSampler(NegativeSampler):
    """w = softmax over the K negatives of Z / t, Z = -log sigmoid(s(u,i) - s(u,j)), t = sqrt(Var(Z) / (2 rho)).

    The weights carry no gradient. The term -log q(j) of the rule is the same for all j here, since they are drawn
    uniformly, and drops out.

    Departs from the paper in nothing; t is kept above 1e-6.
    """

    Config = SoftmaxVConfig

    def __init__(self, dataset: InteractionDataset, config: SoftmaxVConfig) -> None:
        super().__init__(dataset, config)
        self.rho = config.rho
        self.candidates = UniformCandidates(dataset.train)

    def sample(self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator) -> Negatives:
        """Draw K items for each pair, int64 [B, K], with weights [B, K]."""
        items = self.candidates.draw(users, self.n_negatives, rng)
        user_vectors = embeddings.users.detach()[users]
        positive = positive_scores(user_vectors, embeddings.items, positives)
        losses = functional.softplus(candidate_scores(user_vectors, embeddings.items, items) - positive[:, None])
        return Negatives(items, weights=hardness_weights(losses, self.rho))


def hardness_weights(losses: Tensor, rho: float) -> Tensor:
    """Return softmax(Z / sqrt(Var(Z) / (2 rho))) over the last dimension; Var is the mean squared deviation."""
    variance = losses.var(dim=-1, keepdim=True, correction=0)
    return torch.softmax(losses / (variance / (2 * rho)).sqrt().clamp(min=_LEAST_TEMPERATURE), dim=-1)
