"""A row that a language model is to write, and the counts of what became of such rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RowKey = Mapping[str, str | int | None]
SPENT = (
    "succeeded",
    "failed",
    "cache_hits",
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "retries",
    "repairs",
)
"""The counts that make sense summed over the calls that a work was interrupted into."""
_COUNTS = ("requested", *SPENT[:2], "resumed", "given", *SPENT[2:])


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
    `requests`, tokens and retries leave out what the cache answered. `earlier` is what earlier calls for the same
    rows did; None if there were none.
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
    earlier: RowSummary | None = None

    def __add__(self, other: RowSummary) -> RowSummary:
        counts = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        parts = [part for part in (self.earlier, other.earlier) if part is not None]
        return RowSummary(**counts, earlier=sum(parts[1:], parts[0]) if parts else None)

    @property
    def rows(self) -> int:
        """All rows that have been dealt with, whichever way."""
        return self.requested + self.resumed + self.given

    def all_calls(self) -> dict[str, int]:
        """Return the counts SPENT by name, over this call and the earlier ones."""
        earlier = self.earlier or RowSummary()
        return {name: getattr(self, name) + getattr(earlier, name) for name in SPENT}

    def counts(self) -> dict[str, Any]:
        """Return this call's counts by name, and under "all_calls" those over the earlier calls too."""
        return {**{name: getattr(self, name) for name in _COUNTS}, "all_calls": self.all_calls()}
