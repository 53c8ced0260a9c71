"""Tables written a part at a time, so that memory does not grow with their length."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from hnlmrec.artifacts import storage_errors

Schema = Mapping[str, pl.DataType | type[pl.DataType]]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file beside `path` to write, and put it in its place when all is written."""
    temporary = path.with_name(f".{path.name}.tmp")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_parquet(frames: Iterable[pl.DataFrame], schema: Schema, path: Path) -> int:
    """Write frames of one schema into one Parquet file as they come; return the number of rows.

    The file appears when it is whole; an error of the frames leaves no file behind.
    """
    n_rows = 0

    def parts(
        with_columns: list[str] | None, predicate: pl.Expr | None, limit: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        nonlocal n_rows
        del with_columns, predicate, limit, batch_size  # the whole table is written: nothing is asked for less
        for frame in frames:
            n_rows += len(frame)
            yield frame

    with replacing(path) as temporary:
        register_io_source(parts, schema=pl.Schema(schema)).sink_parquet(temporary)
    return n_rows


def write_lines(frames: Iterable[pl.DataFrame], path: Path, line: Callable[[tuple[Any, ...]], str]) -> int:
    """Write a line of text for each row of the frames; return the number of rows."""
    n_rows = 0
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for frame in frames:
            n_rows += len(frame)
            file.writelines(line(row) + "\n" for row in frame.iter_rows())
    return n_rows


def json_line(names: Iterable[str]) -> Callable[[tuple[Any, ...]], str]:
    """Return what turns a row into a JSON object with these names."""
    keys = tuple(names)
    return lambda row: json.dumps(dict(zip(keys, row, strict=True)), ensure_ascii=False)
