"""A row that a language model is to write, and the counts of what became of such rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

RowKey = Mapping[str, str | int | None]


@dataclass(frozen=True)
class RowTask:
    """One row to be written.

    Attributes:
        key: what identifies the row; these fields open its line.
        fields: what the template is filled in with.
        choices: the only names that the reply may give; None for any.
        given: the reply's fields where they are known without a request.
        problem: why the row cannot be asked for; it is then recorded as failed.
    """

    key: RowKey
    fields: Mapping[str, Any]
    choices: tuple[str, ...] | None = None
    given: Mapping[str, str] | None = None
    problem: str | None = None


@dataclass(frozen=True)
class RowSummary:
    """What a run did.

    `requested` = `succeeded` + `failed`; `resumed` rows were there before, `given` ones needed no request.
    `requests`, tokens and retries leave out what the cache answered.
    """

    requested: int = 0
    succeeded: int = 0
    failed: int = 0
    resumed: int = 0
    given: int = 0
    cache_hits: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retries: int = 0
    repairs: int = 0

    def __add__(self, other: RowSummary) -> RowSummary:
        return RowSummary(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def rows(self) -> int:
        """All rows that have been dealt with, whichever way."""
        return self.requested + self.resumed + self.given

    def counts(self) -> dict[str, int]:
        """Return all counts by name."""
        return asdict(self)
