"""What a setting may be in a search: a range or some choices. Spaces live beside their methods as plain tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias


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
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high and (not self.integer or value == int(value))


@dataclass(frozen=True)
class Choice:
    """Some values."""

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Whether a value is one of them."""
        return value in self.values


Space: TypeAlias = Mapping[str, Span | Choice]
"""Name of a field -> what it may be."""
