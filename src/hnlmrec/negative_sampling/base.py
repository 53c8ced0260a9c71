"""What every negative sampler is to the trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from hnlmrec.config import Config
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.models.base import Embeddings


class SamplerConfig(Config):
    """Fields that every sampler has."""

    n_negatives: int = Field(1, ge=1)
    """Number K of negatives of each (user, positive) pair; they are drawn independently of one another."""


@dataclass(frozen=True)
class Negatives:
    """The negatives of a batch: catalogue items, or vectors of the CF space, or items that vectors stand on.

    Attributes:
        items: int64 [B, K], or None for vectors that stand for no item. Where both are given, `items` are what the
            vectors were mixed from; the audit counts them, and the L2 term takes their layer-0 vectors.
        vectors: [B, K, d], scored in place of the items' own vectors; None to score the items.
        weights: [B, K], summing to 1 over K, or None for equal weights.
        hard: [B, K, d], the generated hard negatives alone, for the contrastive loss; without gradient.
        hard_found: bool [B, K], which rows of `hard` are real.
    """

    items: Tensor | None
    vectors: Tensor | None = None
    weights: Tensor | None = None
    hard: Tensor | None = None
    hard_found: Tensor | None = None

    def embeddings(self, embeddings: Embeddings) -> Tensor:
        """Return what is scored, [B, K, d]."""
        if self.vectors is not None:
            return self.vectors
        assert self.items is not None
        return embeddings.items[self.items]


class NegativeSampler(nn.Module, ABC):
    """Draws negatives for (user, positive) pairs; never an item of the user's train split.

    State that a resumed run needs (memories, schedules) is in buffers, so that `state_dict` holds it.

    Args:
        dataset: its train split is the only one read.
        config: an instance of the class's own `Config`.
    """

    Config: ClassVar[type[SamplerConfig]]

    def __init__(self, dataset: InteractionDataset, config: SamplerConfig) -> None:
        super().__init__()
        self.n_negatives = config.n_negatives
        self.n_items = dataset.n_items

    @abstractmethod
    def sample(self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator) -> Negatives:
        """Draw K negatives of each pair.

        Args:
            users: int64 [B].
            positives: int64 [B].
            embeddings: of the current step, with gradient; a sampler that only ranks candidates detaches them.
            rng: on the device of the embeddings.
        """

    def start_epoch(self, epoch: int, embeddings: Embeddings) -> None:
        """Be told that an epoch (0, 1, …) begins; `embeddings` are without gradient."""

    def auxiliary_loss(
        self,
        users: Tensor,
        positives: Tensor,
        negatives: Negatives,
        embeddings: Embeddings,
    ) -> Tensor | None:
        """Return the sampler's own term, already weighted, by which its parameters learn; None if it has none."""
        return None

    def counts(self) -> dict[str, int]:
        """Return what the report says of the draws so far (lookups that found nothing, say)."""
        return {}
