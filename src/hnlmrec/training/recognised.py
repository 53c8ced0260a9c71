"""Recognised false negatives as positives: pairs that a judge believes in, drawn beside the observed ones."""

from __future__ import annotations

import numpy as np
import torch

from hnlmrec.data.judgements import JudgementTable
from hnlmrec.models.base import Batch
from hnlmrec.training.config import TrainingConfig


class RecognisedPositives:
    """Draws (user, item) pairs from the judge's best unobserved items of each user.

    Our own step, not of a publication: a false negative that is recognised is worth more as a positive than as an
    avoided negative. A pair is drawn in proportion to its weight, so no loss has to know of weights.

    Args:
        table: the judgements; the best `recognised_per_user` of each user are used.
        config: the fields whose names begin with `recognised_` are read; the share is a number.
        device: of the batches.
    """

    def __init__(self, table: JudgementTable, config: TrainingConfig, device: torch.device) -> None:
        best = table.best(config.recognised_per_user)
        weights = np.bincount(best.items)[best.items] ** -config.recognised_evenness
        if config.recognised_weighting == "probability":
            weights *= best.probabilities
        assert config.recognised_share != "auto"  # resolved
        self.share = config.recognised_share
        self.users = torch.from_numpy(best.users).to(device)
        self.items = torch.from_numpy(best.items).to(device)
        # The inverse distribution function, by bisection.
        self.cumulative = torch.from_numpy(weights.cumsum()).to(device)

    def extend(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Add drawn pairs, so that they make up `recognised_share` of the batch.

        Args:
            batch: the observed positives, B of them.
            rng: on the device of the batch.

        Returns:
            The B observed pairs first, then B share / (1 - share) drawn ones.
        """
        n = round(len(batch.users) * self.share / (1 - self.share))
        points = torch.rand(n, generator=rng, device=rng.device, dtype=torch.float64) * self.cumulative[-1]
        rows = torch.searchsorted(self.cumulative, points, right=True).clamp(max=len(self.cumulative) - 1)
        return Batch(torch.cat([batch.users, self.users[rows]]), torch.cat([batch.positives, self.items[rows]]))
