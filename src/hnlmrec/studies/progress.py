"""How far a study has come: a bar with a line for each process, or plain lines where stderr is no terminal."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from hnlmrec.console import stderr
from hnlmrec.studies.jobs import Job


class StudyProgress:
    """Shows jobs as they run and end, and estimates the time that is left.

    The estimate takes the mean time of the finished jobs of the same kind, of the same stage where there is none.

    Args:
        processes: how many jobs run side by side.
        quiet: show nothing.
    """

    def __init__(self, processes: int, *, quiet: bool = False) -> None:
        self.processes, self.quiet = processes, quiet
        self.total = self.done = self._expected = 0
        self.seconds: dict[object, list[float]] = defaultdict(list)
        self._waiting: dict[str, Job] = {}
        columns = (
            TextColumn("{task.description:<58}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._bar = Progress(*columns, console=stderr, disable=quiet or not stderr.is_terminal)
        self._all: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> StudyProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, title: str, jobs: Mapping[str, Job], expected: int = 0) -> None:
        """Start to count these jobs, and about `expected` others that will come."""
        self.total, self.done, self._waiting, self._expected = len(jobs) + expected, 0, dict(jobs), expected
        if self._all is not None:
            self._bar.remove_task(self._all)
        self._all = self._bar.add_task(title, total=self.total, left="")

    def add(self, job: Job) -> None:
        """One of the others has come."""
        self._waiting[job.id] = job
        self.total += not self._expected
        self._expected = max(self._expected - 1, 0)

    def started(self, job: Job) -> None:
        """A job has begun."""
        self._tasks[job.id] = self._bar.add_task(f"  {job.description}", total=None, left="")

    def advanced(self, job: Job, done: int, total: int) -> None:
        """A job has come so far."""
        if job.id in self._tasks:
            self._bar.update(self._tasks[job.id], completed=done, total=total)

    def ended(self, job: Job, seconds: float, *, error: str = "") -> None:
        """A job is done, or has failed."""
        self._waiting.pop(job.id, None)
        self.done += 1
        if not error:
            self.seconds[job.kind].append(seconds)
            self.seconds[job.kind[0]].append(seconds)
        if job.id in self._tasks:
            self._bar.remove_task(self._tasks.pop(job.id))
        left = self.left()
        if self._all is not None:
            self._bar.update(self._all, completed=self.done, total=self.total, left=left)
        if not self.quiet and not stderr.is_terminal:
            what = f"failed: {error.splitlines()[0]}" if error else f"{seconds:.1f} s"
            clock = time.strftime("%H:%M:%S")
            line = f"{clock} [{self.done}/{self.total}] {job.description}: {what}; {left}"
            stderr.print(line, markup=False, highlight=False, soft_wrap=True)

    def left(self) -> str:
        """Return how long the rest will take, in words."""
        seconds = 0.0
        for job in self._waiting.values():
            known = self.seconds.get(job.kind) or self.seconds.get(job.kind[0]) or [0.0]
            seconds += sum(known) / len(known)
        trained = self.seconds.get("train") or [0.0]
        seconds += self._expected * sum(trained) / len(trained)
        return f"ETA {_clock(seconds / self.processes)}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
