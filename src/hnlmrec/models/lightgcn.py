"""LightGCN: vectors smoothed over the user-item graph, nothing else.

Xiangnan He, Kuan Deng, Xiang Wang, Yan Li, Yongdong Zhang, Meng Wang: "LightGCN: Simplifying and Powering Graph
Convolution Network for Recommendation", SIGIR 2020, equations 3 (one layer) and 4 (the mean of the layers), in
matrix form 6 to 8. Departs from the paper in nothing but the initial values where these are given.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.models.base import CFModel, Embeddings, ModelConfig, Rows
from hnlmrec.models.embedding import embed
from hnlmrec.models.propagation import BipartiteGraph, LayerSum


class LightGCNConfig(ModelConfig):
    """Fields of LightGCN."""

    n_layers: int = Field(3, ge=1)
    """Number of propagation layers."""


class LightGCN(CFModel):
    """Mean of layers 0 … L of A e, with the normalised adjacency A of the train split."""

    Config = LightGCNConfig

    def __init__(
        self,
        dataset: InteractionDataset,
        config: LightGCNConfig,
        *,
        generator: torch.Generator,
        initial: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__(dataset, config, generator=generator, initial=initial)
        self.graph = BipartiteGraph(dataset.train)
        self.layer_sum = LayerSum.mean(config.n_layers)

    def propagate(self, *, layers: bool = False) -> Embeddings:
        """Return the mean of the layers of all users and items; with `layers`, each layer too."""
        return embed(self.graph, self.user_embedding, self.item_embedding, self.layer_sum, each=layers)

    def rows(self, users: Tensor, items: Tensor) -> Rows:
        """Compute the last layer at those rows alone."""
        return Rows(
            *self.graph.propagate_at(self.user_embedding, self.item_embedding, self.layer_sum, users, items)
        )
