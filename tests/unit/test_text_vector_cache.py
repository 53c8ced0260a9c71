"""The cache of text vectors: nothing is encoded twice, and another encoder's vectors are never taken."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hnlmrec.encoders import HashingEncoder, encode_to_file
from hnlmrec.encoders.base import Matrix
from hnlmrec.encoders.cache import CachedEncoder
from hnlmrec.errors import CorruptArtifactError

TEXTS = ["Toy Story", "", "Emma", "Toy Story", "half a pair \ud83d", " Emma "]


class Counting(HashingEncoder):
    """Notes what it was asked for; its length is nobody's business but the cache's."""

    def __init__(self, size: int = 8) -> None:
        super().__init__(size)
        self.asked: list[str] = []
        self.sizes = 0

    @property
    def size(self) -> int:
        self.sizes += 1
        return super().size

    def encode(self, texts: Sequence[str], **options: Any) -> Matrix:
        self.asked.extend(texts)
        return super().encode(texts, **options)


def test_a_text_is_encoded_once_whatever_list_it_comes_in(tmp_path: Path) -> None:
    path, encoder, told = tmp_path / "deep" / "v.sqlite", Counting(), []
    cached = CachedEncoder(encoder, path)
    vectors = cached.encode(TEXTS, progress=lambda *now: told.append(now))
    np.testing.assert_array_equal(vectors, HashingEncoder(8).encode(TEXTS))
    assert encoder.asked == ["Toy Story", "", "Emma", "half a pair \ud83d", " Emma "]
    assert told[-1] == (6, 6)
    cached.close()

    encoder = Counting()
    cached = CachedEncoder(encoder, path)
    more = cached.encode(["new", *reversed(TEXTS)], batch_size=1, progress=lambda *now: told.append(now))
    np.testing.assert_array_equal(more[1:], vectors[::-1])
    assert encoder.asked == ["new"]
    assert told[-1] == (7, 7)
    assert more.dtype == np.float32
    more += 1  # it is the caller's own
    np.testing.assert_array_equal(cached.encode(TEXTS), vectors)


def test_nothing_is_loaded_where_all_is_known(tmp_path: Path) -> None:
    CachedEncoder(HashingEncoder(8), tmp_path / "v").encode(TEXTS)
    encoder = Counting()
    cached = CachedEncoder(encoder, tmp_path / "v")
    encode_to_file(cached, TEXTS, tmp_path / "items.npy")
    assert (cached.size, cached.fingerprint) == (8, HashingEncoder(8).fingerprint)
    assert (encoder.asked, encoder.sizes) == ([], 0)


def test_no_texts_are_an_empty_table() -> None:
    assert CachedEncoder(HashingEncoder(8), None).encode([]).shape == (0, 8)


def test_another_encoder_has_vectors_of_its_own(tmp_path: Path) -> None:
    small, large = (CachedEncoder(HashingEncoder(size), tmp_path / "v") for size in (8, 16))
    assert small.encode(TEXTS).shape == (6, 8)
    np.testing.assert_array_equal(large.encode(TEXTS), HashingEncoder(16).encode(TEXTS))
    np.testing.assert_array_equal(small.encode(TEXTS), HashingEncoder(8).encode(TEXTS))


def test_a_vector_of_another_length_is_told_and_not_kept(tmp_path: Path) -> None:
    class Renewed(HashingEncoder):  # an API whose model has changed behind its name
        fingerprint = HashingEncoder(8).fingerprint

    CachedEncoder(HashingEncoder(8), tmp_path / "v").encode(["Emma"])
    renewed = CachedEncoder(Renewed(4), tmp_path / "v")
    for _ in range(2):
        with pytest.raises(CorruptArtifactError, match=r"16 bytes beside those of 32\). Remove the file"):
            renewed.encode(["Emma", "new"])


def test_a_damaged_file_is_told_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "v.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(CorruptArtifactError, match=r"cache of text vectors .*v\.sqlite is damaged"):
        CachedEncoder(HashingEncoder(8), path)
    assert path.read_bytes().startswith(b"this is no")
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE vectors (key BLOB, something INTEGER)")
    database.close()
    with pytest.raises(CorruptArtifactError, match="no such column"):
        CachedEncoder(HashingEncoder(8), other)


def test_a_kill_loses_the_texts_of_one_call(tmp_path: Path) -> None:
    class Killed(Counting):
        def encode(self, texts: Sequence[str], **options: Any) -> Matrix:
            if len(self.asked) >= 4:
                raise KeyboardInterrupt
            return super().encode(texts, **options)

    texts = [f"item {n}" for n in range(10)]
    with pytest.raises(KeyboardInterrupt):
        encode_to_file(CachedEncoder(Killed(), tmp_path / "v"), texts, tmp_path / "a.npy", chunk_size=2)
    again = Counting()
    encode_to_file(CachedEncoder(again, tmp_path / "v"), texts[::-1], tmp_path / "b.npy", chunk_size=2)
    assert again.asked == texts[:3:-1]
