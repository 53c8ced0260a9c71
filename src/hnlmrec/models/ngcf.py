"""NGCF: graph convolution with feature transformation and affinity between neighbours.

Xiang Wang, Xiangnan He, Meng Wang, Fuli Feng, Tat-Seng Chua: "Neural Graph Collaborative Filtering", SIGIR 2019,
equations 7 (one layer, in matrix form) and 9 (layers are concatenated). Departs from the paper: no node dropout
(message dropout alone, which the paper found to matter less than its being there at all); layer outputs are
normalised to length one before they are concatenated, as the authors' code does and the paper does not say.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.models.base import CFModel, Embeddings, ModelConfig, xavier_uniform
from hnlmrec.models.propagation import BipartiteGraph


class NGCFConfig(ModelConfig):
    """Fields of NGCF."""

    n_layers: int = Field(3, ge=1)
    """Number of propagation layers; the final vectors have (n_layers + 1) * embedding_size components."""

    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of a layer's output components set to zero while training."""


class NGCF(CFModel):
    """E' = LeakyReLU((A + I) E W1 + (A E * E) W2), with biases; A is the normalised adjacency."""

    Config = NGCFConfig

    def __init__(
        self,
        dataset: InteractionDataset,
        config: NGCFConfig,
        *,
        generator: torch.Generator,
        initial: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__(dataset, config, generator=generator, initial=initial)
        self.graph = BipartiteGraph(dataset.train)
        self.dropout = config.dropout
        size, layers = config.embedding_size, range(config.n_layers)
        square = size, size
        self.sum_weights = nn.ParameterList(xavier_uniform(square, generator) for _ in layers)
        self.product_weights = nn.ParameterList(xavier_uniform(square, generator) for _ in layers)
        self.biases = nn.ParameterList(torch.zeros(size, device=generator.device) for _ in layers)

    def propagate(self, *, layers: bool = False) -> Embeddings:
        """Return the concatenated layers, [n, (L + 1) * d]; with `layers`, each of them too."""
        sizes = [len(self.user_embedding), len(self.item_embedding)]
        both = torch.cat([self.user_embedding, self.item_embedding])
        outputs = [both]
        for sum_weight, product_weight, bias in zip(
            self.sum_weights, self.product_weights, self.biases, strict=True
        ):
            around = torch.cat(self.graph.hop(*torch.split(both, sizes)))
            both = functional.leaky_relu(
                (around + both) @ sum_weight + (around * both) @ product_weight + bias, negative_slope=0.2
            )
            both = self._drop(both)
            outputs.append(functional.normalize(both, dim=1))
        parts = [torch.split(output, sizes) for output in outputs]
        final_users, final_items = torch.split(torch.cat(outputs, dim=1), sizes)
        if not layers:
            return Embeddings(final_users, final_items)
        return Embeddings(final_users, final_items, tuple(p[0] for p in parts), tuple(p[1] for p in parts))

    def _drop(self, values: Tensor) -> Tensor:
        if not self.training or not self.dropout:
            return values
        chances = torch.rand(values.shape, generator=self.generator, device=values.device)
        return values * (chances >= self.dropout) / (1 - self.dropout)
