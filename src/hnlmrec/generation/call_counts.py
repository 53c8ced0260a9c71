"""What a row file has cost so far, kept beside it, so that an interrupted call's requests are not forgotten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hnlmrec.artifacts import write_json
from hnlmrec.errors import CorruptArtifactError
from hnlmrec.generation.row_task import SPENT, RowSummary

_WRITE_EVERY = 20  # rows; a kill loses the counts of about as many, never a row


class CallCounts:
    """The counts of earlier calls, and of this one as it goes on.

    Args:
        path: a small JSON file {count: number}, over all calls; read if it is there.

    Raises:
        CorruptArtifactError: the file holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.earlier = _read(path) if path.exists() else None
        self._unwritten = 0

    def note(self, summary: RowSummary) -> None:
        """Take notice of one more row; `summary` is this call's so far."""
        self._unwritten += 1
        if self._unwritten >= _WRITE_EVERY:
            self.write(summary)

    def write(self, summary: RowSummary) -> None:
        """Replace the file at once: a reader sees the old counts or the new ones."""
        write_json(self._path, summary.all_calls())
        self._unwritten = 0


def counts_path(rows: Path) -> Path:
    """Return the file beside a row file that holds its counts."""
    return rows.with_name(f"{rows.stem}.calls.json")


def remove_counts(row_files: list[Path]) -> None:
    """Remove the counts of row files whose stage is finished: its summary holds them."""
    for rows in row_files:
        counts_path(rows).unlink(missing_ok=True)


def _read(path: Path) -> RowSummary:
    try:
        counts: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # no JSON, or no UTF-8
        counts = None
    if (
        not isinstance(counts, dict)
        or set(counts) != set(SPENT)
        or any(type(n) is not int for n in counts.values())
    ):
        raise CorruptArtifactError(
            f"{path} does not hold the counts of earlier calls. Remove the file to count anew; no row is lost."
        )
    return RowSummary(**counts)
