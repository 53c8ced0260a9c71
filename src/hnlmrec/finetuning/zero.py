"""The fine-tuning on DeepSpeed's ZeRO: optimiser (stage 1), gradients (2) or all weights (3) are split."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from hnlmrec.errors import ConfigError, MissingDependencyError
from hnlmrec.finetuning.parallel import Copies


def is_launched() -> bool:
    """Whether `accelerate launch` was given a configuration of the type DEEPSPEED."""
    return os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"


class Zero(Copies):
    """DeepSpeed's engine, with the section `zero_optimization` of the launcher's configuration.

    Step sizes, clipping and accumulation are those of the fine-tuning's own settings, so that the updates are
    those of one process. The engine is made here rather than by accelerate, which takes the processes of a machine
    without a GPU for one. Checkpoints are safetensors like all others here (DeepSpeed's own are pickles), and
    belong to a number of processes.

    Raises:
        ConfigError: stage 0, which splits nothing, or a device other than the launcher's.
        MissingDependencyError: DeepSpeed is not installed.
    """

    def _wrap(self) -> None:
        try:
            import deepspeed  # noqa: PLC0415 - an extra, and slow to import
            from transformers.integrations import deepspeed as loading  # noqa: PLC0415 - slow to import
        except ImportError:
            raise MissingDependencyError("deepspeed", "deepspeed") from None
        section = dict(self.accelerator.state.deepspeed_plugin.deepspeed_config["zero_optimization"])
        if not section.get("stage"):
            raise ConfigError("zero_stage = 0 splits nothing: allowed are 1, 2 and 3. Or launch with ddp.yaml.")
        if self.accelerator.device.type != self.encoder.device.type:
            raise ConfigError(
                f"the encoder is on the device {self.encoder.device}, and DeepSpeed was launched on "
                f"{self.accelerator.device}. Leave finetuning.device at auto."
            )
        forget: Callable[[], None] = loading.unset_hf_deepspeed_config
        forget()  # accelerate told transformers to split all models that are loaded from now on
        # A parameter that one process's share does not touch would be waited for by the others.
        self.encoder.uses_all_parameters = True
        self._engine, self.optimizer, _, _ = deepspeed.initialize(
            model=self.encoder,
            optimizer=self.optimizer,
            config={
                "zero_optimization": {name: value for name, value in section.items() if value != "auto"},
                "train_micro_batch_size_per_gpu": 1,  # is asked for, and used in its log alone
                "gradient_accumulation_steps": self.config.gradient_accumulation,
                "gradient_clipping": self.config.max_gradient_norm,
                "zero_allow_untested_optimizer": True,  # PyTorch's AdamW
                "zero_force_ds_cpu_optimizer": False,  # also where the moments are kept in the machine's memory
                "steps_per_print": 2**62,
            },
        )
        self.forward = self._engine
        self._gather = deepspeed.zero.GatheredParameters

    def batch(self, *, is_last: bool) -> AbstractContextManager[Any]:
        """See `Copies.batch`."""
        self._engine.set_gradient_accumulation_boundary(is_last)
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """See `Copies.backward`; the engine takes the mean over the processes as well."""
        self._engine.backward(loss * self.processes.size, scale_wrt_gas=False)

    def step(self) -> None:
        """See `Copies.step`."""
        self._engine.step()

    def whole(self) -> AbstractContextManager[Any]:
        """See `Copies.whole`: stage 3 gathers what it has split."""
        gathered: AbstractContextManager[Any] = self._gather(list(self.encoder.trainable().values()))
        return gathered

    def _parts(self) -> list[Tensor]:
        """Return this process's parts of the parameters, in float32, as the inner optimiser knows them."""
        if self._engine.zero_optimization_stage() == 3:
            return list(self.optimizer.fp32_partitioned_groups_flat)
        return list(self.optimizer.single_partition_of_fp32_groups)

    def optimizer_state(self) -> dict[str, Tensor]:
        """See `Copies.optimizer_state`: each tensor has a leading axis over the processes."""
        state = self.optimizer.optimizer.state
        return {
            f"{number}/{name}": self._all(value)
            for number, part in enumerate(self._parts())
            for name, value in sorted(state[part].items())
        }

    def _all(self, value: Tensor) -> Tensor:
        here = value.to(self.encoder.device).contiguous()
        parts = [torch.empty_like(here) for _ in range(self.processes.size)]
        dist.all_gather(parts, here)
        return torch.stack(parts).cpu()

    def load_optimizer_state(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Copies.load_optimizer_state`."""
        parts = self._parts()
        for key, value in tensors.items():
            number, _, name = key.partition("/")
            part, own = parts[int(number)], value[self.processes.rank].clone()
            self.optimizer.optimizer.state[part][name] = own if name == "step" else own.to(part.device)
