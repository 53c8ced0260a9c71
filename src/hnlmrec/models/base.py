"""What every embedding model is to the trainer, the samplers and the evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from hnlmrec.config import Config
from hnlmrec.data.interactions import InteractionDataset


class ModelConfig(Config):
    """Fields that every embedding model has."""

    embedding_size: int = Field(64, ge=1)
    """Length d of a user's or an item's vector."""


@dataclass(frozen=True)
class Embeddings:
    """What a model has made of its parameters: the score of (u, i) is the dot product of their rows.

    Attributes:
        users: [n_users, d].
        items: [n_items, d].
        user_layers: layer outputs 0 … L, each [n_users, d], where the model has layers (samplers that mix layer
            by layer, as MixGCF does, read them); () where it has none.
        item_layers: likewise, each [n_items, d].
        ego: (users, items), the layer-0 tables that the others come from; None for the model's parameters.
        row_gradients: whether the tables, those of `ego` included, take gradients of single rows; see `take`.
    """

    users: Tensor
    items: Tensor
    user_layers: tuple[Tensor, ...] = ()
    item_layers: tuple[Tensor, ...] = ()
    ego: tuple[Tensor, Tensor] | None = None
    row_gradients: bool = False

    def detach(self) -> Embeddings:
        """Return the same values, cut off from the graph."""
        return Embeddings(
            self.users.detach(),
            self.items.detach(),
            tuple(layer.detach() for layer in self.user_layers),
            tuple(layer.detach() for layer in self.item_layers),
        )

    def take(self, table: Tensor, rows: Tensor) -> Tensor:
        """Return rows of one of these tables, in the way that costs its gradient least."""
        return take(table, rows, row_gradients=self.row_gradients)


@dataclass(frozen=True)
class Batch:
    """One step's positives: user numbers and item numbers, int64 [B] each."""

    users: Tensor
    positives: Tensor


@dataclass(frozen=True)
class Rows:
    """The vectors of one step's users and items, with gradient; all that the losses of a step read.

    Attributes:
        users: [B, d], final vectors.
        items: [M, d], final vectors.
        ego_users: [B, d], layer-0 vectors.
        ego_items: [M, d], layer-0 vectors.
    """

    users: Tensor
    items: Tensor
    ego_users: Tensor
    ego_items: Tensor


class TrainableModel(nn.Module, ABC):
    """What the trainer asks of a model, whether it has tables of vectors itself or enhances one that does.

    Attributes:
        generator: for whatever the model draws while training.
    """

    generator: torch.Generator
    needs_whole_batch: ClassVar[bool] = False
    """Whether `auxiliary_loss` reads the rows that `rows` or `take` made in the step, so that each of several
    processes has to make those of the whole batch."""

    @abstractmethod
    def propagate(self, *, layers: bool = False) -> Embeddings:
        """Return the vectors of all users and items, with gradient.

        Args:
            layers: return the layer outputs too; a model without layers ignores it.
        """

    @abstractmethod
    def rows(self, users: Tensor, items: Tensor) -> Rows:
        """Return the vectors of some users [B] and items [M] (int64), as `propagate` would give them.

        The trainer calls it where the sampler does not look at the embeddings.
        """

    @abstractmethod
    def take(self, embeddings: Embeddings, users: Tensor, items: Tensor) -> Rows:
        """Pick the vectors of some users [B] and items [M] (int64) out of what `propagate` gave."""

    @abstractmethod
    def ego_embeddings(self) -> Embeddings:
        """Return the layer-0 vectors, which the L2 term is taken on."""

    def start_epoch(self, epoch: int) -> None:
        """Be told that an epoch (0, 1, …) begins; models that redraw their graph do it here."""

    def auxiliary_loss(self, batch: Batch) -> Tensor | None:
        """Return the model's own term (self-supervised, say), already weighted; None where it has none.

        It is called after `rows`, or `propagate` and `take`, of the same step.
        """
        return None


class CFModel(TrainableModel):
    """A collaborative filtering model that ends in one vector for each user and item.

    Args:
        dataset: its train split is the only one read.
        config: an instance of the class's own `Config`.
        generator: for the random initial values and for whatever the model draws while training.
        initial: (users [n_users, d], items [n_items, d]) to start from in place of random values.
    """

    Config: ClassVar[type[ModelConfig]]
    user_embedding: nn.Parameter  # [n_users, d]
    item_embedding: nn.Parameter  # [n_items, d]

    def __init__(
        self,
        dataset: InteractionDataset,
        config: ModelConfig,
        *,
        generator: torch.Generator,
        initial: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.generator = generator
        shapes = (dataset.n_users, config.embedding_size), (dataset.n_items, config.embedding_size)
        if initial is None:
            initial = xavier_uniform(shapes[0], generator), xavier_uniform(shapes[1], generator)
        for vectors, shape in zip(initial, shapes, strict=True):
            if vectors.shape != shape:
                raise ValueError(f"initial vectors have shape {tuple(vectors.shape)}, expected {shape}.")
        self.user_embedding, self.item_embedding = (nn.Parameter(vectors.clone()) for vectors in initial)

    def rows(self, users: Tensor, items: Tensor) -> Rows:
        """Take the rows from a propagation of all; a model that need not compute all vectors overrides this."""
        return self.take(self.propagate(), users, items)

    def take(self, embeddings: Embeddings, users: Tensor, items: Tensor) -> Rows:
        """Pick the vectors of some users [B] and items [M] (int64) out of what `propagate` gave."""
        ego_users, ego_items = embeddings.ego or (self.user_embedding, self.item_embedding)
        return Rows(
            embeddings.take(embeddings.users, users),
            embeddings.take(embeddings.items, items),
            embeddings.take(ego_users, users),
            embeddings.take(ego_items, items),
        )

    def ego_embeddings(self) -> Embeddings:
        """Return the layer-0 vectors, which the L2 term is taken on."""
        return Embeddings(self.user_embedding, self.item_embedding)


def take(table: Tensor, rows: Tensor, *, row_gradients: bool = False) -> Tensor:
    """Return table[rows], with a backward pass that is fast and deterministic on every device.

    Args:
        table: [n, d].
        rows: int64, of any shape.
        row_gradients: pass the gradient on as these rows alone, not as a whole table. Only for tables whose own
            backward pass knows such gradients: never for parameters.
    """
    return functional.embedding(rows, table, sparse=row_gradients)


def xavier_uniform(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return U(-a, a) with a = sqrt(6 / (rows + columns)) (Glorot and Bengio, 2010)."""
    bound = (6.0 / sum(shape)) ** 0.5
    return torch.empty(shape, device=generator.device).uniform_(-bound, bound, generator=generator)
