"""Texts of a dump: what it says of some items and users, and the reviews at some lines."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.data.corruption import CorruptLines
from hnlmrec.data.dump_layouts import Described, shortened
from hnlmrec.data.lines import Batch, at_lines, batches
from hnlmrec.data.review_lines import CorruptLineError, ReviewFields, in_parts, read_id, read_object
from hnlmrec.data.side_information import joined_review

log = logging.getLogger(__name__)
Record = dict[str, Any]


def read_reviews(path: Path, fields: ReviewFields, pairs: pl.DataFrame) -> pl.DataFrame:
    """Return user_id, item_id, text of pairs; a review without words, or whose text is damaged, is left out.

    Args:
        path: the file of reviews.
        fields: of a review.
        pairs: line, user_id, item_id; no line but these is parsed.
    """
    parts = [pl.DataFrame(schema={"line": pl.UInt32, "text": pl.String})]
    with timed(f"reviews of train in {path.name}"):
        for numbers, lines in at_lines(path, pairs["line"].sort().to_numpy()):
            texts = [_review(line, fields) for line in lines]
            parts.append(pl.DataFrame({"line": numbers, "text": texts}).filter(pl.col("text") != ""))
    ids = pairs.select("line", "user_id", "item_id")
    with_ids = pl.concat(parts).join(ids, on="line", how="left", maintain_order="left")
    return with_ids.select("user_id", "item_id", "text")


def read_described(
    path: Path | None, wanted: pl.Series, described: Described | None, corrupt: dict[str, CorruptLines]
) -> tuple[list[Record], int]:
    """Return the records of the wanted ids, and how many other lines describe something.

    Args:
        path: file of items or of users; None for none.
        wanted: ids; the series' name becomes the name of the id in the records.
        described: what a line holds.
        corrupt: the file's corrupt lines are put here, under its name.

    Raises:
        DataError: no line of the file can be used.
    """
    if path is None or described is None:
        return [], 0
    lines = corrupt[path.name] = CorruptLines()
    key, ids, names = described.fields[0], wanted.unique(), frozenset(wanted)
    records: list[Record] = []
    n_good = 0
    with timed(path.name):
        for batch in batches(path, lines):
            for n_lines, found in in_parts(
                batch, lambda part: _at_once(part, key, ids), lambda part: _one_by_one(part, key, names, lines)
            ):
                n_good += n_lines
                records += [{wanted.name: name, **described.record(record)} for name, record in found]
    lines.require_some(path, n_good, f"Each line must be a JSON object with {key}.")
    return records, n_good - len(records)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Log how long it took to read something."""
    started = time.perf_counter()
    yield
    log.info("read %s in %.1f s", what, time.perf_counter() - started)


def _review(line: bytes, fields: ReviewFields) -> str:
    try:
        record = read_object(line)
    except CorruptLineError:  # polars reads what it needs of a line that is nested too deeply for Python
        return ""
    title = record.get(fields.title) if fields.title else None
    return joined_review(shortened(title), shortened(record.get(fields.text)))


def _at_once(batch: Batch, key: str, ids: pl.Series) -> tuple[int, list[tuple[str, Record]]] | None:
    """Return (number of good lines, id and record of the wanted ones); None where a line is not good."""
    try:
        found = pl.read_ndjson(batch.data, schema={key: pl.String})[key].str.strip_chars()
    except (pl.exceptions.PolarsError, OSError):  # OSError: what looks like a packed file is unpacked
        return None
    if len(found) != batch.n_lines or found.null_count() or (found == "").any():
        return None
    places = found.is_in(ids.implode()).arg_true().to_list()
    lines = batch.lines if places else []
    try:
        return len(found), [(found[place], read_object(lines[place])) for place in places]
    except CorruptLineError:
        return None


def _one_by_one(
    batch: Batch, key: str, wanted: frozenset[str], corrupt: CorruptLines
) -> tuple[int, list[tuple[str, Record]]]:
    found, n_good = [], 0
    for number, line in enumerate(batch.lines, batch.first):
        if not line.strip():
            continue
        try:
            record = read_object(line)
            name = read_id(record, key)
        except CorruptLineError as error:
            corrupt.add(str(error), number)
            continue
        n_good += 1
        if name in wanted:
            found.append((name, record))
    return n_good, found
