from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from hnlmrec.data.readers import READERS, read
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


def test_a_few_corrupt_lines_are_counted(tmp_path: Path) -> None:
    _write(tmp_path / "interactions.csv", "user_id,item_id\nu,i\n")
    good = _lines({"item_id": "i", "title": "a"}, {"item_id": 7, "title": "b"}, {"item_id": "k"})
    _write(tmp_path / "items.jsonl", good + '{"item_id": "l", "tit\n{"title": "no id"}\n')
    raw = read(tmp_path)
    assert raw.items["item_id"].to_list() == ["i", "7", "k"]
    assert raw.corrupt_lines == {"items.jsonl": 2}
    assert "items.jsonl: 2 invalid lines were left out, the first: line 4: not JSON" in raw.warnings[0]


@pytest.mark.parametrize("name", sorted(READERS))
def test_the_error_for_an_unknown_format_lists_every_reader(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(DataError, match=r"found: notes\.md") as caught:
        read(tmp_path)
    assert READERS[name].description in str(caught.value)
