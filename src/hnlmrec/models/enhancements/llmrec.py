"""LLMRec: an item that a language model thinks liked, and one that it thinks disliked, as a further pair to rank.

Wei Wei, Xubin Ren, Jiabin Tang, Qinyong Wang, Lixin Su, Suqi Cheng, Junfeng Wang, Dawei Yin, Chao Huang: "LLMRec:
Large Language Models with Graph Augmentation for Recommendation", WSDM 2024: the augmentation of implicit feedback
and the noise pruning.
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from hnlmrec.data.preferences import PreferenceTable
from hnlmrec.errors import ConfigError
from hnlmrec.models.base import Batch, CFModel, Embeddings, Rows
from hnlmrec.models.enhancements.base import Enhancement, EnhancementConfig, EnhancementResources


class LLMRecConfig(EnhancementConfig):
    """Fields of LLMRec; what the language model chooses from is in the section [preferences]."""

    share: float = Field(0.1, gt=0)
    """Extra pairs in a step, as a share of the batch's positives."""
    pruned: float = Field(0.71, ge=0, lt=1)
    """Share of a step's extra pairs, those with the largest loss, that is left out as noise."""


class LLMRec(Enhancement):
    """BPR on drawn rows of a table of preferences, without the rows of the largest loss.

    The sum over the kept rows is divided by the number of the batch's positives, so that a kept row weighs as much
    as an observed pair.

    Departs from the paper: only its augmentation of implicit feedback is here, since texts reach every method of
    this package in the same way (vectors, initialisation), and features written by the language model are not
    added; the pruning is of the extra pairs alone, where the authors' code prunes observed ones too; the extra
    pairs are ranked by BPR whatever the loss of the others.

    Args:
        backbone: any CF model.
        config: see `LLMRecConfig`.
        preferences: what the language model has picked.

    Raises:
        ConfigError: the table is empty.
    """

    Config = LLMRecConfig
    needs_whole_batch = True
    requires = ("preferences",)
    users: Tensor  # int64 [n]
    liked: Tensor  # int64 [n]
    disliked: Tensor  # int64 [n]

    def __init__(self, backbone: CFModel, config: LLMRecConfig, preferences: PreferenceTable) -> None:
        super().__init__(backbone)
        if not len(preferences):
            raise ConfigError("the enhancement 'llmrec' has no preferences to learn from: the table is empty.")
        self.config = config
        for name in ("users", "liked", "disliked"):
            self.register_buffer(name, torch.from_numpy(getattr(preferences, name)), persistent=False)
        self._extra: tuple[Tensor, Tensor, Tensor] | None = None  # of this step, each [n, d]

    @classmethod
    def build(
        cls,
        backbone: CFModel,
        config: EnhancementConfig,
        resources: EnhancementResources,
        *,
        generator: torch.Generator,
    ) -> Self:
        """Make the enhancement; it needs preferences."""
        del generator
        assert isinstance(config, LLMRecConfig)
        resources.require("LLMRec", *cls.requires)
        assert resources.preferences is not None
        return cls(backbone, config, resources.preferences)

    def rows(self, users: Tensor, items: Tensor) -> Rows:
        """Return the rows; those of the extra pairs are made with them."""
        more_users, more_items = self._drawn(len(users))
        rows = super().rows(torch.cat([users, more_users]), torch.cat([items, more_items]))
        return self._split(rows, len(users), len(items))

    def take(self, embeddings: Embeddings, users: Tensor, items: Tensor) -> Rows:
        """Pick the rows; those of the extra pairs are picked with them."""
        more_users, more_items = self._drawn(len(users))
        rows = super().take(embeddings, torch.cat([users, more_users]), torch.cat([items, more_items]))
        return self._split(rows, len(users), len(items))

    def own_loss(self, batch: Batch) -> Tensor:
        """Return BPR of the drawn preferences with the smallest losses, over the size of the batch."""
        if self._extra is None:
            self.rows(batch.users, batch.positives)
        assert self._extra is not None
        users, liked, disliked = self._extra
        self._extra = None
        losses = functional.softplus((users * (disliked - liked)).sum(dim=1))  # [n]
        kept = max(1, round(len(losses) * (1 - self.config.pruned)))
        return losses.topk(kept, largest=False).values.sum() / len(batch.users)

    def _drawn(self, n: int) -> tuple[Tensor, Tensor]:
        """Draw preferences for n positives; return the users [m] and the liked, then disliked items [2 m]."""
        m = max(1, round(n * self.config.share))
        places = torch.randint(len(self.users), (m,), generator=self.generator, device=self.users.device)
        return self.users[places], torch.cat([self.liked[places], self.disliked[places]])

    def _split(self, rows: Rows, n_users: int, n_items: int) -> Rows:
        liked, disliked = rows.items[n_items:].chunk(2)
        self._extra = rows.users[n_users:], liked, disliked
        return Rows(rows.users[:n_users], rows.items[:n_items], rows.ego_users[:n_users], rows.ego_items[:n_items])
