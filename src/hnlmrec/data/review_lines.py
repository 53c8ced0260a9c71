"""Lines of JSON to rows of interactions: by polars where all is well, a line at a time where it is not.

Polars reads a batch in one go and refuses all of it for one bad line. A batch that is refused is cut into parts
until a part is read or is small; the lines of a small part are read one by one, and each bad one is counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import polars as pl

from hnlmrec.data.corruption import NOT_AN_OBJECT, NOT_JSON, NOT_UTF8, CorruptLines
from hnlmrec.data.lines import Batch

T = TypeVar("T")
ROW_SCHEMA: dict[str, type[pl.DataType]] = {
    "user_id": pl.String,
    "item_id": pl.String,
    "rating": pl.Float64,
    "timestamp": pl.Int64,
    "line": pl.UInt32,
}
_PARTS = 8
_SMALL = 32
_DATE_FORMATS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d")
_MILLISECONDS = 1000
_INT64_END = 2.0**63
_NOT_AN_ID = r"^([\[{].*|true|false|\s*)$|\x00"  # what polars makes of other JSON values, and of \ud800


@dataclass(frozen=True)
class ReviewFields:
    """What a dump calls the parts of a review.

    Attributes:
        user: the user's id.
        item: the item's id.
        rating: a number.
        time: when it was written.
        time_unit: whole seconds or milliseconds since 1970, or a date such as "2018-07-07 22:09:11" (UTC).
        title: the review's heading, if there is such a field.
        text: its text.
    """

    user: str
    item: str
    rating: str
    time: str
    time_unit: Literal["s", "ms", "date"]
    title: str | None
    text: str


class CorruptLineError(ValueError):
    """A line that cannot be used; the message is its kind."""


def parse(batch: Batch, fields: ReviewFields, corrupt: CorruptLines) -> pl.DataFrame:
    """Return the rows of ROW_SCHEMA that a batch holds; its corrupt lines are counted, blank ones skipped."""
    parts = in_parts(batch, lambda part: _at_once(part, fields), lambda part: _one_by_one(part, fields, corrupt))
    return pl.concat(parts)


def in_parts(batch: Batch, at_once: Callable[[Batch], T | None], one_by_one: Callable[[Batch], T]) -> Iterator[T]:
    """Read a batch in parts as large as can be read `at_once` (None where one cannot), the rest line by line."""
    found = at_once(batch)
    if found is not None:
        yield found
    elif batch.n_lines <= _SMALL:
        yield one_by_one(batch)
    else:
        lines = batch.lines
        step = -(-len(lines) // _PARTS)
        for start in range(0, len(lines), step):
            part = Batch(batch.first + start, b"\n".join(lines[start : start + step]))
            yield from in_parts(part, at_once, one_by_one)


def read_object(line: bytes) -> dict[str, Any]:
    """Return the object of a line.

    Raises:
        CorruptLineError: the line is no JSON object in UTF-8.
    """
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError:
        raise CorruptLineError(NOT_UTF8) from None
    except (ValueError, RecursionError):
        raise CorruptLineError(NOT_JSON) from None
    if not isinstance(record, dict):
        raise CorruptLineError(NOT_AN_OBJECT)
    return record


def read_id(record: dict[str, Any], name: str) -> str:
    """Return an id of a record, without blanks around it.

    Raises:
        CorruptLineError: it is missing, blank, or neither a string nor a whole number.
    """
    value = record.get(name)
    if value is None or value == "":
        raise CorruptLineError(f"no {name}")
    if not isinstance(value, str | int) or isinstance(value, bool) or not str(value).strip():
        raise CorruptLineError(f"{name} is not an id")
    text = str(value).strip()
    if "\0" in text or any("\ud800" <= letter < "\ue000" for letter in text):  # half of a surrogate pair
        raise CorruptLineError(f"{name} is not an id")
    return text


def _at_once(batch: Batch, fields: ReviewFields) -> pl.DataFrame | None:
    """Read a batch by polars; None where it holds anything but good lines."""
    time = pl.String if fields.time_unit == "date" else pl.Int64
    schema = {fields.user: pl.String, fields.item: pl.String, fields.rating: pl.Float64, fields.time: time}
    try:
        frame = pl.read_ndjson(batch.data, schema=schema)
    except (pl.exceptions.PolarsError, OSError):  # OSError: what looks like a packed file is unpacked
        return None
    if len(frame) != batch.n_lines:
        return None
    rows = frame.select(
        pl.col(fields.user).str.strip_chars().alias("user_id"),
        pl.col(fields.item).str.strip_chars().alias("item_id"),
        pl.col(fields.rating).alias("rating"),
        _seconds(fields).alias("timestamp"),
        pl.int_range(batch.first, batch.first + batch.n_lines, dtype=pl.UInt32).alias("line"),
    )
    ids = pl.col("user_id", "item_id")
    good = pl.all_horizontal(
        pl.all().is_not_null(), pl.col("rating").is_finite(), ~ids.str.contains(_NOT_AN_ID)
    ).fill_null(value=False)
    return rows if rows.select(good.all()).item() else None


def _seconds(fields: ReviewFields) -> pl.Expr:
    time = pl.col(fields.time)
    if fields.time_unit == "date":
        readings = (time.str.to_datetime(form, strict=False, time_unit="us") for form in _DATE_FORMATS)
        return pl.coalesce(readings).dt.epoch("s")
    return time // _MILLISECONDS if fields.time_unit == "ms" else time


def _one_by_one(batch: Batch, fields: ReviewFields, corrupt: CorruptLines) -> pl.DataFrame:
    rows = []
    for number, line in enumerate(batch.lines, batch.first):
        if not line.strip():
            continue
        try:
            record = read_object(line)
            ids = read_id(record, fields.user), read_id(record, fields.item)
            rows.append((*ids, _rating(record, fields), _time(record, fields), number))
        except CorruptLineError as error:
            corrupt.add(str(error), number)
    return pl.DataFrame(rows, schema=ROW_SCHEMA, orient="row")


def _rating(record: dict[str, Any], fields: ReviewFields) -> float:
    value = _number(record, fields.rating)
    if not math.isfinite(value):
        raise CorruptLineError(f"{fields.rating} is not a number")
    return value


def _time(record: dict[str, Any], fields: ReviewFields) -> int:
    if fields.time_unit == "date":
        return _date(record, fields.time)
    number = _number(record, fields.time)
    if not abs(number) < _INT64_END:
        raise CorruptLineError(f"{fields.time} is not a time")
    return int(number) // _MILLISECONDS if fields.time_unit == "ms" else int(number)


def _date(record: dict[str, Any], name: str) -> int:
    value = record.get(name)
    if value is None or value == "":
        raise CorruptLineError(f"no {name}")
    for form in _DATE_FORMATS:
        try:
            return int(datetime.strptime(str(value), form).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    raise CorruptLineError(f"{name} is not a date")


def _number(record: dict[str, Any], name: str) -> float:
    value = record.get(name)
    if value is None or value == "":
        raise CorruptLineError(f"no {name}")
    try:
        return float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return math.nan
