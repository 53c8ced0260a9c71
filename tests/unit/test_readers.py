from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from hnlmrec.data import lines, tables
from hnlmrec.data.readers import READERS, read
from hnlmrec.data.tables import read_bytes
from hnlmrec.errors import DataError


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def _lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_folder(tmp_path: Path, suffix: str) -> None:
    csv = "user_id,item_id,rating,timestamp,position\nu 1 ,i1,4.0,100,0\nu 1,i2,,,1\nu2,i1,3,200,0\n"
    _write(tmp_path / f"interactions.csv{suffix}", csv)
    items = (
        {"item_id": "i1", "title": "Cards &amp; Co", "brand": "Acme", "price": "$1"},
        {"item_id": "i2", "title": None, "categories": [["Toys", "Puzzles"], ["Toys"]], "keywords": "puzzle wood"},
    )
    _write(tmp_path / f"items.jsonl{suffix}", _lines(*items))
    users = {
        "user_id": "u2",
        "taste": ["I like it.", "Much."],
        "age": "25-34",
        "gender": "F",
        "occupation": "other",
    }
    _write(tmp_path / f"users.jsonl{suffix}", _lines(users))
    reviews = ({"user_id": "u2", "item_id": "i1", "summary": "Good.", "text": "Very  good"},)
    _write(tmp_path / f"reviews.jsonl{suffix}", _lines(*reviews, {"user_id": "u2", "item_id": "i2", "text": None}))
    raw = read(tmp_path)
    assert raw.format == "folder"
    assert raw.interactions.rows() == [
        ("u 1", "i1", 4.0, 100, None, 0),
        ("u 1", "i2", None, None, None, 1),
        ("u2", "i1", 3.0, 200, None, 0),
    ]
    assert raw.items.rows() == [("i1", "Cards & Co", "Acme", None), ("i2", "", "Toys, Puzzles; puzzle wood", None)]
    assert raw.users.rows() == [("u2", "25-34 years old, female", "I like it. Much.")]
    assert raw.reviews is not None
    assert raw.reviews.rows() == [("u2", "i1", "Good. Very good")]
    assert raw.warnings == ("items: these fields are not read: price",)


def test_what_would_leak_is_not_read(tmp_path: Path) -> None:
    _write(tmp_path / "interactions.csv", "user_id,item_id\nu,i\n")
    _write(tmp_path / "users.jsonl", _lines({"user_id": "u", "history_titles": ["A film"], "age": "24"}))
    _write(tmp_path / "items.jsonl", _lines({"item_id": "i", "mean_rating": 4.1}))
    raw = read(tmp_path)
    assert raw.users.rows() == [("u", "24 years old", None)]
    assert raw.items.rows() == [("i", "", "", None)]


def test_atomic(tmp_path: Path) -> None:
    _write(tmp_path / "d.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t2\t3\t88.0\n")
    item = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    item += '2\tMisérables, "Les\t1995\tDrama Sci-Fi\n3\tunkonwn\tunkonwn\tunknown\n'
    _write(tmp_path / "d.item", item)
    _write(tmp_path / "d.user", "user_id:token\tage:token\tgender:token\toccupation:token\n1\t24\tM\ttechnician\n")
    raw = read(tmp_path)
    assert raw.format == "atomic"
    assert raw.interactions.rows() == [("1", "2", 3.0, 88, None, None)]
    assert raw.items.rows() == [("2", 'Misérables, "Les', "1995; Drama, Sci-Fi", None), ("3", "", "", None)]
    assert raw.users.rows() == [("1", "24 years old, male, technician", None)]


def test_lightgcn(tmp_path: Path) -> None:
    _write(tmp_path / "train.txt.gz", "0 5 6\n1\n2  7 \n")
    _write(tmp_path / "test.txt", "0 8\n1 5")
    raw = read(tmp_path)
    assert raw.format == "lightgcn"
    pairs = raw.interactions.select("user_id", "item_id", "split").rows()
    assert pairs == [
        ("0", "5", "train"),
        ("0", "6", "train"),
        ("2", "7", "train"),
        ("0", "8", "test"),
        ("1", "5", "test"),
    ]
    (tmp_path / "test.txt").unlink()
    assert read(tmp_path).interactions["split"].null_count() == 3


