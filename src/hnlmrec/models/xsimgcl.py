"""XSimGCL: SimGCL with one noisy propagation, contrasted with one of its own layers.

Junliang Yu, Xin Xia, Tong Chen, Lizhen Cui, Nguyen Quoc Viet Hung, Hongzhi Yin: "XSimGCL: Towards Extremely Simple
Graph Contrastive Learning for Recommendation", TKDE 2023, equation 10 (cross-layer contrast). Departs from the
paper in nothing known to us.
"""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.models.base import Batch, CFModel, Embeddings, Rows
from hnlmrec.models.simgcl import SimGCL, SimGCLConfig, contrast, mean_embeddings


class XSimGCLConfig(SimGCLConfig):
    """Fields of XSimGCL."""

    noise: float = Field(0.2, ge=0)
    """Length epsilon of the noise vector that is added to each vector in each layer."""

    contrast_layer: int = Field(1, ge=1)
    """Layer l* (1 … n_layers) that the mean of the layers is contrasted with."""

    @model_validator(mode="after")
    def _check_layer(self) -> XSimGCLConfig:
        if self.contrast_layer > self.n_layers:
            raise ValueError(f"contrast_layer must be from 1 to n_layers = {self.n_layers}")
        return self


class XSimGCL(SimGCL):
    """One noisy propagation serves both the ranking loss and the contrast; there is no noise when not training."""

    Config = XSimGCLConfig

    def __init__(
        self,
        dataset: InteractionDataset,
        config: XSimGCLConfig,
        *,
        generator: torch.Generator,
        initial: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__(dataset, config, generator=generator, initial=initial)
        self.contrast_layer = config.contrast_layer
        self._latest: Embeddings | None = None  # of this step's propagation, for its contrast

    def propagate(self, *, layers: bool = False) -> Embeddings:
        """Return the mean of layers 1 … L, noisy while training; with `layers`, each of these too."""
        if not self.training:
            return super().propagate(layers=layers)
        self._latest = mean_embeddings(*self.run_noisy_layers())
        return self._latest

    def rows(self, users: Tensor, items: Tensor) -> Rows:
        """Take the rows from a propagation of all, since the noise is in each layer."""
        return CFModel.rows(self, users, items)

    def auxiliary_loss(self, batch: Batch) -> Tensor:
        """Contrast the step's final vectors with its layer l*."""
        latest = self._latest or self.propagate()
        self._latest = None  # the graph of this step must not outlive it
        layer = self.contrast_layer - 1
        first = Embeddings(latest.user_layers[layer], latest.item_layers[layer])
        return self.config.ssl_weight * contrast(latest, first, batch, self.config.ssl_temperature)
