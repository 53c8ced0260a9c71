from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import dump_files
from tests.dump_files import N_ITEMS, N_USERS, START, pairs, write_lines

from hnlmrec.data import dump_layouts, lines
from hnlmrec.data.corruption import CorruptLines
from hnlmrec.data.preparation import PreparationConfig, Prepared, prepare_source
from hnlmrec.data.readers import read
from hnlmrec.data.sources import source_fingerprint
from hnlmrec.errors import DataError
from hnlmrec.rng import RandomStreams


def _prepare(source: Path, **settings: object) -> Prepared:
    return prepare_source(PreparationConfig.model_validate({"source": str(source), **settings}), RandomStreams(0))


def _csv(folder: Path) -> Path:
    """Write the same interactions as a table."""
    rows = [f"A{user},B{item},{rating},{seconds}" for user, item, rating, seconds in pairs()]
    (folder / "table.csv").write_text("\n".join(["user_id,item_id,rating,timestamp", *rows]) + "\n")
    return folder / "table.csv"


@pytest.mark.parametrize("write", [dump_files.amazon_2018, dump_files.amazon_2023, dump_files.yelp])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"min_rating": 3.0, "core": 3, "max_users": 7, "split": "leave_last_out"},
        {"since": "2015-12-15", "split": "temporal"},
    ],
)
def test_a_dump_is_prepared_like_the_same_table(
    tmp_path: Path, write: Callable[[Path], Path], settings: dict[str, object]
) -> None:
    config = PreparationConfig.model_validate_json(json.dumps({"source": "", **settings}))
    of_dump, of_table = (
        prepare_source(config.model_copy(update={"source": str(source)}), RandomStreams(0)).dataset
        for source in (write(tmp_path), _csv(tmp_path))
    )
    assert of_dump.users.all_ids == of_table.users.all_ids
    assert of_dump.items.all_ids == of_table.items.all_ids
    for split in ("train", "valid", "test"):
        assert of_dump.split(split).indices.tolist() == of_table.split(split).indices.tolist()  # type: ignore[arg-type]


def test_texts_of_amazon_2018(tmp_path: Path) -> None:
    prepared = _prepare(dump_files.amazon_2018(tmp_path))
    assert prepared.statistics["format"] == "amazon2018"
    assert prepared.items["title"].to_list() == [*(f"Toy & game {item}" for item in range(7)), ""]
    assert set(prepared.items["facts"]) == {"LEGO; Toys, Puzzles; Wooden puzzle."}
    assert prepared.statistics["described_items_without_interactions"] == 3
    assert prepared.statistics["corrupt_lines"] == {}


def test_texts_of_amazon_2023(tmp_path: Path) -> None:
    prepared = _prepare(dump_files.amazon_2023(tmp_path))
    assert prepared.statistics["format"] == "amazon2023"
    assert prepared.items["facts"].to_list()[:2] == ["A store; Toys; Small Red", "LEGO; Toys; Small Red"]
    assert prepared.statistics["steps"][0]["interactions"] == len(pairs())


def test_texts_of_yelp(tmp_path: Path) -> None:
    prepared = _prepare(dump_files.yelp(tmp_path))
    assert prepared.statistics["format"] == "yelp"
    assert prepared.items["title"][3] == "Café 3"
    assert set(prepared.items["facts"]) == {"Reno; Food, Bars"}
    assert prepared.users["facts"].to_list()[:2] == ["", "member since 2012"]


def test_reviews_of_train_alone_are_read(tmp_path: Path) -> None:
    prepared = _prepare(dump_files.amazon_2018(tmp_path))
    dataset, reviews = prepared.dataset, prepared.reviews
    assert reviews is not None
    train = zip(
        dataset.users.ids(dataset.train.users.tolist()),
        dataset.items.ids(dataset.train.indices.tolist()),
        strict=True,
    )
    expected = {(user, item, f"Fine. Review of {item[1:]} by {user[1:]}") for user, item in train}
    assert set(reviews.rows()) == expected


