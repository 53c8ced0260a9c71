"""Readers of large files against readers of one line: nothing crashes, nothing is lost uncounted."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlmrec.data import review_lines
from hnlmrec.data.corruption import CorruptLines
from hnlmrec.data.dump_layouts import LAYOUTS
from hnlmrec.data.interaction_rows import read_separated_interactions
from hnlmrec.data.lines import Batch, batches
from hnlmrec.data.review_lines import parse
from hnlmrec.errors import DataError

quick = settings(max_examples=40, deadline=None)
names = st.sampled_from(
    ["reviewerID", "asin", "overall", "unixReviewTime", "user_id", "business_id", "stars", "date"]
)
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["5.0", "2018-01-02", "2018-01-02 03:04:05", "[1]", " ", "\ud800", "1_0", "nan"]),
    st.lists(st.integers(), max_size=2),
)
objects = st.dictionaries(names, values, max_size=8).map(lambda record: json.dumps(record).encode())
good = st.builds(
    lambda user, item, stars: json.dumps(
        {"reviewerID": user, "asin": item, "overall": stars, "unixReviewTime": 5, "reviewText": "x"}
    ).encode(),
    st.integers(0, 9).map(str),
    st.integers(0, 9).map(str),
    st.integers(1, 5),
)
noise = st.binary(max_size=30).map(lambda data: data.replace(b"\n", b" "))
json_lines = st.lists(st.one_of(good, good, objects, noise, good.map(lambda line: line[:-9])), max_size=60)


@quick
@given(json_lines, st.sampled_from(["amazon2018", "yelp"]))
def test_every_line_is_a_row_or_counted_or_blank(lines: list[bytes], layout: str) -> None:
    fields = LAYOUTS[layout].reviews
    corrupt = CorruptLines()
    rows = parse(Batch(1, b"\n".join(lines)), fields, corrupt)
    n_blank = sum(not line.strip() for line in lines) if lines else 1
    assert len(rows) + corrupt.total + n_blank == max(len(lines), 1)
    assert rows.null_count().sum_horizontal().item() == 0
    assert rows["rating"].is_finite().all()
    alone = [(parse(Batch(number, line), fields, CorruptLines()), number) for number, line in enumerate(lines, 1)]
    assert rows["line"].to_list() == [number for row, number in alone if len(row)]


@quick
@given(st.lists(good, min_size=1, max_size=60))
def test_both_ways_of_reading_agree(lines: list[bytes]) -> None:
    batch, fields = Batch(7, b"\n".join(lines)), LAYOUTS["amazon2018"].reviews
    at_once = review_lines._at_once(batch, fields)
    assert at_once is not None
    assert at_once.equals(review_lines._one_by_one(batch, fields, CorruptLines()))


@quick
@given(st.binary(max_size=300), st.integers(1, 50))
def test_batches_are_the_lines_of_the_file(data: bytes, size: int) -> None:
    data = data.removeprefix(b"\x1f\x8b").removeprefix(b"\x28\xb5\x2f\xfd").removeprefix(b"\xef\xbb\xbf")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(data)
        found = list(batches(path, CorruptLines(), size=size))
    lines = data.removesuffix(b"\n").split(b"\n") if data else []
    assert [line for batch in found for line in batch.lines] == lines
    assert [batch.first for batch in found] == [
        1 + sum(batch.n_lines for batch in found[:place]) for place in range(len(found))
    ]


cells = st.sampled_from(["u", "i", "3", "4.5", "", " ", "x", "1e30", "nan", '"', '"a"', "é"])
rows_of_cells = st.lists(st.lists(cells, min_size=1, max_size=5), max_size=30)


@quick
@given(rows_of_cells, st.booleans(), st.lists(noise, max_size=3))
def test_tables_never_crash(rows: list[list[str]], quotes: bool, noise: list[bytes]) -> None:
    data = "\n".join(["user_id\titem_id\trating\ttimestamp", *("\t".join(row) for row in rows)]).encode()
    corrupt = CorruptLines()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tsv"
        path.write_bytes(b"\n".join([data, *noise]) + b"\n")
        try:
            found = read_separated_interactions(path, "\t", corrupt, quotes=quotes)
        except DataError:
            found = pl.DataFrame()
    if not quotes and not noise:  # in quotes, a row may take several lines
        n_blank = sum(not any(cell.strip() for cell in row) for row in rows)
        assert len(found) + corrupt.total + n_blank == len(rows)
