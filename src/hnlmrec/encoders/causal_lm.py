"""A causal language model as an encoder: its last layer, pooled to one vector a text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hnlmrec.encoders.base import Advance, EncoderConfig, Matrix, digest, encode_distinct, require
from hnlmrec.encoders.quiet import quiet_transformers
from hnlmrec.encoders.weights import ModelFiles
from hnlmrec.errors import ConfigError

if TYPE_CHECKING:
    import torch

Pooling = Literal["mean", "last"]


class CausalLMEncoder:
    """A Hugging Face causal LM, or a GGUF file of one (its weights are de-quantised to float32).

    Template, pooling and length are part of the object, so that training and use cannot differ in them: in the
    authors' code of HNLMRec they do.

    Args:
        model: a folder, a GGUF file, an asset's name, or a Hugging Face name.
        device: `auto`, `cpu`, `cuda`, ….
        max_length: tokens after which template and text together are cut off.
        pooling: "mean" over the tokens, or the "last" token.
        template: what the model reads; `{text}` stands for the text.
        n_layers: the layers that a text goes through, from the first; None for all.

    Raises:
        ConfigError: the template lacks `{text}`; at the first use, if the model has fewer layers.
        MissingDependencyError: the extra [text] is not installed.
        MissingFileError: there is no such model.
    """

    def __init__(
        self,
        model: str,
        device: str = "auto",
        max_length: int = 512,
        pooling: Pooling = "mean",
        template: str = "{text}",
        *,
        n_layers: int | None = None,
    ) -> None:
        if "{text}" not in template:
            raise ConfigError(
                f"the encoder's template {template!r} must hold {{text}}, which stands for the text."
            )
        require("transformers", "text")
        self._files = ModelFiles(model)
        if self._files.is_gguf:
            require("gguf", "text")
            require("accelerate", "text")
        self._device_name, self._max_length = device, max_length
        self._pooling, self._template, self._n_layers = pooling, template, n_layers

    @classmethod
    def from_config(cls, config: EncoderConfig) -> CausalLMEncoder:
        """Build it from the fields model, device, max_length, pooling, template and n_layers."""
        length = config.max_length or 512
        return cls(config.model, config.device, length, config.pooling, config.template, n_layers=config.n_layers)

    @property
    def path(self) -> Path:
        """Where the model's files are; an asset is downloaded."""
        return self._files.path

    @property
    def size(self) -> int:
        """Length d of a vector: the model's hidden size."""
        return int(self._model.config.hidden_size)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of the model's files, its layers, the template, the pooling and the maximal length."""
        layers = [] if self._n_layers is None else [self._n_layers]
        return digest("causal_lm", self._files.digest, self._template, self._pooling, self._max_length, *layers)

    def encode(self, texts: Sequence[str], *, batch_size: int = 32, progress: Advance | None = None) -> Matrix:
        """Return float32 [len(texts), d]; see `TextEncoder.encode`."""
        return encode_distinct(texts, batch_size, self._encode_batch, lambda: self.size, progress)

    def _encode_batch(self, texts: list[str]) -> Matrix:
        import torch  # noqa: PLC0415 - this module is importable without it

        prompts = [self._template.replace("{text}", text) for text in texts]
        tokens = self._tokenizer(
            prompts, padding=True, truncation=True, max_length=self._max_length, return_tensors="pt"
        ).to(self._model.device)
        with torch.inference_mode():
            hidden = self._model(**tokens).last_hidden_state  # [B, T, d]
            vectors = pool(hidden, tokens["attention_mask"], self._pooling)
        return np.asarray(vectors.float().cpu().numpy(), dtype=np.float32)

    @cached_property
    def _tokenizer(self) -> Any:
        with quiet_transformers():
            from transformers import AutoTokenizer  # noqa: PLC0415 - takes seconds

            tokenizer = AutoTokenizer.from_pretrained(**self._files.arguments())
        tokenizer.padding_side = "right"  # causal attention: what follows a token does not change it
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    @cached_property
    def _model(self) -> Any:
        with quiet_transformers():
            import torch  # noqa: PLC0415
            from transformers import AutoModel  # noqa: PLC0415

            model = AutoModel.from_pretrained(**self._files.arguments(), dtype=torch.float32)
        if self._n_layers is not None:
            shorten(model, self._n_layers)
        device = self._device_name
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return model.to(device).eval()


def shorten(model: Any, n_layers: int) -> None:
    """Keep the first layers of a model only.

    Raises:
        ConfigError: it has fewer, or keeps them where this function does not know.
    """
    from torch import nn  # noqa: PLC0415 - this module is importable without it

    layers = getattr(model, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise ConfigError(
            f"n_layers cannot shorten a {type(model).__name__}: it keeps its layers elsewhere. Leave n_layers out."
        )
    if n_layers > len(layers):
        raise ConfigError(f"n_layers is {n_layers}, but the base model has {len(layers)} layers.")
    model.layers = layers[:n_layers]
    model.config.num_hidden_layers = n_layers
    kinds = getattr(model.config, "layer_types", None)
    if kinds is not None:
        model.config.layer_types = kinds[:n_layers]


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Return one vector a row, [B, d].

    Args:
        hidden: last layer, [B, T, d].
        mask: [B, T], 1 for tokens and 0 for the padding after them; at least one token a row.
        pooling: mean over the tokens, or the last token.
    """
    if pooling == "last":
        last = mask.sum(dim=1) - 1  # [B]
        return hidden[last.new_tensor(range(len(last))), last]
    weights = mask[:, :, None].to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)
