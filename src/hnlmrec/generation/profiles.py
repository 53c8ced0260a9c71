"""Profiles of items and of users: P_i = LLM(S_i, D_i), P_u = LLM(S_u, D_u) (arXiv 2504.04726, module 1).

D_i is an item's title and facts, and reviews where there are any; D_u is a user's facts and items of the user's
train split. Nothing held out can enter: a `TextCatalogue` holds train interactions only.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from hnlmrec.config import Config
from hnlmrec.generation.call_counts import remove_counts
from hnlmrec.generation.catalogue import TextCatalogue
from hnlmrec.generation.plan import CallPlan, Prices, plan_rows
from hnlmrec.generation.ray_rows import RowEngine
from hnlmrec.generation.row_file import join_files
from hnlmrec.generation.rows import Progress, RowSummary, RowTask, run_rows
from hnlmrec.llm.cache import CachedChatClient
from hnlmrec.llm.client import CompletionConfig
from hnlmrec.llm.prompts import PromptTemplate, shortened
from hnlmrec.rng import RandomStreams

Kind = Literal["item", "user"]
KINDS: tuple[Kind, ...] = ("item", "user")
_OFTEN = 3


class ProfilesConfig(Config):
    """What the profiles are written from."""

    item_prompt: str = "item_profile"
    """Prompt for items: a name of this package's, or the path of an .md file of your own."""
    user_prompt: str = "user_profile"
    """Prompt for users, likewise."""
    max_history: int = Field(8, ge=1)
    """How many train items of a user the prompt shows; drawn at random where there are more."""
    max_reviews: int = Field(2, ge=0)
    """How many reviews of an item its prompt shows."""
    max_characters: int = Field(300, ge=20)
    """Longest piece of facts or review that a prompt shows; what is longer is cut at a word."""
    use_source_profiles: bool = True
    """Take the source's own profile where it has one, and make no call for it."""

    def templates(self) -> dict[Kind, PromptTemplate]:
        """Return the prompts; their fingerprints belong into the key of what is made with them."""
        return {"item": PromptTemplate.load(self.item_prompt), "user": PromptTemplate.load(self.user_prompt)}


def profile_tasks(
    catalogue: TextCatalogue, kind: Kind, config: ProfilesConfig, streams: RandomStreams
) -> Iterator[RowTask]:
    """Yield a task for each item or user, by number; one whose profile the source gives needs no call."""
    ids = catalogue.item_ids if kind == "item" else catalogue.user_ids
    sources = catalogue.item_profiles if kind == "item" else catalogue.user_profiles
    for number, (id_, source) in enumerate(zip(ids, sources, strict=True)):
        key = {f"{kind}_id": id_}
        if config.use_source_profiles and source and source.strip():
            given = {"summarization": source.strip(), "reasoning": "given by the source"}
            yield RowTask(key, {}, given=given)
        elif kind == "item":
            yield RowTask(key, _item_fields(catalogue, number, config))
        else:
            history = draw_history(catalogue, number, config.max_history, streams)
            yield RowTask(key, _user_fields(catalogue, number, history, config))


def generate_profiles(
    catalogue: TextCatalogue,
    config: ProfilesConfig,
    *,
    client: CachedChatClient,
    completion: CompletionConfig,
    streams: RandomStreams,
    out: Path,
    concurrency: int = 8,
    engine: RowEngine | None = None,
    progress: Progress | None = None,
) -> RowSummary:
    """Write item_profiles.jsonl, user_profiles.jsonl and failures.jsonl; goes on where a kill stopped it.

    Args:
        catalogue: the texts, and the train interactions.
        config: what the prompts show.
        client: the language model.
        completion: the settings of a request.
        streams: "histories" draws the items that a user's prompt shows.
        out: the folder.
        concurrency: number of requests in flight.
        engine: see `run_rows`.
        progress: called as (profiles done, of all).

    Returns:
        the counts over both kinds.
    """
    templates = config.templates()
    total = len(catalogue.item_ids) + len(catalogue.user_ids)
    summary = RowSummary()
    for kind in KINDS:
        summary += run_rows(
            profile_tasks(catalogue, kind, config, streams),
            total,
            template=templates[kind],
            client=client,
            completion=completion,
            out=out / f"{kind}_profiles.jsonl",
            failures=out / f"failures.{kind}.jsonl",
            concurrency=concurrency,
            engine=engine,
            progress=progress,
            already_done=summary.rows,
        )
    join_files([out / f"failures.{kind}.jsonl" for kind in KINDS], out / "failures.jsonl")
    remove_counts([out / f"{kind}_profiles.jsonl" for kind in KINDS])
    return summary


def plan_profiles(
    catalogue: TextCatalogue,
    config: ProfilesConfig,
    *,
    completion: CompletionConfig,
    streams: RandomStreams,
    prices: Prices,
) -> CallPlan:
    """Return what `generate_profiles` would cost at most, repairs apart, without a call."""
    templates = config.templates()
    plans = (
        plan_rows(profile_tasks(catalogue, kind, config, streams), templates[kind], completion, prices)
        for kind in KINDS
    )
    return sum(plans, CallPlan())


def read_profiles(folder: Path, kind: Kind) -> dict[str, str]:
    """Return the summarization of each profiled item or user, by id."""
    with (folder / f"{kind}_profiles.jsonl").open(encoding="utf-8") as file:
        return {row[f"{kind}_id"]: row["summarization"] for row in map(json.loads, file)}


def draw_history(catalogue: TextCatalogue, user: int, size: int, streams: RandomStreams) -> list[int]:
    """Return up to `size` of the user's train items, in random order; each user has a stream of its own."""
    rng = np.random.default_rng([streams.integer("histories"), user])
    return [int(item) for item in rng.permutation(catalogue.train.of(user))[:size]]


def common_facts(catalogue: TextCatalogue, items: Sequence[int]) -> str:
    """Return the terms that most of these items' facts share (genres, categories), the most frequent first."""
    terms = Counter(term for item in items for term in set(re.split(r"\s*[;,|]\s*", catalogue.item_facts[item])))
    often = sorted((-count, term) for term, count in terms.items() if count > 1 and term and not term.isdigit())
    return ", ".join(term for _, term in often[:_OFTEN] if len(term) <= 40)


def shown_item(catalogue: TextCatalogue, item: int, max_characters: int) -> dict[str, str]:
    """Return an item as a prompt's list shows it: its readable name and its facts."""
    return {
        "title": catalogue.names[item],
        "facts": shortened(catalogue.item_facts[item], max_characters),
    }


def _item_fields(catalogue: TextCatalogue, item: int, config: ProfilesConfig) -> dict[str, Any]:
    reviews = catalogue.item_reviews.get(item, [])[: config.max_reviews]
    return {
        **shown_item(catalogue, item, config.max_characters),
        "reviews": [shortened(review, config.max_characters) for review in reviews],
    }


def _user_fields(
    catalogue: TextCatalogue, user: int, history: Sequence[int], config: ProfilesConfig
) -> dict[str, Any]:
    liked = [
        {
            **shown_item(catalogue, item, config.max_characters),
            "review": shortened(catalogue.reviews.get((user, item), ""), config.max_characters),
        }
        for item in history
    ]
    return {
        "facts": shortened(catalogue.user_facts[user], config.max_characters),
        "liked": liked,
        "often": common_facts(catalogue, catalogue.train.of(user).tolist()),
    }
