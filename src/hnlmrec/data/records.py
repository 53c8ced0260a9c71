"""Files of one JSON object a line that describe items, users or reviews, read whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hnlmrec.data.corruption import CorruptLines
from hnlmrec.data.lines import batches
from hnlmrec.data.review_lines import CorruptLineError, read_id, read_object


@dataclass(frozen=True)
class JsonLines:
    """The objects of a JSON lines file, and which of its lines are none."""

    records: list[dict[str, Any]]
    corrupt: CorruptLines = field(default_factory=CorruptLines)


def read_json_lines(path: Path, ids: Iterable[str]) -> JsonLines:
    """Read one JSON object a line. A line that is none, or lacks one of the ids, is counted and left out.

    Raises:
        MissingFileError, StorageError: as `lines.batches`.
        DataError: the file is empty, or none of its lines can be used.
    """
    found = JsonLines([])
    keys = tuple(ids)
    for batch in batches(path, found.corrupt):
        for number, line in enumerate(batch.lines, batch.first):
            if line.strip():
                try:
                    record = read_object(line)
                    found.records.append(record | {key: read_id(record, key) for key in keys})
                except CorruptLineError as error:
                    found.corrupt.add(str(error), number)
    found.corrupt.require_some(
        path, len(found.records), f"Each line must be a JSON object with {', '.join(keys)}."
    )
    return found
