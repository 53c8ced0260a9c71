"""TensorBoard: event files in the folder `tensorboard` of a run, for `tensorboard --logdir`."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from hnlmrec.errors import MissingDependencyError
from hnlmrec.training.loggers.base import LoggedRun


class TensorBoardLogger:
    """Writes a curve for each figure.

    A resumed run goes on in the same folder; what the killed one logged after its last checkpoint is hidden.

    Raises:
        MissingDependencyError: tensorboard is not installed.
    """

    def __init__(self, run: LoggedRun) -> None:
        try:
            import tensorboard  # noqa: F401, PLC0415 - for a message that names the package
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415
        except ImportError:
            raise MissingDependencyError("tensorboard", "tracking") from None
        self._writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=run.epochs + 1)
        lines = (f"    {name} = {value}" for name, value in run.parameters.items())
        self._writer.add_text("parameters", "\n".join([f"{run.name}\n", *lines]), run.epochs + 1)

    def __enter__(self) -> TensorBoardLogger:
        """The writer is open already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is still buffered."""
        self._writer.close()

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve, and let a running TensorBoard see it."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()
