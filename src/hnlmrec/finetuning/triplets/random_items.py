"""No hardness at all: any unobserved item. The control that every other strategy has to beat."""

from __future__ import annotations

import numpy as np

from hnlmrec.data.interactions import Numbers
from hnlmrec.finetuning.triplets.base import TripletInputs, TripletsConfig


def random_items(
    inputs: TripletInputs, config: TripletsConfig, users: Numbers, positives: Numbers, rng: np.random.Generator
) -> Numbers:
    """Return an item that u has not, each equally likely; -1 for a user who has them all."""
    del config, positives
    degrees = inputs.observed.degrees[users]
    ranks = rng.integers(0, np.maximum(inputs.observed.n_items - degrees, 1))
    items = ranks.copy()
    for place, user in enumerate(users):  # the r-th unobserved item: r + the number of observed items up to it
        seen = inputs.observed.of(int(user))
        items[place] += np.searchsorted(seen - np.arange(len(seen)), ranks[place], side="right")
    return np.where(degrees < inputs.observed.n_items, items, -1)
