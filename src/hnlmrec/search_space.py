"""What a setting may be in a search: a range or some choices. Spaces live beside their methods as plain tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias


@dataclass(frozen=True)
class Span:
    """All numbers from low to high, both included.

    Attributes:
        low: smallest value.
        high: largest value.
        log: whether it is searched by orders of magnitude; `low` is above 0 then.
        integer: whether only whole numbers are meant.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a value lies in it."""
        return _is_number(value) and self.low <= value <= self.high and (not self.integer or value == int(value))

    def widened(self, value: Any) -> Self:
        """Return the range made wide enough for a value, where it is of such numbers at all."""
        wide = replace(self, low=min(self.low, value), high=max(self.high, value)) if _is_number(value) else self
        return wide if wide.holds(value) and (wide.low > 0 or not self.log) else self


@dataclass(frozen=True)
class Choice:
    """Some values."""

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Whether a value is one of them."""
        return value in self.values

    def widened(self, value: Any) -> Self:
        """Return these values and, where it is none of them, that one."""
        return self if self.holds(value) else replace(self, values=(*self.values, value))


Space: TypeAlias = Mapping[str, Span | Choice]
"""Name of a field -> what it may be."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
