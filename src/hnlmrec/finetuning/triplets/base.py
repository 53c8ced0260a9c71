"""What a strategy of choosing hard items is to `build_triplets`, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from hnlmrec.config import Config
from hnlmrec.data.embeddings import HardNegativeTable, unit_rows
from hnlmrec.data.interactions import Interactions, Numbers
from hnlmrec.errors import ConfigError, DataError

Floats = npt.NDArray[np.float32]
Strategy = Callable[["TripletInputs", "TripletsConfig", Numbers, Numbers, np.random.Generator], Numbers]
"""(inputs, config, users [B] ascending, positives [B], rng) -> hard items [B], -1 where there is none."""


class TripletsConfig(Config):
    """Which items become the hard ones, and for which pairs."""

    strategy: Literal["cf_hard", "semantic_close_behaviour_far", "llm_text", "combined", "random"] = "combined"
    """How the hard item of a pair is chosen; see the table STRATEGIES."""
    rank_from: int = Field(10, ge=0)
    """Best-ranked unobserved items of the CF model that are passed over: the likeliest false negatives."""
    rank_to: int = Field(200, ge=1)
    """End of the window of CF ranks, exclusive."""
    n_text: int = Field(200, ge=1)
    """How many unobserved items nearest in text to the user's taste `semantic_close_behaviour_far` looks at."""
    kept_share: float = Field(0.25, gt=0, le=1)
    """Part of those items that is kept: of `semantic_close_behaviour_far` the lowest by CF score, of `combined`
    the part of the CF window that is nearest in text."""
    max_pairs_per_user: int | None = Field(8, ge=1)
    """Interacted items of a user that get a triplet, drawn at random; null for all."""
    held_out_share: float = Field(0.1, ge=0, lt=1)
    """Part of the triplets that is kept out of the fine-tuning, to measure it."""
    hold_out: Literal["users", "pairs"] = "users"
    """Whether whole users are held out, so that nothing of them is seen, or single pairs."""

    @model_validator(mode="after")
    def _window_is_not_empty(self) -> TripletsConfig:
        if self.rank_to <= self.rank_from:
            raise ValueError(f"rank_to ({self.rank_to}) must be larger than rank_from ({self.rank_from})")
        return self


@dataclass(frozen=True, eq=False)
class TripletInputs:
    """What triplets are made from: one train split, and tables that were made from it.

    No item that u has, by `train` or by `pairs`, becomes a hard item of u.

    Attributes:
        train: the train split, or the part of it that the tables were made from.
        users: float32 [n_users, d], CF vectors by number.
        items: float32 [n_items, d].
        item_texts: [n_items, d_text], text vectors of the items, for strategies that need them.
        generated: grounded hard negatives of the text variant, for `llm_text`; only its numbers are read.
        pairs: the interacted pairs that get triplets; None for all of `train`. Better than these are pairs that
            were held out of train before the CF model was pre-trained, since a vector that was trained on a pair
            gives the pair away. Never pairs of the validation or test split.
    """

    train: Interactions
    users: Floats
    items: Floats
    item_texts: npt.NDArray[np.floating] | None = None
    generated: HardNegativeTable | None = None
    pairs: Interactions | None = None

    def __post_init__(self) -> None:
        if (len(self.users), len(self.items)) != (self.train.n_users, self.train.n_items):
            raise DataError(
                f"the train split has {self.train.n_users} users and {self.train.n_items} items, the CF vectors "
                f"are of {len(self.users)} and {len(self.items)}. Pre-train on the same prepared data set."
            )
        if self.item_texts is not None and len(self.item_texts) != self.train.n_items:
            raise DataError(
                f"the train split has {self.train.n_items} items, {len(self.item_texts)} have text vectors. "
                "Encode the items of the same prepared data set."
            )
        if self.pairs is not None and (self.pairs.n_users, self.pairs.n_items) != (
            self.train.n_users,
            self.train.n_items,
        ):
            raise DataError(
                f"the pairs are of {self.pairs.n_users} users and {self.pairs.n_items} items, the train split of "
                f"{self.train.n_users} and {self.train.n_items}. Take both from the same prepared data set."
            )

    @cached_property
    def observed(self) -> Interactions:
        """All pairs of `train` and of `pairs`."""
        return self.train if self.pairs is None else joined(self.train, self.pairs.users, self.pairs.indices)

    @cached_property
    def unit_texts(self) -> Floats:
        """Text vectors of length 1, float32 [n_items, d_text]; a row of zeros stays so.

        Raises:
            ConfigError: they were not given.
        """
        if self.item_texts is None:
            raise ConfigError(
                "this strategy needs text vectors of the items, which were not given. Encode the items first, or "
                "choose the strategy cf_hard or random."
            )
        return unit_rows(self.item_texts)

    def cf_scores(self, users: Numbers) -> Floats:
        """Return the CF scores of these users, float32 [U, n_items], -inf at items that they have."""
        return self._unobserved(users, np.asarray(self.users[users] @ self.items.T, dtype=np.float32))

    def text_scores(self, users: Numbers) -> Floats:
        """Return cosines of the mean text of the train items and each item, [U, n_items], -inf likewise."""
        tastes = np.zeros((len(users), self.unit_texts.shape[1]), dtype=np.float32)
        for row, user in enumerate(users):
            tastes[row] = self.unit_texts[self.train.of(int(user))].sum(axis=0)
        norms = np.linalg.norm(tastes, axis=1, keepdims=True)
        return self._unobserved(users, tastes @ self.unit_texts.T / np.maximum(norms, 1e-12))

    def _unobserved(self, users: Numbers, scores: Floats) -> Floats:
        scores[self.observed.cells(users)] = -np.inf
        return scores


def joined(interactions: Interactions, users: npt.ArrayLike, items: npt.ArrayLike) -> Interactions:
    """Return the interactions together with these pairs, parallel arrays of numbers."""
    return Interactions.from_pairs(
        np.concatenate([interactions.users, np.asarray(users)]),
        np.concatenate([interactions.indices, np.asarray(items)]),
        interactions.n_users,
        interactions.n_items,
    )


def best(scores: Floats, n: int) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """Return the n best columns of each row, best first, [U, n'], and which of them count (score above -inf)."""
    n = min(n, scores.shape[1])
    columns = np.argpartition(-scores, n - 1, axis=1)[:, :n]
    found = np.take_along_axis(scores, columns, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    columns = np.take_along_axis(columns, order, axis=1)
    return columns.astype(np.int64), np.take_along_axis(found, order, axis=1) > -np.inf


def draw(candidates: Numbers, counts: npt.NDArray[np.bool_], rows: Numbers, rng: np.random.Generator) -> Numbers:
    """Draw a candidate for each pair; the pairs of one user get different ones as long as there are enough.

    Args:
        candidates: int64 [U, C], items.
        counts: bool [U, C], which candidates may be drawn.
        rows: int64 [B] ascending, the row of `candidates` of each pair.
        rng: decides the draw.

    Returns:
        int64 [B], -1 where a user has no candidate.
    """
    if not candidates.shape[1]:
        return np.full(len(rows), -1, dtype=np.int64)
    keys = np.where(counts, rng.random(candidates.shape), np.inf)
    shuffled = np.take_along_axis(candidates, np.argsort(keys, axis=1), axis=1)
    n = counts.sum(axis=1)[rows]
    first = np.searchsorted(rows, rows, side="left")
    places = (np.arange(len(rows)) - first) % np.maximum(n, 1)  # the number of the pair among its user's
    return np.where(n > 0, shuffled[rows, places], -1)
