"""What every negative sampler is to the trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from hnlmrec.alignment import SemanticProjector
from hnlmrec.config import Config
from hnlmrec.data.embeddings import HardNegativeTable
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.data.judgements import JudgementTable
from hnlmrec.errors import ConfigError
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
        weights: [B, K], summing to 1 over K, or to less where the pair itself counts for less (WARP); None for
            equal weights.
        hard: [B, K, d], the generated hard negatives alone, for the contrastive loss; without gradient.
        hard_found: bool [B, K], which rows of `hard` are real.
        hard_items: int64 [B, K], the catalogue item that a row of `hard` was made for; -1 for a free vector.
        hard_shares: [B, K], the part that a row of `hard` has in the vector; the item has the rest.
    """

    items: Tensor | None
    vectors: Tensor | None = None
    weights: Tensor | None = None
    hard: Tensor | None = None
    hard_found: Tensor | None = None
    hard_items: Tensor | None = None
    hard_shares: Tensor | None = None

    def of_rows(self, rows: slice) -> Negatives:
        """Return the negatives of some rows of the batch."""
        values = {field.name: getattr(self, field.name) for field in fields(Negatives)}
        return Negatives(**{name: None if value is None else value[rows] for name, value in values.items()})

    def embeddings(self, embeddings: Embeddings) -> Tensor:
        """Return what is scored, [B, K, d]."""
        if self.vectors is not None:
            return self.vectors
        assert self.items is not None
        return embeddings.items[self.items]


@dataclass(frozen=True, eq=False)
class SamplerResources:
    """What samplers are built from; most need the data set alone.

    Attributes:
        dataset: only its train split is read.
        hard_negatives: generated negatives, for the semantic sampler and its ablations.
        projector: from text vectors to the CF space, for the same.
        item_vectors: [n_items, d_text], text vectors of all items in the order of their numbers, a row of zeros
            for an item without text; what a trainable projector learns its alignment on.
        embedding_size: length d of the model's embeddings (of one layer's, where it has layers), for the samplers
            with parameters of their own.
        judgements: which unobserved pairs are probably false negatives, for the samplers with a guard.
    """

    dataset: InteractionDataset
    hard_negatives: HardNegativeTable | None = None
    projector: SemanticProjector | None = None
    item_vectors: npt.NDArray[np.floating[Any]] | None = None
    embedding_size: int | None = None
    judgements: JudgementTable | None = None

    def require(self, sampler: str, *names: str) -> None:
        """Check that resources are there.

        Raises:
            ConfigError: names all that are missing, and where they come from.
        """
        missing = [name.replace("_", " ") for name in names if getattr(self, name) is None]
        if missing:
            raise ConfigError(
                f"the sampler {sampler!r} needs {' and '.join(missing)}, which this run does not have. Texts, "
                "hard negatives and judgements come from stages of `hnlmrec run` (profiles, hard_negatives, "
                "encode, judge): use it, or choose a sampler that needs interactions only, such as 'uniform' or "
                "'dns'."
            )


class NegativeSampler(nn.Module, ABC):
    """Draws negatives for (user, positive) pairs; never an item of the user's train split.

    State that a resumed run needs (memories, counts) is in buffers, so that `state_dict` holds it. It is saved
    between epochs, and `start_epoch` is called after it is loaded.

    Args:
        dataset: its train split is the only one read.
        config: an instance of the class's own `Config`.
    """

    Config: ClassVar[type[SamplerConfig]]
    requires: ClassVar[tuple[str, ...]] = ()
    """Names of the fields of `SamplerResources` that this sampler cannot do without."""
    uses_embeddings: ClassVar[bool] = True
    """False where the sampler reads no embeddings: the model then makes the vectors of the batch alone. What is
    passed as `embeddings` are layer-0 vectors in that case, and `auxiliary_loss` is not called."""
    draws_by_row: ClassVar[bool] = False
    """True where the negatives of a row depend on that row and on its own numbers of `self.candidates` alone: then
    each of several processes draws and scores its own rows only. Otherwise each draws those of the whole batch."""
    uses_layers: ClassVar[bool] = False
    """True where the sampler reads `user_layers` and `item_layers`, which cost extra."""

    def __init__(self, dataset: InteractionDataset, config: SamplerConfig) -> None:
        super().__init__()
        self.n_negatives = config.n_negatives
        self.n_items = dataset.n_items

    @classmethod
    def build(cls, resources: SamplerResources, config: SamplerConfig) -> Self:
        """Make the sampler from what a run has.

        Raises:
            ConfigError: a resource that this sampler needs is missing.
        """
        return cls(resources.dataset, config)

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
