"""Profiles: what prompts show, what they never show, resume, source profiles, the plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from text_world import CONFIG, prepared, profile_reply

from hnlmrec.errors import ProviderError, RequestError
from hnlmrec.generation.catalogue import TextCatalogue, readable_title, unique_names
from hnlmrec.generation.plan import Prices
from hnlmrec.generation.profiles import ProfilesConfig, generate_profiles, plan_profiles, read_profiles
from hnlmrec.generation.rows import RowSummary
from hnlmrec.llm.cache import CachedChatClient
from hnlmrec.llm.client import CompletionConfig, Message
from hnlmrec.llm.scripted import Script, ScriptedChatClient
from hnlmrec.rng import RandomStreams


def generate(
    catalogue: TextCatalogue,
    out: Path,
    config: ProfilesConfig | None = None,
    script: Script = profile_reply,
    seed: int = 0,
) -> tuple[RowSummary, list[str]]:
    client = ScriptedChatClient(script)
    summary = generate_profiles(
        catalogue,
        config or ProfilesConfig(),
        client=CachedChatClient(client, None),
        completion=CONFIG,
        streams=RandomStreams(seed),
        out=out,
    )
    return summary, sorted(messages[-1].content for messages, _ in client.requests)


def test_every_item_and_user_gets_a_profile(tmp_path: Path) -> None:
    catalogue = TextCatalogue.load(prepared(tmp_path / "data"))
    summary, prompts = generate(catalogue, tmp_path / "out")
    assert (summary.succeeded, summary.requests) == (13, 13)
    assert list(read_profiles(tmp_path / "out", "item")) == [f"i{n}" for n in range(10)]
    assert list(read_profiles(tmp_path / "out", "user")) == ["u0", "u1", "u2"]
    row = json.loads((tmp_path / "out" / "item_profiles.jsonl").read_text().splitlines()[0])
    assert list(row) == ["item_id", "summarization", "reasoning"]
    assert (tmp_path / "out" / "failures.jsonl").read_text() == ""
    assert "<item>\ntitle: The White Balloon\nfacts: 1995; Drama\n</item>" in prompts
    assert "<item>\ntitle: (no. i8)\n</item>" in prompts


def test_a_user_prompt_shows_facts_history_and_what_is_common(tmp_path: Path) -> None:
    _, prompts = generate(TextCatalogue.load(prepared(tmp_path / "data")), tmp_path / "out")
    first = next(prompt for prompt in prompts if "technician" in prompt).splitlines()
    assert first[1] == "facts: 24 years old, male, technician"
    assert sorted(first[2:5]) == [
        "liked: GoldenEye (1995; Action, Thriller)",
        "liked: Toy Story (1995; Animation, Comedy)",
        "liked: Twins (no. i6) (1988; Comedy)",
    ]
    assert first[5] == "most often: Comedy"


def test_held_out_interactions_change_no_prompt(tmp_path: Path) -> None:
    results = []
    for name, held_out in {"a": [(0, 2), (1, 0)], "b": [(0, 8), (0, 9), (2, 0), (2, 1)], "c": []}.items():
        folder = prepared(tmp_path / name, valid=held_out, test=held_out[:1], reviews=True)
        results.append(generate(TextCatalogue.load(folder), tmp_path / f"{name}.out")[1])
    assert results[0] == results[1] == results[2]
    changed = prepared(tmp_path / "d", train=[(0, 8), (1, 3), (2, 9)])
    assert generate(TextCatalogue.load(changed), tmp_path / "d.out")[1] != results[0]


def test_reviews_are_shown_shortened_and_from_train_only(tmp_path: Path) -> None:
    catalogue = TextCatalogue.load(prepared(tmp_path / "data", reviews=True))
    config = ProfilesConfig(max_reviews=1, max_characters=40)
    _, prompts = generate(catalogue, tmp_path / "out", config)
    text = "\n".join(prompts)
    assert "review: review of 0 for 0 word" in text
    assert "the user wrote: review of 1 for 3" in text
    assert "review of 0 for 2" not in text
    assert max(len(line) for line in text.splitlines()) < 150


def test_source_profiles_need_no_call(tmp_path: Path) -> None:
    catalogue = TextCatalogue.load(prepared(tmp_path / "data", profiles=True))
    summary, _ = generate(catalogue, tmp_path / "out")
    assert (summary.given, summary.requests) == (2, 11)
    assert read_profiles(tmp_path / "out", "user")["u0"] == "Likes toys."
    all_written, _ = generate(catalogue, tmp_path / "all", ProfilesConfig(use_source_profiles=False))
    assert (all_written.given, all_written.requests) == (0, 13)


def test_failures_of_both_kinds_are_listed_and_tried_again(tmp_path: Path) -> None:
    def flaky(messages: Sequence[Message], config: CompletionConfig) -> str:
        if "GoldenEye\n" in messages[-1].content or "artist" in messages[-1].content:
            raise RequestError("no luck.")
        return profile_reply(messages, config)

    catalogue = TextCatalogue.load(prepared(tmp_path / "data"))
    summary, _ = generate(catalogue, tmp_path / "out", script=flaky)
    failures = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    assert summary.failed == 2
    assert [failure.get("item_id", failure.get("user_id")) for failure in failures] == ["i1", "u2"]
    assert "i1" not in read_profiles(tmp_path / "out", "item")
    again, prompts = generate(catalogue, tmp_path / "out")
    assert (again.resumed, again.succeeded, len(prompts)) == (11, 2, 2)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "failures.jsonl",
        "item_profiles.jsonl",
        "user_profiles.jsonl",
    ]


def test_users_that_all_fail_end_the_run_and_are_tried_again(tmp_path: Path) -> None:
    def items_only(messages: Sequence[Message], config: CompletionConfig) -> str:
        if "<user>" in messages[-1].content:
            raise RequestError("out of memory.")
        return profile_reply(messages, config)

    catalogue = TextCatalogue.load(prepared(tmp_path / "data"))
    with pytest.raises(ProviderError, match=r"none of 3 rows could be made.*RequestError: out of memory"):
        generate(catalogue, tmp_path / "out", script=items_only)
    again, prompts = generate(catalogue, tmp_path / "out")
    assert (again.resumed, again.succeeded, len(prompts)) == (10, 3, 3)


def test_the_history_is_bounded_and_follows_the_seed(tmp_path: Path) -> None:
    train = [(0, item) for item in range(10)]
    catalogue = TextCatalogue.load(prepared(tmp_path / "data", train=train, valid=[], test=[]))
    config = ProfilesConfig(max_history=3)
    shown = []
    for name, seed in {"a": 0, "b": 0, "c": 1}.items():
        prompts = generate(catalogue, tmp_path / name, config, seed=seed)[1]
        shown.append(next(prompt for prompt in prompts if "technician" in prompt))
    assert shown[0].count("liked:") == 3
    assert shown[0] == shown[1] != shown[2]


def test_the_plan_makes_no_call_and_bounds_the_cost(tmp_path: Path) -> None:
    catalogue = TextCatalogue.load(prepared(tmp_path / "data", profiles=True))
    plan = plan_profiles(
        catalogue, ProfilesConfig(), completion=CONFIG, streams=RandomStreams(0), prices=Prices(2.0, 10.0)
    )
    summary, _ = generate(catalogue, tmp_path / "out")
    assert plan.calls == summary.requests == 11
    assert plan.prompt_tokens == summary.prompt_tokens  # the scripted model counts by the same estimate
    assert plan.max_completion_tokens == 11 * CONFIG.max_tokens >= summary.completion_tokens
    expected = (plan.prompt_tokens * 2.0 + plan.max_completion_tokens * 10.0) / 1e6
    assert plan.max_cost == pytest.approx(expected)


def test_names_are_unique_and_readable() -> None:
    assert readable_title("White Balloon, The") == "The White Balloon"
    assert readable_title("Liar, Liar") == "Liar, Liar"
    names = unique_names(["A", "a", "", "B, The", "x\n<b>"], ["1", "2", "3", "4", "5"])
    assert names == ["A (no. 1)", "a (no. 2)", "(no. 3)", "The B", "x ‹b›"]
