"""A cache of replies on disk, addressed by everything that decides a reply and by nothing else.

The key holds the model, the messages, the schema and the generation settings; no URL, no credentials, no user.
Only whole replies that the caller accepted enter, so a truncated, refused or unparseable one is asked for again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hnlmrec.errors import CorruptArtifactError, StorageError
from hnlmrec.llm.client import ChatClient, ChatCompletion, CompletionConfig, Message

_TABLE = """CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, text TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL
) WITHOUT ROWID"""
_WAIT_FOR_LOCK_SECONDS = 60.0


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
        self._path = path
        self._lock = threading.Lock()
        self._hits = self._misses = self._stored = 0
        with self._storage_errors():
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                path or ":memory:", timeout=_WAIT_FOR_LOCK_SECONDS, check_same_thread=False, isolation_level=None
            )
            try:
                self._prepare()
            except sqlite3.Error:
                self._database.close()
                raise

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
        with self._lock, self._storage_errors(), self._transaction():
            self._database.executemany("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?)", rows)
            self._stored += len(rows)

    def close(self) -> None:
        """Close the cache and the client."""
        with self._lock:
            self._database.close()
        self._client.close()

    def _prepare(self) -> None:
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute(_TABLE)
        self._database.execute(
            "SELECT key, text, prompt_tokens, completion_tokens FROM replies LIMIT 1"
        ).fetchone()

    def _find(self, key: str) -> ChatCompletion | None:
        with self._lock, self._storage_errors():
            row = self._database.execute(
                "SELECT text, prompt_tokens, completion_tokens FROM replies WHERE key = ?", (key,)
            ).fetchone()
            self._hits += row is not None
            self._misses += row is None
        return None if row is None else replace(ChatCompletion(row[0], "stop", row[1], row[2]), cached=True)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.rollback()
            raise
        self._database.commit()

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._translate(error) from error

    def _translate(self, error: sqlite3.DatabaseError) -> Exception:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF  # without the extension
        if code == sqlite3.SQLITE_FULL:
            return OSError(errno.ENOSPC, f"no room for the reply cache ({error})", str(self._path))
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY):
            return StorageError(f"the reply cache {self._path} cannot be opened or written: {error}.")
        return CorruptArtifactError(
            f"the reply cache {self._path} is damaged ({error}). Remove the file to start a new one; "
            "finished rows are kept elsewhere."
        )
