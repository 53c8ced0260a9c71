"""The frozen weights of the base model, split over the processes (FSDP 2): for a model too large for one GPU."""

from __future__ import annotations

from typing import Any

from torch import nn

from hnlmrec.errors import ConfigError
from hnlmrec.finetuning.config import FinetuningConfig
from hnlmrec.finetuning.encoder import CollaborativeEncoder


def is_sharded(config: FinetuningConfig, accelerator: Any) -> bool:
    """Whether the frozen weights are to be split: the settings say so, or the launcher's configuration.

    Raises:
        ConfigError: the launcher asks for DeepSpeed.
    """
    kind = accelerator.distributed_type.value
    if kind == "DEEPSPEED":
        raise ConfigError(
            "the fine-tuning does not run on DeepSpeed: what it would split is the optimiser's state, and that of "
            "LoRA layers is small. For a base model that does not fit on one GPU, launch with the configuration "
            "fsdp.yaml of this package; otherwise with ddp.yaml."
        )
    return bool(accelerator.num_processes > 1 and (config.shard_base or kind == "FSDP"))


def shard_frozen(encoder: CollaborativeEncoder, n_processes: int) -> None:
    """Leave each process its part of the frozen weights of every layer; a layer is gathered while it computes.

    What is trained stays whole on every process, so that checkpoints and saved encoders are the same with and
    without; its gradients have to be summed by the caller.
    """
    from torch.distributed.device_mesh import init_device_mesh  # noqa: PLC0415 - both are slow to import
    from torch.distributed.fsdp import fully_shard  # noqa: PLC0415

    mesh = init_device_mesh(encoder.device.type, (n_processes,))
    trained = {value for value in encoder.parameters() if value.requires_grad}
    for layer in _layers(encoder.language_model):
        fully_shard(layer, mesh=mesh, ignored_params=trained)


def _layers(model: nn.Module) -> nn.ModuleList:
    """Return the longest list of modules: the layers of a transformer."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise ConfigError(f"the base model {type(model).__name__} has no list of layers to split.")
    return max(lists, key=len)