def test_of_several_reviews_of_a_pair_the_latest_is_kept(tmp_path: Path) -> None:
    path = dump_files.amazon_2018(tmp_path)
    old = gzip.decompress(path.read_bytes())
    line = json.loads(old.splitlines()[0])
    later = {**line, "unixReviewTime": START * 2, "reviewText": "changed my mind"}
    earlier = {**line, "unixReviewTime": 1, "reviewText": "too early"}
    path.write_bytes(gzip.compress(old + json.dumps(later).encode() + b"\n" + json.dumps(earlier).encode()))
    prepared = _prepare(path, test_fraction=0.01, valid_fraction=0.0, split="leave_last_out")
    assert prepared.statistics["duplicates"] == 2
    in_order = _prepare(path, split="random", valid_fraction=0.0, test_fraction=0.13)
    assert in_order.reviews is not None
    texts = " ".join(in_order.reviews["text"]) + " ".join(prepared.reviews["text"])  # type: ignore[index]
    assert "too early" not in texts


def test_long_texts_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_layouts, "LONGEST_TEXT", 5)
    prepared = _prepare(dump_files.amazon_2018(tmp_path))
    assert prepared.reviews is not None
    assert set(prepared.reviews["text"]) == {"Fine. Revie"}
    assert set(prepared.items["facts"]) == {"LEGO; Toys, Puzzles; Woode"}


CORRUPT = {
    "not JSON": b'{"reviewerID": "A1", "asin": "B',
    "not UTF-8": b'{"reviewerID": "A\xff", "asin": "B1", "overall": 5, "unixReviewTime": 1}',
    "not a JSON object": b'["A1", "B1"]',
    "no asin": b'{"reviewerID": "A1", "overall": 5, "unixReviewTime": 1}',
    "reviewerID is not an id": b'{"reviewerID": ["A"], "asin": "B1", "overall": 5, "unixReviewTime": 1}',
    "no overall": b'{"reviewerID": "A1", "asin": "B1", "unixReviewTime": 1}',
    "overall is not a number": b'{"reviewerID": "A1", "asin": "B1", "overall": "five", "unixReviewTime": 1}',
    "unixReviewTime is not a time": b'{"reviewerID": "A1", "asin": "B1", "overall": 5, "unixReviewTime": 1e300}',
}


@pytest.mark.parametrize("size", [200, 2**20])
def test_corrupt_lines_are_counted_by_kind_with_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(lines.batches, "__kwdefaults__", {"size": size})
    path = dump_files.amazon_2018(tmp_path, "json")
    good = path.read_bytes().splitlines()
    write_lines(path, [*good[:50], *CORRUPT.values(), b"", b"  ", *good[50:], *[b"{"] * 7])
    raw = read(path)
    assert len(raw.interactions) == len(good)
    found = raw.corrupt_lines[path.name]
    assert found.counts == {kind: 8 if kind == "not JSON" else 1 for kind in CORRUPT}
    end = len(good) + len(CORRUPT) + 2
    assert found.first_lines["not JSON"] == [51, *range(end + 1, end + 5)]
    assert found.first_lines["no overall"] == [56]
    assert raw.warnings[0].startswith("Toys_5.json: 15 corrupt lines were left out. not JSON: 8 (lines 51, ")
    statistics = _prepare(path).statistics
    assert statistics["corrupt_lines"][path.name]["no asin"] == {"lines": 1, "first_lines": [54]}


def test_a_file_of_corrupt_lines_alone_is_an_error(tmp_path: Path) -> None:
    path = dump_files.amazon_2018(tmp_path, "json")
    bad = {"reviewerID": "A1", "asin": "B1", "overall": None, "unixReviewTime": 1}
    write_lines(path, [bad, bad, b"{"])
    with pytest.raises(
        DataError, match=r"none of its 3 lines can be used. no overall: 2 \(lines 1, 2\); not JSON: 1"
    ):
        read(path)
    dump_files.amazon_2018(tmp_path, "json")
    write_lines(tmp_path / "meta_Toys.json", [b'{"asin": ""}', b"{"])
    with pytest.raises(DataError, match=r"meta_Toys\.json: none of its 2 lines can be used"):
        _prepare(path)


def test_corrupt_metadata_is_counted(tmp_path: Path) -> None:
    path = dump_files.amazon_2018(tmp_path, "json")
    meta = tmp_path / "meta_Toys.json"
    meta.write_bytes(meta.read_bytes() + b'{"asin": "B2", "ti\n{"title": "no id"}\n')
    prepared = _prepare(path)
    assert list(prepared.statistics["corrupt_lines"]["meta_Toys.json"]) == ["not JSON", "no asin"]
    assert prepared.items["title"][0] == "Toy & game 0"


