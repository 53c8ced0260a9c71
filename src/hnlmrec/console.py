"""Progress bars and log lines, all on stderr: stdout belongs to what a command returns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

stderr = Console(stderr=True)
Advance = Callable[[int, int], None]
"""Told (done, total) as work goes on."""


class ProgressReporter(Protocol):
    """Shows how far something long has come."""

    @contextmanager
    def task(self, description: str) -> Iterator[Advance]:
        """Give the callback that is told (done, total)."""
        ...


def _ignore(done: int, total: int) -> None:
    del done, total


class SilentProgress:
    """Shows nothing: for the library's own calls and for tests."""

    @contextmanager
    def task(self, description: str) -> Iterator[Advance]:
        """Give a callback that does nothing."""
        del description
        yield _ignore


class RichProgress:
    """A bar with counts, elapsed time and ETA; plain lines at the end of a task where stderr is no terminal."""

    @contextmanager
    def task(self, description: str) -> Iterator[Advance]:
        """Show a bar while the block runs."""
        columns = (
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=stderr) as progress:
            bar = progress.add_task(description, total=None)
            yield lambda done, total: progress.update(bar, completed=done, total=total)


def log_to_stderr(*, verbose: bool = False) -> None:
    """Send this package's log lines to stderr, warnings of other packages too."""
    handler = RichHandler(console=stderr, show_path=False, log_time_format="[%X]", rich_tracebacks=False)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], format="%(message)s", force=True)
    logging.getLogger("hnlmrec").setLevel(logging.DEBUG if verbose else logging.INFO)
