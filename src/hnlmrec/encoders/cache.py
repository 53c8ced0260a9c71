"""A cache of text vectors on disk: what has been encoded once is not encoded, nor paid for, again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hnlmrec.cache_file import CacheFile
from hnlmrec.encoders.base import Advance, Matrix, TextEncoder

_COLUMNS = {"key": "BLOB", "vector": "BLOB"}


class CachedEncoder:
    """An encoder that looks a text up before it encodes it, whatever data set, split or run the text comes from.

    A vector is found by the encoder's fingerprint and the text, as float32. One of an API that has changed behind
    its name is not told apart: remove the file then.

    Args:
        encoder: makes the vectors that are not there.
        path: the SQLite file, made if it is not there; None for a cache in memory.

    Raises:
        CorruptArtifactError: the file is damaged or no SQLite file.
        StorageError: the file cannot be opened.
    """

    def __init__(self, encoder: TextEncoder, path: Path | None) -> None:
        self.encoder = encoder
        self._file = CacheFile(path, "cache of text vectors", "vectors", _COLUMNS)

    @property
    def size(self) -> int:
        """Length d of a vector; where that encoder has been used, the file knows it, and no model is loaded."""
        return self._known_size() or self.encoder.size

    @property
    def fingerprint(self) -> str:
        """That of the encoder."""
        return self.encoder.fingerprint

    def encode(self, texts: Sequence[str], *, batch_size: int = 32, progress: Advance | None = None) -> Matrix:
        """Return float32 [len(texts), d]; see `TextEncoder.encode`.

        Raises:
            CorruptArtifactError: a vector in the file has another length than the encoder's.
        """
        keys = [self._key(text) for text in texts]
        vectors = {key: row[0] for key, row in self._file.find(list(dict.fromkeys(keys))).items()}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in vectors}
        size = self._known_size()
        rows: dict[bytes, bytes] = {}
        if missing:
            n_found = len(texts) - len(missing)  # those that come twice among them
            made = self.encoder.encode(
                list(missing.values()),
                batch_size=batch_size,
                progress=None if progress is None else lambda done, _: progress(n_found + done, len(texts)),
            )
            size = size or made.shape[1]
            rows = {key: vector.tobytes() for key, vector in zip(missing, made, strict=True)}
            vectors |= rows
        wrong = {len(vector) for vector in vectors.values()} - {4 * size}
        if wrong:
            raise self._file.damaged(f"a vector of {min(wrong)} bytes beside those of {4 * size}")
        if rows:
            self._file.add([(self._key(), size.to_bytes(8)), *rows.items()])
        joined = bytearray().join(vectors[key] for key in keys)
        return np.frombuffer(joined, dtype=np.float32).reshape(len(texts), size or self.size)

    def close(self) -> None:
        """Close the cache."""
        self._file.close()

    def _known_size(self) -> int:
        """Return what the file knows of the vectors' length; 0 for nothing."""
        found = self._file.find([self._key()])
        return sum(int.from_bytes(row[0]) for row in found.values())

    def _key(self, text: str | None = None) -> bytes:
        """Return the address of a text's vector, or of their length."""
        content = self.fingerprint if text is None else f"{self.fingerprint}\n{text}"
        return hashlib.sha256(content.encode(errors="surrogatepass")).digest()
