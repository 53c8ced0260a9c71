"""Bad input: each case is refused with a message that says where it is wrong, and exit status 2."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hnlmrec.data.embeddings import EmbeddingTable, HardNegativeTable
from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.data.preparation import PreparationConfig, load_prepared, prepare, prepare_source
from hnlmrec.data.readers import read
from hnlmrec.data.sources import source_fingerprint
from hnlmrec.data.tables import read_bytes, read_parquet
from hnlmrec.errors import (
    ConfigError,
    DataError,
    MissingFileError,
    StorageError,
    UnknownIdError,
    UserInputError,
)
from hnlmrec.rng import RandomStreams

GOOD = "user_id,item_id,rating,timestamp\nu,i,4,100\nu,j,3,200\n"
CASES: dict[str, tuple[Mapping[str, str | bytes], str]] = {
    "missing_column": (
        {"interactions.csv": "user_id,rating\nu,3\n"},
        r"csv lacks the column item_id. It has: user",
    ),
    "empty_file": ({"interactions.csv": ""}, r"interactions\.csv is empty"),
    "blank_file": ({"interactions.csv": "\n\n"}, r"interactions\.csv is empty"),
    "empty_gzip": ({"interactions.csv.gz": gzip.compress(b"")}, r"csv\.gz is empty"),
    "header_only": ({"interactions.csv": "user_id,item_id\n"}, "a header and no row"),
    "bad_ratings_alone": (
        {"interactions.csv": "user_id,item_id,rating\nu,i,good\n,j,3\n"},
        r"csv: none of its 2 lines can be used\. no user_id: 1 \(line 3\); rating is not a number: 1 \(line 2\)",
    ),
    "lines_of_old_macs": (
        {"interactions.csv": "user_id,item_id\ru,i\ru,j"},
        r"csv: its first line cannot be read as a header: .*must end in a line feed",
    ),
    "column_twice": (
        {"interactions.csv": "user_id,item_id,item_id\nu,i,j,k\n"},
        r"csv has more than one column 'item_id'.*Rename or remove one",
    ),
    "bad_split": (
        {"interactions.csv": "user_id,item_id,split\nu,i,train\nu,j,dev\n"},
        r"line 3: split is 'dev', but must be one of train, valid, test",
    ),
    "missing_split": ({"interactions.csv": "user_id,item_id,split\nu,i,train\nu,j,\n"}, "line 3: split is empty"),
    "cut_off_at_once": ({"interactions.csv.gz": gzip.compress(GOOD.encode())[:10]}, r"the rest is lost"),
    "header_not_utf8": ({"interactions.csv": b"user_id,item_id\xff\nu,i\n"}, "its header is not"),
    "all_lines_corrupt": (
        {"interactions.csv": GOOD, "items.jsonl": "{\n[1]\n3\n"},
        r"items\.jsonl: none of its 3 lines can be used\. not JSON: 1 \(line 1\); not a JSON object: 2 ",
    ),
    "json_null_id": (
        {"interactions.csv": GOOD, "items.jsonl": '{"item_id": null}\n'},
        r"no item_id: 1 \(line 1\)",
    ),
    "unknown_json": ({"reviews.json": '{"user": "a", "item": "b"}\n'}, "in no format that can be read"),
    "lightgcn_word": ({"train.txt": "0 1 2\n1 a\n"}, r"train\.txt, line 2: '1 a' is not of the form"),
    "lightgcn_no_item": ({"train.txt": "0\n1\n"}, "no line holds an item"),
    "lightgcn_empty": ({"train.txt": "0 1\n", "test.txt": ""}, r"test\.txt is empty"),
    "lightgcn_mark_alone": ({"train.txt": "\ufeff"}, r"train\.txt is empty"),
    "csv_mark_alone": ({"interactions.csv": "\ufeff"}, r"interactions\.csv"),
    "jsonl_mark_alone": ({"interactions.csv": "user_id,item_id\nu,i\n", "items.jsonl": "\ufeff"}, r"items\.jsonl"),
    "two_atomic": ({"a.inter": "user_id\titem_id\n1\t2\n", "b.inter": "x\n1\n"}, "must hold one .inter file"),
    "atomic_item_id": (
        {"a.inter": "user_id:token\titem_id:token\n1\t2\n", "a.item": "id:token\ttitle:token\n2\tx\n"},
        "lacks the column item_id",
    ),
    "nothing_known": ({"readme.txt": "hello"}, "in no format that can be read"),
    "empty_folder": ({}, "found: nothing"),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_bad_files(tmp_path: Path, name: str) -> None:
    files, message = CASES[name]
    for file, content in files.items():
        (tmp_path / file).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserInputError, match=message) as caught:
        read(tmp_path)
    assert caught.value.exit_status == 2
    assert str(tmp_path) in str(caught.value)


def _prepare(tmp_path: Path, text: str, **settings: object) -> None:
    (tmp_path / "interactions.csv").write_text(text)
    prepare(read(tmp_path), PreparationConfig.model_validate(settings), RandomStreams(0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_rating": 9.0}, "no interaction is left.*min_rating left 0"),
        ({"core": 5}, "no interaction is left.*core left 0"),
        ({"split": "given"}, "needs a source with splits"),
        ({"split": "random"}, "leaves test empty"),
    ],
)
def test_bad_settings_for_this_data(tmp_path: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        _prepare(tmp_path, GOOD, **settings)


@pytest.mark.parametrize(
    ("settings", "column"),
    [
        ({"min_rating": 3.0}, "min_rating needs the column rating"),
        ({"split": "temporal"}, "temporal needs a timestamp"),
        ({"split": "leave_last_out"}, "leave_last_out needs a timestamp or a position"),
    ],
)
def test_settings_that_need_a_column(tmp_path: Path, settings: dict[str, object], column: str) -> None:
    with pytest.raises(DataError, match=column):
        _prepare(tmp_path, "user_id,item_id\nu,i\nu,j\n", **settings)


def test_missing_sources() -> None:
    with pytest.raises(MissingFileError, match=r"no data set 'ml-10k' - did you mean 'ml-100k'\?"):
        prepare_source(PreparationConfig(source="ml-10k"), RandomStreams(0))
    with pytest.raises(MissingFileError, match="no data folder or file"):
        read(Path("/no/such/place"))


def test_unknown_ids(tmp_path: Path) -> None:
    vocabulary = Vocabulary(["a", "b"], "user")
    with pytest.raises(
        UnknownIdError, match=r"2 user ids are not in this data set, for example 'x', 'y'"
    ) as caught:
        vocabulary.numbers(["a", "x", "y"])
    assert caught.value.exit_status == 2
    with pytest.raises(DataError, match="occur more than once"):
        Vocabulary(["a", "a"])
    pairs = Interactions.from_pairs([0], [0], 1, 1)
    dataset = InteractionDataset(Vocabulary(["u"], "user"), Vocabulary(["i"], "item"), pairs, pairs, pairs)
    table = HardNegativeTable([0], [0], np.ones((1, 2), np.float32), 1, [-1])
    table.save(tmp_path, dataset)
    bad = pl.DataFrame({"user_id": ["who"], "positive_id": [None], "item_id": [None]})
    bad.write_parquet(tmp_path / "hard_negatives.parquet")
    with pytest.raises(UnknownIdError, match="'who'"):
        HardNegativeTable.load(tmp_path, dataset)
    (tmp_path / "hard_negatives.parquet").unlink()
    with pytest.raises(MissingFileError, match=r"hard_negatives\.parquet"):
        HardNegativeTable.load(tmp_path, dataset)


def test_bad_tables(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"items\.npy"):
        EmbeddingTable.load(tmp_path, "items")
    (tmp_path / "items.npy").write_bytes(b"not numpy")
    with pytest.raises(DataError, match=r"not a \.npy file"):
        EmbeddingTable.load(tmp_path, "items")
    np.save(tmp_path / "items.npy", np.ones((2, 3)))
    with pytest.raises(MissingFileError, match=r"items\.parquet"):
        EmbeddingTable.load(tmp_path, "items")
    pl.DataFrame({"id": ["a"]}).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(DataError, match="one vector for each id: 1 ids"):
        EmbeddingTable.load(tmp_path, "items")
    with pytest.raises(DataError, match="positives must be -1 or item numbers below 5"):
        HardNegativeTable([0], [5], np.ones((1, 2)), 5, [-1])


def test_a_damaged_prepared_folder(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text("user_id,item_id,split\nu,i,train\nu,j,test\n")
    prepared = prepare(read(tmp_path), PreparationConfig(), RandomStreams(0))
    prepared.save(tmp_path / "out")
    outside = pl.DataFrame({"user": [0], "item": [7], "split": ["train"]})
    outside.write_parquet(tmp_path / "out/interactions.parquet")
    with pytest.raises(DataError, match=r"1 pairs name a item .* number 7"):
        load_prepared(tmp_path / "out")
    (tmp_path / "out/interactions.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="is not a parquet file"):
        load_prepared(tmp_path / "out")
    (tmp_path / "out/interactions.parquet").unlink()
    with pytest.raises(MissingFileError):
        load_prepared(tmp_path / "out")


def test_a_prepared_source_takes_no_filter(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "interactions.parquet").write_bytes(b"")
    with pytest.raises(ConfigError, match="already prepared"):
        prepare_source(PreparationConfig(source=str(tmp_path), core=5), RandomStreams(0))


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """Give an open folder and drop root's rights, for which no file is closed."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "data").mkdir()
    (folder / "data/interactions.csv").write_text(GOOD)
    (folder / "data/table.parquet").write_bytes(b"PAR1")
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(user)
    for path in (folder / "data", *folder.glob("data/*")):
        path.chmod(0o755)
    shutil.rmtree(folder)


