"""A memory of items for each user, renewed once an epoch: the common part of SRNS and AdaSIR."""

from __future__ import annotations

from abc import abstractmethod

import torch
from pydantic import Field
from torch import Tensor

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling.base import NegativeSampler, SamplerConfig
from hnlmrec.negative_sampling.candidates import UniformCandidates

_CHUNK = 65_536  # users at a time, so that the renewal needs little memory on a large data set


class MemoryConfig(SamplerConfig):
    """Fields of the samplers that keep a memory of items for each user."""

    memory_size: int = Field(20, ge=1)
    """Number of items that are kept for each user."""
    n_new: int = Field(20, ge=1)
    """Number of new items that compete with the kept ones at each renewal."""
    temperature: float = Field(1.0, gt=0)
    """Of the softmax by which items stay: small values keep the highest scores only."""


class MemorySampler(NegativeSampler):
    """Base: `memory` is int64 [n_users, memory_size], -1 before the first epoch; a buffer, so that a run resumes.

    The renewal needs random numbers, so it is done at the first `sample` after `start_epoch`.
    """

    memory: Tensor

    def __init__(self, dataset: InteractionDataset, config: MemoryConfig) -> None:
        super().__init__(dataset, config)
        self.n_new, self.temperature = config.n_new, config.temperature
        self.candidates = UniformCandidates(dataset.train)
        empty = torch.full((dataset.n_users, config.memory_size), -1, dtype=torch.int64)
        self.register_buffer("memory", empty)
        self.epoch, self.is_due = 0, True

    def start_epoch(self, epoch: int, embeddings: Embeddings) -> None:
        """Note that the memory is due for renewal."""
        self.epoch, self.is_due = epoch, True

    @abstractmethod
    def renew(self, users: Tensor, embeddings: Embeddings, rng: torch.Generator) -> None:
        """Renew the memory of these users, int64 [n]; it is filled, on the first call with uniform items."""

    def renew_if_due(self, embeddings: Embeddings, rng: torch.Generator) -> None:
        """Renew the memory of all users, once an epoch."""
        if not self.is_due:
            return
        self.is_due = False
        current = embeddings.detach()
        for users in torch.split(torch.arange(len(self.memory), device=self.memory.device), _CHUNK):
            if bool((self.memory[users, 0] < 0).any()):
                self.memory[users] = self.candidates.draw(users, self.memory.shape[1], rng)
            self.renew(users, current, rng)


def gumbel_top(logits: Tensor, k: int, rng: torch.Generator) -> Tensor:
    """Return k places of each row drawn without replacement by softmax(logits): [n, m] -> int64 [n, k]."""
    uniform = torch.rand(logits.shape, generator=rng, device=logits.device, dtype=torch.float64)
    return (logits - torch.log(-torch.log(uniform.clamp(1e-300, 1 - 1e-16)))).topk(k, dim=1).indices