def test_files(tmp_path: Path) -> None:
    expected = [("1", "a", 2.0, 86400, None, None)]
    _write(tmp_path / "d.tsv", "user_id\titem_id\trating\ttimestamp\n1\ta\t2\t86400\n")
    assert read(tmp_path / "d.tsv").interactions.rows() == expected
    day = datetime(1970, 1, 2, tzinfo=UTC)
    table = pl.DataFrame({"user_id": [1], "item_id": ["a"], "rating": [2], "timestamp": [day], "tags": [["x"]]})
    table.write_parquet(tmp_path / "d.parquet")
    assert read(tmp_path / "d.parquet").interactions.rows() == expected


def test_corrupt_json_lines_are_counted(tmp_path: Path) -> None:
    _write(tmp_path / "interactions.csv", "user_id,item_id\nu,i\n")
    good = _lines({"item_id": "i", "title": "a"}, {"item_id": 7, "title": "b"}, {"item_id": "k"})
    _write(tmp_path / "items.jsonl", good + '{"item_id": "l", "tit\n{"title": "no id"}\n')
    raw = read(tmp_path)
    assert raw.items["item_id"].to_list() == ["i", "7", "k"]
    assert raw.corrupt_lines["items.jsonl"].counts == {"not JSON": 1, "no item_id": 1}
    assert raw.warnings[0] == (
        "items.jsonl: 2 corrupt lines were left out. not JSON: 1 (line 4); no item_id: 1 (line 5)"
    )


GOOD = b"user_id,item_id,rating,timestamp,position\nu,i,4,100,0\n"
BAD_ROWS = {
    "rating is not a number": [b"u,k,good,300,1", b"u,k,nan,300,1", b"u,k,inf,300,1"],
    "timestamp is neither a number nor a date": [b"u,k,3,2018-13-01,1", b"u,k,3,yesterday,1"],
    "timestamp is too large for a whole number": [b"u,k,3,1e30,1"],
    "position is too large for a whole number": [b"u,k,3,1,-1e19"],
    "no user_id": [b",k,3,1,1"],
    "no item_id": [b"u,  ,3,1,1", b"u"],
    "more cells than the header": [b"u,k,3,1,1,9,9"],
    "not UTF-8": [b"u\xff,k,3,1,1"],
}


@pytest.mark.parametrize("kind", [*BAD_ROWS, "all"])
def test_corrupt_rows_are_counted(tmp_path: Path, kind: str) -> None:
    bad = [row for rows in BAD_ROWS.values() for row in rows] if kind == "all" else BAD_ROWS[kind]
    (tmp_path / "interactions.csv").write_bytes(GOOD + b"\n".join([*bad, b"", b"v,j,5,200,1"]) + b"\n")
    raw = read(tmp_path)
    assert raw.interactions.rows() == [("u", "i", 4.0, 100, None, 0), ("v", "j", 5.0, 200, None, 1)]
    found = raw.corrupt_lines["interactions.csv"]
    assert found.counts == {name: len(rows) for name, rows in BAD_ROWS.items() if kind in (name, "all")}
    assert sorted(line for lines in found.first_lines.values() for line in lines) == list(range(3, 3 + len(bad)))


def test_cells_in_quotes(tmp_path: Path) -> None:
    text = b'user_id,item_id,note\n"u, 1",i,"two\nlines"\nu2,"i ""2""",\n'
    (tmp_path / "table.csv").write_bytes(text + b"x,y,z,w\n")
    raw = read(tmp_path / "table.csv")
    assert raw.interactions.select("user_id", "item_id").rows() == [("u, 1", "i"), ("u2", 'i "2"')]
    assert raw.corrupt_lines["table.csv"].first_lines == {"more cells than the header": [5]}


def test_a_name_that_stands_twice_over_unused_columns_moves_no_cell(tmp_path: Path) -> None:
    path = _write(tmp_path / "t.csv", "note,note,user_id,,item_id,\na,b,u,,i,\nc,d,v,,j,\n")
    assert read(path).interactions.select("user_id", "item_id").rows() == [("u", "i"), ("v", "j")]


def test_a_column_that_the_reader_would_overwrite_is_told(tmp_path: Path) -> None:
    _write(tmp_path / "d" / "d.inter", "user_id:token\titem_id:token\nu\ti\n")
    _write(tmp_path / "d" / "d.item", "item_id:token\tline:token\ni\tsix\n")
    with pytest.raises(DataError, match=r"d\.item has more than one column 'line'"):
        read(tmp_path / "d")


