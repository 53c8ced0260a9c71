"""A process that makes one artefact after the other, and says over a pipe how far it has come."""

from __future__ import annotations

import logging
import os
import resource
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from hnlmrec.artifacts import ArtifactStore
from hnlmrec.console import Advance, log_to_stderr
from hnlmrec.errors import HnlmrecError
from hnlmrec.pipeline.config import RunConfig
from hnlmrec.studies.jobs import run_job

_TELL_EVERY = 0.3  # seconds
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Advanced:
    """A job has come so far."""

    done: int
    total: int


@dataclass(frozen=True)
class Ended:
    """A job is done, or has failed.

    Attributes:
        error: what went wrong; "" where nothing did.
        seconds: wall time.
        peak_gib: largest memory of the process so far.
    """

    error: str
    seconds: float
    peak_gib: float


class TellingProgress:
    """Passes on how far a job has come, a few times a second at most."""

    def __init__(self, tell: Callable[[Advanced], None]) -> None:
        self._tell = tell
        self._last = 0.0

    @contextmanager
    def task(self, description: str) -> Iterator[Advance]:
        """Give the callback that is told (done, total)."""
        del description

        def advance(done: int, total: int) -> None:
            if time.monotonic() - self._last >= _TELL_EVERY:
                self._last = time.monotonic()
                self._tell(Advanced(done, total))

        yield advance


def perform(config: RunConfig, label: str, root: Path, tell: Callable[[Advanced], None]) -> Ended:
    """Run a job; whatever goes wrong in it is part of the answer, so that the other cells go on."""
    started, error = time.perf_counter(), ""
    try:
        run_job(config, label, ArtifactStore(root), TellingProgress(tell))
    except HnlmrecError as problem:
        error = f"{type(problem).__name__}: {problem}"
    except Exception as problem:  # noqa: BLE001 - a study of days must not end with its first bug: it is reported
        log.debug("%s", traceback.format_exc())
        place = traceback.extract_tb(problem.__traceback__)[-1]
        error = f"{type(problem).__name__}: {problem} ({Path(place.filename).name}, line {place.lineno})"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return Ended(error, time.perf_counter() - started, peak)


def use_threads(threads: int) -> None:
    """Let torch and numba use so many CPU threads in this process."""
    import numba  # noqa: PLC0415 - slow to import, and needed by processes that compute only
    import torch  # noqa: PLC0415

    torch.set_num_threads(threads)
    numba.set_num_threads(threads)


def work(connection: Connection, root: Path, threads: int, parent: int) -> None:
    """Do the jobs that come through the pipe until it is closed. Runs in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    log_to_stderr()
    logging.getLogger("hnlmrec").setLevel(logging.WARNING)
    use_threads(threads)
    while True:
        try:
            config, label = connection.recv()
        except EOFError:
            return
        connection.send(perform(RunConfig.model_validate_json(config), label, root, connection.send))


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, however that ended: nobody would read what it makes."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
