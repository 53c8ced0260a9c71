"""Lines of a file that cannot be used: counted by kind, with the numbers of the first ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hnlmrec.errors import DataError

NOT_UTF8 = "not UTF-8"
NOT_JSON = "not JSON"
NOT_AN_OBJECT = "not a JSON object"
"""Kinds that every reader may find. Others name the field: "no asin", "overall is not a number"."""

_MOST_NAMED = 5


@dataclass
class CorruptLines:
    """What was left out of one file, and why.

    Attributes:
        counts: kind -> number of lines.
        first_lines: kind -> numbers of its first lines, the first line of a file being 1.
        damaged_at: the line at which a gzip file is cut off or damaged, so that the rest is lost; None for a whole
            file.
    """

    counts: dict[str, int] = field(default_factory=dict)
    first_lines: dict[str, list[int]] = field(default_factory=dict)
    damaged_at: int | None = None

    def __bool__(self) -> bool:
        return bool(self.counts) or self.damaged_at is not None

    def add(self, kind: str, line: int) -> None:
        """Count a line."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        named = self.first_lines.setdefault(kind, [])
        if len(named) < _MOST_NAMED:
            named.append(line)

    @property
    def total(self) -> int:
        """How many lines were left out."""
        return sum(self.counts.values())

    def as_json(self) -> dict[str, Any]:
        """Return kind -> {"lines": count, "first_lines": numbers}, and "damaged_at" where the file is."""
        kinds = {kind: {"lines": n, "first_lines": self.first_lines[kind]} for kind, n in self.counts.items()}
        return kinds if self.damaged_at is None else {**kinds, "damaged_at": self.damaged_at}

    def __str__(self) -> str:
        parts = [f"{kind}: {n:,} ({self._places(kind)})" for kind, n in self.counts.items()]
        if self.damaged_at is not None:
            parts.append(f"the gzip file is cut off or damaged at line {self.damaged_at:,}, and the rest is lost")
        return "; ".join(parts)

    def require_some(self, path: Path, n_good: int, needed: str) -> None:
        """Raise DataError where nothing of a file can be used.

        Args:
            path: the file.
            n_good: how many of its lines can be used.
            needed: what a line must be, for the message.
        """
        if n_good:
            return
        if not self:
            raise DataError(f"{path} is empty.")
        raise DataError(f"{path}: none of its {self.total:,} lines can be used. {self}. {needed}")

    def _places(self, kind: str) -> str:
        named = self.first_lines[kind]
        more = ", …" if self.counts[kind] > len(named) else ""
        return f"line{'s' if self.counts[kind] > 1 else ''} {', '.join(f'{line:,}' for line in named)}{more}"


def corruption_warnings(files: Mapping[str, CorruptLines]) -> list[str]:
    """Return a warning for each file that has lost lines."""
    return [
        f"{name}: {found.total:,} corrupt line{' was' if found.total == 1 else 's were'} left out. {found}"
        for name, found in files.items()
        if found
    ]
