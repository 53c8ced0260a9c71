"""Layer-by-layer view of embeddings, for the samplers that choose or mix in every layer."""

from __future__ import annotations

import torch
from torch import Tensor

from hnlmrec.models.base import Embeddings


def layer_pairs(embeddings: Embeddings) -> list[tuple[Tensor, Tensor]]:
    """Return (user vectors [n_users, d], item vectors [n_items, d]) for each layer; the dot products score it.

    The user vectors are the pooled ones. Where the model concatenates its layers, they have no common space with
    one layer's items, and the user vectors of the same layer take their place. A model without layers has one.
    """
    if not embeddings.item_layers:
        return [(embeddings.users, embeddings.items)]
    if embeddings.item_layers[0].shape[1] == embeddings.users.shape[1]:
        return [(embeddings.users, items) for items in embeddings.item_layers]
    return own_layer_pairs(embeddings)


def own_layer_pairs(embeddings: Embeddings) -> list[tuple[Tensor, Tensor]]:
    """Return the same, with the user vectors of the same layer throughout, in place of the pooled ones."""
    if not embeddings.item_layers:
        return [(embeddings.users, embeddings.items)]
    return list(zip(embeddings.user_layers, embeddings.item_layers, strict=True))


def pool(vectors: Tensor, size: int) -> Tensor:
    """Make one vector of the layers' vectors [L, …, d]: their mean, or all in a row where that has this size."""
    if len(vectors) * vectors.shape[-1] == size and len(vectors) > 1:
        return torch.cat(vectors.unbind(), dim=-1)
    return vectors.mean(dim=0)
