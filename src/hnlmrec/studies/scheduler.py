"""Runs jobs side by side within a budget of processes and memory; a failed one costs those that need it only."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from hnlmrec.studies.config import ResourcesSection
from hnlmrec.studies.jobs import Job
from hnlmrec.studies.progress import StudyProgress
from hnlmrec.studies.worker import Advanced, Ended, perform, use_threads, work

Done = Callable[[Job, str], Iterable[Job]]
"""Told of each job that has ended, with its error or ""; returns new jobs."""


def processor_count() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Scheduler:
    """Runs jobs in an order in which inputs come first.

    One process works in this one; more are started beside it and live until the end of the block.

    Args:
        root: folder of the artefact store.
        resources: processes, threads and memory.
        progress: is told what happens.
    """

    def __init__(self, root: Path, resources: ResourcesSection, progress: StudyProgress) -> None:
        self.root, self.resources, self.progress = root, resources, progress
        self.threads = resources.threads_per_process or max(processor_count() // resources.processes, 1)
        self.errors: dict[str, str] = {}
        self.peaks: dict[tuple[str, str], float] = {}
        self._workers: list[_Worker] = []

    @contextmanager
    def processes(self) -> Iterator[None]:
        """Keep the processes for the length of the block."""
        try:
            yield
        finally:
            for worker in self._workers:
                worker.stop()
            self._workers = []

    def run(self, title: str, jobs: Iterable[Job], done: Done, *, expected: int = 0) -> None:
        """Run all jobs and those that come of them, about `expected` more."""
        queue = _Queue({job.id: job for job in jobs}, self.errors)
        self.progress.begin(title, queue.waiting, expected)
        if self.resources.processes == 1:
            self._run_here(queue, done)
        else:
            self._run_beside(queue, done)

    def _run_here(self, queue: _Queue, done: Done) -> None:
        use_threads(self.threads)
        while (job := queue.take(lambda _: True)) is not None:
            self.progress.started(job)
            tell = functools.partial(self._tell, job)
            self._end(queue, job, perform(job.cell.config, job.label, self.root, tell), done)

    def _run_beside(self, queue: _Queue, done: Done) -> None:
        while len(self._workers) < self.resources.processes:
            self._workers.append(_Worker(self.root, self.threads))
        while queue.waiting or queue.running:
            for number, worker in enumerate(self._workers):
                if worker.job is None and (job := queue.take(self._fits)) is not None:
                    if not worker.process.is_alive():
                        self._workers[number] = _Worker(self.root, self.threads)
                    self._workers[number].start(job)
                    self.progress.started(job)
            if not queue.running:
                assert not queue.waiting, "jobs wait for each other"
                return
            self._listen(queue, done)

    def _tell(self, job: Job, advanced: Advanced) -> None:
        self.progress.advanced(job, advanced.done, advanced.total)

    def _listen(self, queue: _Queue, done: Done) -> None:
        busy = {worker.connection: worker for worker in self._workers if worker.job is not None}
        for ready in wait(list(busy)):
            assert isinstance(ready, Connection)
            worker = busy[ready]
            job = worker.job
            assert job is not None
            message = worker.receive()
            if isinstance(message, Advanced):
                self._tell(job, message)
            else:
                worker.job = None
                self._end(queue, job, message, done)

    def _end(self, queue: _Queue, job: Job, ended: Ended, done: Done) -> None:
        if ended.peak_gib:
            self.peaks[job.kind] = max(self.peaks.get(job.kind, 0.0), ended.peak_gib)
        for failed, error in queue.end(job, ended.error):
            self.progress.ended(failed, ended.seconds if failed is job else 0.0, error=error)
            for new in done(failed, error):
                queue.add(new)
                self.progress.add(new)

    def _fits(self, job: Job) -> bool:
        """Whether a job is expected to fit into the memory beside those that run; alone, every one is tried."""
        limit = self.resources.memory_gib
        running = [worker.job for worker in self._workers if worker.job is not None]
        if limit is None or not running:
            return True
        unknown = limit / self.resources.processes
        return sum(self.peaks.get(other.kind, unknown) for other in [*running, job]) <= limit


@dataclass
class _Queue:
    """Jobs that wait for their inputs or for a process.

    Attributes:
        waiting: by id, in the order in which they are preferred.
        errors: by id, of failed jobs.
        running: ids.
    """

    waiting: dict[str, Job]
    errors: dict[str, str]
    running: set[str] = field(default_factory=set)

    def add(self, job: Job) -> None:
        self.waiting.setdefault(job.id, job)

    def take(self, fits: Callable[[Job], bool]) -> Job | None:
        """Return a job whose inputs are there and that fits; None where there is none now."""
        pending = self.waiting.keys() | self.running
        for job in self.waiting.values():
            if not job.needs & pending:
                if not fits(job):
                    return None  # smaller ones must not overtake it forever
                del self.waiting[job.id]
                self.running.add(job.id)
                return job
        return None

    def end(self, job: Job, error: str) -> list[tuple[Job, str]]:
        """Return (job, error) of that job and, where it failed, of all that cannot be made without it."""
        self.running.discard(job.id)
        if not error:
            return [(job, "")]
        ended = [(job, error)]
        self.errors[job.id] = error
        for other in list(self.waiting.values()):  # inputs come first, so one pass finds all of them
            if other.needs & self.errors.keys():
                self.errors[other.id] = error
                del self.waiting[other.id]
                ended.append((other, f"its input failed: {error}"))
        return ended


class _Worker:
    """A process with the pipe to it."""

    def __init__(self, root: Path, threads: int) -> None:
        context = multiprocessing.get_context("spawn")  # threads of torch and numba do not survive a fork
        self.connection, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, root, threads, os.getpid()), daemon=True)
        self.process.start()
        other.close()
        self.job: Job | None = None

    def start(self, job: Job) -> None:
        self.job = job
        self.connection.send((job.cell.config.model_dump_json(), job.label))

    def receive(self) -> Advanced | Ended:
        try:
            message: Advanced | Ended = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            code = self.process.exitcode
            reason = "signal 9: killed, perhaps for want of memory" if code == -9 else f"exit status {code}"
            return Ended(f"the process that made it died ({reason})", 0.0, 0.0)
        return message

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join(5)
