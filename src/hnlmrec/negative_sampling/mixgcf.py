"""MixGCF: a synthetic negative, mixed with the positive in every layer and chosen layer by layer.

Huang et al., "MixGCF: An Improved Training Method for Graph Neural Network-based Recommender Systems", KDD 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hnlmrec.models.base import Embeddings, take
from hnlmrec.negative_sampling.base import Negatives
from hnlmrec.negative_sampling.candidates import CandidateConfig, CandidateSampler, choose
from hnlmrec.negative_sampling.layers import layer_pairs, pool


class MixGCFConfig(CandidateConfig):
    """The K negatives are each mixed from n candidates, and shares, of their own."""


class MixGCFSampler(CandidateSampler):
    """Positive mixing and hop mixing.

    For each layer l: e'_j = a_l e_i + (1 - a_l) e_j with a_l ~ U(0, 1) for each (pair, layer), and the candidate
    with the largest e_u . e'_j. The negative is the mean over the layers of the chosen e'_j, with gradient. The
    share a_l is one for all candidates of a layer, so e_u . e'_j is largest where e_u . e_j is: the choice
    needs no mixed vectors.

    `items` are what the layer-0 mixes stand on, whose vectors the L2 term takes. A model without layers (MF)
    counts as one of a single layer, where only the positive mixing is left.

    Departs from the paper in nothing; layers are pooled as the model pools them, by mean or concatenation.
    """

    Config = MixGCFConfig
    uses_layers = True

    def sample(self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator) -> Negatives:
        """Mix K vectors for each pair: vectors [B, K, d], items int64 [B, K]."""
        candidates = self.draw(users, rng)
        layers = layer_pairs(embeddings)
        shape = (len(layers), *candidates.shape[:2], 1)
        shares = torch.rand(shape, generator=rng, device=users.device)  # [L, B, K, 1]
        chosen: list[Tensor] = []
        vectors: list[Tensor] = []
        for user_table, item_table in layers:
            scores = self.scores(take(user_table.detach(), users), item_table, candidates)
            scores = self.guarded(users, candidates, scores)
            chosen.append(choose(candidates, scores.argmax(dim=2)))
            vectors.append(embeddings.take(item_table, torch.cat([positives[:, None], chosen[-1]], dim=1)))
        both = torch.stack(vectors)  # [L, B, 1 + K, d]
        of_positives, of_chosen = torch.split(both, [1, self.n_negatives], dim=2)
        mixes = torch.lerp(of_chosen, of_positives, shares)
        return Negatives(chosen[0], pool(mixes, embeddings.items.shape[1]))
