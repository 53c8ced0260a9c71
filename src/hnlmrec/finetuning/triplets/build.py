"""Triplets (user, interacted item, hard item) for the fine-tuning, from the train split alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.data.interactions import Numbers
from hnlmrec.data.splitting import ranks_within
from hnlmrec.data.tables import read_parquet
from hnlmrec.errors import DataError, lookup
from hnlmrec.finetuning.triplets.base import Strategy, TripletInputs, TripletsConfig
from hnlmrec.finetuning.triplets.cf_hard import cf_hard
from hnlmrec.finetuning.triplets.combined import combined
from hnlmrec.finetuning.triplets.llm_text import llm_text
from hnlmrec.finetuning.triplets.random_items import random_items
from hnlmrec.finetuning.triplets.semantic_close_behaviour_far import semantic_close_behaviour_far
from hnlmrec.rng import RandomStreams

STRATEGIES: dict[str, Strategy] = {
    "cf_hard": cf_hard,
    "semantic_close_behaviour_far": semantic_close_behaviour_far,
    "llm_text": llm_text,
    "combined": combined,
    "random": random_items,
}
_USERS_AT_ONCE = 256  # bounds the scores that are in memory; a constant, since the draws depend on it
_COLUMNS = {"user": pl.Int32, "positive": pl.Int32, "hard": pl.Int32, "held_out": pl.Boolean}


@dataclass(frozen=True, eq=False)
class Triplets:
    """Parallel arrays, one row a triplet, users ascending.

    Attributes:
        users: int32 [n].
        positives: int32 [n], an item that u has.
        hard: int32 [n], an item that u has not.
        held_out: bool [n], kept out of the fine-tuning.
    """

    users: npt.NDArray[np.int32]
    positives: npt.NDArray[np.int32]
    hard: npt.NDArray[np.int32]
    held_out: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.users)

    def part(self, *, held_out: bool) -> Triplets:
        """Return the triplets to learn from, or those that were held out."""
        return self.rows(np.flatnonzero(self.held_out == held_out))

    def rows(self, rows: Numbers) -> Triplets:
        """Return these rows."""
        return Triplets(self.users[rows], self.positives[rows], self.hard[rows], self.held_out[rows])

    def save(self, folder: Path) -> None:
        """Write triplets.parquet: numbers of the prepared data set, and held_out."""
        columns = {"user": self.users, "positive": self.positives, "hard": self.hard, "held_out": self.held_out}
        folder.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(columns, schema=_COLUMNS).write_parquet(folder / "triplets.parquet")

    @classmethod
    def load(cls, folder: Path) -> Triplets:
        """Read what `save` wrote."""
        frame = read_parquet(folder / "triplets.parquet", list(_COLUMNS))
        return cls(*(frame[name].cast(kind).to_numpy() for name, kind in _COLUMNS.items()))


def build_triplets(inputs: TripletInputs, config: TripletsConfig, streams: RandomStreams) -> Triplets:
    """Choose a hard item for interacted pairs.

    Args:
        inputs: the train split and the tables; nothing held out of training is in it, so nothing of that can
            reach a triplet.
        config: see `TripletsConfig`.
        streams: "triplets" draws hard items and pairs, "triplets_held_out" what is held out.

    Returns:
        at most max_pairs_per_user triplets for each user. Pairs for which the strategy has no hard item are left
        out.

    Raises:
        DataError: no pair has a hard item.
        ConfigError: the strategy needs a table that was not given.
    """
    strategy = lookup(STRATEGIES, config.strategy, "strategy")
    rng = streams.generator("triplets")
    pairs = inputs.train if inputs.pairs is None else inputs.pairs
    parts = []
    for start in range(0, pairs.n_users, _USERS_AT_ONCE):
        chunk = slice(pairs.indptr[start], pairs.indptr[min(start + _USERS_AT_ONCE, pairs.n_users)])
        users, positives = pairs.users[chunk].astype(np.int64), pairs.indices[chunk].astype(np.int64)
        hard = strategy(inputs, config, users, positives, rng) if len(users) else users
        kept = _limited(users, hard, config.max_pairs_per_user, rng)
        parts.append(np.stack([users, positives, hard])[:, kept].astype(np.int32))
    users32, positives32, hard32 = np.concatenate(parts, axis=1)
    if not len(users32):
        raise DataError(
            f"the strategy {config.strategy!r} found no hard item for any of {len(pairs)} pairs. Widen rank_from "
            "and rank_to, or give generated negatives that are grounded in the catalogue."
        )
    held_out = _held_out(users32, config, streams.generator("triplets_held_out"))
    return Triplets(users32, positives32, hard32, held_out)


def _limited(users: Numbers, hard: Numbers, limit: int | None, rng: np.random.Generator) -> Numbers:
    """Return the rows that have a hard item, at most `limit` of each user, ascending."""
    rows = np.flatnonzero(hard >= 0)
    if limit is None:
        return rows
    return rows[ranks_within(users[rows], rng.random(len(rows)))[1] < limit]


def _held_out(
    users: npt.NDArray[np.int32], config: TripletsConfig, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    if config.hold_out == "pairs":
        return rng.permutation(len(users)) < config.held_out_share * len(users)
    distinct, rows = np.unique(users, return_inverse=True)
    return (rng.permutation(len(distinct)) < config.held_out_share * len(distinct))[rows]
