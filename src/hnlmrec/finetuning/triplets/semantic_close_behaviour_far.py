"""Near in meaning, far in behaviour: of the items nearest in text to the user's taste, those of low CF score."""

from __future__ import annotations

import math

import numpy as np

from hnlmrec.data.interactions import Numbers
from hnlmrec.finetuning.triplets.base import TripletInputs, TripletsConfig, best, draw


def semantic_close_behaviour_far(
    inputs: TripletInputs, config: TripletsConfig, users: Numbers, positives: Numbers, rng: np.random.Generator
) -> Numbers:
    """Return an item among the n_text nearest to the mean text of train(u), of the kept_share lowest by CF."""
    del positives
    distinct, rows = np.unique(users, return_inverse=True)
    near, counts = best(inputs.text_scores(distinct), config.n_text)  # [U, n_text]
    behaviour = np.take_along_axis(inputs.cf_scores(distinct), near, axis=1)
    order = np.argsort(np.where(counts, behaviour, np.inf), axis=1, kind="stable")
    kept = order[:, : math.ceil(config.kept_share * near.shape[1])]
    return draw(np.take_along_axis(near, kept, axis=1), np.take_along_axis(counts, kept, axis=1), rows, rng)
