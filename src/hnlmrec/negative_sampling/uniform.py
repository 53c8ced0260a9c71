"""Uniform negatives: every item outside the user's train split is equally likely.

Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009 (arXiv 1205.2618), section
4.2: the triples (u, i, j) of bootstrap sampling, j uniform over the items that u has not interacted with.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling.base import Negatives, NegativeSampler, SamplerConfig
from hnlmrec.negative_sampling.candidates import UniformCandidates


class UniformConfig(SamplerConfig):
    """Uniform negatives have no option of their own; the K negatives are independent draws."""


class UniformSampler(NegativeSampler):
    """p(j | u) = 1 / (N - |train(u)|) for j outside train(u).

    Departs from the paper in nothing: K > 1 draws K times.
    """

    Config = UniformConfig
    uses_embeddings = False
    draws_by_row = True

    def __init__(self, dataset: InteractionDataset, config: UniformConfig) -> None:
        super().__init__(dataset, config)
        self.candidates = UniformCandidates(dataset.train)

    def sample(self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator) -> Negatives:
        """Draw K uniform items for each user, int64 [B, K]."""
        return Negatives(self.candidates.draw(users, self.n_negatives, rng))
