"""Rows written by the workers of a Ray cluster: the same requests, checks and repairs, elsewhere.

The process that runs the pipeline keeps the row file and the reply cache: it answers from the cache what it can,
sends the other tasks out, and writes down what comes back. So nothing is lost when a worker dies (Ray gives its
tasks to another one) and nothing is written twice; only requests that were in flight are made again.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Protocol

from hnlmrec.errors import HnlmrecError, ProviderError
from hnlmrec.generation.asking import Asker, Attempt
from hnlmrec.generation.row_task import RowTask
from hnlmrec.llm.client import ChatClient, ChatCompletion, CompletionConfig, Message
from hnlmrec.llm.prompts import PromptTemplate
from hnlmrec.ray_workers import ERROR, RayWorkers, described, raise_described

_WAVE = 50_000  # tasks that are on their way at once: bounds the memory, and how long a cut-off run repeats itself

_PARTS = 4  # of each worker's share


class RowEngine(Protocol):
    """Does rows elsewhere than in this process."""

    def attempts(self, asker: Asker, tasks: Iterator[RowTask]) -> Iterator[Attempt]:
        """Yield an attempt for each task, as they are done.

        Raises:
            ProviderError: no row can succeed.
        """
        ...


class NotHereError(HnlmrecError):
    """A reply is not in the cache, and no model is asked from this process."""


class AbsentChatClient:
    """Stands behind the reply cache of a run whose models are asked by workers."""

    def complete(self, messages: Sequence[Message], config: CompletionConfig) -> ChatCompletion:
        """Raise NotHereError."""
        del messages
        raise NotHereError(f"the model {config.model!r} is asked by the workers, not by this process.")

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class RayRows:
    """The row engine on Ray Data.

    Args:
        workers: where the work is done.
        open_client: called in each worker; it must be importable there.
        concurrency: requests that each worker has in flight.
        rows_per_task: tasks that are sent to a worker together, at most; results come back together too.
    """

    workers: RayWorkers
    open_client: Callable[[], ChatClient]
    concurrency: int = 8
    rows_per_task: int = 64

    def attempts(self, asker: Asker, tasks: Iterator[RowTask]) -> Iterator[Attempt]:
        """Yield an attempt for each task, first those that the cache answers.

        Raises:
            ProviderError: no row can succeed, or Ray cannot go on.
        """
        while wave := list(islice(tasks, _WAVE)):
            waiting: dict[int, RowTask] = {}
            for number, task in enumerate(wave):
                try:
                    yield asker.attempt(task)
                except NotHereError:
                    waiting[number] = task
            yield from self._asked(asker, waiting)

    def _asked(self, asker: Asker, waiting: dict[int, RowTask]) -> Iterator[Attempt]:
        rows = [{"number": number, "task": _task_text(task)} for number, task in waiting.items()]
        arguments = (self.open_client, asker.template, asker.completion, self.concurrency)
        even = math.ceil(len(rows) / (_PARTS * self.workers.n_workers))  # so that the workers end together
        size = min(max(even, 1), self.rows_per_task)
        for row in self.workers.map(rows, RowWorker, arguments, rows_per_task=size):
            raise_described(row[ERROR])
            task = waiting.pop(row["number"], None)
            if task is None:
                continue  # done twice, by a worker that died after it had answered
            attempt = _read_attempt(task, row["attempt"])
            yield attempt
        if waiting:
            raise ProviderError(f"Ray lost {len(waiting)} rows. Run the same command again: it asks for these.")


class RowWorker:
    """What runs in a worker process.

    Args:
        open_client: opens the model, at the first call.
        template: the prompt, and the reply that it asks for.
        completion: the settings of a request.
        concurrency: requests in flight.
    """

    def __init__(
        self,
        open_client: Callable[[], ChatClient],
        template: PromptTemplate,
        completion: CompletionConfig,
        concurrency: int,
    ) -> None:
        self._open_client, self._template, self._completion = open_client, template, completion
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="row")
        self._lock = threading.Lock()
        self._asker: Asker | None = None
        self._failure = ""

    def __call__(self, table: Any) -> dict[str, list[Any]]:
        """Return columns number, attempt (JSON) and error of a pyarrow table with columns number and task."""
        self._open()
        done = list(self._pool.map(self._attempt, table["task"].to_pylist()))
        rows = sorted(zip(table["number"].to_pylist(), done, strict=True), key=lambda row: row[1][1] != "")
        return {  # what succeeded comes first, so that it is written down before a failure ends the run
            "number": [number for number, _ in rows],
            "attempt": [attempt for _, (attempt, _) in rows],
            ERROR: [error for _, (_, error) in rows],
        }

    def _open(self) -> None:
        with self._lock:
            if self._asker is None and not self._failure:
                try:
                    client = _Uncached(self._open_client())
                except HnlmrecError as error:
                    self._failure = described(error)
                else:
                    self._asker = Asker(self._template, client, self._completion, threading.Event())

    def _attempt(self, text: str) -> tuple[str, str]:
        if self._failure:
            return "", self._failure
        assert self._asker is not None
        try:
            attempt = self._asker.attempt(_read_task(text))
        except HnlmrecError as error:
            self._failure = described(error)  # a fault of the provider: no other row can succeed
            return "", self._failure
        return _attempt_text(attempt), ""


class _Uncached:
    """Gives the client the face of a cache: the cache is where the rows are written."""

    def __init__(self, client: ChatClient) -> None:
        self._client = client

    def complete(
        self, messages: Sequence[Message], config: CompletionConfig, key: str | None = None
    ) -> ChatCompletion:
        """Ask the client."""
        del key
        return self._client.complete(messages, config)


def _task_text(task: RowTask) -> str:
    return json.dumps({"key": task.key, "fields": task.fields, "choices": task.choices})


def _read_task(text: str) -> RowTask:
    fields = json.loads(text)
    choices = fields.pop("choices")
    return RowTask(**fields, choices=None if choices is None else tuple(choices))


def _attempt_text(attempt: Attempt) -> str:
    return json.dumps(asdict(attempt))


def _read_attempt(task: RowTask, text: str) -> Attempt:
    fields = json.loads(text)
    completions = [ChatCompletion(**completion) for completion in fields.pop("completions")]
    accepted = fields.pop("accepted")
    fields["key"] = task.key
    return Attempt(
        **fields, completions=completions, accepted=None if accepted is None else ChatCompletion(**accepted)
    )
