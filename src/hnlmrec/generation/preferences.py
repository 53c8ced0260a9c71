"""Preferences: of a few unobserved items, which a user would like most and which least.

The augmentation of implicit feedback of LLMRec (Wei et al., WSDM 2024): the language model sees items of the
user's history and candidates, and picks one of each kind. Departs from the paper in: names in place of numbers in
the list, held to by the JSON schema; rows that resume and are counted; train items alone in the history.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from pydantic import Field

from hnlmrec.config import Config
from hnlmrec.data.interactions import Numbers
from hnlmrec.generation.call_counts import remove_counts
from hnlmrec.generation.catalogue import TextCatalogue
from hnlmrec.generation.plan import CallPlan, Prices, plan_rows
from hnlmrec.generation.profiles import draw_history, shown_item
from hnlmrec.generation.ray_rows import RowEngine
from hnlmrec.generation.rows import Progress, RowSummary, RowTask, run_rows
from hnlmrec.generation.shortlists import (
    CandidateScores,
    Scores,
    ShortlistKind,
    candidate_scores,
    draw_shortlists,
)
from hnlmrec.llm.cache import CachedChatClient
from hnlmrec.llm.client import CompletionConfig
from hnlmrec.llm.prompts import PromptTemplate
from hnlmrec.rng import RandomStreams

FILE = "preferences.jsonl"
_CHUNK = 256  # users whose shortlists are drawn together: [256, n_items] scores at once


class PreferencesConfig(Config):
    """What the language model chooses from."""

    prompt: str = "preference"
    """Name of a prompt, or the path of an .md file of your own."""
    shortlist: ShortlistKind = "scores"
    """Where the candidates come from: `scores` takes those that a CF model ranks highest, as in the paper (the
    model of the section [pretrain], trained on the whole train split); `text_neighbours` those nearest to the mean
    text of the user's train items; `popular`; `random`."""
    shortlist_size: int = Field(10, ge=2)
    """Number of candidates."""
    shortlist_skip: int = Field(0, ge=0)
    """How many of the best-ranked items are passed over, for a window of ranks."""
    max_history: int = Field(8, ge=1)
    """How many train items of a user the prompt shows; drawn at random where there are more."""
    max_characters: int = Field(80, ge=20)
    """Longest piece of an item's facts that the prompt shows."""

    def template(self) -> PromptTemplate:
        """Return the prompt; its fingerprint belongs into the key of what is made with it."""
        return PromptTemplate.load(self.prompt)


@dataclass(frozen=True, eq=False)
class PreferenceRows:
    """What was picked, by number: int64 [n] each, as `PreferenceTable` holds them."""

    users: Numbers
    liked: Numbers
    disliked: Numbers


def generate_preferences(
    catalogue: TextCatalogue,
    config: PreferencesConfig,
    *,
    client: CachedChatClient,
    completion: CompletionConfig,
    streams: RandomStreams,
    out: Path,
    item_vectors: Scores | None = None,
    scores: CandidateScores | None = None,
    concurrency: int = 8,
    engine: RowEngine | None = None,
    progress: Progress | None = None,
) -> RowSummary:
    """Write preferences.jsonl (user_id, liked, disliked: names) and failures.jsonl; resumes after a kill.

    Users without train items are left out.

    Args:
        catalogue: the texts, and the train interactions.
        config: what is asked for.
        client: the language model.
        completion: the settings of a request.
        streams: "histories" and "shortlists" are drawn from.
        out: the folder.
        item_vectors: float32 [n_items, d], for the shortlist "text_neighbours".
        scores: for the shortlist "scores".
        concurrency: number of requests in flight.
        engine: see `run_rows`.
        progress: called as (rows done, of all).

    Raises:
        ConfigError: the shortlist needs what was not given.
    """
    summary = run_rows(
        preference_tasks(catalogue, config, streams, item_vectors=item_vectors, scores=scores),
        int((catalogue.train.degrees > 0).sum()),
        template=config.template(),
        client=client,
        completion=completion,
        out=out / FILE,
        failures=out / "failures.jsonl",
        concurrency=concurrency,
        engine=engine,
        progress=progress,
    )
    remove_counts([out / FILE])
    return summary


def plan_preferences(
    catalogue: TextCatalogue,
    config: PreferencesConfig,
    *,
    completion: CompletionConfig,
    streams: RandomStreams,
    prices: Prices,
) -> CallPlan:
    """Return what `generate_preferences` would cost at most, repairs apart; shortlists are planned as random."""
    planned = config.model_copy(update={"shortlist": "random"})
    return plan_rows(preference_tasks(catalogue, planned, streams), config.template(), completion, prices)


def preference_tasks(
    catalogue: TextCatalogue,
    config: PreferencesConfig,
    streams: RandomStreams,
    *,
    item_vectors: Scores | None = None,
    scores: CandidateScores | None = None,
) -> Iterator[RowTask]:
    """Yield a task for each user with train items, by number; the same ones in every call.

    Raises:
        ConfigError: the shortlist needs what was not given.
    """
    train = catalogue.train
    rng = np.random.default_rng([streams.integer("shortlists"), 0])
    ranking = candidate_scores(config.shortlist, train, rng, item_vectors=item_vectors, scores=scores)
    users = iter(np.flatnonzero(train.degrees).tolist())
    while chunk := list(islice(users, _CHUNK)):
        shortlists = draw_shortlists(
            np.array(chunk, dtype=np.int64),
            np.full(len(chunk), -1, dtype=np.int64),
            scores=ranking,
            train=train,
            size=config.shortlist_size,
            skip=config.shortlist_skip,
            taken=None,
            rng=rng,
        )
        for user, candidates in zip(chunk, shortlists, strict=True):
            yield _task(catalogue, config, streams, user, candidates)


def read_preferences(folder: Path, catalogue: TextCatalogue) -> PreferenceRows:
    """Return the rows of preferences.jsonl by number."""
    users = {id_: number for number, id_ in enumerate(catalogue.user_ids)}
    items = {name: number for number, name in enumerate(catalogue.names)}
    with (folder / FILE).open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return PreferenceRows(
        np.array([users[row["user_id"]] for row in rows], dtype=np.int64),
        np.array([items[row["liked"]] for row in rows], dtype=np.int64),
        np.array([items[row["disliked"]] for row in rows], dtype=np.int64),
    )


def _task(
    catalogue: TextCatalogue, config: PreferencesConfig, streams: RandomStreams, user: int, candidates: list[int]
) -> RowTask:
    key = {"user_id": catalogue.user_ids[user]}
    if len(candidates) < 2:
        return RowTask(key, {}, problem=f"the shortlist has {len(candidates)} items, and two are needed.")
    history = draw_history(catalogue, user, config.max_history, streams)
    fields = {
        name: [shown_item(catalogue, item, config.max_characters) for item in items]
        for name, items in (("chosen", history), ("candidates", candidates))
    }
    return RowTask(key, fields, tuple(catalogue.names[item] for item in candidates))
