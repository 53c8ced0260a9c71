"""An encoder without a model, for tests and dry runs: it knows spelling, not meaning."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from hnlmrec.encoders.base import Advance, Matrix, digest, encode_distinct


class HashingEncoder:
    """Words and their letter triples, hashed to signed coordinates (Weinberger et al., 2009), length 1.

    The same text gives the same vector on every machine and in every Python, and texts that share words are near.

    Args:
        size: length d of a vector.
    """

    def __init__(self, size: int = 256) -> None:
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
        return digest("hashing", 1, self._size)

    def encode(self, texts: Sequence[str], *, batch_size: int = 32, progress: Advance | None = None) -> Matrix:
        """Return float32 [len(texts), d]; see `TextEncoder.encode`."""
        return encode_distinct(texts, batch_size, self._encode_batch, lambda: self._size, progress)

    def _encode_batch(self, texts: list[str]) -> Matrix:
        vectors = np.zeros((len(texts), self._size), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for feature in _features(text):
                code = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
                row[(code >> 1) % self._size] += 1.0 if code & 1 else -1.0
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.divide(vectors, lengths, out=vectors, where=lengths > 0)
        return vectors


def _features(text: str) -> Iterator[str]:
    for word in text.casefold().split():
        yield f"w:{word}"
        padded = f" {word} "
        yield from (f"c:{padded[start : start + 3]}" for start in range(len(padded) - 2))
