"""Training of collaborative filtering models: the loop, its losses, checkpoints and result files."""

from hnlmrec.training.config import TrainingConfig, resolve_device
from hnlmrec.training.result import EpochReport, TrainingResult
from hnlmrec.training.trainer import Trainer

__all__ = ["EpochReport", "Trainer", "TrainingConfig", "TrainingResult", "resolve_device"]
