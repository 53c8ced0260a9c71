"""How the processes of one run share the fine-tuning: each a whole copy of the model, or a part of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from hnlmrec.checkpoint import load_optimizer, optimizer_tensors
from hnlmrec.finetuning.config import FinetuningConfig
from hnlmrec.finetuning.encoder import CollaborativeEncoder
from hnlmrec.processes import Processes, current


class Copies:
    """A whole copy of the model on each process (DDP); with one process, the model as it is.

    A batch's loss is the same number on all processes, and its gradient on each goes through that process's share
    of the prompts: the sum over the processes is what one process would have. See `Sharing`.

    Args:
        encoder: is trained in place.
        optimizer: of its trained parameters.
        config: see `FinetuningConfig`.
        accelerator: of accelerate.

    Attributes:
        forward: what is called in place of the encoder.
        processes: this one among the others.
    """

    def __init__(
        self,
        encoder: CollaborativeEncoder,
        optimizer: torch.optim.Optimizer,
        config: FinetuningConfig,
        accelerator: Any,
    ) -> None:
        self.encoder, self.config, self.accelerator = encoder, config, accelerator
        self.processes: Processes = current()
        self.forward: Callable[..., tuple[Tensor, ...]] = encoder
        self.optimizer: Any = optimizer
        self._wrap()

    def _wrap(self) -> None:
        self.forward, self.optimizer = self.accelerator.prepare(self.encoder, self.optimizer)

    def set_rate(self, factor: float) -> None:
        """Multiply the step size that each group began with by this factor."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor

    def batch(self, *, is_last: bool) -> AbstractContextManager[Any]:
        """Surround forward and backward pass of one of the batches of an update."""
        return nullcontext() if is_last else self.accelerator.no_sync(self.forward)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a batch's loss, which is already divided by the batches of the update."""
        # What accelerate wraps the model in takes the mean of the processes' gradients; their sum is wanted.
        self.accelerator.backward(loss * self.processes.size)

    def step(self) -> None:
        """Move the parameters by the gradients, cut to `max_gradient_norm`, and forget these."""
        torch.nn.utils.clip_grad_norm_(list(self.encoder.trainable().values()), self.config.max_gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def whole(self) -> AbstractContextManager[Any]:
        """Surround what reads the trained parameters; all processes have to come here."""
        return nullcontext()

    def optimizer_state(self) -> dict[str, Tensor]:
        """Return the moments of all processes by name; all processes have to come here."""
        return optimizer_tensors(self.optimizer)

    def load_optimizer_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `optimizer_state` gave, in as many processes."""
        load_optimizer(self.optimizer, tensors)
