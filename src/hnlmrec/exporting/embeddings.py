"""Trained vectors as Parquet, safetensors or a FAISS index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hnlmrec.artifacts import write_json
from hnlmrec.data.embeddings import Vectors
from hnlmrec.data.interactions import Vocabulary
from hnlmrec.data.streaming import replacing, write_parquet
from hnlmrec.errors import MissingDependencyError
from hnlmrec.pipeline.results import Run
from hnlmrec.serving.vectors import rows_of, vectors_of_run

_ROWS = 16_384  # vectors held at once


def export_parquet(run: Run, out: Path) -> dict[str, Any]:
    """Write users.parquet (user_id, vector) and items.parquet (item_id, vector), d float32 each."""
    vectors = vectors_of_run(run)
    counts = {}
    for ids, table in ((vectors.dataset.users, vectors.users), (vectors.dataset.items, vectors.items)):
        schema = {f"{ids.kind}_id": pl.String(), "vector": pl.Array(pl.Float32, table.shape[1])}
        counts[f"{ids.kind}s"] = write_parquet(_frames(ids, table, schema), schema, out / f"{ids.kind}s.parquet")
    return {**counts, "size": int(vectors.items.shape[1])}


def _frames(ids: Vocabulary, table: Vectors, schema: dict[str, Any]) -> Iterator[pl.DataFrame]:
    for start in range(0, len(ids), _ROWS):
        part = slice(start, start + _ROWS)
        columns = {f"{ids.kind}_id": ids.all_ids[part], "vector": rows_of(table, part)}
        yield pl.DataFrame(columns, schema=schema)


def export_safetensors(run: Run, out: Path) -> dict[str, Any]:
    """Write vectors.safetensors (tensors users and items, float32) and ids.json (their ids, in row order).

    The format is a length (8 bytes), a JSON header with shapes and places, and the numbers; it is written here
    a part at a time, because the library holds all tensors in memory.
    """
    vectors = vectors_of_run(run)
    tables = {"users": vectors.users, "items": vectors.items}
    header, end = {}, 0
    for name, table in tables.items():
        start, end = end, end + 4 * table.size
        header[name] = {"dtype": "F32", "shape": list(table.shape), "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # the numbers begin at a multiple of 8
    with replacing(out / "vectors.safetensors") as path, path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for table in tables.values():
            for start in range(0, len(table), _ROWS):
                file.write(rows_of(table, slice(start, start + _ROWS)).astype("<f4").tobytes())
    ids = {"users": list(vectors.dataset.users.all_ids), "items": list(vectors.dataset.items.all_ids)}
    write_json(out / "ids.json", ids)
    return {"users": len(ids["users"]), "items": len(ids["items"]), "size": int(vectors.items.shape[1])}


def export_faiss(run: Run, out: Path) -> dict[str, Any]:
    """Write items.faiss, an exact index of the item vectors by inner product, and items.json, ids by their rows.

    Raises:
        MissingDependencyError: FAISS is not installed.
    """
    try:
        import faiss  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise MissingDependencyError("faiss-cpu", "faiss") from None
    vectors = vectors_of_run(run)
    index = faiss.IndexFlatIP(vectors.items.shape[1])
    for start in range(0, len(vectors.items), _ROWS):
        index.add(np.ascontiguousarray(rows_of(vectors.items, slice(start, start + _ROWS))))
    with replacing(out / "items.faiss") as path:
        faiss.write_index(index, str(path))
    write_json(out / "items.json", list(vectors.dataset.items.all_ids))
    return {"items": index.ntotal, "size": int(vectors.items.shape[1])}
