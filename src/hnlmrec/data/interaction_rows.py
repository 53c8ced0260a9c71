"""Tables with a header (CSV, TSV, atomic, parquet): interactions and descriptions, typed a batch at a time.

A row whose id, rating, time or position cannot be used is counted and left out. A value of `split` that is none
stops the reading: it would move pairs between train and test.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

import polars as pl

from hnlmrec.data.column_names import AS_THEY_ARE, ColumnNames
from hnlmrec.data.corruption import NOT_UTF8, CorruptLines
from hnlmrec.data.interactions import SPLITS
from hnlmrec.data.lines import Batch, batches
from hnlmrec.data.raw import INTERACTION_SCHEMA
from hnlmrec.data.tables import lacking, reading
from hnlmrec.errors import DataError

_TOO_MANY = "more cells than the header"
_NOT_A_ROW = "not a row of the table"
_LONGEST_QUOTED = 64 * 2**20
_INT64_END = 2.0**63
_ROWS = 1_000_000
# Each with a zone behind it or, for UTC, with none.
_TIMES = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")
_DATE = "%Y-%m-%d"


def read_separated_interactions(
    path: Path,
    separator: str,
    corrupt: CorruptLines,
    *,
    quotes: bool = True,
    columns: ColumnNames = AS_THEY_ARE,
) -> pl.DataFrame:
    """Read a table with a header whose columns are named as in INTERACTION_SCHEMA; others are passed over.

    Args:
        path: a plain or gzip file.
        separator: of the cells.
        corrupt: the lines that are left out are counted here.
        quotes: whether a cell may stand in quotes, and then hold separators and line breaks.
        columns: what the source calls them.

    Raises:
        DataError: there is no header with user_id and item_id, no row, none that can be used, or a wrong split.
    """
    used = tuple(INTERACTION_SCHEMA)
    cells = read_cells(path, separator, corrupt, ("user_id", "item_id"), used, quotes=quotes, columns=columns)
    return _checked([_typed(part, path, corrupt) for part in cells], path, corrupt)


def read_described_rows(
    path: Path,
    separator: str,
    ids: tuple[str, ...],
    corrupt: CorruptLines,
    *,
    quotes: bool = True,
    columns: ColumnNames = AS_THEY_ARE,
) -> list[dict[str, str | None]]:
    """Return the rows of a table that describes something, all cells as text; one that lacks an id is counted.

    Raises:
        DataError: as `read_separated_interactions`.
    """
    cells = read_cells(path, separator, corrupt, ids, quotes=quotes, columns=columns)
    parts = []
    for found in cells:
        part = _stripped(found)
        for key in ids:
            part = _without(part, pl.col(key).is_null(), f"no {key}", corrupt)
        parts.append(part)
    frame = pl.concat(parts)
    corrupt.require_some(path, len(frame), f"A row needs {' and '.join(ids)}.")
    return frame.drop("line").to_dicts()


def read_cells(
    path: Path,
    separator: str,
    corrupt: CorruptLines,
    required: tuple[str, ...],
    used: tuple[str, ...] | None = None,
    *,
    quotes: bool,
    columns: ColumnNames = AS_THEY_ARE,
) -> Iterator[pl.DataFrame]:
    """Read a table with a header, a batch at a time; yields cells as text, and `line`.

    Args:
        path: a plain or gzip file.
        separator: of the cells.
        corrupt: lines that are no rows are counted here.
        required: columns that must be there.
        used: columns that are kept, where they are there; None for all.
        quotes: whether a cell may stand in quotes.
        columns: what the source calls them.

    Raises:
        DataError: there is no header, or no line behind it, or two columns that are kept have the same name.
    """
    header: list[str] | None = None
    kept: list[str] = []
    n_lines = 0
    for found in _whole_rows(batches(path, corrupt), quotes=quotes):
        batch = found
        if header is None:
            separator = _likely_separator(separator, found)
            theirs, batch = _header(found, separator, path)
            ours = [columns.ours(name) for name in theirs]
            _require_named(required, ours, theirs, path)
            kept = [name for name in ours if name is not None and (used is None or name in used)]
            _require_distinct(kept, path)
            header = [f"#{place}" if name is None else name for place, name in enumerate(ours)]
        if batch.data.strip():
            n_lines += batch.n_lines
            yield _cells(batch, header, kept, separator, corrupt, quotes=quotes)
    if header is None:
        corrupt.require_some(path, 0, "It must be a table with a header.")
    if not n_lines:
        raise DataError(f"{path} has a header and no row.")


def read_parquet_interactions(
    path: Path, corrupt: CorruptLines, columns: ColumnNames = AS_THEY_ARE
) -> pl.DataFrame:
    """Read the columns of INTERACTION_SCHEMA out of a parquet file; errors as `read_separated_interactions`.

    A row's number, the first being 1, stands for its line.
    """
    with reading(path), path.open("rb"):  # polars says less of a file that it cannot open
        pass
    try:
        table = pl.scan_parquet(path)
        schema = table.collect_schema()
        theirs = {columns.ours(name): name for name in schema}
        _require_named(("user_id", "item_id"), theirs, schema, path)
        flat = {ours: theirs[ours] for ours in INTERACTION_SCHEMA if ours in theirs}
        texts = [
            _as_text(name, schema[name]).alias(ours) for ours, name in flat.items() if not schema[name].is_nested()
        ]
        n_rows = table.select(pl.len()).collect().item()
        parts = []
        for start in range(0, n_rows, _ROWS):
            frame = table.slice(start, _ROWS).select(texts).collect()
            lines = pl.int_range(start + 1, start + 1 + len(frame), dtype=pl.UInt32).alias("line")
            parts.append(_typed(frame.with_columns(lines), path, corrupt))
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} is not a parquet file: {str(error).splitlines()[0]}.") from None
    if not n_rows:
        raise DataError(f"{path} has no row.")
    return _checked(parts, path, corrupt)


def with_all_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of INTERACTION_SCHEMA; a missing one becomes one of nulls, which takes no memory."""
    return frame.select(
        pl.col(name).cast(kind) if name in frame.columns else pl.lit(None, dtype=pl.Null).alias(name)
        for name, kind in INTERACTION_SCHEMA.items()
    )


