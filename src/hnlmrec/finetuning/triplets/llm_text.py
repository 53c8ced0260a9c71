"""The item that a language model named: the text variant of the paper, grounded in the catalogue."""

from __future__ import annotations

import numpy as np

from hnlmrec.data.interactions import Numbers
from hnlmrec.errors import ConfigError
from hnlmrec.finetuning.triplets.base import TripletInputs, TripletsConfig


def llm_text(
    inputs: TripletInputs, config: TripletsConfig, users: Numbers, positives: Numbers, rng: np.random.Generator
) -> Numbers:
    """Return one of the generated items of each pair, or else of its user; -1 where none was grounded.

    Raises:
        ConfigError: no generated negatives were given.
    """
    del config
    table = inputs.generated
    if table is None:
        raise ConfigError("the strategy llm_text needs generated hard negatives, which were not given.")
    rows = table.rows(users, positives, max(table.max_per_pair, 1))  # [B, K]
    items = np.where(rows >= 0, np.append(table.items, -1)[rows], -1)
    usable = (items >= 0) & ~inputs.observed.contains(users[:, None], np.maximum(items, 0))
    chosen = np.argmax(np.where(usable, rng.random(items.shape), -1.0), axis=1)[:, None]
    return np.where(usable.any(axis=1), np.take_along_axis(items, chosen, axis=1)[:, 0], -1)
