"""RLMRec: CF vectors and text vectors of the same user or item are made to agree.

Xubin Ren, Wei Wei, Lianghao Xia, Lixin Su, Suqi Cheng, Junfeng Wang, Dawei Yin, Chao Huang: "Representation
Learning with Large Language Models for Recommendation", WWW 2024: the contrastive (RLMRec-Con) and the generative
alignment (RLMRec-Gen), with the objectives as in the authors' code.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from hnlmrec.data.node_texts import NodeTexts
from hnlmrec.errors import ConfigError
from hnlmrec.losses import info_nce
from hnlmrec.models.base import Batch, CFModel, Embeddings, Rows, take
from hnlmrec.models.enhancements.base import final_size, small_linear
from hnlmrec.models.enhancements.texts import TextEnhancement, TextEnhancementConfig
from hnlmrec.models.propagation import BipartiteGraph


class RLMRecConfig(TextEnhancementConfig):
    """Fields of both alignments."""

    weight: float = Field(0.01, ge=0)
    """Weight of the alignment."""
    temperature: float = Field(0.2, gt=0)
    """Temperature of its InfoNCE."""
    contrast_rows: int = Field(1024, ge=2)
    """Most users, and most items, of a batch that are contrasted: the cost grows with the square."""


class RLMRecGenConfig(RLMRecConfig):
    """Fields of the generative alignment."""

    weight: float = Field(0.1, ge=0)
    """Weight of the reconstruction."""
    mask_ratio: float = Field(0.1, gt=0, lt=1)
    """Share of the users and items whose layer-0 vector is masked, drawn anew in each step."""


class RLMRecCon(TextEnhancement):
    """InfoNCE between the final CF vector of a user (item) and the projection of its text, over the batch.

    The projection is one perceptron d_text -> (d_text + d) / 2 -> d with a leaky ReLU, for users and items alike.

    Departs from the paper and its code: the negatives of a user are the other distinct users of the batch, not all
    users; items are the batch's positives, without the sampled negatives; texts are scaled to length 1; a user
    without a profile stands at the mean text of its train items; who has no text at all is left out.

    Args:
        backbone: any CF model.
        config: see `RLMRecConfig`.
        texts: vectors of all users and items.
        generator: for the perceptron's initial values.
    """

    Config = RLMRecConfig
    needs_whole_batch = True

    def __init__(
        self, backbone: CFModel, config: RLMRecConfig, texts: NodeTexts, *, generator: torch.Generator
    ) -> None:
        super().__init__(backbone, config, texts, generator=generator)
        self.config = config
        self._seen: tuple[Rows, Tensor] | None = None  # of this step, and the numbers of its items
        self.perceptron = self._perceptron(final_size(backbone), texts.size, generator)

    def rows(self, users: Tensor, items: Tensor) -> Rows:
        """Return the rows, and keep them for the alignment."""
        self._seen = super().rows(users, items), items
        return self._seen[0]

    def take(self, embeddings: Embeddings, users: Tensor, items: Tensor) -> Rows:
        """Return the rows, and keep them for the alignment."""
        self._seen = super().take(embeddings, users, items), items
        return self._seen[0]

    def own_loss(self, batch: Batch) -> Tensor:
        """Return the weighted alignment of the batch's users, plus that of its positives."""
        if self._seen is None:
            self.rows(batch.users, batch.positives)
        assert self._seen is not None
        seen, numbers = self._seen
        self._seen = None
        users = self._agreement(seen.users, batch.users, self.user_texts, self._taking_part(batch.users, 0))
        positives = take(seen.items, places_among(numbers, batch.positives))
        items = self._agreement(positives, batch.positives, self.item_texts, self._taking_part(batch.positives, 1))
        return self.config.weight * (users + items)

    def _taking_part(self, numbers: Tensor, side: int) -> Tensor | None:
        """Return which rows of the batch are aligned, bool [B], or None for all; side 0 is users, 1 items."""
        del numbers, side
        return None

    def _pair(self, vectors: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two views that are contrasted: [n, d], [n, d_text] -> two of one shape."""
        return vectors, self.perceptron(texts)

    def _agreement(self, vectors: Tensor, numbers: Tensor, texts: Tensor, chosen: Tensor | None) -> Tensor:
        """InfoNCE over the distinct users (items) of the batch that have a text; zero where there are none."""
        wanted = texts[numbers].any(dim=1)
        if chosen is not None:
            wanted = wanted & chosen
        places = wanted.nonzero().squeeze(1)
        places = places[first_places(numbers[places])][: self.config.contrast_rows]
        if not len(places):
            return vectors.new_zeros(())
        return info_nce(*self._pair(vectors[places], texts[numbers[places]]), self.config.temperature)

    @staticmethod
    def _perceptron(size: int, text_size: int, generator: torch.Generator) -> Perceptron:
        return Perceptron(text_size, size, generator)


class RLMRecGen(RLMRecCon):
    """Layer-0 vectors of some users and items are masked, and their texts reconstructed from what comes out.

    While training, a learned vector stands for a masked one, in the ranking loss too; a perceptron
    d -> (d_text + d) / 2 -> d_text then reconstructs the text from the final CF vector, by InfoNCE.

    Departs from the paper and its code: of the masked users and items, those of the batch are reconstructed, users
    and items apart; the rest as in `RLMRecCon`.

    Raises:
        ConfigError: the backbone does not propagate over the graph, so that a masked vector says nothing.
    """

    Config = RLMRecGenConfig

    def __init__(
        self, backbone: CFModel, config: RLMRecGenConfig, texts: NodeTexts, *, generator: torch.Generator
    ) -> None:
        if not isinstance(getattr(backbone, "graph", None), BipartiteGraph):
            raise ConfigError(
                "the enhancement 'rlmrec_gen' reconstructs masked users and items from their neighbours, and the "
                f"model {type(backbone).__name__} has none: choose a graph model (lightgcn, ngcf, sgl, simgcl, "
                "xsimgcl), or the enhancement rlmrec_con."
            )
        super().__init__(backbone, config, texts, generator=generator)
        self.mask_ratio = config.mask_ratio
        size = backbone.user_embedding.shape[1]
        self.mask_vector = nn.Parameter(torch.empty(size).normal_(0.0, 0.1, generator=generator))
        self._masked: tuple[Tensor, Tensor] | None = None

    def layer_zero(self) -> tuple[Tensor, Tensor] | None:
        """Mask some users and items, while training."""
        self._masked = None
        if not self.training:
            return None
        tables = self.backbone.user_embedding, self.backbone.item_embedding
        generator = self.generator
        users, items = (
            torch.rand(len(table), generator=generator, device=table.device) < self.mask_ratio for table in tables
        )
        self._masked = users, items
        return (
            torch.where(users[:, None], self.mask_vector, tables[0]),
            torch.where(items[:, None], self.mask_vector, tables[1]),
        )

    def _taking_part(self, numbers: Tensor, side: int) -> Tensor:
        assert self._masked is not None, "the loss is of a training step"
        return self._masked[side][numbers]

    def _pair(self, vectors: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        return self.perceptron(vectors), texts

    @staticmethod
    def _perceptron(size: int, text_size: int, generator: torch.Generator) -> Perceptron:
        return Perceptron(size, text_size, generator)


class Perceptron(nn.Module):
    """W2 leaky_relu(W1 x + b1) + b2 with a hidden layer of (n_in + n_out) / 2."""

    def __init__(self, n_in: int, n_out: int, generator: torch.Generator) -> None:
        super().__init__()
        hidden = (n_in + n_out) // 2
        self.hidden_weight, self.hidden_bias = small_linear(n_in, hidden, generator)
        self.out_weight, self.out_bias = small_linear(hidden, n_out, generator)

    def forward(self, x: Tensor) -> Tensor:
        """[n, n_in] -> [n, n_out]."""
        hidden = functional.leaky_relu(functional.linear(x, self.hidden_weight, self.hidden_bias))
        return functional.linear(hidden, self.out_weight, self.out_bias)


def places_among(numbers: Tensor, wanted: Tensor) -> Tensor:
    """Return where in `numbers`, which may be in any order, each wanted one is: [7, 2], [2, 2, 7] -> [1, 1, 0]."""
    ascending, order = numbers.sort()
    return order[torch.searchsorted(ascending, wanted)]


def first_places(numbers: Tensor) -> Tensor:
    """Return where each distinct number occurs first, int64, ascending: [5, 2, 5] -> [0, 1]."""
    distinct, groups = torch.unique(numbers, return_inverse=True)
    places = torch.arange(len(numbers), device=numbers.device)
    first = torch.full((len(distinct),), len(numbers), device=numbers.device)
    return first.scatter_reduce(0, groups, places, "amin").sort().values