def _whole_rows(found: Iterator[Batch], *, quotes: bool) -> Iterator[Batch]:
    """Join batches until a batch does not end within quotes."""
    first, data = 1, b""
    for batch in found:
        data = data + b"\n" + batch.data if data else batch.data
        if quotes and data.count(b'"') % 2 and len(data) < _LONGEST_QUOTED:
            continue
        yield Batch(first, data)
        first, data = batch.first + batch.n_lines, b""
    if data:
        yield Batch(first, data)


def _likely_separator(separator: str, batch: Batch) -> str:
    """Return a semicolon for a comma where the header has none: so spreadsheets write CSV in many countries."""
    header = batch.data.partition(b"\n")[0]
    return ";" if separator == "," and b"," not in header and b";" in header else separator


def _header(batch: Batch, separator: str, path: Path) -> tuple[list[str], Batch]:
    """Return the names in the first line, and what follows it."""
    line, _, rest = batch.data.partition(b"\n")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text (its header is not). Convert it.") from None
    if not text.strip() and not rest.strip():
        raise DataError(f"{path} is empty.")
    try:
        cells = next(csv.reader([text.strip("\r")], delimiter=separator), [])
    except csv.Error as error:  # a carriage return alone, or a cell without an end
        raise DataError(
            f"{path}: its first line cannot be read as a header: {error}. Lines must end in a line feed (\\n)."
        ) from None
    names = [cell.strip().partition(":")[0] for cell in cells]  # atomic files name the type behind a colon
    return names, Batch(batch.first + 1, rest)


def _require_named(
    required: Iterable[str], ours: Container[str | None], theirs: Iterable[str], path: Path
) -> None:
    missing = [name for name in required if name not in ours]
    if missing:
        wanted = ", ".join(f"{name}='…'" for name in missing)
        advice = f"If one of these is meant, say so by the setting data.columns={{{wanted}}}."
        raise lacking(path, missing, theirs, advice)


def _require_distinct(names: list[str], path: Path) -> None:
    taken = [name for name, number in Counter([*names, "line"]).items() if number > 1]
    if taken:
        raise DataError(
            f"{path} has more than one column {taken[0]!r} (this program adds one named 'line' itself). "
            "Rename or remove one."
        )


def _cells(
    batch: Batch, header: list[str], used: list[str], separator: str, corrupt: CorruptLines, *, quotes: bool
) -> pl.DataFrame:
    """Return the cells of the columns that are used, as text, and `line`."""
    try:
        frame = pl.read_csv(
            batch.data,
            separator=separator,
            quote_char='"' if quotes else None,
            has_header=False,
            schema=dict.fromkeys(header, pl.String),
        ).select(used)
    except (pl.exceptions.PolarsError, OSError):  # OSError: what looks like a packed file is unpacked
        frame = pl.DataFrame()
    if len(frame) != batch.n_lines:  # a bad line, a blank one, or a line break in quotes
        return _row_by_row(batch, header, used, separator, corrupt, quotes=quotes)
    return frame.with_columns(pl.int_range(batch.first, batch.first + len(frame), dtype=pl.UInt32).alias("line"))


def _row_by_row(
    batch: Batch, header: list[str], used: list[str], separator: str, corrupt: CorruptLines, *, quotes: bool
) -> pl.DataFrame:
    places = [header.index(name) for name in used]
    rows = []
    for cells, line in _rows(batch, separator, corrupt, quotes=quotes):
        if len(cells) > len(header):
            corrupt.add(_TOO_MANY, line)
        elif any(cell.strip() for cell in cells):
            rows.append((*(cells[place] if place < len(cells) else None for place in places), line))
    return pl.DataFrame(rows, schema=dict.fromkeys(used, pl.String) | {"line": pl.UInt32}, orient="row")