def test_a_table_in_many_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines.batches, "__kwdefaults__", {"size": 100})
    rows = [f'u{n},"item\n{n}",{n}' if n % 7 == 0 else f"u{n},i{n},{n}" for n in range(99)]
    (tmp_path / "table.csv").write_text("\n".join(["user_id,item_id,rating", *rows]) + "\n,none,1\n")
    raw = read(tmp_path / "table.csv")
    assert raw.interactions["rating"].to_list() == list(range(99))
    assert raw.interactions["item_id"][7] == "item\n7"
    assert raw.corrupt_lines["table.csv"].first_lines == {"no user_id": [1 + 99 + 15 + 1]}


def test_damaged_and_misnamed_gzip_files(tmp_path: Path) -> None:
    _write(tmp_path / "plain.csv.gz", "").write_bytes(GOOD)
    (tmp_path / "packed.csv").write_bytes(gzip.compress(GOOD))
    for name in ("plain.csv.gz", "packed.csv"):
        assert len(read(tmp_path / name).interactions) == 1
    rows = "".join(f"u{n},{n * 7919 % 1009},3,1,1\n" for n in range(500))
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(GOOD + rows.encode())[:-900])
    raw = read(tmp_path / "cut.csv.gz")
    assert 0 < len(raw.interactions) < 501
    assert "the rest is lost" in raw.warnings[0]


def test_corrupt_rows_of_parquet_and_atomic_files(tmp_path: Path) -> None:
    table = pl.DataFrame({"user_id": ["u", None, "v"], "item_id": [1, 2, 3], "rating": ["5", "4", "x"]})
    table.write_parquet(tmp_path / "d.parquet")
    raw = read(tmp_path / "d.parquet")
    assert raw.interactions.select("user_id", "item_id", "rating").rows() == [("u", "1", 5.0)]
    assert raw.corrupt_lines["d.parquet"].first_lines == {"no user_id": [2], "rating is not a number": [3]}
    _write(tmp_path / "a/a.inter", "user_id:token\titem_id:token\trating:float\nu\ti\t3\nu\tj\tx\n")
    _write(tmp_path / "a/a.item", "item_id:token\ttitle:token_seq\ni\tname\n\tnobody\n")
    raw = read(tmp_path / "a")
    assert raw.items.rows() == [("i", "name", "", None)]
    assert {name: found.total for name, found in raw.corrupt_lines.items()} == {"a.inter": 1, "a.item": 1}


@pytest.mark.parametrize("name", sorted(READERS))
def test_the_error_for_an_unknown_format_lists_every_reader(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(DataError, match=r"found: notes\.md") as caught:
        read(tmp_path)
    assert READERS[name].description in str(caught.value)


def test_a_gzip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "train.txt.gz"
    path.write_bytes(gzip.compress(b"0 1\n" * 1_000_000))
    assert len(read_bytes(path)) == 4_000_000  # small enough for any ratio
    monkeypatch.setattr(tables, "_FREE_BYTES", 0)
    with pytest.raises(DataError, match=r"more than 200 times its size.*unpack it yourself"):
        read_bytes(path)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("86400", 86_400),
        ("86400.9", 86_400),
        ("1970-01-02", 86_400),
        ("1970-01-02 00:01", 86_460),
        ("1970-01-02T00:00:30", 86_430),
        ("1970-01-02T00:00:30.25Z", 86_430),
        ("1970-01-02 02:00:00+02:00", 86_400),
        ("1970-01-01T22:00-0200", 86_400),
        ("1969-12-31", -86_400),
    ],
)
def test_times_are_seconds_or_dates(tmp_path: Path, text: str, seconds: int) -> None:
    # Beside a time in seconds and one that is missing: each row is read for itself.
    path = _write(tmp_path / "t.csv", f"user_id,item_id,timestamp\nu,i,{text}\nu,j,7\nu,k,\n")
    assert read(path).interactions["timestamp"].to_list() == [seconds, 7, None]


def test_milliseconds_are_told(tmp_path: Path) -> None:
    path = _write(tmp_path / "t.csv", "user_id,item_id,timestamp\nu,i,1609459200\n")
    assert read(path).warnings == ()
    _write(path, "user_id,item_id,timestamp\nu,i,1609459200000\n")
    assert "timestamps go up to 1609459200000, which is not before the year 5000" in read(path).warnings[0]


ITEMS = [{"item_id": "1", "title": "Cards, new", "genres": ["Toys", "Puzzles"]}, {"item_id": "2", "title": "B"}]
USERS = [{"user_id": "u", "age": "24"}]
REVIEWS = [{"user_id": "u", "item_id": "1", "text": "Good, very"}]


