"""Encoding into a file: a kill costs one chunk, and nothing is encoded twice."""

import errno
import json

import numpy as np
import pytest

from hnlmrec.encoders import HashingEncoder, encode_to_file
from hnlmrec.errors import DataError

TEXTS = [f"item {n}" for n in range(10)]


class CountingEncoder(HashingEncoder):
    """Fails after `budget` texts, as a kill would stop it."""

    def __init__(self, budget=10**9, size=8):
        super().__init__(size)
        self.budget = budget
        self.encoded = []

    def encode(self, texts, **options):
        if len(self.encoded) + len(texts) > self.budget:
            raise KeyboardInterrupt
        self.encoded.extend(texts)
        return super().encode(texts, **options)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("chunk_size", [1, 3, 100])
def test_the_file_holds_what_the_encoder_gives(tmp_path, dtype, chunk_size):
    path = tmp_path / "items.npy"
    vectors = encode_to_file(HashingEncoder(8), TEXTS, path, dtype=dtype, chunk_size=chunk_size)
    assert isinstance(vectors, np.memmap)
    assert vectors.dtype == dtype
    np.testing.assert_array_equal(np.load(path), HashingEncoder(8).encode(TEXTS).astype(dtype))


def test_a_killed_call_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "items.npy"
    with pytest.raises(KeyboardInterrupt):
        encode_to_file(CountingEncoder(budget=7), TEXTS, path, chunk_size=3)
    assert not path.exists()
    partial = tmp_path / "items.npy.partial"
    partial.write_bytes(partial.read_bytes() + b"half a row")
    again, told = CountingEncoder(), []
    vectors = encode_to_file(again, TEXTS, path, chunk_size=3, progress=lambda *now: told.append(now))
    assert again.encoded == TEXTS[6:]
    assert told[0] == (9, 10)
    assert told[-1] == (10, 10)
    np.testing.assert_array_equal(vectors, HashingEncoder(8).encode(TEXTS).astype(np.float16))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["items.npy", "items.npy.json"]


def test_a_finished_file_is_kept_and_the_encoder_left_alone(tmp_path):
    path = tmp_path / "items.npy"
    encode_to_file(HashingEncoder(8), TEXTS, path)
    idle = CountingEncoder(budget=0)
    assert len(encode_to_file(idle, TEXTS, path)) == 10


@pytest.mark.parametrize("change", ["texts", "encoder", "dtype", "damaged record"])
def test_a_file_made_from_something_else_is_made_anew(tmp_path, change):
    path = tmp_path / "items.npy"
    encode_to_file(HashingEncoder(8), TEXTS, path)
    if change == "damaged record":
        (tmp_path / "items.npy.json").write_text('{"encod')
    texts = [*TEXTS[:-1], "another"] if change == "texts" else TEXTS
    encoder = CountingEncoder(size=9 if change == "encoder" else 8)
    dtype = "float32" if change == "dtype" else "float16"
    vectors = encode_to_file(encoder, texts, path, dtype=dtype)
    assert encoder.encoded == texts
    assert json.loads((tmp_path / "items.npy.json").read_text())["encoder"] == encoder.fingerprint
    np.testing.assert_array_equal(vectors, HashingEncoder(encoder.size).encode(texts).astype(dtype))


def test_no_text_makes_an_empty_table(tmp_path):
    assert encode_to_file(HashingEncoder(8), [], tmp_path / "items.npy").shape == (0, 8)


def test_a_value_too_large_for_float16_is_an_error(tmp_path):
    class Large(HashingEncoder):
        def encode(self, texts, **options):
            return super().encode(texts, **options) * 1e6

    with pytest.raises(DataError, match="Use float32"):
        encode_to_file(Large(8), TEXTS, tmp_path / "items.npy")
    assert len(encode_to_file(Large(8), TEXTS, tmp_path / "items.npy", dtype="float32")) == 10


def test_a_full_disk_loses_nothing(tmp_path):
    class FullDisk(CountingEncoder):
        def encode(self, texts, **options):
            if self.encoded:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().encode(texts, **options)

    path = tmp_path / "items.npy"
    with pytest.raises(OSError, match="No space left"):
        encode_to_file(FullDisk(), TEXTS, path, chunk_size=4)
    again = CountingEncoder()
    encode_to_file(again, TEXTS, path, chunk_size=4)
    assert again.encoded == TEXTS[4:]
