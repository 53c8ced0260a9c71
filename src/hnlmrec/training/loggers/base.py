"""What a logger is to the trainer: told the figures of each epoch while training runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol


@dataclass(frozen=True)
class LoggedRun:
    """What a logger is opened with.

    Attributes:
        folder: the run's folder; a logger that keeps files keeps them there, so that a resumed run finds them.
        name: "lightgcn-dns", say.
        parameters: "training.learning_rate" -> value, for display.
        epochs: epochs that were trained before this start; 0 where the run is new.
    """

    folder: Path
    name: str
    parameters: Mapping[str, Any]
    epochs: int


class RunLogger(Protocol):
    """A context that is open while training runs; leaving it by an exception marks the run as failed."""

    def __enter__(self) -> RunLogger:
        """Start, or go on after `epochs`."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is still buffered, and say how the run ended."""

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Take the figures of an epoch, counted from 1: "loss/ranking", "valid/recall@20", and so on."""
