"""Dumps in several formats, each read into one raw table.

READERS lists the formats; `read` finds the one that fits by what is there. Ids are strings; blanks around an id
are cut, blanks inside it belong to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.data.column_names import AS_THEY_ARE, ColumnNames
from hnlmrec.data.corruption import CorruptLines, corruption_warnings
from hnlmrec.data.dump_files import find_dump
from hnlmrec.data.dump_layouts import LAYOUTS
from hnlmrec.data.dumps import read_dump
from hnlmrec.data.interaction_rows import (
    read_described_rows,
    read_parquet_interactions,
    read_separated_interactions,
    with_all_columns,
)
from hnlmrec.data.interactions import SPLITS
from hnlmrec.data.pickles import refuse_pickle
from hnlmrec.data.raw import INTERACTION_SCHEMA, RawData
from hnlmrec.data.records import read_records
from hnlmrec.data.side_information import (
    ITEM_FACT_FIELDS,
    USER_FACT_FIELDS,
    items_frame,
    joined_review,
    unused_fields,
    users_frame,
)
from hnlmrec.data.tables import (
    read_text,
    reading,
    separator_of,
)
from hnlmrec.errors import DataError, MissingFileError

__all__ = ["INTERACTION_SCHEMA", "READERS", "RawData", "Reader", "find_reader", "read", "source_files"]

_FAR_OFF = 95_617_584_000  # seconds from 1970 to the year 5000; milliseconds from 1970 to 1973
_TABLES = (".csv", ".tsv", ".parquet")
_DATA = (*_TABLES, ".jsonl", ".json", ".xlsx", ".txt")  # what somebody may take for a part of the data
_DESCRIBING = {"items": ("item_id",), "users": ("user_id",), "reviews": ("user_id", "item_id")}
_SPACED_LISTS = ("class", "genre", "genres")  # atomic files separate these words by blanks


@dataclass(frozen=True)
class Reader:
    """A format: what it looks like, whether a path has it, and how it is read.

    `files` are those that decide what is read; None where they are all files of the folder, or the file.
    """

    description: str
    fits: Callable[[Path], bool]
    read: Callable[[Path, ColumnNames], RawData]
    files: Callable[[Path], list[Path]] | None = None


def read(path: Path, columns: Mapping[str, str] | None = None) -> RawData:
    """Read a folder or file in the format that fits it.

    Args:
        path: the folder or file.
        columns: our name of a column or field -> the source's, where they differ; of formats with names.

    Raises:
        MissingFileError: nothing is there.
        StorageError: it may not be read.
        DataError: no format fits, or its content is wrong; names file and line where it can.
    """
    names = ColumnNames(columns)
    with reading(path):
        raw = find_reader(path).read(path, names)
    names.require_all_met(path)
    return raw


def find_reader(path: Path) -> Reader:
    """Return the first of READERS that fits a folder or file; errors as `read`."""
    with reading(path):
        if not path.exists():
            raise MissingFileError(f"there is no data folder or file {path}.")
        refuse_pickle(path)
        for reader in READERS.values():
            if reader.fits(path):
                return reader
        found = ", ".join(sorted(child.name for child in path.iterdir())[:8]) if path.is_dir() else path.name
    known = "\n".join(f"  - {reader.description}" for reader in READERS.values())
    raise DataError(
        f"{path} is in no format that can be read (found: {found or 'nothing'}). Give one of:\n{known}"
    )


def source_files(path: Path) -> list[Path]:
    """Return the files that decide what `read` returns; all that is there where no format fits."""
    with reading(path):
        for reader in READERS.values():
            if reader.files is not None and reader.fits(path):
                return reader.files(path)
        return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def read_atomic(path: Path, columns: ColumnNames = AS_THEY_ARE) -> RawData:
    """Read atomic files: NAME.inter, and NAME.item and NAME.user where they are there."""
    tables = {file.name.removesuffix(".gz").rsplit(".", 1)[-1]: file for file in _atomic_files(path)}
    corrupt = {file.name: CorruptLines() for file in tables.values()}
    inter = tables["inter"]
    pairs = read_separated_interactions(inter, "\t", corrupt[inter.name], quotes=False, columns=columns)
    items: list[dict[str, Any]] = []
    users: list[dict[str, Any]] = []
    for kind, records in (("item", items), ("user", users)):
        if kind in tables:
            found, ids = corrupt[tables[kind].name], (f"{kind}_id",)
            records.extend(read_described_rows(tables[kind], "\t", ids, found, quotes=False, columns=columns))
    for item in items:
        item.update({name: item[name].split() for name in _SPACED_LISTS if item.get(name)})
    return _with_warnings(RawData(path, "atomic", pairs, items_frame(items), users_frame(users)), corrupt)


def read_folder(path: Path, columns: ColumnNames = AS_THEY_ARE) -> RawData:
    """Read the table of interactions, and what describes items, users and reviews where it is there."""
    source = _find_table(path, "interactions", _TABLES)
    assert source is not None
    corrupt = {source.name: CorruptLines()}
    pairs = _read_interactions(source, corrupt[source.name], columns)
    records: dict[str, list[dict[str, Any]] | None] = dict.fromkeys(_DESCRIBING)
    for name, ids in _DESCRIBING.items():
        file = _find_table(path, name, (".jsonl", *_TABLES))
        if file:
            found = read_records(file, ids, columns)
            records[name], corrupt[file.name] = found.records, found.corrupt
    items, users, reviews = records["items"] or [], records["users"] or [], records["reviews"]
    warnings = (
        *_unused_warning("items", unused_fields(items, ITEM_FACT_FIELDS)),
        *_unused_warning("users", unused_fields(users, USER_FACT_FIELDS)),
        *_unread_warning(path, set(corrupt)),
    )
    described = None if reviews is None else _reviews(reviews)
    raw = RawData(path, "folder", pairs, items_frame(items), users_frame(users), described, warnings=warnings)
    return _with_warnings(raw, corrupt)


def read_lightgcn(path: Path, columns: ColumnNames = AS_THEY_ARE) -> RawData:
    """Read train.txt[.gz] and, where they are there, valid.txt and test.txt: a line a user, `user item item …`.

    Without test.txt the interactions count as not split yet.
    """
    del columns  # it has none
    files = {split: file for split in SPLITS if (file := _find(path, f"{split}.txt"))}
    given = "test" in files
    parts = [
        _read_lightgcn_file(file).with_columns(split=pl.lit(split if given else None, dtype=pl.String))
        for split, file in files.items()
    ]
    frame = pl.concat(parts)
    if not len(frame):
        raise DataError(f"{path}: no line holds an item.")
    return RawData(path, "lightgcn", with_all_columns(frame))


def read_file(path: Path, columns: ColumnNames = AS_THEY_ARE) -> RawData:
    """Read one table of interactions: .csv, .tsv (packed or not) or .parquet."""
    corrupt = CorruptLines()
    return _with_warnings(RawData(path, "file", _read_interactions(path, corrupt, columns)), {path.name: corrupt})


def _read_interactions(path: Path, corrupt: CorruptLines, columns: ColumnNames) -> pl.DataFrame:
    if path.name.removesuffix(".gz").endswith(".parquet"):
        return read_parquet_interactions(path, corrupt, columns)
    return read_separated_interactions(path, separator_of(path), corrupt, columns=columns)


def _dump_reader(name: str) -> Reader:
    layout = LAYOUTS[name]

    def files(path: Path) -> list[Path]:
        found = find_dump(path, layout)
        return found.all() if found else [path]

    def read_named(path: Path, columns: ColumnNames) -> RawData:
        del columns  # a dump is told by its own names
        return read_dump(path, name=name)

    return Reader(layout.description, lambda path: find_dump(path, layout) is not None, read_named, files)


READERS: dict[str, Reader] = {
    "folder": Reader(
        "a folder with interactions (.csv[.gz], .tsv[.gz] or .parquet), and items, users and reviews (these or "
        ".jsonl[.gz]) where there are any",
        lambda path: path.is_dir() and bool(_tables(path, "interactions", _TABLES)),
        read_folder,
    ),
    "lightgcn": Reader(
        "a folder with train.txt[.gz] (and valid, test) in LightGCN text format: a line a user, "
        "'user item item …'",
        lambda path: path.is_dir() and _find(path, "train.txt") is not None,
        read_lightgcn,
    ),
    "atomic": Reader(
        "a folder with atomic files: one NAME.inter (and NAME.item, NAME.user), as MovieLens-100K has them",
        lambda path: path.is_dir() and any(path.glob("*.inter*")),
        read_atomic,
    ),
    **{name: _dump_reader(name) for name in LAYOUTS},
    "file": Reader(
        "a file .csv[.gz], .tsv[.gz] or .parquet with the columns user_id, item_id (and rating, timestamp, split, "
        "position)",
        lambda path: path.is_file() and path.name.removesuffix(".gz").endswith(_TABLES),
        read_file,
    ),
}


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _tables(folder: Path, name: str, kinds: tuple[str, ...]) -> list[Path]:
    """Return the files of that name in a folder, of whatever kind."""
    names = [f"{name}{kind}{packed}" for kind in kinds for packed in ("", ".gz")[: 1 if kind == ".parquet" else 2]]
    return [folder / name for name in names if (folder / name).is_file()]


def _find_table(folder: Path, name: str, kinds: tuple[str, ...]) -> Path | None:
    found = _tables(folder, name, kinds)
    if len(found) > 1:
        raise DataError(f"{folder} holds {' and '.join(file.name for file in found)}: leave one of them.")
    return found[0] if found else None


def _atomic_files(path: Path) -> list[Path]:
    inter = [file for file in path.iterdir() if file.name.endswith((".inter", ".inter.gz"))]
    if len(inter) != 1:
        raise DataError(f"{path} must hold one .inter file, found: {', '.join(f.name for f in inter) or 'none'}.")
    stem = inter[0].name.removesuffix(".gz").removesuffix(".inter")
    found = (_find(path, f"{stem}.{kind}") for kind in ("item", "user"))
    return [inter[0], *(file for file in found if file)]


def _read_lightgcn_file(path: Path) -> pl.DataFrame:
    lines = pl.DataFrame({"line": read_text(path).splitlines()}).with_row_index("number", 1)
    lines = lines.with_columns(pl.col("line").str.strip_chars()).filter(pl.col("line") != "")
    wrong = lines.filter(~pl.col("line").str.contains(r"^\d+([ \t]+\d+)*$"))
    if len(wrong):
        number, line = wrong.row(0)
        raise DataError(
            f"{path}, line {number}: {line[:40]!r} is not of the form 'user item item …' with whole numbers "
            f"({len(wrong):,} such line{'s' if len(wrong) > 1 else ''})."
        )
    words = lines.select(pl.col("line").str.replace_all(r"[ \t]+", " ").str.split(" ").alias("word"))
    return (
        words.select(pl.col("word").list.first().alias("user_id"), pl.col("word").list.slice(1).alias("item_id"))
        .filter(pl.col("item_id").list.len() > 0)  # a user whose items are all in another split
        .explode("item_id")
    )


def _reviews(records: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return user_id, item_id, text (summary and text); a record without words is left out."""
    rows = [
        (record["user_id"], record["item_id"], text)
        for record in records
        if (text := joined_review(record.get("summary"), record.get("text")))
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(("user_id", "item_id", "text"), pl.String), orient="row")


def _with_warnings(raw: RawData, corrupt: Mapping[str, CorruptLines]) -> RawData:
    lost = {name: lines for name, lines in corrupt.items() if lines}
    warnings = (*corruption_warnings(lost), *_time_warning(raw.interactions["timestamp"]), *raw.warnings)
    return replace(raw, corrupt_lines=lost, warnings=warnings)


def _time_warning(timestamps: pl.Series) -> list[str]:
    latest = timestamps.max()
    if not isinstance(latest, int) or latest < _FAR_OFF:
        return []
    return [
        f"timestamps go up to {latest}, which is not before the year 5000: they are read as seconds. Divide them, "
        "where they are milliseconds, if `since` and `until` are to hold"
    ]


def _unread_warning(folder: Path, read_names: set[str]) -> list[str]:
    names = sorted(file.name for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    unread = [name for name in names if name not in read_names and name.removesuffix(".gz").endswith(_DATA)]
    known = ", ".join(_DESCRIBING)
    return [f"these files are not read: {', '.join(unread)}. Texts are read from {known}"] if unread else []


def _unused_warning(name: str, fields: list[str]) -> list[str]:
    return [f"{name}: these fields are not read: {', '.join(fields)}"] if fields else []
