"""Work on Ray Data: rows go to the workers of a cluster, and what they make of them comes back as it is ready.

Ray starts a worker anew that has died, and gives its rows to a living one. Ray itself, which takes a second to
import, is loaded by the first rows.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hnlmrec.errors import ConfigError, HnlmrecError, MissingDependencyError, ProviderError, UserInputError

log = logging.getLogger(__name__)
ERROR = "error"
"""Column in which a worker hands back what it failed with; "" where it did not."""
_CALLS_AT_ONCE = 2  # a worker begins the next rows while the slowest of the last ones are still at work


@dataclass(frozen=True)
class RayWorkers:
    """Where the work is done.

    Args:
        address: of a cluster ("auto", "host:6379", "ray://host:10001"); None starts one on this machine.
        n_workers: processes.
        cpus: CPU cores that Ray sets aside for each.
        gpus: GPUs, likewise.

    Raises:
        MissingDependencyError: the extra [ray] is not installed.
        ConfigError: this machine has fewer GPUs than the workers ask for.
    """

    address: str | None = None
    n_workers: int = 2
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if importlib.util.find_spec("ray") is None:
            raise MissingDependencyError("ray", "ray")

    def map(
        self, rows: Sequence[Mapping[str, Any]], worker: type, arguments: tuple[Any, ...], *, rows_per_task: int
    ) -> Iterator[dict[str, Any]]:
        """Yield what the workers make of the rows, in no particular order.

        Args:
            rows: of the same columns; text, bytes and numbers.
            worker: `worker(*arguments)` is made in each process, and called from up to two threads with a pyarrow
                table of some rows; it returns the columns of its result, {name: list}.
            arguments: sent to each process.
            rows_per_task: rows a call; those of a worker that dies are given to another, and done anew.

        Raises:
            ProviderError: Ray cannot go on.
        """
        import ray  # noqa: PLC0415 - optional, and slow to import
        import ray.data  # noqa: PLC0415

        if not rows:
            return
        self._connect()
        data = ray.data.from_items(list(rows), override_num_blocks=math.ceil(len(rows) / rows_per_task))
        pool = ray.data.ActorPoolStrategy(
            size=min(self.n_workers, math.ceil(len(rows) / rows_per_task)),
            max_concurrent_calls_per_actor=_CALLS_AT_ONCE,
            max_tasks_in_flight_per_actor=_CALLS_AT_ONCE,
            enable_true_multi_threading=True,
        )
        done = data.map_batches(
            worker,
            batch_size=rows_per_task,
            batch_format="pyarrow",
            compute=pool,
            fn_constructor_args=arguments,
            num_cpus=self.cpus,
            num_gpus=self.gpus or None,
        )
        try:
            table: Any
            for table in done.iter_batches(batch_size=None, batch_format="pyarrow"):
                yield from table.to_pylist()
        except ray.exceptions.RayError as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise ProviderError(
                f"the Ray workers could not go on: {reason} What came back before is kept. Every node needs the "
                "same versions of Python, Ray and hnlmrec, and the files that the run names."
            ) from error

    def _connect(self) -> None:
        import ray  # noqa: PLC0415
        import ray.data  # noqa: PLC0415

        if ray.is_initialized():
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
        silent: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
        if self.address is None:
            os.environ.setdefault("RAY_worker_niceness", "0")  # not below all else on the machine, as Ray would
            cpus = math.ceil(self.n_workers * self.cpus) + 1
            ray.init(address="local", num_cpus=cpus, include_dashboard=False, **silent)
        else:
            try:
                ray.init(address=self.address, **silent)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise ProviderError(
                    f"there is no Ray cluster at runtime.ray_address {self.address!r} ({error}). Start one "
                    "(`ray start --head`), or leave the address out to have one on this machine."
                ) from error
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        self._check_gpus(ray.cluster_resources().get("GPU", 0.0))  # type: ignore[no-untyped-call]

    def _check_gpus(self, there: float) -> None:
        wanted = self.n_workers * self.gpus
        if wanted <= there:
            return
        message = f"{self.n_workers} Ray workers with {self.gpus:g} GPUs each, and {there:g} GPUs are there"
        if self.address is None:
            disconnect()
            raise ConfigError(f"{message}. Lower runtime.ray_workers or runtime.ray_gpus_per_worker.")
        log.warning("%s: waiting for the cluster to grow", message)


def disconnect() -> None:
    """Leave the cluster, and end it where it was started here."""
    if importlib.util.find_spec("ray") is None:
        return
    import ray  # noqa: PLC0415

    if ray.is_initialized():
        ray.shutdown()


def described(error: HnlmrecError) -> str:
    """Return an error as a worker hands it back in its column ERROR."""
    return f"{'input' if isinstance(error, UserInputError) else 'fault'}:{error}"


def raise_described(text: str) -> None:
    """Raise what `described` wrote down; nothing for "".

    Raises:
        ProviderError: nothing can succeed until somebody changes something.
        HnlmrecError: a fault.
    """
    kind, _, message = text.partition(":")
    if kind == "input":
        raise ProviderError(message)
    if kind:
        raise HnlmrecError(message)
