"""Hard by behaviour: an unobserved item in a window of the CF model's ranks.

A window instead of the top: the best-ranked unobserved items are the likeliest false negatives.
"""

from __future__ import annotations

import numpy as np

from hnlmrec.data.interactions import Numbers
from hnlmrec.finetuning.triplets.base import TripletInputs, TripletsConfig, best, draw


def cf_hard(
    inputs: TripletInputs, config: TripletsConfig, users: Numbers, positives: Numbers, rng: np.random.Generator
) -> Numbers:
    """Return an item of the ranks rank_from to rank_to for each pair."""
    del positives  # the same window for all pairs of a user
    distinct, rows = np.unique(users, return_inverse=True)
    items, counts = best(inputs.cf_scores(distinct), config.rank_to)
    return draw(items[:, config.rank_from :], counts[:, config.rank_from :], rows, rng)
