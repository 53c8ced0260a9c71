"""AdaSIR: negatives from a pool that importance resampling adapts to the model, epoch by epoch.

Chen et al., "Learning Recommenders for Implicit Feedback with Importance Resampling", WWW 2022.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling.base import Negatives
from hnlmrec.negative_sampling.memory import MemoryConfig, MemorySampler
from hnlmrec.negative_sampling.popularity import WeightedCandidates
from hnlmrec.negative_sampling.scoring import candidate_scores


class AdaSIRConfig(MemoryConfig):
    """The K negatives are independent, uniform draws from the user's pool."""

    proposal: Literal["uniform", "popularity"] = "uniform"
    """q: where new items of the pool are drawn from, outside the user's train items."""


class AdaSIRSampler(MemorySampler):
    """Uniform draws from a pool R_u, which is renewed from R_u and new items C ~ q, with replacement.

    An item stays, or comes in, by softmax(s(u,j) / temperature - log q(j)).

    Where the proposal is uniform, log q is the same for all and drops out.

    Departs from the paper: items that stay in the pool are weighed by the proposal q again, though they have gone
    through a resampling, so that a good item gains weight with each epoch that it stays.
    """

    Config = AdaSIRConfig
    log_q: Tensor  # [n_items]

    def __init__(self, dataset: InteractionDataset, config: AdaSIRConfig) -> None:
        super().__init__(dataset, config)
        degrees = np.maximum(dataset.train.item_degrees, 1).astype(np.float64)
        weights = degrees if config.proposal == "popularity" else np.ones_like(degrees)
        self.proposal = WeightedCandidates(dataset.train, weights)
        log_q = np.log(weights / weights.sum()).astype(np.float32)
        self.register_buffer("log_q", torch.from_numpy(log_q), persistent=False)

    def sample(self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator) -> Negatives:
        """Draw K items from each user's pool, int64 [B, K]."""
        self.renew_if_due(embeddings, rng)
        shape = (len(users), self.n_negatives)
        places = torch.randint(self.memory.shape[1], shape, generator=rng, device=users.device)
        return Negatives(self.memory[users[:, None], places])

    def renew(self, users: Tensor, embeddings: Embeddings, rng: torch.Generator) -> None:
        """Resample each pool from itself and new items."""
        both = torch.cat([self.memory[users], self.proposal.draw(users, self.n_new, rng)], dim=1)
        scores = candidate_scores(embeddings.users[users], embeddings.items, both)
        weights = torch.softmax(scores / self.temperature - self.log_q[both], dim=1)
        kept = torch.multinomial(weights, self.memory.shape[1], replacement=True, generator=rng)
        self.memory[users] = both.gather(1, kept)
