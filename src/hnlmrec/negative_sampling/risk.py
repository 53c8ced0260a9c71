"""The guard: how likely it is that a candidate is a false negative, looked up on the device of the batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from hnlmrec.data.judgements import JudgementTable


class RiskLookup(nn.Module):
    """Probabilities p(false negative | u, j) of a table of judgements; zero for a pair that it does not list.

    Args:
        table: the judgements.
        n_items: number of items of the data set.
    """

    keys: Tensor  # int64 [n], user * n_items + item, ascending
    probabilities: Tensor  # float32 [n]

    def __init__(self, table: JudgementTable, n_items: int) -> None:
        super().__init__()
        self.n_items = n_items
        keys = table.users * n_items + table.items
        order = np.argsort(keys, kind="stable")
        self.register_buffer("keys", torch.from_numpy(keys[order]), persistent=False)
        self.register_buffer("probabilities", torch.from_numpy(table.probabilities[order]), persistent=False)

    def at(self, users: Tensor, items: Tensor) -> Tensor:
        """Return the probabilities, float32 of the shape of `items`.

        Args:
            users: int64 [B].
            items: int64 [B, ...].
        """
        if not len(self.keys):
            return torch.zeros(items.shape, device=items.device)
        wanted = users.view(-1, *[1] * (items.dim() - 1)) * self.n_items + items
        places = torch.searchsorted(self.keys, wanted).clamp(max=len(self.keys) - 1)
        return torch.where(self.keys[places] == wanted, self.probabilities[places], 0.0)
