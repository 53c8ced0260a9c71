"""Encodes into a file that grows as it goes, so that a kill costs one chunk and no vector is held twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from hnlmrec.artifacts import write_json
from hnlmrec.encoders.base import Advance, TextEncoder
from hnlmrec.errors import DataError


def encode_to_file(
    encoder: TextEncoder,
    texts: Sequence[str],
    path: Path,
    *,
    batch_size: int = 32,
    dtype: Literal["float16", "float32"] = "float16",
    chunk_size: int = 1024,
    progress: Advance | None = None,
) -> npt.NDArray[np.floating[Any]]:
    """Write the vectors of `texts` to a `.npy` file and return it memory-mapped, [n, d].

    Beside it, `<path>.json` tells what the vectors were made from. Where an earlier, interrupted call left a part
    made from the same encoder and texts, this one goes on from there; where it was finished, nothing is encoded.

    Args:
        encoder: turns texts into vectors.
        texts: one a row.
        path: ends in .npy; replaced if it was made from something else.
        batch_size: see `TextEncoder.encode`.
        dtype: float16 halves the file, and is precise enough for cosines.
        chunk_size: texts between two writes.
        progress: told (done, total) texts, those of an earlier call included.

    Raises:
        DataError: a value does not fit into float16.
    """
    text_digest = hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()
    origin = {"encoder": encoder.fingerprint, "texts": text_digest, "rows": len(texts), "dtype": dtype}
    partial, record = path.with_name(f"{path.name}.partial"), path.with_name(f"{path.name}.json")
    if _read_json(record) != origin:
        path.unlink(missing_ok=True)
        partial.unlink(missing_ok=True)
        write_json(record, origin)
    if not path.exists():
        with partial.open("r+b" if partial.exists() else "w+b") as file:
            done = _resume(file, np.dtype(dtype), len(texts), encoder.size)
            for start in range(done, len(texts), chunk_size):
                chunk, shifted = texts[start : start + chunk_size], _shifted(progress, start, len(texts))
                vectors = encoder.encode(chunk, batch_size=batch_size, progress=shifted)
                file.write(_cast(vectors, np.dtype(dtype)).tobytes())
                file.flush()
        partial.replace(path)
    if progress is not None:
        progress(len(texts), len(texts))
    mode: Literal["r"] | None = "r" if len(texts) else None  # an empty file cannot be mapped
    result: npt.NDArray[np.floating[Any]] = np.load(path, mmap_mode=mode, allow_pickle=False)
    return result


def _resume(file: BinaryIO, dtype: np.dtype[Any], n: int, size: int) -> int:
    """Write the header, or cut a row that was half written; return how many rows are whole."""
    # Plain writes, not a memory map: on a full disk they raise ENOSPC, where a map is killed by SIGBUS.
    file.seek(0)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (n, size)}
    np.lib.format.write_array_header_1_0(file, header)
    begin, end = file.tell(), file.seek(0, 2)
    rows = min((end - begin) // (size * dtype.itemsize), n)
    file.truncate(begin + rows * size * dtype.itemsize)
    file.seek(0, 2)
    return rows


def _shifted(progress: Advance | None, start: int, total: int) -> Advance | None:
    return None if progress is None else lambda done, _: progress(start + done, total)


def _cast(vectors: npt.NDArray[np.float32], dtype: np.dtype[Any]) -> npt.NDArray[np.floating[Any]]:
    largest = float(np.abs(vectors).max(initial=0.0))
    if largest > float(np.finfo(dtype).max):
        raise DataError(f"a vector holds {largest:.3g}, which {dtype.name} cannot. Use float32 for this encoder.")
    return vectors.astype(dtype)


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None  # not there, or cut off by a kill: there is nothing to go on from
