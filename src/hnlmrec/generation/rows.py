"""One resumable row runner for everything that a language model writes.

Each row that is done is appended at once, so that a kill loses at most the requests in flight; the next run reads
the rows back and asks for the others only, failed ones included. One row's failure never stops the others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from hnlmrec.errors import ProviderError
from hnlmrec.generation.asking import Asker, Attempt
from hnlmrec.generation.call_counts import CallCounts, counts_path
from hnlmrec.generation.ray_rows import RowEngine
from hnlmrec.generation.row_file import Key, RowFile
from hnlmrec.generation.row_task import RowSummary, RowTask
from hnlmrec.generation.row_workers import RowWorkers
from hnlmrec.llm.cache import CachedChatClient
from hnlmrec.llm.client import CompletionConfig
from hnlmrec.llm.prompts import PromptTemplate

__all__ = ["Progress", "RowSummary", "RowTask", "run_rows"]

_SHOWN_CHARACTERS = 300

Progress = Callable[[int, int], None]
"""Told (rows done, of all)."""


def run_rows(
    tasks: Iterable[RowTask],
    total: int,
    *,
    template: PromptTemplate,
    client: CachedChatClient,
    completion: CompletionConfig,
    out: Path,
    failures: Path,
    concurrency: int = 8,
    engine: RowEngine | None = None,
    progress: Progress | None = None,
    already_done: int = 0,
) -> RowSummary:
    """Write a line {key fields, reply fields} for each task that succeeds, in the order of the tasks.

    `<out's stem>.calls.json` beside it keeps what all calls for these rows did; the caller may remove it once the
    whole work is done.

    Args:
        tasks: read as they are needed, so that a generator keeps memory flat; keys differ.
        total: their number, for `progress`.
        template: the prompt, and the reply that it asks for.
        client: where replies come from; those that parse enter its cache.
        completion: the settings of a request; its schema is replaced by the template's.
        out: JSON lines of the rows that are done; read back if it is there.
        failures: JSON lines {key fields, "error", "message", "reply"} of this run's failures.
        concurrency: number of requests in flight.
        engine: does the rows elsewhere; None for threads of this process. The rows are the same.
        progress: called in this thread.
        already_done: rows of an earlier part of the same work, for `progress`; there, some row was made.

    Raises:
        ProviderError: no row can succeed, or none did of those that were asked for, and none was there before.
            What was written stays, and the same call tries the failed rows again. KeyboardInterrupt likewise ends
            the run: requests in flight are awaited, what they bring is kept, and the same call goes on from there.
        CorruptArtifactError: `out` holds something else.
        OSError: the disk is full; what was written stays whole.
    """
    with ExitStack() as stack:
        done = stack.enter_context(RowFile.open(out, resume=True))
        failed = stack.enter_context(RowFile.open(failures, resume=False))
        counts = CallCounts(counts_path(out))
        book = _Book(client, done, failed, counts, progress or _silent, total=total, already_done=already_done)
        stack.callback(book.write_counts)  # also when the run is interrupted
        stopping = threading.Event()
        asker = Asker(template, client, completion, stopping)
        if engine is None:
            _work(asker, book, book.unfinished(tasks), stopping, concurrency=concurrency)
        else:
            for attempt in engine.attempts(asker, book.unfinished(tasks)):
                book.record([attempt])
        book.close()
        book.check_any_made(failures)
        return book.summary


def _work(
    asker: Asker, book: _Book, tasks: Iterator[RowTask], stopping: threading.Event, *, concurrency: int
) -> None:
    workers = RowWorkers(asker.attempt, concurrency)
    try:
        workers.start()
        while True:
            # Only so many that none waits: a request begins when an earlier one is written down.
            for task in islice(tasks, concurrency - book.at_work):
                workers.hand_out(task)
            if not book.at_work:
                workers.end()
                return
            attempts = workers.wait()
            book.record(attempts)
            workers.forget(len(attempts))
    except BaseException as error:
        stopping.set()
        attempts = workers.end()
        if isinstance(error, (ProviderError, KeyboardInterrupt)):  # what is paid for is awaited and kept
            book.keep(attempts)
        raise


class _Book:
    """Writes results down and counts them; used by the main thread alone."""

    def __init__(
        self,
        client: CachedChatClient,
        done: RowFile,
        failed: RowFile,
        counts: CallCounts,
        progress: Progress,
        *,
        total: int,
        already_done: int,
    ) -> None:
        self._client = client
        self._done = done
        self._failed = failed
        self._counts = counts
        self._progress = progress
        self._total = total
        self._already_done = already_done
        self._numbers: dict[Key, int] = {}  # of the rows at work
        self._first_failure: Mapping[str, Any] | None = None
        self._problems = 0
        self.summary = RowSummary(earlier=counts.earlier)

    def unfinished(self, tasks: Iterable[RowTask]) -> Iterator[RowTask]:
        """Yield the tasks that need a request, and settle the others."""
        for number, task in enumerate(tasks):
            key = _key(task)
            if self._done.find(key, number):
                self._count(RowSummary(resumed=1))
            elif task.given is not None:
                self._done.append({number: {**task.key, **task.given}})
                self._count(RowSummary(given=1))
            elif task.problem is not None:
                failure = {**task.key, "error": "DataError", "message": task.problem, "reply": ""}
                self._problems += 1
                self._fail({number: failure})
                self._count(RowSummary(requested=1, failed=1))
            else:
                self._numbers[key] = number
                yield task

    @property
    def at_work(self) -> int:
        """The number of rows that are at work, and not written down yet."""
        return len(self._numbers)

    def record(self, attempts: Sequence[Attempt]) -> None:
        """Write down what attempts brought, and let the cache keep the replies."""
        numbered = [(self._numbers[_key(attempt)], attempt) for attempt in attempts]
        self._done.append({number: attempt.row for number, attempt in numbered if attempt.row is not None})
        self._fail({number: attempt.failure for number, attempt in numbered if attempt.failure is not None})
        for attempt in attempts:
            del self._numbers[_key(attempt)]
            self._count(attempt.summary())
            self._counts.note(self.summary)
        self._client.accept_all((a.request, a.accepted) for a in attempts if a.accepted is not None)

    def keep(self, attempts: Iterable[Attempt]) -> None:
        """Write down what the end of the run cut short, less what was written down just before."""
        for attempt in attempts:
            if _key(attempt) not in self._numbers:
                continue
            if attempt.row is not None:
                self.record([attempt])
            else:  # it costs, but its row is neither made nor failed
                self.summary += replace(attempt.summary(), requested=0, failed=0)

    def write_counts(self) -> None:
        """Keep the counts for a later call."""
        self._counts.write(self.summary)

    def close(self) -> None:
        """Put both files into the order of the tasks."""
        self._done.sort()
        self._failed.sort()

    def check_any_made(self, failures: Path) -> None:
        """Refuse a run in which every row failed: its cause is not in the rows, and nothing could be done with it.

        Rows that could not be asked for do not count where an earlier part made some: the items of a later rank
        may be used up.
        """
        done = self.summary
        tried = done.requested - (self._problems if self._already_done else 0)
        if self._first_failure is None or not tried or done.succeeded or done.resumed or done.given:
            return
        message = self._first_failure["message"][:_SHOWN_CHARACTERS].rstrip(".")
        raise ProviderError(
            f"none of {done.requested} rows could be made. The first failure was "
            f"{self._first_failure['error']}: {message}. All of them are in {failures}. Mend the cause (model, "
            "endpoint, prompt or settings) and run the same command again: it tries these rows again."
        )

    def _fail(self, failures: Mapping[int, Mapping[str, Any]]) -> None:
        if failures:
            self._first_failure = self._first_failure or next(iter(failures.values()))
            self._failed.append(failures)

    def _count(self, part: RowSummary) -> None:
        self.summary += part
        self._progress(self._already_done + self.summary.rows, self._total)


def _key(row: RowTask | Attempt) -> Key:
    return tuple(row.key.values())


def _silent(done: int, total: int) -> None:
    del done, total
