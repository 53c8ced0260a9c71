"""Samplers that follow the training of a model, whatever it trains on, so that all are measured on one model."""

from __future__ import annotations

import torch

from hnlmrec.models.base import Embeddings, TrainableModel
from hnlmrec.negative_sampling.base import NegativeSampler
from hnlmrec.simulation.gradients import Positives


class Follower:
    """Keeps one sampler's state (memories, gates, projector) up to date with a model.

    After each epoch of the model it is told that an epoch begins, and passes over its positives once: memories are
    renewed, and what has parameters learns by its own loss, against embeddings without gradient.

    Args:
        sampler: the sampler.
        positives: what its method trains on.
        rng: of its draws.
        learning_rate: of its parameters.
        batch_size: pairs a step.
        learns: False where another follower already teaches the parameters that both share.
    """

    def __init__(
        self,
        sampler: NegativeSampler,
        positives: Positives,
        rng: torch.Generator,
        *,
        learning_rate: float,
        batch_size: int,
        learns: bool = True,
    ) -> None:
        self.sampler, self.positives, self.rng, self.batch_size = sampler, positives, rng, batch_size
        learned = [parameter for parameter in sampler.parameters() if learns and parameter.requires_grad]
        self.optimizer = torch.optim.Adam(learned, lr=learning_rate) if learned else None

    def follow(self, epoch: int, model: TrainableModel) -> None:
        """Catch up with the model after `epoch` epochs (1, 2, …)."""
        with torch.no_grad():
            embeddings = model.propagate(layers=self.sampler.uses_layers).detach()
        self.sampler.start_epoch(epoch, embeddings)
        if self.optimizer is None:
            pairs = self.positives
            self.sampler.sample(pairs.users[:1], pairs.items[:1], embeddings, self.rng)  # renews a memory
            return
        order = torch.randperm(len(self.positives.users), generator=self.rng)
        for rows in torch.split(order, self.batch_size):
            self._learn(rows, embeddings)

    def _learn(self, rows: torch.Tensor, embeddings: Embeddings) -> None:
        assert self.optimizer is not None
        users, items = self.positives.users[rows], self.positives.items[rows]
        negatives = self.sampler.sample(users, items, embeddings, self.rng)
        loss = self.sampler.auxiliary_loss(users, items, negatives, embeddings)
        if loss is None:
            return
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
