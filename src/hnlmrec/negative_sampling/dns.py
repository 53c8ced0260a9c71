"""DNS: the candidate that the model itself scores highest.

Zhang et al., "Optimizing Top-N Collaborative Filtering via Dynamic Negative Item Sampling", SIGIR 2013.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling.base import Negatives
from hnlmrec.negative_sampling.candidates import CandidateConfig, CandidateSampler, choose


class DNSConfig(CandidateConfig):
    """The K negatives are each the hardest of n candidates of their own."""


class DNSSampler(CandidateSampler):
    """j = argmax over C of s(u, j), C being n items drawn uniformly outside train(u).

    Departs from the paper: it is the form with a fixed number of candidates that later work compares with, in
    place of the paper's distribution over the ranks of the candidates.
    """

    Config = DNSConfig
    draws_by_row = True

    def sample(self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator) -> Negatives:
        """Draw K items for each user, int64 [B, K]."""
        candidates = self.draw(users, rng)
        scores = self.scores(embeddings.users[users], embeddings.items, candidates)
        return Negatives(choose(candidates, self.guarded(users, candidates, scores).argmax(dim=2)))
