"""A JSON-lines file that survives a kill at any moment."""

from __future__ import annotations

import json
import os
import shutil
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from hnlmrec.errors import CorruptArtifactError

Key = tuple[str | int | None, ...]
KEY_FIELDS = frozenset({"user_id", "item_id", "positive_id", "rank"})
"""The fields that identify a row; all others are its content."""


class RowFile:
    """Rows appended whole or not at all, and put into the order of their numbers at the end.

    In memory are 16 bytes a row; keys only of rows that were found in the file and have no number yet.

    Args:
        path: the file.
        file: the same, open for appending, without a buffer.
        found: where the rows lie that are here already: (offset, length) by key.
    """

    def __init__(self, path: Path, file: BinaryIO, found: dict[Key, tuple[int, int]]) -> None:
        self._path = path
        self._file = file
        self._found = found
        self._offsets = array("q")  # by number; -1 for none
        self._lengths = array("q")  # likewise
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

    def find(self, key: Key, number: int) -> bool:
        """Tell whether an earlier run left the row of this key, which then has this number."""
        place = self._found.pop(key, None)
        if place is not None:
            self._place(number, *place)
        return place is not None

    def append(self, rows: Mapping[int, Mapping[str, Any]]) -> None:
        """Write rows, by number, to the disk; if that fails or is interrupted, nothing of them stays."""
        lines = [json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") for row in rows.values()]
        text = b"".join(line + b"\n" for line in lines)
        start = self._end
        try:
            written = 0
            while written < len(text):
                written += self._file.write(text[written:])
            for number, line in zip(rows, lines, strict=True):
                self._place(number, self._end, len(line) + 1)
                self._end += len(line) + 1
        except BaseException:
            self._file.truncate(start)
            self._end = start
            raise

    def sync(self) -> None:
        """Force what was written onto the disk."""
        os.fsync(self._file.fileno())

    def sort(self) -> None:
        """Put the rows into the order of their numbers; others go. The last thing that may be done with it."""
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as target:
                for offset, length in zip(self._offsets, self._lengths, strict=True):
                    if offset >= 0:
                        self._file.seek(offset)
                        target.write(self._file.read(length))
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)

    def _place(self, number: int, offset: int, length: int) -> None:
        for column, value in ((self._offsets, offset), (self._lengths, length)):
            column.extend([-1] * (number + 1 - len(column)))
            column[number] = value


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
