"""Preferences that a language model picks: prompts, shortlists, resume, counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from text_world import CONFIG, TITLES, TRAIN, prepared

from hnlmrec.errors import ConfigError, ProviderError, ReplyError
from hnlmrec.generation.catalogue import TextCatalogue
from hnlmrec.generation.plan import Prices
from hnlmrec.generation.preferences import (
    PreferencesConfig,
    generate_preferences,
    plan_preferences,
    read_preferences,
)
from hnlmrec.generation.rows import RowSummary
from hnlmrec.llm.cache import CachedChatClient
from hnlmrec.llm.client import CompletionConfig, Message
from hnlmrec.llm.prompts import PromptTemplate
from hnlmrec.llm.scripted import Script, ScriptedChatClient
from hnlmrec.rng import RandomStreams


def choices_of(config: CompletionConfig) -> list[str]:
    assert config.json_schema is not None
    properties = config.json_schema["properties"]
    assert properties["liked"] == properties["disliked"]
    choices: list[str] = properties["liked"]["enum"]
    return choices


def first_and_last(messages: Sequence[Message], config: CompletionConfig) -> str:
    choices = choices_of(config)
    return json.dumps({"liked": choices[0], "disliked": choices[-1]})


class World:
    def __init__(self, folder: Path, **splits: Any) -> None:
        self.catalogue = TextCatalogue.load(prepared(folder / "data", **splits))
        self.out = folder / "out"
        self.client = ScriptedChatClient(first_and_last)

    def run(self, script: Script = first_and_last, *, inputs: Any = None, **settings: Any) -> RowSummary:
        self.client = ScriptedChatClient(script)
        return generate_preferences(
            self.catalogue,
            PreferencesConfig(**({"shortlist": "random", "shortlist_size": 4} | settings)),
            client=CachedChatClient(self.client, None),
            completion=CONFIG,
            streams=RandomStreams(0),
            out=self.out,
            **{"concurrency": 1, **(inputs or {})},  # tests read the requests in their order
        )

    @property
    def prompts(self) -> list[str]:
        return [messages[-1].content for messages, _ in self.client.requests]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_each_user_has_two_unobserved_items_of_its_shortlist(world: World) -> None:
    summary = world.run()
    assert (summary.requested, summary.succeeded) == (3, 3)
    rows = read_preferences(world.out, world.catalogue)
    assert rows.users.tolist() == [0, 1, 2]
    for user, liked, disliked in zip(rows.users, rows.liked, rows.disliked, strict=True):
        assert liked != disliked
        assert (user, liked) not in TRAIN
        assert (user, disliked) not in TRAIN
    choices = [choices_of(config) for _, config in world.client.requests]  # In order of arrival, not of users.
    assert [len(items) for items in choices] == [4, 4, 4]
    assert sorted(items[0] for items in choices) == sorted(world.catalogue.names[liked] for liked in rows.liked)


def test_the_prompt_shows_train_items_and_candidates_and_nothing_held_out(tmp_path: Path) -> None:
    first, other = World(tmp_path / "a"), World(tmp_path / "b", valid=[(0, 9), (1, 2)], test=[(0, 8), (2, 1)])
    for world in (first, other):
        world.run()
    assert first.prompts == other.prompts
    lines = first.prompts[0].splitlines()
    chosen = {line for line in lines if line.startswith("chose: ")}
    assert {line.partition(" (")[0] for line in chosen if "Twins" not in line} == {
        "chose: Toy Story",
        "chose: GoldenEye",
    }
    assert len(chosen) == 3
    assert sum(line.startswith("candidate: ") for line in lines) == 4


def test_a_second_run_asks_for_nothing(world: World) -> None:
    world.run()
    before = (world.out / "preferences.jsonl").read_text()
    summary = world.run()
    assert (summary.resumed, summary.requests) == (3, 0)
    assert (world.out / "preferences.jsonl").read_text() == before


def test_one_item_for_both_is_asked_again_and_then_recorded_as_failed(world: World) -> None:
    def same_for_the_second(messages: Sequence[Message], config: CompletionConfig) -> str:
        if "Fargo" not in "".join(m.content for m in messages if "chose: Fargo" in m.content):
            return first_and_last(messages, config)
        assert config.json_schema is not None  # which this model does not keep to
        name = config.json_schema["properties"]["liked"]["enum"][0]
        return json.dumps({"liked": name, "disliked": name})

    summary = world.run(same_for_the_second)
    assert (summary.succeeded, summary.failed, summary.repairs) == (2, 1, 1)
    failure = json.loads((world.out / "failures.jsonl").read_text())
    assert failure["user_id"] == "u1"
    assert "two different items" in failure["message"]
    assert read_preferences(world.out, world.catalogue).users.tolist() == [0, 2]


def test_who_names_one_item_twice_is_asked_for_another_of_those_left(world: World) -> None:
    def first_of_each(messages: Sequence[Message], config: CompletionConfig) -> str:
        assert config.json_schema is not None
        properties = config.json_schema["properties"]
        return json.dumps({field: properties[field]["enum"][0] for field in ("liked", "disliked")})

    summary = world.run(first_of_each)
    assert (summary.succeeded, summary.failed, summary.repairs) == (3, 0, 3)
    asked = [config.json_schema["properties"] for _, config in world.client.requests if config.json_schema]
    for first, second in zip(asked[::2], asked[1::2], strict=True):
        choices = first["liked"]["enum"]
        assert (second["liked"]["enum"], second["disliked"]["enum"]) == (choices[:1], choices[1:])


@pytest.mark.parametrize("reply", ["no JSON", "[1]", '{"liked": "Alien"}', '{"liked": ["Heat"]}', "}{"])
def test_a_reply_that_picks_nothing_leaves_all_choices(reply: str) -> None:
    template = PromptTemplate.load("preference")
    assert template.repair_schema(reply, ["Heat", "Fargo"]) == template.json_schema(["Heat", "Fargo"])
    assert template.repair_schema(reply) == template.json_schema()


def test_the_best_scored_unobserved_items_are_the_candidates(world: World) -> None:
    def scores(users: Any, positives: Any) -> Any:
        assert (positives == -1).all()
        return np.tile(np.arange(len(TITLES), dtype=np.float32), (len(users), 1))

    world.run(shortlist="scores", shortlist_size=3, inputs={"scores": scores})
    names = world.catalogue.names
    assert [set(choices_of(config)) for _, config in world.client.requests] == [
        {names[9], names[8], names[7]},
        {names[9], names[8], names[7]},
        {names[8], names[7], names[6]},  # item 9 is in the user's train split
    ]


def test_a_shortlist_of_one_item_is_a_failure_of_its_row(tmp_path: Path) -> None:
    world = World(tmp_path, train=[(0, item) for item in range(9)] + [(1, 3)], valid=[], test=[])
    summary = world.run()
    assert (summary.succeeded, summary.failed) == (1, 1)
    assert "has 1 items, and two are needed" in (world.out / "failures.jsonl").read_text()


def test_scores_that_are_not_given_are_asked_for(world: World) -> None:
    with pytest.raises(ConfigError, match="needs a function that scores items"):
        world.run(shortlist="scores")
    with pytest.raises(ProviderError, match="none of 3 rows"):
        world.run(lambda messages, config: json.dumps({"liked": "Heat", "disliked": "Ran"}))


def test_the_plan_counts_a_call_for_each_user(world: World) -> None:
    plan = plan_preferences(
        world.catalogue,
        PreferencesConfig(),
        completion=CONFIG,
        streams=RandomStreams(0),
        prices=Prices(prompt=1.0),
    )
    assert plan.calls == 3
    assert plan.max_cost == pytest.approx(plan.prompt_tokens * 1e-6)


def test_titles_that_look_like_no_answer_may_be_picked() -> None:
    template = PromptTemplate.load("preference")
    choices = ("None", "Unknown", "Up")
    reply = template.parse('{"liked": " None", "disliked": "Unknown"}', choices)
    assert reply.model_dump() == {"liked": "None", "disliked": "Unknown"}
    with pytest.raises(ReplyError, match="none of the candidates"):
        template.parse('{"liked": "Up", "disliked": "Down"}', choices)