def _close(path: Path) -> None:
    effective = os.geteuid()
    os.seteuid(os.getuid())
    path.chmod(0)
    os.seteuid(effective)


def test_files_that_may_not_be_read(as_nobody: Path) -> None:
    data = as_nobody / "data"
    for name in ("interactions.csv", "table.parquet"):
        _close(data / name)
    for attempt in (
        lambda: read(data),
        lambda: read_bytes(data / "interactions.csv"),
        lambda: read_parquet(data / "table.parquet"),
        lambda: source_fingerprint(str(data)),
        lambda: source_fingerprint(str(data / "interactions.csv")),
    ):
        with pytest.raises(StorageError, match=r"cannot be read: Permission denied\. Check") as caught:
            attempt()
        assert caught.value.exit_status == 2
        assert str(data) in str(caught.value)


def test_folders_that_may_not_be_read(as_nobody: Path) -> None:
    data = as_nobody / "data"
    _close(data)
    # newer versions of Python say of a file in a closed folder that it does not exist
    refused = pytest.raises((StorageError, MissingFileError), match=f"{data}.*cannot be read|there is no")
    for source in (data, data / "interactions.csv"):
        with refused:
            read(source)
        with refused:
            source_fingerprint(str(source))
        with refused:
            prepare_source(PreparationConfig(source=str(source)), RandomStreams(0))


def test_an_empty_vector_file(tmp_path: Path) -> None:
    (tmp_path / "items.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"not a \.npy file"):
        EmbeddingTable.load(tmp_path, "items")
