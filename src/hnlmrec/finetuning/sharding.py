"""The frozen weights of the base model, split over the processes (FSDP 2): for a model too large for one GPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn

from hnlmrec.errors import ConfigError
from hnlmrec.finetuning.parallel import Copies


class Sharded(Copies):
    """Each process has its part of the frozen weights of every layer; a layer is gathered while it computes.

    What is trained stays whole on every process, so that checkpoints and saved encoders are those of `Copies`; its
    gradients are summed here.
    """

    def _wrap(self) -> None:
        from torch.distributed.device_mesh import init_device_mesh  # noqa: PLC0415 - both are slow to import
        from torch.distributed.fsdp import fully_shard  # noqa: PLC0415

        mesh = init_device_mesh(self.encoder.device.type, (self.processes.size,))
        trained = {value for value in self.encoder.parameters() if value.requires_grad}
        for layer in _layers(self.encoder.language_model):
            fully_shard(layer, mesh=mesh, ignored_params=trained)

    def batch(self, *, is_last: bool) -> AbstractContextManager[Any]:  # noqa: ARG002 - nothing is summed before `step`
        """See `Copies.batch`."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """See `Copies.backward`."""
        self.accelerator.backward(loss)

    def step(self) -> None:
        """See `Copies.step`."""
        self.processes.sum_gradients(list(self.encoder.trainable().values()))
        super().step()


def _layers(model: nn.Module) -> nn.ModuleList:
    """Return the longest list of modules: the layers of a transformer."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise ConfigError(f"the base model {type(model).__name__} has no list of layers to split.")
    return max(lists, key=len)
