"""A JSON-lines file that survives a kill at any moment."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from hnlmrec.errors import CorruptArtifactError

Key = tuple[str | int | None, ...]
KEY_FIELDS = frozenset({"user_id", "item_id", "positive_id", "rank"})
"""The fields that identify a row; all others are its content."""


class RowFile:
    """Rows by key, appended whole or not at all, and put into order at the end. Holds keys and places, not rows.

    Args:
        path: the file.
        file: the same, open for appending, without a buffer.
        places: where the row of each key lies: (offset, length).
    """

    def __init__(self, path: Path, file: BinaryIO, places: dict[Key, tuple[int, int]]) -> None:
        self._path = path
        self._file = file
        self._places = places
        self._end = file.seek(0, os.SEEK_END)

    @classmethod
    @contextmanager
    def open(cls, path: Path, *, resume: bool) -> Iterator[RowFile]:
        """Open for appending; with `resume`, keep the rows that are there, less a last line that a kill cut off.

        Raises:
            CorruptArtifactError: a line before the last is no JSON object.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b" if resume else "w+b", buffering=0) as file:
            yield cls(path, file, _read_places(path, file) if resume else {})

    def keys(self) -> frozenset[Key]:
        """Return the keys of the rows that are here."""
        return frozenset(self._places)

    def append(self, row: dict[str, Any], key: Key) -> None:
        """Write a row to the disk; if that fails, nothing of it stays."""
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
        except OSError:
            self._file.truncate(self._end)
            raise
        self._places[key] = (self._end, len(line))
        self._end += len(line)

    def sync(self) -> None:
        """Force what was written onto the disk."""
        os.fsync(self._file.fileno())

    def sort(self, order: Sequence[Key]) -> None:
        """Put the rows into this order; rows of other keys go. The last thing that may be done with the file."""
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as target:
                for key in order:
                    if key in self._places:
                        offset, length = self._places[key]
                        self._file.seek(offset)
                        target.write(self._file.read(length))
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)


def join_files(parts: Sequence[Path], target: Path) -> None:
    """Write the parts one after the other into `target`, and remove them."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as joined:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, joined)
    temporary.replace(target)
    for part in parts:
        part.unlink()


def _read_places(path: Path, file: BinaryIO) -> dict[Key, tuple[int, int]]:
    places: dict[Key, tuple[int, int]] = {}
    offset = 0
    file.seek(0)
    with os.fdopen(os.dup(file.fileno()), "rb") as reader:
        for number, line in enumerate(reader, start=1):
            if not line.endswith(b"\n"):
                break
            places[_key_of(line, path, number)] = (offset, len(line))
            offset += len(line)
    file.truncate(offset)
    return places


def _key_of(line: bytes, path: Path, number: int) -> Key:
    try:
        row = json.loads(line)
        return tuple(value for name, value in row.items() if name in KEY_FIELDS)
    except (ValueError, AttributeError):
        raise CorruptArtifactError(
            f"line {number} of {path} is not a row of this program. Remove the file to make its rows anew."
        ) from None
