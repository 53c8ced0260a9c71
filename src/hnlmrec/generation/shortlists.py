"""Shortlists: the few catalogue items from which a constrained model chooses a hard negative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from hnlmrec.data.interactions import Interactions, Numbers
from hnlmrec.errors import ConfigError

Scores = npt.NDArray[np.float32]
CandidateScores = Callable[[Numbers, Numbers], Scores]
"""(users [B], positives [B], -1 for none) -> [B, n_items]; the highest come onto the shortlist. A new array."""

ShortlistKind = Literal["random", "popular", "text_neighbours", "scores"]


def candidate_scores(
    kind: ShortlistKind,
    train: Interactions,
    rng: np.random.Generator,
    *,
    item_vectors: Scores | None = None,
    scores: CandidateScores | None = None,
) -> CandidateScores:
    """Return the scores by which a shortlist is drawn.

    Args:
        kind: "random": every item alike; "popular": by popularity, without replacement; "text_neighbours": nearest
            to the positive's text vector (to the mean of the user's train items where there is no positive);
            "scores": what the caller gives, a collaborative model's scores for example.
        train: the train split.
        rng: for the random kinds.
        item_vectors: float32 [n_items, d], for "text_neighbours".
        scores: for "scores".

    Raises:
        ConfigError: what the kind needs is not given.
    """
    if kind == "random":
        return lambda users, _: rng.random((len(users), train.n_items), dtype=np.float32)
    if kind == "popular":
        return _popular(train, rng)
    if kind == "text_neighbours" and item_vectors is not None:
        return _neighbours(train, item_vectors)
    if kind == "scores" and scores is not None:
        return scores
    needed = "the items' text vectors" if kind == "text_neighbours" else "a function that scores items"
    raise ConfigError(f"the shortlist {kind!r} needs {needed}, which was not given.")


def draw_shortlists(
    users: Numbers,
    positives: Numbers,
    *,
    scores: CandidateScores,
    train: Interactions,
    size: int,
    skip: int,
    taken: npt.NDArray[np.bool_] | None,
    rng: np.random.Generator,
) -> list[list[int]]:
    """Return up to `size` items for each (user, positive), in random order, never one of the user's train items.

    Args:
        users: [B].
        positives: [B], -1 for none.
        scores: gives the rank of the items.
        train: the train split.
        size: length of a shortlist; shorter only where the catalogue has no more.
        skip: how many of the best-ranked items are passed over, for a window of ranks.
        taken: [B, n_items], items that may not come again; None for none.
        rng: for the order: small models favour places in a list.
    """
    values = scores(users, positives).astype(np.float32, copy=True)  # [B, n_items]
    for row, user in enumerate(users):
        values[row, train.of(int(user))] = -np.inf
    if taken is not None:
        values[taken] = -np.inf
    top = min(skip + size, train.n_items)
    best = np.argpartition(-values, top - 1, axis=1)[:, :top]
    ranked = np.take_along_axis(best, np.argsort(-np.take_along_axis(values, best, 1), axis=1, kind="stable"), 1)
    return [
        [int(item) for item in rng.permutation(items[skip:]) if np.isfinite(values[row, item])]
        for row, items in enumerate(ranked)
    ]


def _popular(train: Interactions, rng: np.random.Generator) -> CandidateScores:
    popularity = np.log(train.item_degrees + 1.0).astype(np.float32)

    def score(users: Numbers, positives: Numbers) -> Scores:
        del positives
        # The largest of log p + Gumbel noise are a draw by p without replacement.
        noise = rng.gumbel(size=(len(users), train.n_items)).astype(np.float32)
        return np.asarray(popularity + noise, dtype=np.float32)

    return score


def _neighbours(train: Interactions, item_vectors: Scores) -> CandidateScores:
    lengths = np.linalg.norm(item_vectors, axis=1, keepdims=True)
    unit = item_vectors / np.where(lengths > 0, lengths, 1.0)

    def score(users: Numbers, positives: Numbers) -> Scores:
        queries = np.stack(
            [
                unit[positive] if positive >= 0 else unit[train.of(int(user))].sum(axis=0)
                for user, positive in zip(users, positives, strict=True)
            ]
        )
        return np.asarray(queries @ unit.T, dtype=np.float32)

    return score
