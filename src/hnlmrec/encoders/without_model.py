"""Encoders without a model: one knows spelling alone, for tests and dry runs, the other nothing, an ablation."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from hnlmrec.encoders.base import Advance, Matrix, digest, encode_distinct


class EncoderWithoutModel(ABC):
    """Computes a vector from the letters of a text, the same on every machine and in every Python.

    Args:
        size: length d of a vector; None for `default_size`.
    """

    name: ClassVar[str]
    default_size: ClassVar[int]

    def __init__(self, size: int | None = None) -> None:
        self._size = self.default_size if size is None else size
        if self._size < 1:
            raise ValueError(f"the size of a vector must be at least 1, not {size}.")

    @property
    def size(self) -> int:
        """Length d of a vector."""
        return self._size

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the algorithm and the size."""
        return digest(self.name, 1, self._size)

    def encode(self, texts: Sequence[str], *, batch_size: int = 32, progress: Advance | None = None) -> Matrix:
        """Return float32 [len(texts), d]; see `TextEncoder.encode`."""
        return encode_distinct(texts, batch_size, self._encode_batch, lambda: self._size, progress)

    @abstractmethod
    def _encode_batch(self, texts: list[str]) -> Matrix:
        """Return float32 [len(texts), d]; no text is blank."""


class HashingEncoder(EncoderWithoutModel):
    """Words and their letter triples, hashed to signed coordinates (Weinberger et al., 2009), length 1.

    Texts that share words are near.
    """

    name = "hashing"
    default_size = 256

    def _encode_batch(self, texts: list[str]) -> Matrix:
        vectors = np.zeros((len(texts), self._size), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for feature in _features(text):
                code = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
                row[(code >> 1) % self._size] += 1.0 if code & 1 else -1.0
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.divide(vectors, lengths, out=vectors, where=lengths > 0)
        return vectors


class NoiseEncoder(EncoderWithoutModel):
    """Standard normal numbers, the same for the same text, and nothing else of it.

    With `encoder.name=noise` all that reads texts is left in place and has nothing to read: what is lost by it is
    what the texts were worth.
    """

    name = "noise"
    default_size = 384

    def _encode_batch(self, texts: list[str]) -> Matrix:
        return np.stack([_generator(text).standard_normal(self._size, dtype=np.float32) for text in texts])


def _features(text: str) -> Iterator[str]:
    for word in text.casefold().split():
        yield f"w:{word}"
        padded = f" {word} "
        yield from (f"c:{padded[start : start + 3]}" for start in range(len(padded) - 2))


def _generator(text: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little"))
