"""Sentence encoders through sentence-transformers (Reimers and Gurevych, 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hnlmrec.encoders.base import Advance, EncoderConfig, Matrix, digest, encode_distinct, require
from hnlmrec.encoders.quiet import quiet_transformers
from hnlmrec.encoders.weights import ModelFiles

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class SentenceTransformerEncoder:
    """A model that was trained to put texts of like meaning near each other.

    The model is loaded by the first text, so that asking for the fingerprint alone stays cheap.

    Args:
        model: a folder, an asset's name, or a Hugging Face name.
        device: `auto`, `cpu`, `cuda`, ….
        max_length: tokens after which a text is cut off; None takes the model's own limit.

    Raises:
        MissingDependencyError: the extra [text] is not installed.
        MissingFileError: there is no such model.
    """

    def __init__(self, model: str, device: str = "auto", max_length: int | None = None) -> None:
        require("sentence_transformers", "text")
        self._files = ModelFiles(model)
        self._device = None if device == "auto" else device
        self._max_length = max_length

    @classmethod
    def from_config(cls, config: EncoderConfig) -> SentenceTransformerEncoder:
        """Build it from the fields model, device and max_length."""
        return cls(config.model, config.device, config.max_length)

    @property
    def path(self) -> Path:
        """Where the model's files are; an asset is downloaded."""
        return self._files.path

    @property
    def size(self) -> int:
        """Length d of a vector."""
        return int(self._model.get_embedding_dimension() or 0)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of the model's files (they hold its pooling) and the maximal length."""
        return digest("sentence_transformer", self._files.digest, self._max_length)

    def encode(self, texts: Sequence[str], *, batch_size: int = 32, progress: Advance | None = None) -> Matrix:
        """Return float32 [len(texts), d]; see `TextEncoder.encode`."""
        return encode_distinct(texts, batch_size, self._encode_batch, lambda: self.size, progress)

    def _encode_batch(self, texts: list[str]) -> Matrix:
        vectors = self._model.encode(texts, batch_size=len(texts), show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)

    @cached_property
    def _model(self) -> SentenceTransformer:
        with quiet_transformers():
            from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - takes seconds

            model = SentenceTransformer(str(self._files.path), device=self._device, local_files_only=True)
        model.eval()
        if self._max_length is not None:
            model.max_seq_length = self._max_length
        return model
