"""SRNS: hard negatives whose scores stay uncertain, since those of false negatives are high and steady.

Ding et al., "Simplify and Robustify Negative Sampling for Implicit Collaborative Filtering", NeurIPS 2020
(arXiv 2009.03376).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling.base import Negatives
from hnlmrec.negative_sampling.memory import MemoryConfig, MemorySampler, gumbel_top
from hnlmrec.negative_sampling.scoring import candidate_scores, positive_scores

_HISTORY = 5  # epochs, as in the paper


class SRNSConfig(MemoryConfig):
    """The K negatives are each chosen from a random part of the user's memory."""

    n_candidates: int = Field(8, ge=1)
    """Number of memory items that one negative is chosen from; at most `memory_size`."""
    weight: float = Field(1.0, ge=0)
    """Weight a of the spread against the score."""
    warmup_epochs: int = Field(50, ge=1)
    """T0: over these epochs the weight of the spread grows from 0 to a."""


class SRNSSampler(MemorySampler):
    """j = argmax over the memory M_u of P(j) + a min(1, t / T0) std(P(j) over 5 epochs).

    P(j) = sigmoid(s(u,j) - s(u,i)), t the epoch. M_u is renewed by drawing from itself and new uniform items, in
    proportion to exp(s(u,j) / temperature) without replacement.

    Departs from the paper: the memory is renewed once an epoch for all users, in place of once for each pair; the
    argmax is over a random part of it, so that the negatives of a user differ; the history of P(j) is kept
    for each memory item, with the mean score of the user's memory in place of s(u,i), and begins when the
    item comes in.
    """

    Config = SRNSConfig
    history: Tensor  # float32 [n_users, memory_size, 5], latest last; NaN where the item was not there yet

    def __init__(self, dataset: InteractionDataset, config: SRNSConfig) -> None:
        super().__init__(dataset, config)
        self.n_candidates = min(config.n_candidates, config.memory_size)
        self.weight, self.warmup_epochs = config.weight, config.warmup_epochs
        self.register_buffer("history", torch.full((*self.memory.shape, _HISTORY), torch.nan))

    def sample(self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator) -> Negatives:
        """Choose K memory items for each pair, int64 [B, K]."""
        self.renew_if_due(embeddings, rng)
        user_vectors = embeddings.users.detach()[users]
        positive = positive_scores(user_vectors, embeddings.items, positives)
        memory = self.memory[users]  # [B, M]
        chance = torch.sigmoid(candidate_scores(user_vectors, embeddings.items, memory) - positive[:, None])
        share = self.weight * min(1.0, self.epoch / self.warmup_epochs)
        values = chance + share * _spread(self.history[users])
        shape = (len(users) * self.n_negatives, memory.shape[1])
        order = torch.rand(shape, generator=rng, device=users.device).argsort(dim=1)[:, : self.n_candidates]
        parts = order.reshape(len(users), -1)  # [B, K n], places in the memory
        best = values.gather(1, parts).view(len(users), self.n_negatives, -1).argmax(dim=2, keepdim=True)
        places = parts.view(len(users), self.n_negatives, -1).gather(2, best).squeeze(2)
        return Negatives(memory.gather(1, places))

    def renew(self, users: Tensor, embeddings: Embeddings, rng: torch.Generator) -> None:
        """Let new items compete with the kept ones, then record this epoch's P of all that stay."""
        both = torch.cat([self.memory[users], self.candidates.draw(users, self.n_new, rng)], dim=1)
        scores = candidate_scores(embeddings.users[users], embeddings.items, both)
        kept = gumbel_top(scores / self.temperature, self.memory.shape[1], rng)
        unknown = self.history.new_full((len(users), self.n_new, _HISTORY), torch.nan)
        history = torch.cat([self.history[users], unknown], dim=1)
        history = history.gather(1, kept[:, :, None].expand(-1, -1, _HISTORY))
        scores = scores.gather(1, kept)
        chance = torch.sigmoid(scores - scores.mean(dim=1, keepdim=True))
        self.history[users] = torch.cat([history[:, :, 1:], chance[:, :, None]], dim=2)
        self.memory[users] = both.gather(1, kept)


def _spread(history: Tensor) -> Tensor:
    """Return the standard deviation over the epochs known, 0 where fewer than two are: [..., 5] -> [...]."""
    known = ~history.isnan()
    n = known.sum(dim=-1)
    mean = torch.nansum(history, dim=-1) / n.clamp(min=1)
    squares = torch.where(known, history - mean[..., None], 0.0).square().sum(dim=-1)
    return (squares / n.clamp(min=1)).sqrt()
