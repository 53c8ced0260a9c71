"""Relevant in both senses, but not chosen: of the window of CF ranks, the items nearest in text to the taste.

The window leaves out the first ranks, so the items are likely ones, yet not those that the model is surest of.
"""

from __future__ import annotations

import math

import numpy as np

from hnlmrec.data.interactions import Numbers
from hnlmrec.finetuning.triplets.base import TripletInputs, TripletsConfig, best, draw


def combined(
    inputs: TripletInputs, config: TripletsConfig, users: Numbers, positives: Numbers, rng: np.random.Generator
) -> Numbers:
    """Return an item of the CF ranks rank_from to rank_to, of the kept_share of them nearest in text."""
    del positives
    distinct, rows = np.unique(users, return_inverse=True)
    items, counts = best(inputs.cf_scores(distinct), config.rank_to)
    items, counts = items[:, config.rank_from :], counts[:, config.rank_from :]
    meaning = np.take_along_axis(inputs.text_scores(distinct), items, axis=1)
    order = np.argsort(np.where(counts, -meaning, np.inf), axis=1, kind="stable")
    kept = order[:, : math.ceil(config.kept_share * items.shape[1])]
    return draw(np.take_along_axis(items, kept, axis=1), np.take_along_axis(counts, kept, axis=1), rows, rng)
