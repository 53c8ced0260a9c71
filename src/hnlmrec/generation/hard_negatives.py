"""Textual hard negatives: Neg = LLM(S_H, D_H), D_H = (user profile, interacted item and its profile).

The text variant of arXiv 2504.04726, module 2. Its known weaknesses: names outside the catalogue, and no sense of
behaviour. Departs from the paper in: the `constrained` mode, where the model chooses from a shortlist, so that no
other name can be written; negatives per user; the grounding of every name, with counts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hnlmrec.artifacts import write_json
from hnlmrec.generation.call_counts import remove_counts
from hnlmrec.generation.catalogue import TextCatalogue
from hnlmrec.generation.grounding import OUTCOMES, Encode, NameMatcher, Outcome, outcome_of
from hnlmrec.generation.negative_config import HardNegativesConfig
from hnlmrec.generation.negative_tasks import Source, negative_tasks
from hnlmrec.generation.plan import CallPlan, Prices, plan_rows
from hnlmrec.generation.ray_rows import RowEngine
from hnlmrec.generation.row_file import join_files
from hnlmrec.generation.rows import Progress, RowSummary, run_rows
from hnlmrec.generation.shortlists import CandidateScores, Scores
from hnlmrec.llm.cache import CachedChatClient
from hnlmrec.llm.client import CompletionConfig
from hnlmrec.rng import RandomStreams

__all__ = [
    "HardNegativesConfig",
    "HardNegativesSummary",
    "generate_hard_negatives",
    "plan_hard_negatives",
    "read_hard_negatives",
]

_PLANNED_PROFILE = "x" * 200  # stands for a profile that is not written yet


@dataclass(frozen=True)
class HardNegativesSummary:
    """What a run did, and what became of the names."""

    rows: RowSummary
    outcomes: Mapping[str, int]


def generate_hard_negatives(
    catalogue: TextCatalogue,
    config: HardNegativesConfig,
    *,
    item_profiles: Mapping[str, str],
    user_profiles: Mapping[str, str],
    client: CachedChatClient,
    completion: CompletionConfig,
    streams: RandomStreams,
    out: Path,
    encode: Encode | None = None,
    item_vectors: Scores | None = None,
    scores: CandidateScores | None = None,
    concurrency: int = 8,
    engine: RowEngine | None = None,
    progress: Progress | None = None,
) -> HardNegativesSummary:
    """Write hard_negatives.jsonl, failures.jsonl and grounding.json into `out`; goes on where a kill stopped it.

    `generated.<rank>.jsonl` holds the replies as they were, and stays. A user without a profile has no hard
    negatives: each of their rows is recorded as failed. An item without a profile is described by its facts.

    Args:
        catalogue: the texts, and the train interactions.
        config: what is asked for.
        item_profiles: summarization by item id.
        user_profiles: summarization by user id.
        client: the language model.
        completion: the settings of a request.
        streams: "pairs", "histories" and "shortlists" are drawn from.
        out: the folder.
        encode: text encoder for the last step of the grounding of free names; None to leave that step out.
        item_vectors: float32 [n_items, d], for the shortlist "text_neighbours".
        scores: for the shortlist "scores".
        concurrency: number of requests in flight.
        engine: see `run_rows`.
        progress: called as (rows done, of all).

    Raises:
        ConfigError: the shortlist needs what was not given.
    """
    source = Source(catalogue, item_profiles, user_profiles, streams, item_vectors, scores)
    template = config.template()
    total = config.k * source.count(config)
    summary = RowSummary()
    earlier: dict[tuple[str, str | None], list[str]] = {}
    for rank in range(1, config.k + 1):
        generated = _generated(out, rank)
        summary += run_rows(
            negative_tasks(source, config, rank, earlier),
            total,
            template=template,
            client=client,
            completion=completion,
            out=generated,
            failures=out / f"failures.{rank}.jsonl",
            concurrency=concurrency,
            engine=engine,
            progress=progress,
            already_done=summary.rows,
        )
        for row in _read_lines(generated):
            earlier.setdefault((row["user_id"], row["positive_id"]), []).append(row["name"])
    join_files([out / f"failures.{rank}.jsonl" for rank in range(1, config.k + 1)], out / "failures.jsonl")
    outcomes = _ground(catalogue, config, encode, out)
    remove_counts([_generated(out, rank) for rank in range(1, config.k + 1)])
    return HardNegativesSummary(summary, outcomes)


def plan_hard_negatives(
    catalogue: TextCatalogue,
    config: HardNegativesConfig,
    *,
    completion: CompletionConfig,
    streams: RandomStreams,
    prices: Prices,
) -> CallPlan:
    """Return what `generate_hard_negatives` would cost at most, repairs apart, without a call.

    Profiles need not be there: each is taken to have 200 characters. Shortlists are planned as random ones.
    """
    profiles = dict.fromkeys((*catalogue.item_ids, *catalogue.user_ids), _PLANNED_PROFILE)
    source = Source(catalogue, profiles, profiles, streams, None, None)
    planned = config.model_copy(update={"shortlist": "random"})
    template = config.template()
    ranks = range(1, config.k + 1)
    plans = (plan_rows(negative_tasks(source, planned, rank, {}), template, completion, prices) for rank in ranks)
    return sum(plans, CallPlan())


def read_hard_negatives(folder: Path, keep: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return the rows of hard_negatives.jsonl whose outcome is kept, in their order."""
    return [row for row in _read_lines(folder / "hard_negatives.jsonl") if row["outcome"] in keep]


def _ground(
    catalogue: TextCatalogue, config: HardNegativesConfig, encode: Encode | None, out: Path
) -> dict[str, int]:
    rows = [row for rank in range(1, config.k + 1) for row in _read_lines(_generated(out, rank))]
    matcher = NameMatcher(
        catalogue.names,
        catalogue.item_titles,
        fuzzy_threshold=config.fuzzy_threshold,
        cosine_threshold=config.cosine_threshold,
        encode=encode,
    )
    matches = matcher.match([row["name"] for row in rows])
    users = {id_: number for number, id_ in enumerate(catalogue.user_ids)}
    items = {id_: number for number, id_ in enumerate(catalogue.item_ids)}
    counts: Counter[str] = Counter()
    target = out / "hard_negatives.jsonl"
    with target.open("w", encoding="utf-8") as file:
        for row, match in zip(rows, matches, strict=True):
            outcome = outcome_of(match, users[row["user_id"]], items.get(row["positive_id"]), catalogue.train)
            counts[outcome] += 1
            item_id = None if match.item is None else catalogue.item_ids[match.item]
            grounded = {**row, "item_id": item_id, "outcome": outcome, "match_score": round(match.score, 4)}
            file.write(json.dumps(grounded, ensure_ascii=False) + "\n")
    outcomes: dict[str, int] = {outcome: counts[outcome] for outcome in OUTCOMES}
    write_json(out / "grounding.json", outcomes)
    return outcomes


def _generated(out: Path, rank: int) -> Path:
    return out / f"generated.{rank}.jsonl"


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)
