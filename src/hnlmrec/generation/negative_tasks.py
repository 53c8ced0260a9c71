"""The rows of the hard-negative stage: which pairs, what each prompt shows, and from which names it may choose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hnlmrec.generation.catalogue import TextCatalogue
from hnlmrec.generation.negative_config import HardNegativesConfig
from hnlmrec.generation.profiles import draw_history, shown_item
from hnlmrec.generation.rows import RowTask
from hnlmrec.generation.shortlists import CandidateScores, Scores, candidate_scores, draw_shortlists
from hnlmrec.rng import RandomStreams

Earlier = Mapping[tuple[str, str | None], Sequence[str]]
"""Names that earlier ranks gave, by (user id, positive id)."""

_CHUNK = 256  # keys whose shortlists are drawn together: [256, n_items] scores at once


@dataclass(frozen=True, eq=False)
class Source:
    """All that the tasks are made from; see `generate_hard_negatives`."""

    catalogue: TextCatalogue
    item_profiles: Mapping[str, str]
    user_profiles: Mapping[str, str]
    streams: RandomStreams
    item_vectors: Scores | None
    scores: CandidateScores | None

    @cached_property
    def item_of(self) -> Mapping[str, int]:
        """The item number of each unique name."""
        return {name: item for item, name in enumerate(self.catalogue.names)}

    def keys(self, config: HardNegativesConfig) -> Iterator[tuple[int, int]]:
        """Yield (user, positive); the positive is -1 per user. Users without train items have none."""
        train = self.catalogue.train
        for user in range(train.n_users):
            items = train.of(user)
            if config.granularity == "per_user":
                if len(items):
                    yield user, -1
            else:
                rng = np.random.default_rng([self.streams.integer("pairs"), user])
                for item in np.sort(rng.permutation(items)[: config.max_pairs_per_user]).tolist():
                    yield user, item

    def count(self, config: HardNegativesConfig) -> int:
        """Return the number of keys."""
        if config.granularity == "per_user":
            return int((self.catalogue.train.degrees > 0).sum())
        most = config.max_pairs_per_user
        degrees = self.catalogue.train.degrees
        return int((degrees if most is None else np.minimum(degrees, most)).sum())


def negative_tasks(source: Source, config: HardNegativesConfig, rank: int, earlier: Earlier) -> Iterator[RowTask]:
    """Yield the tasks of one rank, in the order of the users and their items.

    Raises:
        ConfigError: the shortlist needs what was not given.
    """
    keys = source.keys(config)
    if config.mode == "free":
        for key in keys:
            yield _task(source, config, rank, key, earlier=earlier, candidates=None)
        return
    rng = np.random.default_rng([source.streams.integer("shortlists"), rank])
    scores = candidate_scores(
        config.shortlist, source.catalogue.train, rng, item_vectors=source.item_vectors, scores=source.scores
    )
    for chunk in _chunks(keys):
        shortlists = draw_shortlists(
            np.array([user for user, _ in chunk], dtype=np.int64),
            np.array([positive for _, positive in chunk], dtype=np.int64),
            scores=scores,
            train=source.catalogue.train,
            size=config.shortlist_size,
            skip=config.shortlist_skip,
            taken=_taken(source, chunk, earlier),
            rng=rng,
        )
        for key, items in zip(chunk, shortlists, strict=True):
            yield _task(source, config, rank, key, earlier=earlier, candidates=items)


def _chunks(keys: Iterator[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    chunk: list[tuple[int, int]] = []
    for key in keys:
        chunk.append(key)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _taken(source: Source, chunk: Sequence[tuple[int, int]], earlier: Earlier) -> npt.NDArray[np.bool_]:
    taken = np.zeros((len(chunk), source.catalogue.train.n_items), dtype=np.bool_)
    for row, key in enumerate(chunk):
        taken[row, [source.item_of[name] for name in earlier.get(_ids(source, *key), ())]] = True
    return taken


def _task(
    source: Source,
    config: HardNegativesConfig,
    rank: int,
    pair: tuple[int, int],
    *,
    earlier: Earlier,
    candidates: Sequence[int] | None,
) -> RowTask:
    user, positive = pair
    catalogue = source.catalogue
    user_id, positive_id = _ids(source, user, positive)
    key = {"user_id": user_id, "positive_id": positive_id, "rank": rank}
    profile = source.user_profiles.get(user_id)
    if profile is None:
        return RowTask(key, {}, problem=f"the user {user_id!r} has no profile.")
    if candidates is not None and not candidates:
        return RowTask(key, {}, problem="no item is left for the shortlist.")
    fields: dict[str, Any] = {
        "user_profile": profile,
        "positive": _positive(source, positive) if positive >= 0 else None,
        "liked": [],
        "avoid": list(earlier.get((user_id, positive_id), ())),
        "candidates": [shown_item(catalogue, item, config.max_characters) for item in candidates or ()],
    }
    if positive < 0:
        history = draw_history(catalogue, user, config.max_history, source.streams)
        fields["liked"] = [shown_item(catalogue, item, config.max_characters) for item in history]
    names = None if candidates is None else tuple(catalogue.names[item] for item in candidates)
    return RowTask(key, fields, names)


def _positive(source: Source, item: int) -> dict[str, str]:
    catalogue = source.catalogue
    about = source.item_profiles.get(catalogue.item_ids[item]) or catalogue.item_facts[item]
    return {"title": catalogue.names[item], "profile": about or catalogue.names[item]}


def _ids(source: Source, user: int, positive: int) -> tuple[str, str | None]:
    catalogue = source.catalogue
    return catalogue.user_ids[user], None if positive < 0 else catalogue.item_ids[positive]
