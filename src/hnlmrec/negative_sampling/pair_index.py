"""Which rows of a table belong to a (user, positive) pair, found on the device of the batch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn


class PairIndex(nn.Module):
    """Finds the rows of a pair; where it has none, the rows of its user that are for any positive.

    Args:
        users: int64 [n], user numbers of the rows.
        positives: int64 [n], item numbers, or -1 for any positive of the user.
        n_items: number of items of the data set.
    """

    order: Tensor  # int64 [n], rows sorted by key; those of one key stay in their own order
    keys: Tensor  # int64 [n], ascending

    def __init__(self, users: npt.NDArray[np.int64], positives: npt.NDArray[np.int64], n_items: int) -> None:
        super().__init__()
        self.n_items = n_items
        keys = users * (n_items + 1) + positives + 1
        order = np.argsort(keys, kind="stable")
        self.register_buffer("order", torch.from_numpy(order), persistent=False)
        self.register_buffer("keys", torch.from_numpy(keys[order]), persistent=False)

    def find(self, users: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the rows of each pair lie in `order`.

        Args:
            users: int64 [B].
            positives: int64 [B].

        Returns:
            (first place, number of rows), int64 [B] each; the number is 0 where nothing was found.
        """
        anything = users * (self.n_items + 1)
        wanted = torch.stack([anything + positives + 1, anything])  # [2, B]
        first = torch.searchsorted(self.keys, wanted)
        count = torch.searchsorted(self.keys, wanted, right=True) - first
        has_own = count[0] > 0
        return torch.where(has_own, first[0], first[1]), torch.where(has_own, count[0], count[1])

    def draw(self, users: Tensor, positives: Tensor, k: int, rng: torch.Generator) -> Tensor:
        """Draw up to k different rows of each pair, int64 [B, k]; -1 where it has no more.

        Where a pair has more than k rows, they follow one another in a ring from a random start.
        """
        first, count = self.find(users, positives)
        start = torch.rand(len(users), generator=rng, device=users.device, dtype=torch.float64) * count
        steps = torch.arange(k, device=users.device)
        places = first[:, None] + (start.long()[:, None] + steps) % count.clamp(min=1)[:, None]
        there = steps < count[:, None]
        if not len(self.order):
            return torch.full_like(places, -1)
        return torch.where(there, self.order[torch.where(there, places, 0)], -1)
