"""Files of rows (CSV, JSON lines, parquet; gzip by extension); errors name the file and the line."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.errors import DataError, HnlmrecError, MissingFileError, StorageError

_FREE_BYTES = 64 * 2**20  # what a packed file may always unpack to
_MOST_TIMES = 200  # texts pack to a third, the most repetitive of them to a fiftieth, a bomb to a thousandth


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
        DataError: it is empty, or a gzip file that is cut off, damaged, or a bomb.
    """
    with reading(path):
        content = path.read_bytes()
    try:
        content = _unpacked(content, path) if path.suffix == ".gz" else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file ({error}). Copy or download it again.") from None
    if not content.strip():
        raise DataError(f"{path} is empty.")
    return content


def _unpacked(content: bytes, path: Path) -> bytes:
    most = _FREE_BYTES + _MOST_TIMES * len(content)
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        unpacked = file.read(most + 1)
    if len(unpacked) > most:
        raise DataError(
            f"{path} unpacks to more than {_MOST_TIMES} times its size, as no real data does. If it is right, "
            "unpack it yourself and give the unpacked file."
        )
    return unpacked


def read_text(path: Path) -> str:
    """Return a UTF-8 file's text, without a byte order mark; errors as `read_bytes`."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start:,}). Convert it; a packed file must end in .gz."
        ) from None
    if not text.strip():  # a mark alone
        raise DataError(f"{path} is empty.")
    return text


def require_columns(frame: pl.DataFrame, columns: Iterable[str], path: Path) -> None:
    """Raise DataError where a column is missing."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise lacking(path, missing, frame.columns)


def lacking(path: Path, missing: list[str], found: Iterable[str], advice: str = "") -> DataError:
    """Return the error of a table that lacks columns: which, which it has, and what to do (a sentence)."""
    return DataError(
        f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}. It has: "
        f"{', '.join(found)}.{f' {advice}' if advice else ''}"
    )


def separator_of(path: Path) -> str:
    """Return what separates the cells of a table, by its extension: commas in .csv, tabs in others."""
    return "," if path.name.removesuffix(".gz").endswith(".csv") else "\t"


def read_json(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file; errors as `read_text`, and DataError where it is none."""
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise DataError(f"{path} is not a JSON object.")
    return value


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
