"""Files of rows (CSV, JSON lines, parquet; gzip by extension); errors name the file and the line."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.errors import DataError, HnlmrecError, MissingFileError, StorageError

_MOST_CORRUPT = 0.5
_INT64_END = 2.0**63


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the system's errors while a file or folder is read into errors for the user.

    Raises:
        MissingFileError: there is no such file.
        StorageError: it may not be read, or the disk fails.
    """
    try:
        yield
    except HnlmrecError:
        raise
    except (FileNotFoundError, IsADirectoryError):
        raise MissingFileError(f"there is no file {path}.") from None
    except OSError as error:
        raise StorageError(
            f"{path} cannot be read: {error.strerror or error}. Check its permissions, and those of its folder."
        ) from error


def read_bytes(path: Path) -> bytes:
    """Return a file's content, unpacked where its name ends in .gz.

    Raises:
        MissingFileError: there is no such file.
        StorageError: it may not be read.
        DataError: it is empty, or a gzip file that is cut off or damaged.
    """
    with reading(path):
        content = path.read_bytes()
    try:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file ({error}). Copy or download it again.") from None
    if not content.strip():
        raise DataError(f"{path} is empty.")
    return content


def read_text(path: Path) -> str:
    """Return a UTF-8 file's text; errors as `read_bytes`."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start:,}). Convert it; a packed file must end in .gz."
        ) from None


def read_separated(path: Path, separator: str = ",", *, quotes: bool = True) -> pl.DataFrame:
    """Read a table with a header; every column is String, an empty cell null, blanks around values are cut.

    Raises:
        MissingFileError, DataError: as `read_bytes`; or a row has more cells than the header, or there is no row.
    """
    content = read_text(path).encode()
    try:
        frame = pl.read_csv(
            content, separator=separator, quote_char='"' if quotes else None, infer_schema=False
        ).rename(str.strip)
    except pl.exceptions.PolarsError as error:
        first = str(error).strip().splitlines()[0]
        raise DataError(f"{path} is not a table separated by {separator!r}: {first}.") from None
    if not len(frame):
        raise DataError(f"{path} has a header and no row.")
    stripped = frame.with_columns(pl.all().str.strip_chars())
    return stripped.with_columns(pl.when(pl.all() != "").then(pl.all()))


def require_columns(frame: pl.DataFrame, columns: Iterable[str], path: Path) -> None:
    """Raise DataError where a column is missing."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError(
            f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}. It has: "
            f"{', '.join(frame.columns)}."
        )


def refuse_rows(frame: pl.DataFrame, wrong: pl.Expr, column: str, path: Path, problem: str) -> None:
    """Raise DataError that names the first line (the header is line 1) where `wrong` holds."""
    rows = frame.with_row_index("_row").filter(wrong)
    if len(rows):
        value = "empty" if rows[column][0] is None else repr(rows[column][0])
        raise DataError(
            f"{path}, line {rows['_row'][0] + 2}: {column} is {value}, {problem} "
            f"({len(rows):,} such row{'s' if len(rows) > 1 else ''})."
        )


def to_numbers(frame: pl.DataFrame, column: str, kind: type[pl.DataType], path: Path) -> pl.DataFrame:
    """Turn a String column into numbers; empty cells stay null. A missing column becomes one of nulls.

    Raises:
        DataError: a cell that is not a finite number, or too large for a whole number; names its line.
    """
    if column not in frame.columns:
        return frame.with_columns(pl.lit(None, dtype=kind).alias(column))
    cast = pl.col(column).cast(pl.Float64, strict=False)
    wrong = pl.col(column).is_not_null() & ~cast.is_finite().fill_null(value=False)
    refuse_rows(frame, wrong, column, path, "which is not a number")
    if kind.is_integer():
        refuse_rows(frame, cast.abs() >= _INT64_END, column, path, "which is too large for a whole number")
    return frame.with_columns(cast.cast(kind).alias(column))


def read_json(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file; errors as `read_text`, and DataError where it is none."""
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise DataError(f"{path} is not a JSON object.")
    return value


@dataclass(frozen=True)
class JsonLines:
    """The objects of a JSON lines file, and how many of its lines are none (with a message for the first)."""

    records: list[dict[str, Any]]
    corrupt: int = 0
    first_problem: str = ""


def read_json_lines(path: Path, required: Iterable[str]) -> JsonLines:
    """Read one JSON object a line. A line that is none, or lacks a required key, is counted and left out.

    Raises:
        MissingFileError, DataError: as `read_text`; or more than half of the lines are corrupt.
    """
    records: list[dict[str, Any]] = []
    problems: list[str] = []
    keys = tuple(required)
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            problem = _add_record(line, keys, records)
            if problem:
                problems.append(f"line {number}: {problem}")
    if len(problems) > _MOST_CORRUPT * (len(problems) + len(records)):
        raise DataError(
            f"{path}: {len(problems):,} of {len(problems) + len(records):,} lines are not valid, for example "
            f"{problems[0]}. Each line must be a JSON object with: {', '.join(keys)}."
        )
    return JsonLines(records, len(problems), problems[0] if problems else "")


def _add_record(line: str, required: tuple[str, ...], records: list[dict[str, Any]]) -> str:
    try:
        record = json.loads(line)
    except ValueError as error:
        return f"not JSON ({error})"
    if not isinstance(record, dict):
        return "not a JSON object"
    for key in required:
        value = record.get(key)
        if not isinstance(value, str | int) or isinstance(value, bool) or not str(value).strip():
            return f"{key} is {value!r}"
        record[key] = str(value).strip()
    records.append(record)
    return ""


def read_parquet(path: Path, columns: Iterable[str] = ()) -> pl.DataFrame:
    """Read a parquet file.

    Raises:
        MissingFileError: there is none.
        StorageError: it may not be read.
        DataError: it is not parquet, or lacks one of the columns.
    """
    with reading(path):
        content = path.read_bytes()
    try:
        frame = pl.read_parquet(io.BytesIO(content))
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} is not a parquet file: {str(error).splitlines()[0]}.") from None
    require_columns(frame, columns, path)
    return frame