def _rows(batch: Batch, separator: str, corrupt: CorruptLines, *, quotes: bool) -> Iterator[tuple[list[str], int]]:
    """Give the cells of each row, and the number of the line that it ends in."""

    def texts() -> Iterator[str]:
        for number, line in enumerate(batch.lines, batch.first):
            try:
                yield line.decode().strip("\r") + "\n"
            except UnicodeDecodeError:
                corrupt.add(NOT_UTF8, number)
                yield "\n"

    reader = csv.reader(texts(), delimiter=separator, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            corrupt.add(_NOT_A_ROW, batch.first + reader.line_num - 1)
            continue
        yield cells, batch.first + reader.line_num - 1


def _typed(cells: pl.DataFrame, path: Path, corrupt: CorruptLines) -> pl.DataFrame:
    """Turn cells into values; a row with one that cannot be used is counted and left out."""
    rows = _stripped(cells)
    for name in ("user_id", "item_id"):
        rows = _without(rows, pl.col(name).is_null(), f"no {name}", corrupt)
    if "timestamp" in rows.columns:
        rows = _with_seconds(rows)
    for name in ("rating", "timestamp", "position"):
        if name in rows.columns:
            rows = _with_numbers(rows, name, corrupt)
    if "split" in rows.columns:
        _require_splits(rows, path)
    return rows


def _stripped(cells: pl.DataFrame) -> pl.DataFrame:
    """Cut the blanks around cells, make empty ones null, and leave out rows of nothing else."""
    texts = pl.exclude("line")
    rows = cells.with_columns(texts.str.strip_chars()).with_columns(pl.when(texts != "").then(texts))
    return rows.filter(pl.any_horizontal(texts.is_not_null()))


def _with_seconds(rows: pl.DataFrame) -> pl.DataFrame:
    """Put seconds since 1970 for dates and times in ISO 8601; what is neither stays as it is."""
    text = pl.col("timestamp")
    is_number = text.cast(pl.Float64, strict=False).is_not_null()
    if rows.select((is_number | text.is_null()).all()).item():
        return rows
    plain = text.str.replace("T", " ", literal=True).str.replace(r"\s?Z$", "+00:00")
    times = [plain.str.to_datetime(form, time_zone="UTC", strict=False) for form in _TIMES]
    times += [plain.str.to_datetime(f"{form}%#z", strict=False) for form in _TIMES]
    days = plain.str.to_date(_DATE, strict=False).cast(pl.Datetime("us", "UTC"))
    seconds = pl.coalesce(days, *times).dt.epoch("s").cast(pl.String)
    return rows.with_columns(timestamp=pl.when(is_number).then(text).otherwise(pl.coalesce(seconds, text)))


def _with_numbers(rows: pl.DataFrame, name: str, corrupt: CorruptLines) -> pl.DataFrame:
    number = pl.col(name).cast(pl.Float64, strict=False)
    wrong = pl.col(name).is_not_null() & ~number.is_finite().fill_null(value=False)
    kind_of_wrong = "is neither a number nor a date" if name == "timestamp" else "is not a number"
    rows = _without(rows, wrong, f"{name} {kind_of_wrong}", corrupt)
    kind = INTERACTION_SCHEMA[name]
    if kind.is_integer():
        rows = _without(rows, number.abs() >= _INT64_END, f"{name} is too large for a whole number", corrupt)
    return rows.with_columns(number.cast(kind).alias(name))


def _without(rows: pl.DataFrame, wrong: pl.Expr, kind: str, corrupt: CorruptLines) -> pl.DataFrame:
    mask = rows.select(wrong.fill_null(value=False).alias("wrong"))["wrong"]
    for line in rows["line"].filter(mask):
        corrupt.add(kind, line)
    return rows.filter(~mask)


def _require_splits(rows: pl.DataFrame, path: Path) -> None:
    wrong = rows.filter(pl.col("split").is_not_null() & ~pl.col("split").is_in(SPLITS))
    if len(wrong):
        line, value = wrong["line"][0], wrong["split"][0]
        raise DataError(f"{path}, line {line}: split is {value!r}, but must be one of {', '.join(SPLITS)}.")


def _checked(parts: list[pl.DataFrame], path: Path, corrupt: CorruptLines) -> pl.DataFrame:
    n_good = sum(map(len, parts))
    needed = "A row needs user_id and item_id; rating must be a number, timestamp seconds or a date in ISO 8601."
    corrupt.require_some(path, n_good, needed)
    frame = pl.concat(parts)
    if "split" in frame.columns and 0 < frame["split"].null_count() < len(frame):
        line = frame.filter(pl.col("split").is_null())["line"][0]
        raise DataError(f"{path}, line {line}: split is empty, but other rows have one: give every row a split.")
    return with_all_columns(frame)


def _as_text(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if kind.is_temporal():
        column = column.dt.epoch("s")
    return column.cast(pl.String)
