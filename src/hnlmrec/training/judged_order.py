"""What a judge says of two unobserved items of a user: which one the user would rather have, and how surely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hnlmrec.data.judgements import JudgementTable


@dataclass(frozen=True)
class OrderedPairs:
    """Two judged items for each row of a batch.

    Attributes:
        items: int64 [B, 2].
        targets: float32 [B], the judge's P(the first is preferred to the second).
        known: bool [B]; the judge lists fewer than two items of the others' users, whose rows count for nothing.
    """

    items: Tensor
    targets: Tensor
    known: Tensor

    def of_rows(self, rows: slice) -> OrderedPairs:
        """Return those of some rows."""
        return OrderedPairs(self.items[rows], self.targets[rows], self.known[rows])


class JudgedOrder:
    """Draws two of a user's likeliest unobserved items, and says how surely the judge prefers the first.

    Recognised positives say of a few items that they are liked; this says of all that the judge lists how they
    compare. A judge's scores are the utilities of a choice model, so that P(a rather than b) is
    e^s_a / (e^s_a + e^s_b). A ranking that learns from probabilities of pairs is RankNet's (Burges et al., 2005);
    that they are a stronger model's is ranking distillation (Tang and Wang, 2018). The step is our own.

    Args:
        table: the judgements, at least one.
        n_users: number of users of the data set.
        per_user: the best so many of each user are compared.
        device: of the batches.
    """

    def __init__(self, table: JudgementTable, n_users: int, per_user: int, device: torch.device) -> None:
        best = table.best(per_user)
        counts = np.bincount(best.users, minlength=n_users)
        starts = np.cumsum(counts) - counts
        arrays = (counts, starts, best.items, best.scores)
        self.counts, self.starts, self.items, self.scores = (torch.from_numpy(a).to(device) for a in arrays)

    def draw(self, users: Tensor, rng: torch.Generator) -> OrderedPairs:
        """Draw two different items of each user, all pairs alike.

        Args:
            users: int64 [B].
            rng: on the device of the batch.
        """
        counts = self.counts[users]
        known = counts > 1
        points = torch.rand((2, len(users)), generator=rng, device=rng.device, dtype=torch.float64)
        first = (points[0] * counts).long()
        step = 1 + (points[1] * (counts - 1)).long()  # to another of the user's places
        places = torch.stack([first, (first + step) % counts.clamp(min=1)], dim=1) + self.starts[users, None]
        places = places.clamp(max=len(self.items) - 1)  # of users without a list, which may come last
        scores = self.scores[places]
        return OrderedPairs(self.items[places], torch.sigmoid(scores[:, 0] - scores[:, 1]), known)
