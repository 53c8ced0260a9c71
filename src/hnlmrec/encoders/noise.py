"""Random vectors in place of texts: the ablation that asks what is owed to them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from hnlmrec.encoders.base import Advance, Matrix, digest, encode_distinct


class NoiseEncoder:
    """Standard normal numbers, the same for the same text on every machine, and nothing else of it.

    With `encoder.name=noise` all that reads texts is left in place and has nothing to read: what is lost by it is
    what the texts were worth.

    Args:
        size: length d of a vector.
    """

    def __init__(self, size: int = 384) -> None:
        if size < 1:
            raise ValueError(f"the size of a vector must be at least 1, not {size}.")
        self._size = size

    @property
    def size(self) -> int:
        """Length d of a vector."""
        return self._size

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the algorithm and the size."""
        return digest("noise", 1, self._size)

    def encode(self, texts: Sequence[str], *, batch_size: int = 32, progress: Advance | None = None) -> Matrix:
        """Return float32 [len(texts), d]; see `TextEncoder.encode`."""
        return encode_distinct(texts, batch_size, self._encode_batch, lambda: self._size, progress)

    def _encode_batch(self, texts: list[str]) -> Matrix:
        return np.stack([_generator(text).standard_normal(self._size, dtype=np.float32) for text in texts])


def _generator(text: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little"))