@pytest.mark.parametrize("damage", ["cut", "changed", "checksum"])
def test_a_damaged_gzip_file_is_read_as_far_as_it_goes(tmp_path: Path, damage: str) -> None:
    path = dump_files.amazon_2018(tmp_path)
    whole = path.read_bytes()
    broken = {
        "cut": whole[: len(whole) * 3 // 4],
        "changed": whole[: len(whole) * 3 // 4] + bytes(200),
        "checksum": whole[:-8] + bytes(8),
    }
    path.write_bytes(broken[damage])
    raw = read(path)
    n_rows = len(raw.interactions)
    assert (n_rows == len(pairs())) == (damage == "checksum")
    assert n_rows > 0
    assert raw.corrupt_lines[path.name].damaged_at is not None
    assert "the rest is lost" in raw.warnings[0]
    if damage != "changed":
        assert _prepare(path).statistics["steps"][0]["interactions"] == n_rows


def test_gzip_files_of_several_members_and_padding(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"a\nb") + bytes(9) + gzip.compress(b"c\n\nd\n") + bytes(300))
    corrupt = CorruptLines()
    for size in (1, 2, 100):
        found = [(batch.first, batch.lines) for batch in lines.batches(path, corrupt, size=size)]
        numbered = [(first + place, line) for first, many in found for place, line in enumerate(many)]
        assert numbered == [(1, b"a"), (2, b"bc"), (3, b""), (4, b"d")]
    assert not corrupt


def test_zstd_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\x28\xb5\x2f\xfd....")
    with pytest.raises(DataError, match=r"packed with zstd. Unpack it"):
        list(lines.batches(tmp_path / "x.json", CorruptLines()))


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_LONGEST_LINE", 1000)
    monkeypatch.setattr(lines, "_PIECE", 100)
    monkeypatch.setattr(lines, "_BLOCK", 100)
    (tmp_path / "x").write_bytes(b"a" * 50_000 + b"\nb\n")
    found = [line for batch in lines.batches(tmp_path / "x", CorruptLines(), size=500) for line in batch.lines]
    assert len(found) == 2
    assert len(found[0]) < 50_000
    assert found[1] == b"b"


def test_which_files_belong_to_a_dump(tmp_path: Path) -> None:
    path = dump_files.amazon_2018(tmp_path)
    write_lines(tmp_path / "meta_Books.json.gz", [{"asin": "B1", "title": "a book"}])
    assert _prepare(tmp_path).items["title"][0] == "Toy & game 0"
    before = source_fingerprint(str(path))
    (tmp_path / "notes.txt").write_text("x")
    assert source_fingerprint(str(path)) == source_fingerprint(str(tmp_path)) == before
    (tmp_path / "meta_Toys.json.gz").unlink()
    assert source_fingerprint(str(path)) != before
    assert "items have no texts" in read(path).warnings[0]
    write_lines(tmp_path / "Books.json", [json.loads(gzip.decompress(path.read_bytes()).splitlines()[0])])
    with pytest.raises(DataError, match=r"2 files of reviews: Books.json, Toys_5.json.gz. Give one"):
        read(tmp_path)


def test_ids_that_share_a_hash_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hnlmrec.data import dumps
    from hnlmrec.errors import HnlmrecError

    path = dump_files.amazon_2018(tmp_path)
    monkeypatch.setattr(dumps, "_hashes", lambda ids: ids.replace("A1", "A0").hash().to_numpy())
    with pytest.raises(HnlmrecError, match="same hash"):
        _prepare(path)


def test_expected_sizes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from hnlmrec.artifacts import ArtifactStore
    from hnlmrec.pipeline.run import prepare_only
    from hnlmrec.pipeline.shipped import data_config

    path, store = dump_files.amazon_2018(tmp_path), ArtifactStore(tmp_path / "store")
    sizes = (N_USERS, N_ITEMS, len(pairs()))
    with caplog.at_level(logging.WARNING, "hnlmrec"):
        first = prepare_only(data_config(str(path), [f"expected_sizes={list(sizes)}"]), store)
        assert "expected_sizes" not in caplog.text
        again = prepare_only(data_config(str(path), ["expected_sizes=[12, 10, 100]"]), store)
    assert again.reused
    assert again.artifact.key == first.artifact.key  # what is expected changes no result
    assert "8 items instead of 10 (-2, -20.0%); 84 interactions instead of 100 (-16, -16.0%)" in caplog.text
    assert "users instead" not in caplog.text
