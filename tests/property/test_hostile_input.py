"""Whatever comes in from outside is read, or refused with an error for the user: the targets of fuzz/, in short.

`fuzz/run.py` tries more inputs by coverage; what it found is in FOUND.
"""

from __future__ import annotations

import json

import pytest
from fuzz import files, texts
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

TARGETS, SEEDS = texts.TARGETS | files.TARGETS, texts.SEEDS | files.SEEDS
HEAD = b'+++\nreply = "profile"\nmax_characters = {summarization = 9, reasoning = 9}\n+++\n=== user ===\n'
FOUND: dict[str, list[bytes]] = {
    "prompt_file": [HEAD + b"{{ -title }}", HEAD + b"{{ 1 // 0 }}", HEAD + b"{{ title.nothing() }}"],
    "packed": [b"NJN\0\0\r\0\0"],
    "folder": [b"user_id,item_id,rating,item_id\nu,i,3,j,k\n"],
}
"""Inputs that once broke a target."""

quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
replies = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("summarization", "reasoning", "name", "liked", "disliked", "extra"), json_values),
)
answers = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries({"message": json_values, "finish_reason": json_values}), max_size=2
        )
    },
    optional={"usage": json_values},
)


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_and_mended_faults(target: str) -> None:
    for data in SEEDS[target] + FOUND.get(target, []):
        TARGETS[target](data)


@pytest.mark.parametrize("target", ["reply", "answer", "headers", "prompt_field", "prompt_file"])
@quick
@given(data=st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes(target: str, data: bytes) -> None:
    TARGETS[target](data)


@quick
@given(reply=replies, answer=answers)
def test_any_json(reply: object, answer: object) -> None:
    TARGETS["reply"](json.dumps(reply).encode())
    TARGETS["answer"](json.dumps(answer).encode())


@settings(quick, max_examples=25)
@given(
    data=st.binary(max_size=200)
    | st.text(st.sampled_from("ui,0123456789\n\"'{}:[]=.\0 \té"), max_size=80).map(str.encode)
)
@example(data=b"\xef\xbb\xbf")
def test_any_files(data: bytes) -> None:
    for target in ("config", "folder", "lightgcn", "packed"):
        TARGETS[target](data)
        TARGETS[target](SEEDS[target][0] + data)
