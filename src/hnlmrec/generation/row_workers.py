"""Threads that ask for rows; what they bring stays with them until it is written down.

Ctrl-C reaches the main thread between any two of its steps: also when a task was just handed out, and nothing
notes that yet, or when a result was just taken out of a queue. So what is under way is known here, not from what
the main thread holds, and no lock is used that an interruption can leave locked (those of `threading.Event` and
`ThreadPoolExecutor` are taken in Python code; those of `SimpleQueue` and `deque` are not).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from hnlmrec.generation.asking import Attempt
from hnlmrec.generation.row_task import RowTask


class RowWorkers:
    """Does tasks in threads.

    All methods are for one thread. `end` must be called in the end.

    Args:
        work: does one task; called in the threads.
        n_threads: tasks that are done at once.
    """

    def __init__(self, work: Callable[[RowTask], Attempt], n_threads: int) -> None:
        self._work = work
        self._tasks: SimpleQueue[RowTask | None] = SimpleQueue()  # None ends a thread
        self._brought: deque[Attempt | BaseException] = deque()
        self._news: SimpleQueue[None] = SimpleQueue()  # one entry for each that was brought
        self._started = False
        # Daemons: a second Ctrl-C, while `end` waits for a slow answer, ends the program.
        names = (f"row_{number}" for number in range(n_threads))
        self._threads = [threading.Thread(target=self._do_tasks, name=name, daemon=True) for name in names]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()
        self._started = True

    def hand_out(self, task: RowTask) -> None:
        """Let a thread do the task, as soon as one is free."""
        self._tasks.put(task)

    def wait(self) -> list[Attempt]:
        """Wait for news; return all that was brought and not forgotten. Raises what a task raised."""
        self._news.get()
        with suppress(Empty):  # under load many rows are written down together
            while True:
                self._news.get_nowait()
        attempts = []
        for outcome in self._all():
            if isinstance(outcome, BaseException):
                raise outcome
            attempts.append(outcome)
        return attempts

    def forget(self, number: int) -> None:
        """Let go of so many of those that `wait` returned, from the first: they are written down."""
        for _ in range(number):
            self._brought.popleft()

    def end(self) -> list[Attempt]:
        """Begin no further task, wait for those under way, and return all that was brought and not forgotten."""
        with suppress(Empty):
            while True:
                self._tasks.get_nowait()
        for _ in self._threads:
            self._tasks.put(None)
        if self._started:  # else no task was handed out
            for thread in self._threads:
                thread.join()
        return [outcome for outcome in self._all() if isinstance(outcome, Attempt)]

    def _all(self) -> list[Attempt | BaseException]:
        # By place: threads add to it meanwhile, which a loop over it would not survive.
        return [self._brought[place] for place in range(len(self._brought))]

    def _do_tasks(self) -> None:
        while (task := self._tasks.get()) is not None:
            outcome: Attempt | BaseException
            try:
                outcome = self._work(task)
            except BaseException as error:  # noqa: BLE001 - `wait` raises it
                outcome = error
            self._brought.append(outcome)
            self._news.put(None)
