"""The language model under the encoder: found, shortened, given LoRA layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from hnlmrec.encoders.base import require
from hnlmrec.encoders.causal_lm import shorten
from hnlmrec.encoders.quiet import quiet_transformers
from hnlmrec.encoders.weights import ModelFiles
from hnlmrec.errors import ConfigError
from hnlmrec.finetuning.settings import EncoderSettings


class BaseModel:
    """A causal language model on this machine, not loaded yet.

    Args:
        name: an asset's name, a folder, a GGUF file, or a Hugging Face name.

    Raises:
        MissingDependencyError: the extra [finetune] is not installed.
        MissingFileError: there is no such model.
    """

    def __init__(self, name: str) -> None:
        for package in ("transformers", "peft", "accelerate"):
            require(package, "finetune")
        self._files = ModelFiles(name)
        if self._files.is_gguf:
            require("gguf", "finetune")

    def digest(self) -> str:
        """Return the sha256 of the model's files."""
        return self._files.digest

    def tokenizer(self) -> Any:
        """Load the tokenizer."""
        with quiet_transformers():
            from transformers import AutoTokenizer  # noqa: PLC0415 - takes seconds

            return AutoTokenizer.from_pretrained(**self._files.arguments())

    def model(self, settings: EncoderSettings, dtype: torch.dtype) -> nn.Module:
        """Load the model without its language head, keep the first layers, and add LoRA layers.

        Only the LoRA layers can be trained, and they are float32 whatever the rest is.

        Raises:
            ConfigError: the model has fewer layers, or none of the names in lora_targets.
        """
        with quiet_transformers():
            from transformers import AutoModel  # noqa: PLC0415

            model: nn.Module = AutoModel.from_pretrained(**self._files.arguments(), dtype=dtype)
        if settings.n_layers is not None:
            shorten(model, settings.n_layers)
        return _with_lora(model, settings)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Give torch's own generators this seed within the block, and put them back after it.

    Layers of other libraries draw their initial values and their dropout from these generators.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the number format of a setting: "auto" is bfloat16 on a CUDA device that has it, else float32."""
    if name == "auto":
        has = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if has else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def _with_lora(model: nn.Module, settings: EncoderSettings) -> nn.Module:
    from peft import LoraConfig, inject_adapter_in_model  # noqa: PLC0415 - takes seconds

    model.requires_grad_(False)
    lora = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=list(settings.lora_targets),
    )
    try:
        model = inject_adapter_in_model(lora, model)
    except ValueError as error:
        linear = {name.rsplit(".", 1)[-1] for name, m in model.named_modules() if isinstance(m, nn.Linear)}
        raise ConfigError(
            f"lora_targets {', '.join(settings.lora_targets)} cannot be used ({error}). "
            f"The base model has the linear layers: {', '.join(sorted(linear))}."
        ) from None
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model
