"""A cache of replies on disk, addressed by everything that decides a reply and by nothing else.

The key holds the model, the messages, the schema and the generation settings; no URL, no credentials, no user.
Only whole replies that the caller accepted enter, so a truncated, refused or unparseable one is asked for again.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hnlmrec.cache_file import CacheFile
from hnlmrec.llm.client import ChatClient, ChatCompletion, CompletionConfig, Message

_COLUMNS = {"key": "TEXT", "text": "TEXT", "prompt_tokens": "INTEGER", "completion_tokens": "INTEGER"}


def cache_key(messages: Sequence[Message], config: CompletionConfig) -> str:
    """Return sha256 of the messages and of all settings, in hex."""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    content = [turns, config.model_dump(mode="json")]
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    # The schema keeps its order: it is the order in which a constrained model writes the fields.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class CacheCounts:
    """What a cache has done since it was opened."""

    hits: int
    misses: int
    stored: int


class CachedChatClient:
    """A chat client that asks for no reply twice. Safe for threads, and for processes that share the file.

    Args:
        client: gives the replies that are not cached.
        path: the SQLite file, made if it is not there; None for a cache in memory.

    Raises:
        CorruptArtifactError: the file is damaged or no SQLite file.
        StorageError: the file cannot be opened.
    """

    def __init__(self, client: ChatClient, path: Path | None) -> None:
        self._client = client
        self._file = CacheFile(path, "reply cache", "replies", _COLUMNS)
        self._lock = threading.Lock()  # of the counts
        self._hits = self._misses = self._stored = 0

    @property
    def counts(self) -> CacheCounts:
        """How often a reply was found, was not, and was stored."""
        with self._lock:
            return CacheCounts(self._hits, self._misses, self._stored)

    def complete(
        self, messages: Sequence[Message], config: CompletionConfig, key: str | None = None
    ) -> ChatCompletion:
        """Return the cached reply, marked `cached`; else ask the client.

        Args:
            messages: the request.
            config: its settings.
            key: their `cache_key`, where the caller has it already.
        """
        found = self._find(key or cache_key(messages, config))
        return found or self._client.complete(messages, config)

    def accept_all(self, replies: Iterable[tuple[str, ChatCompletion]]) -> None:
        """Keep replies that proved usable, by their `cache_key`, in one transaction.

        One that is cached already, or did not end by itself, is passed over.

        Raises:
            OSError: ENOSPC, the disk is full.
        """
        rows = [
            (key, reply.text, reply.prompt_tokens, reply.completion_tokens)
            for key, reply in replies
            if not reply.cached and reply.finish_reason == "stop"
        ]
        if not rows:
            return
        self._file.add(rows)
        with self._lock:
            self._stored += len(rows)

    def close(self) -> None:
        """Close the cache and the client."""
        self._file.close()
        self._client.close()

    def _find(self, key: str) -> ChatCompletion | None:
        row = self._file.find([key]).get(key)
        with self._lock:
            self._hits += row is not None
            self._misses += row is None
        return None if row is None else replace(ChatCompletion(row[0], "stop", row[1], row[2]), cached=True)
