"""Popularity negatives: p(j) ~ pop(j)^a outside the user's train items, exactly and without rejection.

Mikolov et al., "Distributed Representations of Words and Phrases", NIPS 2013, section 2.2 (a = 0.75); as a static
sampler of recommenders in Rendle and Freudenthaler, "Improving Pairwise Learning for Item Recommendation from
Implicit Feedback", WSDM 2014.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from hnlmrec.data.interactions import InteractionDataset, Interactions
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling.base import Negatives, NegativeSampler, SamplerConfig
from hnlmrec.negative_sampling.candidates import check_that_negatives_exist


class PopularityConfig(SamplerConfig):
    """The K negatives are independent draws."""

    exponent: float = Field(0.75, ge=0)
    """a of p(j) ~ pop(j)^a: 0 is uniform, 1 is in proportion to the number of train interactions."""


class PopularitySampler(NegativeSampler):
    """p(j | u) = pop(j)^a / sum of pop(k)^a over k outside train(u).

    Departs from the papers: an item without any train interaction counts as one with a single interaction, so that
    every item can be drawn; and a user's own items are excluded by moving the draw past their mass, not by drawing
    again.
    """

    Config = PopularityConfig
    uses_embeddings = False

    def __init__(self, dataset: InteractionDataset, config: PopularityConfig) -> None:
        super().__init__(dataset, config)
        weights = np.maximum(dataset.train.item_degrees, 1).astype(np.float64) ** config.exponent
        self.candidates = WeightedCandidates(dataset.train, weights)

    def sample(self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator) -> Negatives:
        """Draw K items for each user, int64 [B, K]."""
        return Negatives(self.candidates.draw(users, self.n_negatives, rng))


class WeightedCandidates(nn.Module):
    """Draws items outside train(u) in proportion to fixed weights, by the inverse of the distribution function.

    The weights become whole numbers (masses) that sum to about 2^40 or more, so that every comparison is exact: a
    train item cannot come up by rounding. Let c(j) be the mass of the items before j, and f_k = c(h_k) - (mass of
    h_0 … h_{k-1}) the free mass before the user's k-th item. A draw r < free mass lies behind the user's items
    with f_k <= r; r plus their mass, looked up in c, is the item.

    Args:
        train: the split whose items are never drawn.
        weights: float64 [n_items], positive.

    Raises:
        DataError: a user has interacted with every item.
    """

    ends: Tensor  # int64 [n_items], mass up to and with each item
    indptr: Tensor  # int64 [n_users + 1]
    keys: Tensor  # int64 [n_pairs], user * (total + 1) + f_k, ascending
    own: Tensor  # int64 [n_pairs + 1], mass of all pairs before this one
    total: int

    def __init__(self, train: Interactions, weights: npt.NDArray[np.float64]) -> None:
        super().__init__()
        check_that_negatives_exist(train)
        scale = 2.0 ** min(52, 61 - (train.n_users + 1).bit_length())
        masses = np.maximum(weights / weights.sum() * scale, 1.0).astype(np.int64)
        ends = np.cumsum(masses)
        self.total = int(ends[-1])
        own = np.concatenate([[0], np.cumsum(masses[train.indices])])
        before = own[:-1] - own[train.indptr[:-1]][train.users]  # mass of the user's own earlier items
        free = (ends - masses)[train.indices] - before
        keys = train.users.astype(np.int64) * (self.total + 1) + free
        for name, values in {"ends": ends, "indptr": train.indptr.copy(), "keys": keys, "own": own}.items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def draw(self, users: Tensor, n: int, rng: torch.Generator) -> Tensor:
        """Return n independent items for each user, int64 [B, n]."""
        starts, stops = self.indptr[users][:, None], self.indptr[users + 1][:, None]
        free = self.total - (self.own[stops] - self.own[starts])  # [B, 1]
        places = torch.rand((len(users), n), generator=rng, device=users.device, dtype=torch.float64)
        draws = (places * free).long()
        behind = torch.searchsorted(self.keys, users[:, None] * (self.total + 1) + draws, right=True)
        return torch.searchsorted(self.ends, draws + self.own[behind] - self.own[starts], right=True)
