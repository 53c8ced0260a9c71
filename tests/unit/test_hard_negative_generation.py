"""Hard negatives: pairs, shortlists, both modes, ranks, resume, grounding and counts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from text_world import CONFIG, TITLES, TRAIN, prepared

from hnlmrec.errors import ConfigError, ProviderError
from hnlmrec.generation.catalogue import TextCatalogue
from hnlmrec.generation.hard_negatives import (
    HardNegativesConfig,
    HardNegativesSummary,
    generate_hard_negatives,
    plan_hard_negatives,
    read_hard_negatives,
)
from hnlmrec.generation.plan import Prices
from hnlmrec.llm.cache import CachedChatClient
from hnlmrec.llm.client import CompletionConfig, Message
from hnlmrec.llm.scripted import Script, ScriptedChatClient
from hnlmrec.rng import RandomStreams

USERS = {"u0": "Likes comedy.", "u1": "Likes horror.", "u2": "Likes space."}


def name_reply(name: str) -> str:
    return json.dumps({"name": name, "reasoning": "It shares much."})


def first_choice(messages: Sequence[Message], config: CompletionConfig) -> str:
    assert config.json_schema is not None
    return name_reply(config.json_schema["properties"]["name"]["enum"][0])


class World:
    def __init__(self, folder: Path) -> None:
        self.catalogue = TextCatalogue.load(prepared(folder / "data"))
        self.out = folder / "out"
        self.client = ScriptedChatClient(first_choice)

    def run(
        self,
        script: Script = first_choice,
        *,
        users: dict[str, str] | None = None,
        inputs: Any = None,
        **settings: Any,
    ) -> HardNegativesSummary:
        self.client = ScriptedChatClient(script)
        return generate_hard_negatives(
            self.catalogue,
            HardNegativesConfig(**settings),
            item_profiles={"i0": "A film about toys."},
            user_profiles=USERS if users is None else users,
            client=CachedChatClient(self.client, None),
            completion=CONFIG,
            streams=RandomStreams(0),
            out=self.out,
            **{"concurrency": 1, **(inputs or {})},  # tests read the requests in their order
        )

    def rows(self) -> list[dict[str, Any]]:
        return read_hard_negatives(self.out, ("catalogue", "observed", "copied_positive", "off_catalogue"))

    def shortlists(self) -> list[list[str]]:
        return [config.json_schema["properties"]["name"]["enum"] for _, config in self.client.requests]  # type: ignore[index]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_constrained_names_are_catalogue_items_that_the_user_lacks(world: World) -> None:
    summary = world.run(max_pairs_per_user=None)
    rows = world.rows()
    assert [(row["user_id"], row["positive_id"]) for row in rows] == [(f"u{u}", f"i{i}") for u, i in TRAIN]
    assert list(rows[0]) == [
        "user_id",
        "positive_id",
        "rank",
        "name",
        "reasoning",
        "item_id",
        "outcome",
        "match_score",
    ]
    seen = {(f"u{u}", f"i{i}") for u, i in TRAIN}
    assert all((row["user_id"], row["item_id"]) not in seen for row in rows)
    assert {row["match_score"] for row in rows} == {1.0}
    assert summary.outcomes == {"catalogue": 7, "observed": 0, "copied_positive": 0, "off_catalogue": 0}
    assert json.loads((world.out / "grounding.json").read_text()) == summary.outcomes
    for row in rows:
        assert world.catalogue.names[int(row["item_id"][1:])] == row["name"]


def test_the_prompt_lists_the_shortlist_and_the_pair(world: World) -> None:
    world.run(shortlist_size=3)
    for messages, config in world.client.requests:
        content = messages[-1].content
        shown = re.findall(r"^candidate: (.*?)(?: \(\d{4};.*)?$", content, re.MULTILINE)
        assert config.json_schema is not None
        assert shown == config.json_schema["properties"]["name"]["enum"]
        assert len(shown) == 3
        assert "profile: Likes" in content
        assert "chose: " in content


def test_later_ranks_never_repeat_a_name(world: World) -> None:
    summary = world.run(k=3, max_pairs_per_user=1, shortlist_size=7)
    assert summary.rows.succeeded == 9
    for user in USERS:
        rows = [row for row in world.rows() if row["user_id"] == user]
        assert sorted(row["rank"] for row in rows) == [1, 2, 3]
        assert len({row["item_id"] for row in rows}) == 3


def test_free_mode_tells_the_names_that_were_given(world: World) -> None:
    names = iter(["Heat", "Ran", "Big"] * 10)
    world.run(lambda messages, config: name_reply(next(names)), mode="free", k=2, max_pairs_per_user=1)
    later = [messages[-1].content for messages, _ in world.client.requests[3:]]
    assert all("already named: " in content for content in later)


def test_per_user_has_no_positive(world: World) -> None:
    summary = world.run(granularity="per_user", k=2)
    assert summary.rows.requests == 6
    assert {row["positive_id"] for row in world.rows()} == {None}
    contents = [messages[-1].content for messages, _ in world.client.requests]
    assert sum(content.count("chose: ") for content in contents) == 2 * len(TRAIN)


def test_free_names_are_grounded_and_counted(world: World) -> None:
    by_positive = {
        "Toy Story": "toy story (1995)",
        "GoldenEye": "Farg",
        "Twins (no. i6)": "The Balloon, White",
        "Fargo": "Scream!",
        "Scream": "A film that nobody made",
        "Alien": "CONTACT",
        "Contact": "Contact 2",
    }

    def script(messages: Sequence[Message], config: CompletionConfig) -> str:
        positive = re.search(r"^chose: (.*)$", messages[-1].content, re.MULTILINE)
        assert positive
        return name_reply(by_positive[positive[1]])

    summary = world.run(script, mode="free", max_pairs_per_user=None)
    found = {(row["user_id"], row["positive_id"]): (row["item_id"], row["outcome"]) for row in world.rows()}
    assert found == {
        ("u0", "i0"): ("i0", "copied_positive"),
        ("u0", "i1"): (None, "off_catalogue"),
        ("u0", "i6"): ("i2", "catalogue"),
        ("u1", "i3"): ("i4", "observed"),
        ("u1", "i4"): (None, "off_catalogue"),
        ("u1", "i5"): ("i9", "catalogue"),
        ("u2", "i9"): (None, "off_catalogue"),
    }
    assert summary.outcomes == {"catalogue": 2, "observed": 1, "copied_positive": 1, "off_catalogue": 3}
    kept = read_hard_negatives(world.out, HardNegativesConfig().keep)
    assert {row["outcome"] for row in kept} == {"catalogue", "off_catalogue"}


def test_a_rerun_asks_for_nothing_and_writes_the_same(world: World) -> None:
    world.run(k=2)
    before = {path.name: path.read_bytes() for path in world.out.iterdir()}
    summary = world.run(k=2)
    assert summary.rows.requests == 0
    assert {path.name: path.read_bytes() for path in world.out.iterdir()} == before


def test_users_without_a_profile_are_recorded_as_failed(world: World) -> None:
    summary = world.run(users={"u1": "Likes horror."}, max_pairs_per_user=1)
    assert (summary.rows.succeeded, summary.rows.failed, summary.rows.requests) == (1, 2, 1)
    failures = [json.loads(line) for line in (world.out / "failures.jsonl").read_text().splitlines()]
    assert [failure["user_id"] for failure in failures] == ["u0", "u2"]
    assert "no profile" in failures[0]["message"]


def test_a_shortlist_may_be_as_long_as_the_catalogue_but_no_longer(world: World) -> None:
    world.run(shortlist_size=1000)
    degrees = world.catalogue.train.degrees
    assert sorted({len(names) for names in world.shortlists()}) == sorted({len(TITLES) - int(d) for d in degrees})


def test_no_row_at_all_is_told(world: World) -> None:
    with pytest.raises(ProviderError, match="DataError: no item is left"):
        world.run(shortlist_skip=1000)
    assert world.client.requests == []
    with pytest.raises(ProviderError, match="has no profile"):
        world.run(users={})
    assert not (world.out / "hard_negatives.jsonl").exists()


def test_a_later_rank_may_run_out_of_items(world: World) -> None:
    summary = world.run(k=9, shortlist_size=1000, max_pairs_per_user=1)
    left = sum(len(TITLES) - int(degree) for degree in world.catalogue.train.degrees)
    assert (summary.rows.succeeded, summary.rows.failed) == (left, 27 - left)
    assert "no item is left" in (world.out / "failures.jsonl").read_text()


def test_a_later_rank_that_fails_throughout_is_told(world: World) -> None:
    def first_three(messages: Sequence[Message], config: CompletionConfig) -> str:
        return first_choice(messages, config) if len(world.client.requests) <= 3 else "no JSON"

    with pytest.raises(ProviderError, match="ReplyError"):
        world.run(first_three, k=2, max_pairs_per_user=1)
    summary = world.run(k=2, max_pairs_per_user=1)
    assert (summary.rows.resumed, summary.rows.succeeded) == (3, 3)
    assert (
        summary.rows.counts()["all_calls"]["requests"] == 3 + 2 * 3 + 3
    )  # each bad reply was to be repaired once
    assert not list(world.out.glob("*.calls.json"))


def test_scores_and_text_vectors_choose_the_shortlist(world: World) -> None:
    def likes_high_numbers(users: Any, positives: Any) -> Any:
        return np.tile(np.arange(10, dtype=np.float32), (len(users), 1))

    inputs = {"scores": likes_high_numbers}
    world.run(shortlist="scores", shortlist_size=2, shortlist_skip=1, max_pairs_per_user=1, inputs=inputs)
    names = world.catalogue.names
    assert [set(found) for found in world.shortlists()] == [
        {names[8], names[7]},
        {names[8], names[7]},
        {names[7], names[6]},  # the user has item 9
    ]


def test_text_neighbours_are_near_to_the_positive(world: World) -> None:
    angles = np.linspace(0, 1, 10)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    inputs = {"item_vectors": vectors}
    world.run(shortlist="text_neighbours", shortlist_size=2, max_pairs_per_user=None, inputs=inputs)
    names = world.catalogue.names
    last = next(
        config.json_schema["properties"]["name"]["enum"]  # type: ignore[index]
        for messages, config in world.client.requests
        if "Likes space" in messages[-1].content
    )
    assert set(last) == {names[8], names[7]}


@pytest.mark.parametrize("shortlist", ["scores", "text_neighbours"])
def test_a_shortlist_without_its_input_is_told(world: World, shortlist: str) -> None:
    with pytest.raises(ConfigError, match=shortlist):
        world.run(shortlist=shortlist)


def test_popular_items_come_more_often(tmp_path: Path) -> None:
    from hnlmrec.data.interactions import Interactions
    from hnlmrec.generation.shortlists import candidate_scores, draw_shortlists

    rng = np.random.default_rng(0)
    train = Interactions.from_pairs(np.arange(50), np.where(np.arange(50) < 40, 0, 1), 51, 20)
    lists = draw_shortlists(
        np.full(500, 50),
        np.full(500, -1),
        scores=candidate_scores("popular", train, rng),
        train=train,
        size=1,
        skip=0,
        taken=None,
        rng=rng,
    )
    drawn = np.bincount([items[0] for items in lists], minlength=20)
    # Item weights are 41, 11 and 18 times 1.
    assert drawn[0] / 500 == pytest.approx(41 / 70, abs=0.08)
    assert drawn[1] / 500 == pytest.approx(11 / 70, abs=0.06)


def test_the_plan_counts_the_calls(world: World) -> None:
    for settings in ({}, {"granularity": "per_user", "k": 2}, {"mode": "free"}):
        config = HardNegativesConfig(**settings)
        plan = plan_hard_negatives(
            world.catalogue, config, completion=CONFIG, streams=RandomStreams(0), prices=Prices()
        )
        world.out = world.out.with_name(f"out-{len(settings)}{config.mode}")
        script = first_choice if config.mode == "constrained" else lambda m, c: name_reply("Heat")
        assert world.run(script, **settings).rows.requests == plan.calls
        assert plan.prompt_tokens > 0
