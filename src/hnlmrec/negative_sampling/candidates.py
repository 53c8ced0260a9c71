"""Uniform draws outside a user's train items, without rejection: the start of every sampler.

A user with the sorted history h_0 < h_1 < … has N - |h| items left. The r-th of them is

    j = r + #{k : h_k - k <= r},   r uniform in 0 … N - |h| - 1,

because h_k - k counts the free items below h_k. One bisection replaces draw, check and draw again, so the cost
does not grow with the share of items that a user has seen, and every draw is right by construction.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor, nn

from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import DataError


class UniformCandidates(nn.Module):
    """Draws items outside train(u), each with probability 1 / (N - |train(u)|).

    On a CPU the bisection is a compiled loop over each user's own slice; on other devices it is one
    `torch.searchsorted` over keys of all users. Both turn the same random numbers into the same items.

    Args:
        train: the split whose items are never drawn.

    Raises:
        DataError: a user has interacted with every item, so that no negative exists.
    """

    indptr: Tensor  # int64 [n_users + 1]
    thresholds: Tensor  # int32 [n_pairs], h_k - k, ascending within a user
    keys: Tensor  # int64 [n_pairs], user * (n_items + 1) + threshold, ascending

    def __init__(self, train: Interactions) -> None:
        super().__init__()
        self.n_items = train.n_items
        _check_that_negatives_exist(train)
        places = np.arange(len(train)) - np.repeat(train.indptr[:-1], train.degrees)
        thresholds = train.indices - places
        keys = train.users.astype(np.int64) * (train.n_items + 1) + thresholds
        self.register_buffer("indptr", torch.from_numpy(train.indptr.copy()), persistent=False)
        self.register_buffer("thresholds", torch.from_numpy(thresholds.astype(np.int32)), persistent=False)
        self.register_buffer("keys", torch.from_numpy(keys), persistent=False)

    def draw(self, users: Tensor, n: int, rng: torch.Generator) -> Tensor:
        """Return n items for each user, independent of one another.

        Args:
            users: int64 [B].
            n: items per user; one item may come more than once.
            rng: on the device of `users`.

        Returns:
            int64 [B, n].
        """
        shape = (len(users), n)
        return self.at(users, torch.rand(shape, generator=rng, device=users.device, dtype=torch.float64))

    def at(self, users: Tensor, places: Tensor) -> Tensor:
        """Return the items at relative places in [0, 1) of each user's ascending list of free items.

        Args:
            users: int64 [B].
            places: float64 [B, n].

        Returns:
            int64 [B, n].
        """
        if users.device.type == "cpu":
            items = np.empty(places.shape, dtype=np.int64)
            arrays = (tensor.numpy() for tensor in (users, places, self.indptr, self.thresholds))
            _nth_free_item(*arrays, self.n_items, items)  # type: ignore[call-arg]
            return torch.from_numpy(items)
        starts = self.indptr[users]  # [B]
        free = self.n_items - (self.indptr[users + 1] - starts)
        ranks = (places * free[:, None]).long()  # [B, n]
        keys = users[:, None] * (self.n_items + 1) + ranks
        return ranks + torch.searchsorted(self.keys, keys, right=True) - starts[:, None]


@numba.njit(cache=True, nogil=True)
def _nth_free_item(users, places, indptr, thresholds, n_items, items):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    for b in range(len(users)):
        start, end = indptr[users[b]], indptr[users[b] + 1]
        free = n_items - (end - start)
        for n in range(places.shape[1]):
            rank = np.int64(places[b, n] * free)
            low, high = start, end
            while low < high:  # the first threshold above the rank
                middle = (low + high) >> 1
                if thresholds[middle] <= rank:
                    low = middle + 1
                else:
                    high = middle
            items[b, n] = rank + low - start


def _check_that_negatives_exist(train: Interactions) -> None:
    full = np.flatnonzero(train.degrees >= train.n_items)
    if len(full):
        raise DataError(
            f"{len(full)} users have interacted with all {train.n_items} items of the train split, so no negative "
            f"exists for them (user numbers {', '.join(map(str, full[:3]))}, …). Remove these users, or add the "
            "items of the catalogue that nobody has interacted with."
        )
