"""SimGCL: LightGCN, and agreement between two propagations with random noise in every layer.

Junliang Yu, Hongzhi Yin, Xin Xia, Tong Chen, Lizhen Cui, Quoc Viet Hung Nguyen: "Are Graph Augmentations
Necessary? Simple Graph Contrastive Learning for Recommendation", SIGIR 2022, equations 5 to 7. Layer 0 takes no
part in the mean of the layers, as the paper says below equation 7. Departs from the paper in nothing else.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.losses import info_nce
from hnlmrec.models.base import Batch, Embeddings, take
from hnlmrec.models.lightgcn import LightGCN, LightGCNConfig
from hnlmrec.models.propagation import LayerSum


class SimGCLConfig(LightGCNConfig):
    """Fields of SimGCL."""

    noise: float = Field(0.1, ge=0)
    """Length epsilon of the noise vector that is added to each vector in each layer."""

    ssl_weight: float = Field(0.2, ge=0)
    """Weight of the contrast."""

    ssl_temperature: float = Field(0.2, gt=0)
    """Temperature of the contrast."""


class SimGCL(LightGCN):
    """LightGCN without layer 0 in the mean, with a contrast of two noisy propagations."""

    Config = SimGCLConfig

    def __init__(
        self,
        dataset: InteractionDataset,
        config: SimGCLConfig,
        *,
        generator: torch.Generator,
        initial: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__(dataset, config, generator=generator, initial=initial)
        self.config = config
        self.layer_sum = LayerSum(config.n_layers, 0.0, 1 / config.n_layers)

    def propagate(self, *, layers: bool = False) -> Embeddings:
        """Return the mean of layers 1 … L; with `layers`, each of these too."""
        embeddings = super().propagate(layers=layers)
        user_layers, item_layers = embeddings.user_layers[1:], embeddings.item_layers[1:]
        return replace(embeddings, user_layers=user_layers, item_layers=item_layers)

    def auxiliary_loss(self, batch: Batch) -> Tensor:
        """Contrast two noisy propagations of the batch's users, and of its items."""
        first, second = (mean_embeddings(*self.run_noisy_layers()) for _ in range(2))
        return self.config.ssl_weight * contrast(first, second, batch, self.config.ssl_temperature)

    def run_noisy_layers(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return layers 1 … L of the users and of the items, with gradient, each with noise."""
        users: Tensor = self.user_embedding
        items: Tensor = self.item_embedding
        user_layers, item_layers = [], []
        for _ in range(self.layer_sum.n_layers):
            users, items = map(self._disturb, self.graph.hop(users, items))
            user_layers.append(users)
            item_layers.append(items)
        return user_layers, item_layers

    def _disturb(self, vectors: Tensor) -> Tensor:
        """Add noise of length epsilon that keeps every sign (equation 6)."""
        noise = torch.rand(vectors.shape, generator=self.generator, device=vectors.device)
        return vectors + vectors.detach().sign() * functional.normalize(noise, dim=1) * self.config.noise


def mean_embeddings(user_layers: list[Tensor], item_layers: list[Tensor]) -> Embeddings:
    """Return the mean of these layers, and the layers."""
    users, items = torch.stack(user_layers).mean(dim=0), torch.stack(item_layers).mean(dim=0)
    return Embeddings(users, items, tuple(user_layers), tuple(item_layers))


def contrast(first: Embeddings, second: Embeddings, batch: Batch, temperature: float) -> Tensor:
    """InfoNCE of two views over the distinct users of a batch, plus that over its distinct positives."""
    users, items = torch.unique(batch.users), torch.unique(batch.positives)
    of_users = info_nce(take(first.users, users), take(second.users, users), temperature)
    return of_users + info_nce(take(first.items, items), take(second.items, items), temperature)