def _described_by(folder: Path, kind: str) -> Path:
    for name, records in (("items", ITEMS), ("users", USERS), ("reviews", REVIEWS)):
        frame = pl.DataFrame(records)
        if kind == "parquet":
            frame.with_columns(pl.col("^item_id$").cast(pl.Int64)).write_parquet(folder / f"{name}.parquet")
        elif kind == "jsonl":
            frame.write_ndjson(folder / f"{name}.jsonl")
        else:
            frame.with_columns(pl.col(pl.List(pl.String)).list.join("|")).write_csv(
                folder / f"{name}.{kind}", separator="\t" if kind == "tsv" else ","
            )
    return folder


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_descriptions_may_be_in_any_kind_of_table(tmp_path: Path, kind: str) -> None:
    lines_of_json, tables_of_kind = tmp_path / "json", tmp_path / kind
    for folder in (lines_of_json, tables_of_kind):
        _write(folder / "interactions.tsv", "user_id\titem_id\nu\t1\nu\t2\n")
    expected, raw = read(_described_by(lines_of_json, "jsonl")), read(_described_by(tables_of_kind, kind))
    assert (
        raw.items.rows()
        == expected.items.rows()
        == [("1", "Cards, new", "Toys, Puzzles", None), ("2", "B", "", None)]
    )
    assert raw.users.rows() == expected.users.rows()
    assert raw.reviews is not None
    assert raw.reviews.equals(expected.reviews)
    assert raw.warnings == ()
    (tables_of_kind / "products.csv").write_text("not ours")
    assert read(tables_of_kind).warnings == (
        "these files are not read: products.csv. Texts are read from items, users, reviews",
    )
    (tables_of_kind / "items.jsonl").write_text("{}")
    with pytest.raises(DataError, match=rf"items\.jsonl and items\.{kind}: leave one of them"):
        read(tables_of_kind)


def test_descriptions_without_an_id_are_counted(tmp_path: Path) -> None:
    _write(tmp_path / "interactions.csv", "user_id,item_id\nu,1\n")
    pl.DataFrame({"item_id": [1, None], "title": ["A", "B"]}).write_parquet(tmp_path / "items.parquet")
    _write(tmp_path / "reviews.csv", "user_id,item_id,text\nu,1,good\nu,,bad\n,1,bad\n")
    raw = read(tmp_path)
    assert raw.items["item_id"].to_list() == ["1"]
    assert raw.corrupt_lines["items.parquet"].first_lines == {"no item_id": [2]}
    assert raw.corrupt_lines["reviews.csv"].first_lines == {"no item_id": [3], "no user_id": [4]}


NAMES = {"user_id": "userId", "item_id": "sku", "timestamp": "when", "title": "product"}


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_a_source_may_have_names_of_its_own(tmp_path: Path, kind: str) -> None:
    # Its own item_id is another number, and not meant.
    pairs = pl.DataFrame({"userId": ["u"], "item_id": [99], "sku": ["a"], "when": ["1970-01-02"]})
    items = pl.DataFrame({"sku": ["a"], "item_id": [99], "product": ["Cards"], "brand": ["Acme"]})
    if kind == "parquet":
        pairs.write_parquet(tmp_path / "interactions.parquet")
        items.write_parquet(tmp_path / "items.parquet")
    else:
        pairs.write_csv(tmp_path / "interactions.csv")
        items.write_csv(tmp_path / "items.csv") if kind == "csv" else items.write_ndjson(tmp_path / "items.jsonl")
    raw = read(tmp_path, NAMES)
    assert raw.interactions.select("user_id", "item_id", "timestamp").rows() == [("u", "a", 86_400)]
    assert raw.items.rows() == [("a", "Cards", "Acme", None)]
    with pytest.raises(DataError, match=r"data\.columns names rank, and no table of .* has such a column"):
        read(tmp_path, {**NAMES, "position": "rank"})
    with pytest.raises(DataError, match=r"lacks the column user_id\. It has: userId.*data\.columns="):
        read(tmp_path)


def test_names_of_a_source_that_has_none(tmp_path: Path) -> None:
    _write(tmp_path / "train.txt", "0 1 2\n")
    with pytest.raises(DataError, match=r"data\.columns names uid, and no table"):
        read(tmp_path, {"user_id": "uid"})


def test_a_table_of_a_spreadsheet_that_separates_by_semicolons(tmp_path: Path) -> None:
    path = _write(tmp_path / "t.csv", 'user_id;item_id\nu;"a;b, c"\n')
    assert read(path).interactions.select("user_id", "item_id").rows() == [("u", "a;b, c")]
