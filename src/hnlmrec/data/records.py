"""Files that describe items, users or reviews, read whole: JSON lines, and tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hnlmrec.data.column_names import AS_THEY_ARE, ColumnNames
from hnlmrec.data.corruption import CorruptLines
from hnlmrec.data.interaction_rows import read_described_rows
from hnlmrec.data.lines import batches
from hnlmrec.data.review_lines import CorruptLineError, read_id, read_object
from hnlmrec.data.tables import read_parquet, separator_of

_LISTS = ("class", "genre", "genres", "category", "categories")  # a cell of a table parts these words by a bar


@dataclass(frozen=True)
class Records:
    """What a file says of each item, user or review, and which of its lines say nothing."""

    records: list[dict[str, Any]]
    corrupt: CorruptLines


def read_records(path: Path, ids: Iterable[str], columns: ColumnNames = AS_THEY_ARE) -> Records:
    """Read a file by its extension: .csv, .tsv or .parquet; any other holds one JSON object a line.

    A line or row that is none, or lacks one of the ids, is counted and left out.

    Args:
        path: the file; all but parquet may be packed (.gz).
        ids: fields that each must have, under our names.
        columns: what the source calls its fields.

    Raises:
        MissingFileError, StorageError: as `lines.batches`.
        DataError: the file is empty, lacks a column, or none of its lines can be used.
    """
    keys, corrupt = tuple(ids), CorruptLines()
    name = path.name.removesuffix(".gz")
    if name.endswith((".csv", ".tsv")):
        rows = read_described_rows(path, separator_of(path), keys, corrupt, columns=columns)
        return Records([_with_lists(row) for row in rows], corrupt)
    objects = _parquet_rows(path) if name.endswith(".parquet") else _json_lines(path, corrupt)
    records: list[dict[str, Any]] = []
    for number, found in objects:
        record = columns.translated(found)
        try:
            records.append(record | {key: read_id(record, key) for key in keys})
        except CorruptLineError as error:
            corrupt.add(str(error), number)
    corrupt.require_some(path, len(records), f"Each line must be an object or a row with {', '.join(keys)}.")
    return Records(records, corrupt)


def _json_lines(path: Path, corrupt: CorruptLines) -> Iterator[tuple[int, dict[str, Any]]]:
    for batch in batches(path, corrupt):
        for number, line in enumerate(batch.lines, batch.first):
            if line.strip():
                try:
                    yield number, read_object(line)
                except CorruptLineError as error:
                    corrupt.add(str(error), number)


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    return enumerate(read_parquet(path).iter_rows(named=True), 1)


def _with_lists(row: dict[str, str | None]) -> dict[str, Any]:
    return row | {name: text.split("|") for name in _LISTS if (text := row.get(name))}
