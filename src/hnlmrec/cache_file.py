"""Rows by key in a file that any number of threads and processes share: what costs much is made once."""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hnlmrec.errors import CorruptArtifactError, StorageError

_WAIT_FOR_LOCK_SECONDS = 60.0


class CacheFile:
    """One table of an SQLite file. A row that is there is never changed.

    Args:
        path: made if it is not there; None for a table in memory.
        name: what the file is called in errors, for example "reply cache".
        table: its name in the file.
        columns: SQL type by name; the first is the key.

    Raises:
        CorruptArtifactError: the file is damaged, no SQLite file, or has other columns.
        StorageError: the file cannot be opened.
    """

    def __init__(self, path: Path | None, name: str, table: str, columns: Mapping[str, str]) -> None:
        self.path, self.name = path, name
        key, *others = columns
        places = ", ".join("?" * len(columns))
        # The names are those of the caller's code, never of data.
        self._select = f"SELECT {', '.join(others)} FROM {table} WHERE {key} = ?"  # noqa: S608
        self._insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608
        self._lock = threading.Lock()
        with self._errors():
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                path or ":memory:", timeout=_WAIT_FOR_LOCK_SECONDS, check_same_thread=False, isolation_level=None
            )
            try:
                self._prepare(table, columns)
            except sqlite3.Error:
                self._database.close()
                raise

    def find(self, keys: Sequence[Any]) -> dict[Any, tuple[Any, ...]]:
        """Return the rows of those keys that are there, without their key."""
        found = {}
        with self._lock, self._errors():
            for key in keys:
                row = self._database.execute(self._select, (key,)).fetchone()
                if row is not None:
                    found[key] = row
        return found

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """Keep rows, the key first, in one transaction; those whose key is there are passed over.

        Raises:
            OSError: ENOSPC, the disk is full.
        """
        with self._lock, self._errors(), self._transaction():
            self._database.executemany(self._insert, rows)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def damaged(self, why: object) -> CorruptArtifactError:
        """Return the error that says what to do about a file that cannot be trusted."""
        return CorruptArtifactError(
            f"the {self.name} {self.path} is damaged ({why}). Remove the file to start a new one; what is "
            "finished is kept elsewhere."
        )

    def _prepare(self, table: str, columns: Mapping[str, str]) -> None:
        key, *others = (f"{name} {kind} NOT NULL" for name, kind in columns.items())
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute(f"CREATE TABLE IF NOT EXISTS {table} ({key} PRIMARY KEY, {', '.join(others)})")
        self._database.execute(self._select, (None,)).fetchone()  # fails where the columns are others

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
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._translated(error) from error

    def _translated(self, error: sqlite3.DatabaseError) -> Exception:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF  # without the extension
        if code == sqlite3.SQLITE_FULL:
            return OSError(errno.ENOSPC, f"no room for the {self.name} ({error})", str(self.path))
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY):
            return StorageError(f"the {self.name} {self.path} cannot be opened or written: {error}.")
        return self.damaged(error)
