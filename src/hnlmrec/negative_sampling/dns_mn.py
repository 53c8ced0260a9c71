"""DNS(M, N): one of the M highest-scored among N candidates.

Shi et al., "On the Theories Behind Hard Negative Sampling for Recommendation", WWW 2023 (arXiv 2302.03472): M sets
the range of one-way partial AUC that training optimises, and so how hard the negatives are.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling.base import Negatives
from hnlmrec.negative_sampling.candidates import CandidateConfig, CandidateSampler, NCandidates, choose


class DNSMNConfig(CandidateConfig):
    """The K negatives are drawn independently, each from N = `n_candidates` candidates of its own."""

    n_candidates: NCandidates = 100
    """N, the number of uniform candidates that one negative is chosen from."""
    n_top: int = Field(5, ge=1)
    """M: the negative is uniform among this many highest-scored candidates; 1 is DNS, N is uniform sampling.
    Values above N count as N."""


class DNSMNSampler(CandidateSampler):
    """j ~ uniform over the M members of C with the highest s(u, j), |C| = N drawn uniformly outside train(u).

    Departs from the paper in nothing.
    """

    Config = DNSMNConfig

    def __init__(self, dataset: InteractionDataset, config: DNSMNConfig) -> None:
        super().__init__(dataset, config)
        self.n_top = min(config.n_top, self.n_candidates)

    def sample(self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator) -> Negatives:
        """Draw K items for each user, int64 [B, K]."""
        candidates = self.draw(users, rng)
        scores = self.scores(embeddings.users[users], embeddings.items, candidates)
        hardest = (
            self.guarded(users, candidates, scores).topk(self.n_top, dim=2, sorted=False).indices
        )  # [B, K, M]
        ranks = torch.randint(self.n_top, candidates.shape[:2], generator=rng, device=users.device)
        return Negatives(choose(candidates, choose(hardest, ranks)))
