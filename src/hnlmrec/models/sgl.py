"""SGL with edge dropout: LightGCN, and agreement between two views of the graph that lack random edges.

Jiancan Wu, Xiang Wang, Fuli Feng, Xiangnan He, Liang Chen, Jianxun Lian, Xing Xie: "Self-supervised Graph Learning
for Recommendation", SIGIR 2021, equations 6 (edge dropout), 10 (InfoNCE) and 11 (joint loss). Departs from the
paper: the contrast's negatives are the other distinct users (items) of the batch, not all of them, as in the
later code of the field.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from hnlmrec.data.interactions import InteractionDataset, Interactions
from hnlmrec.losses import info_nce
from hnlmrec.models.base import Batch
from hnlmrec.models.lightgcn import LightGCN, LightGCNConfig
from hnlmrec.models.propagation import BipartiteGraph


class SGLConfig(LightGCNConfig):
    """Fields of SGL."""

    edge_drop: float = Field(0.1, ge=0, lt=1)
    """Share of the edges that each view lacks; drawn anew every epoch."""

    ssl_weight: float = Field(0.1, ge=0)
    """Weight of the contrast."""

    ssl_temperature: float = Field(0.2, gt=0)
    """Temperature of the contrast."""


class SGL(LightGCN):
    """LightGCN with a contrast of two views of the graph."""

    Config = SGLConfig

    def __init__(
        self,
        dataset: InteractionDataset,
        config: SGLConfig,
        *,
        generator: torch.Generator,
        initial: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__(dataset, config, generator=generator, initial=initial)
        self.train_pairs = dataset.train
        self.config = config
        self.views: tuple[BipartiteGraph, ...] = (self.graph, self.graph)

    def start_epoch(self, epoch: int) -> None:
        """Draw the two views."""
        del epoch
        self.views = (self._draw_view(), self._draw_view())

    def auxiliary_loss(self, batch: Batch) -> Tensor:
        """Contrast the two views of the batch's users, and of its items."""
        users, items = torch.unique(batch.users), torch.unique(batch.positives)
        tables = self.user_embedding, self.item_embedding
        first, second = (view.propagate_at(*tables, self.layer_sum, users, items) for view in self.views)
        temperature = self.config.ssl_temperature
        loss = info_nce(first[0], second[0], temperature) + info_nce(first[1], second[1], temperature)
        return self.config.ssl_weight * loss

    def _draw_view(self) -> BipartiteGraph:
        pairs, generator = self.train_pairs, self.generator
        chances = torch.rand(len(pairs), generator=generator, device=generator.device)
        kept = (chances >= self.config.edge_drop).cpu().numpy()
        users, items = pairs.users[kept], pairs.indices[kept]
        return BipartiteGraph(Interactions.from_pairs(users, items, pairs.n_users, pairs.n_items))
