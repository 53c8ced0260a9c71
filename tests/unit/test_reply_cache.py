"""The cache of replies: its address, what may enter, damage and concurrency."""

from __future__ import annotations

import errno
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hnlmrec.errors import CorruptArtifactError
from hnlmrec.llm.cache import CachedChatClient, cache_key
from hnlmrec.llm.client import ChatCompletion, CompletionConfig, Message
from hnlmrec.llm.scripted import ScriptedChatClient

CONFIG = CompletionConfig(model="m")
HELLO = [Message("user", "hello")]


def echo() -> ScriptedChatClient:
    return ScriptedChatClient(lambda messages, config: f"echo {messages[-1].content}")


def test_accepted_replies_survive_and_are_not_asked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "cache.sqlite"
    first = CachedChatClient(echo(), path)
    reply = first.complete(HELLO, CONFIG)
    first.accept_all([(cache_key(HELLO, CONFIG), reply)])
    first.close()
    client = echo()
    again = CachedChatClient(client, path).complete(HELLO, CONFIG)
    assert client.requests == []
    assert again.cached
    assert (again.text, again.prompt_tokens, again.completion_tokens) == (
        reply.text,
        reply.prompt_tokens,
        reply.completion_tokens,
    )


def test_a_reply_that_was_not_accepted_is_asked_for_again(tmp_path: Path) -> None:
    client = echo()
    cached = CachedChatClient(client, tmp_path / "c")
    cached.complete(HELLO, CONFIG)
    cached.complete(HELLO, CONFIG)
    assert len(client.requests) == 2
    assert (cached.counts.hits, cached.counts.misses, cached.counts.stored) == (0, 2, 0)


@pytest.mark.parametrize("reason", ["length", "content_filter", "None"])
def test_truncated_and_refused_replies_never_enter(reason: str) -> None:
    client = ScriptedChatClient(lambda messages, config: ChatCompletion("x", reason, 1, 1))
    cached = CachedChatClient(client, None)
    cached.accept_all([(cache_key(HELLO, CONFIG), cached.complete(HELLO, CONFIG))])
    cached.complete(HELLO, CONFIG)
    assert len(client.requests) == 2


def test_the_key_holds_all_that_decides_a_reply() -> None:
    schemas = [
        {"type": "object", "properties": {"a": {}, "b": {}}},
        {"type": "object", "properties": {"b": {}, "a": {}}},
    ]
    changes: list[dict[str, object]] = [
        {"model": "n"},
        {"temperature": 0.5},
        {"frequency_penalty": 0.5},
        {"max_tokens": 7},
        {"seed": 1},
        *({"json_schema": schema} for schema in schemas),
    ]
    keys = {cache_key(HELLO, CONFIG.model_copy(update=change)) for change in changes}
    keys |= {
        cache_key(HELLO, CONFIG),
        cache_key([Message("system", "hello")], CONFIG),
        cache_key(HELLO * 2, CONFIG),
    }
    assert len(keys) == len(changes) + 3
    # With those above it is complete: whoever adds a setting has to think of the key.
    assert set(CompletionConfig.model_fields) == {name for change in changes for name in change}


def test_a_damaged_file_is_told_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(CorruptArtifactError, match="Remove the file"):
        CachedChatClient(echo(), path)
    assert path.read_bytes().startswith(b"this is no")


def test_a_file_with_another_table_is_told(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE replies (something INTEGER)")
    database.close()
    with pytest.raises(CorruptArtifactError, match=r"cache\.sqlite"):
        CachedChatClient(echo(), path)


def test_a_full_disk_is_an_enospc(tmp_path: Path) -> None:
    cached = CachedChatClient(echo(), tmp_path / "c")
    cached._file._database.execute("PRAGMA max_page_count = 3")
    big = Message("user", "x")
    with pytest.raises(OSError, match="cache") as caught:
        cached.accept_all([(cache_key([big], CONFIG), ChatCompletion("y" * 100_000, "stop", 1, 1))])
    assert caught.value.errno == errno.ENOSPC
    cached.close()


def test_many_threads_and_two_clients_share_a_file(tmp_path: Path) -> None:
    caches = [CachedChatClient(echo(), tmp_path / "c") for _ in range(2)]

    def ask(number: int) -> str:
        messages = [Message("user", str(number % 20))]
        cached = caches[number % 2]
        reply = cached.complete(messages, CONFIG)
        cached.accept_all([(cache_key(messages, CONFIG), reply)])
        return reply.text

    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(ask, range(200)))
    assert texts == [f"echo {number % 20}" for number in range(200)]
    for cached in caches:
        cached.close()
