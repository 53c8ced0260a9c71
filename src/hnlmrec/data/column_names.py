"""What a source calls its columns, where that differs from what they are called here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hnlmrec.errors import DataError


class ColumnNames:
    """Translates the names of a source's columns and fields; it notes which of them it has met.

    Where another column is named for one of our names, the source's own column of that name is not read.

    Args:
        theirs: our name -> the source's.
    """

    def __init__(self, theirs: Mapping[str, str] | None = None) -> None:
        self._ours = {name: ours for ours, name in (theirs or {}).items()}
        self._replaced = set(theirs or {}) - self._ours.keys()
        self._unmet = set(self._ours)

    def ours(self, name: str) -> str | None:
        """Return what a column of the source is called here; None where another is read in its place."""
        self._unmet.discard(name)
        return None if name in self._replaced else self._ours.get(name, name)

    def translated(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return a record under our names."""
        return {ours: value for name, value in record.items() if (ours := self.ours(name)) is not None}

    def require_all_met(self, path: Path) -> None:
        """Raise DataError where a name was in none of a source's tables."""
        if self._unmet:
            raise DataError(
                f"data.columns names {', '.join(sorted(self._unmet))}, and no table of {path} has such a column."
            )


AS_THEY_ARE = ColumnNames()
"""For sources that have our names."""
