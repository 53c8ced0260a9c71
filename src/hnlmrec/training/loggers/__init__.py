"""Loggers that follow a training from outside, one file each, and the table that selects them by name."""

from __future__ import annotations

from collections.abc import Callable

from hnlmrec.training.loggers.base import LoggedRun, RunLogger
from hnlmrec.training.loggers.mlflow import MLflowLogger
from hnlmrec.training.loggers.tensorboard import TensorBoardLogger

LOGGERS: dict[str, Callable[[LoggedRun], RunLogger]] = {
    "tensorboard": TensorBoardLogger,
    "mlflow": MLflowLogger,
}

__all__ = ["LOGGERS", "LoggedRun", "RunLogger"]
