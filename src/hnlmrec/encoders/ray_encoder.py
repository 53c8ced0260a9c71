"""Any encoder of the table, run by the workers of a Ray cluster."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from hnlmrec.encoders.base import Advance, EncoderConfig, Matrix, TextEncoder
from hnlmrec.errors import HnlmrecError, ProviderError
from hnlmrec.ray_workers import ERROR, RayWorkers, described, raise_described

CHUNK = 1024
"""Texts that a worker encodes together: as many as `encode_to_file` does at once in one process, so that the
batches, and with them the last digits of the vectors, are the same."""


class RayEncoder:
    """Sends chunks of texts to workers, each of which has loaded the encoder.

    Args:
        config: names the encoder; what it names must be found on every node.
        workers: where the work is done.
    """

    def __init__(self, config: EncoderConfig, workers: RayWorkers) -> None:
        self._config, self._workers = config, workers

    @cached_property
    def _local(self) -> TextEncoder:
        return _open(self._config)

    @property
    def size(self) -> int:
        """Length d of a vector."""
        return self._local.size

    @property
    def fingerprint(self) -> str:
        """That of the encoder: where it runs changes nothing."""
        return self._local.fingerprint

    def encode(self, texts: Sequence[str], *, batch_size: int = 32, progress: Advance | None = None) -> Matrix:
        """Return float32 [len(texts), d]; see `TextEncoder.encode`."""
        starts = range(0, len(texts), CHUNK)
        rows = [{"start": start, "texts": list(texts[start : start + CHUNK])} for start in starts]
        parts: dict[int, Matrix] = {}
        done = 0
        for row in self._workers.map(rows, EncodeWorker, (self._config, batch_size), rows_per_task=1):
            raise_described(row[ERROR])
            chunk = texts[row["start"] : row["start"] + CHUNK]
            if row["start"] not in parts and progress is not None:
                done += len(chunk)
                progress(done, len(texts))
            parts[row["start"]] = np.frombuffer(row["vectors"], dtype=np.float32).reshape(len(chunk), -1)
        if set(parts) != set(starts):
            raise ProviderError(
                f"Ray lost {len(starts) - len(parts)} chunks of texts. Run the same command again."
            )
        return (
            np.concatenate([parts[start] for start in starts]) if parts else np.zeros((0, self.size), np.float32)
        )


class EncodeWorker:
    """What runs in a worker process: the encoder, opened by the first texts.

    Args:
        config: names the encoder.
        batch_size: see `TextEncoder.encode`.
    """

    def __init__(self, config: EncoderConfig, batch_size: int) -> None:
        self._config, self._batch_size = config, batch_size
        self._lock = threading.Lock()  # models are not made for two threads
        self._encoder: TextEncoder | None = None

    def __call__(self, table: Any) -> dict[str, list[Any]]:
        """Return columns start, vectors (float32 bytes) and error of a pyarrow table with columns start, texts."""
        starts = table["start"].to_pylist()
        with self._lock:
            done = [self._encode(texts) for texts in table["texts"].to_pylist()]
        return {"start": starts, "vectors": [vectors for vectors, _ in done], ERROR: [error for _, error in done]}

    def _encode(self, texts: list[str]) -> tuple[bytes, str]:
        try:
            if self._encoder is None:
                self._encoder = _open(self._config)
            return self._encoder.encode(texts, batch_size=self._batch_size).tobytes(), ""
        except HnlmrecError as error:
            return b"", described(error)


def _open(config: EncoderConfig) -> TextEncoder:
    from hnlmrec.encoders import open_encoder  # noqa: PLC0415 - the package imports this module

    return open_encoder(config)
