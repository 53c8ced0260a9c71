"""Dumps in several formats, each read into one raw table.

READERS lists the formats; `read` finds the one that fits by what is there. Ids are strings; blanks around an id
are cut, blanks inside it belong to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.data.interactions import SPLITS
from hnlmrec.data.pickles import refuse_pickle
from hnlmrec.data.side_information import (
    ITEM_FACT_FIELDS,
    USER_FACT_FIELDS,
    clean,
    items_frame,
    unused_fields,
    users_frame,
)
from hnlmrec.data.tables import (
    JsonLines,
    read_json_lines,
    read_parquet,
    read_separated,
    read_text,
    reading,
    refuse_rows,
    require_columns,
    to_numbers,
)
from hnlmrec.errors import DataError, MissingFileError

INTERACTION_SCHEMA: dict[str, type[pl.DataType]] = {
    "user_id": pl.String,
    "item_id": pl.String,
    "rating": pl.Float64,
    "timestamp": pl.Int64,
    "split": pl.String,
    "position": pl.Int64,
}
_SPACED_LISTS = ("class", "genre", "genres")  # atomic files separate these words by blanks


@dataclass(frozen=True)
class RawData:
    """What a source holds, before any filter.

    Attributes:
        source: the folder or file.
        format: the key of READERS that read it.
        interactions: user_id, item_id, rating, timestamp (seconds since 1970), split ("train", "valid", "test"),
            position (rank in the user's history); null where the source lacks the value. In the source's order.
        items: item_id, title, facts, profile; only the items that the source describes.
        users: user_id, facts, profile.
        reviews: user_id, item_id, text; None where the source has none.
        corrupt_lines: by file name, how many lines were left out because they are not valid.
        warnings: what a person should know of this source.
    """

    source: Path
    format: str
    interactions: pl.DataFrame
    items: pl.DataFrame = field(default_factory=lambda: items_frame([]))
    users: pl.DataFrame = field(default_factory=lambda: users_frame([]))
    reviews: pl.DataFrame | None = None
    corrupt_lines: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reader:
    """A format: what it looks like, whether a path has it, and how it is read."""

    description: str
    fits: Callable[[Path], bool]
    read: Callable[[Path], RawData]


def read(path: Path) -> RawData:
    """Read a folder or file in the format that fits it.

    Raises:
        MissingFileError: nothing is there.
        StorageError: it may not be read.
        DataError: no format fits, or its content is wrong; names file and line where it can.
    """
    with reading(path):
        if not path.exists():
            raise MissingFileError(f"there is no data folder or file {path}.")
        refuse_pickle(path)
        for reader in READERS.values():
            if reader.fits(path):
                return reader.read(path)
        found = ", ".join(sorted(child.name for child in path.iterdir())[:8]) if path.is_dir() else path.name
    known = "\n".join(f"  - {reader.description}" for reader in READERS.values())
    raise DataError(
        f"{path} is in no format that can be read (found: {found or 'nothing'}). Give one of:\n{known}"
    )


def read_atomic(path: Path) -> RawData:
    """Read atomic files: NAME.inter, and NAME.item and NAME.user where they are there."""
    tables = {file.name.removesuffix(".gz").rsplit(".", 1)[-1]: file for file in _atomic_files(path)}
    frame = _read_atomic_table(tables["inter"])
    items = _described(tables.get("item"), "item_id")
    users = _described(tables.get("user"), "user_id")
    for item in items:
        item.update({name: item[name].split() for name in _SPACED_LISTS if item.get(name)})
    return RawData(path, "atomic", _interactions(frame, tables["inter"]), items_frame(items), users_frame(users))


def read_folder(path: Path) -> RawData:
    """Read interactions.csv[.gz], and items, users and reviews.jsonl[.gz] where they are there."""
    tables = {name: _find(path, f"{name}.jsonl") for name in ("items", "users", "reviews")}
    required = {"items": ("item_id",), "users": ("user_id",), "reviews": ("user_id", "item_id")}
    lines = {name: read_json_lines(file, required[name]) for name, file in tables.items() if file}
    files = {name: file for name, file in tables.items() if file}
    items, users = (lines[name].records if name in lines else [] for name in ("items", "users"))
    source = _find(path, "interactions.csv")
    assert source is not None
    return RawData(
        path,
        "folder",
        _interactions(read_separated(source), source),
        items_frame(items),
        users_frame(users),
        _reviews(lines["reviews"].records) if "reviews" in lines else None,
        {files[name].name: found.corrupt for name, found in lines.items() if found.corrupt},
        (
            *_corrupt_warnings(files, lines),
            *_unused_warning("items", unused_fields(items, ITEM_FACT_FIELDS)),
            *_unused_warning("users", unused_fields(users, USER_FACT_FIELDS)),
        ),
    )


def read_lightgcn(path: Path) -> RawData:
    """Read train.txt[.gz] and, where they are there, valid.txt and test.txt: a line a user, `user item item …`.

    Without test.txt the interactions count as not split yet.
    """
    files = {split: file for split in SPLITS if (file := _find(path, f"{split}.txt"))}
    given = "test" in files
    parts = [
        _read_lightgcn_file(file).with_columns(split=pl.lit(split if given else None, dtype=pl.String))
        for split, file in files.items()
    ]
    frame = pl.concat(parts)
    if not len(frame):
        raise DataError(f"{path}: no line holds an item.")
    return RawData(path, "lightgcn", _with_all_columns(frame))


def read_file(path: Path) -> RawData:
    """Read one table of interactions: .csv, .tsv (packed or not) or .parquet."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        frame = _parquet_as_text(path)
    else:
        frame = read_separated(path, "\t" if name.endswith(".tsv") else ",")
    return RawData(path, "file", _interactions(frame, path))


READERS: dict[str, Reader] = {
    "folder": Reader(
        "a folder with interactions.csv[.gz] (and items, users, reviews.jsonl[.gz])",
        lambda path: path.is_dir() and _find(path, "interactions.csv") is not None,
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
    "file": Reader(
        "a file .csv[.gz], .tsv[.gz] or .parquet with the columns user_id, item_id (and rating, timestamp, split, "
        "position)",
        lambda path: (
            path.is_file() and path.name.removesuffix(".gz").rsplit(".", 1)[-1] in ("csv", "tsv", "parquet")
        ),
        read_file,
    ),
}


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _interactions(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Check and type the columns of a table of interactions whose cells are text."""
    require_columns(frame, ("user_id", "item_id"), path)
    for column in ("user_id", "item_id"):
        refuse_rows(frame, pl.col(column).is_null(), column, path, "but every row needs an id")
    for column in ("rating", "timestamp", "position"):
        frame = to_numbers(frame, column, INTERACTION_SCHEMA[column], path)
    if "split" in frame.columns and frame["split"].null_count() < len(frame):
        wrong = ~pl.col("split").is_in(SPLITS).fill_null(value=False)
        refuse_rows(frame, wrong, "split", path, f"but must be one of {', '.join(SPLITS)}")
    return _with_all_columns(frame)


def _with_all_columns(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in INTERACTION_SCHEMA.items()
    )


def _atomic_files(path: Path) -> list[Path]:
    inter = [file for file in path.iterdir() if file.name.endswith((".inter", ".inter.gz"))]
    if len(inter) != 1:
        raise DataError(f"{path} must hold one .inter file, found: {', '.join(f.name for f in inter) or 'none'}.")
    stem = inter[0].name.removesuffix(".gz").removesuffix(".inter")
    found = (_find(path, f"{stem}.{kind}") for kind in ("item", "user"))
    return [inter[0], *(file for file in found if file)]


def _read_atomic_table(path: Path) -> pl.DataFrame:
    return read_separated(path, "\t", quotes=False).rename(lambda name: name.partition(":")[0])


def _described(path: Path | None, key: str) -> list[dict[str, Any]]:
    if path is None:
        return []
    frame = _read_atomic_table(path)
    require_columns(frame, (key,), path)
    refuse_rows(frame, pl.col(key).is_null(), key, path, "but every row needs an id")
    return frame.to_dicts()


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


def _parquet_as_text(path: Path) -> pl.DataFrame:
    """Read parquet as if it were CSV, so that both go through the same checks."""
    frame = read_parquet(path)
    if not len(frame):
        raise DataError(f"{path} has no row.")
    times = [name for name, kind in frame.schema.items() if kind.is_temporal()]
    frame = frame.with_columns(pl.col(times).dt.epoch("s")) if times else frame
    nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
    texts = frame.drop(nested).with_columns(pl.all().cast(pl.String).str.strip_chars())
    return texts.with_columns(pl.when(pl.all() != "").then(pl.all()))


def _reviews(records: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return user_id, item_id, text (summary and text); a record without words is left out."""
    rows = [
        (record["user_id"], record["item_id"], ". ".join(part.rstrip(".") for part in parts))
        for record in records
        if (parts := [words for name in ("summary", "text") if (words := clean(record.get(name)))])
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(("user_id", "item_id", "text"), pl.String), orient="row")


def _corrupt_warnings(files: Mapping[str, Path], lines: Mapping[str, JsonLines]) -> list[str]:
    return [
        f"{files[name].name}: {found.corrupt:,} invalid lines were left out, the first: {found.first_problem}"
        for name, found in lines.items()
        if found.corrupt
    ]


def _unused_warning(name: str, fields: list[str]) -> list[str]:
    return [f"{name}: these fields are not read: {', '.join(fields)}"] if fields else []
