"""The user's own negatives: what a file means, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.errors import DataError, MissingFileError
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling import NegativeSampler
from hnlmrec.negative_sampling.file import FileConfig, FileSampler

EMPTY = Interactions.from_pairs([], [], 3, 6)
DATASET = InteractionDataset(
    Vocabulary(["a", "b", "007"], "user"),
    Vocabulary([f"i{n}" for n in range(6)], "item"),
    Interactions.from_pairs([0, 0, 1, 2], [0, 1, 0, 2], 3, 6),
    EMPTY,
    EMPTY,
)
NOTHING = Embeddings(torch.zeros(3, 1), torch.zeros(6, 1))


def make(folder: Path, text: str, **fields: object) -> FileSampler:
    path = folder / "negatives.csv"
    path.write_text(text)
    return FileSampler(DATASET, FileConfig(path=str(path), **fields))


def items(sampler: NegativeSampler, user: int, positive: int, n: int = 400) -> np.ndarray:
    users, positives = torch.full((n,), user), torch.full((n,), positive)
    return sampler.sample(users, positives, NOTHING, torch.Generator().manual_seed(0)).items.numpy()[:, 0]


def test_two_columns_name_the_negatives_of_a_user(tmp_path: Path) -> None:
    sampler = make(tmp_path, "user_id,item_id\na,i3\na,i4\nb,i5\n007,i0\n")
    assert set(items(sampler, 0, 0)) == {3, 4}
    assert set(items(sampler, 0, 1)) == {3, 4}
    assert set(items(sampler, 2, 2)) == {0}
    assert sampler.counts()["missing_drawn_uniformly"] == 0


def test_weights_decide_how_often_and_zero_is_never(tmp_path: Path) -> None:
    sampler = make(tmp_path, "user_id,item_id,weight\na,i3,3\na,i4,1\na,i5,0\nb,i5,1\n007,i0,0.5\n")
    drawn = items(sampler, 0, 0, 4000)
    assert set(drawn) == {3, 4}
    assert abs((drawn == 3).mean() - 0.75) < 0.03


def test_negatives_of_a_pair_come_before_those_of_the_user(tmp_path: Path) -> None:
    rows = "user_id,item_id,negative_id\na,i0,i3\na,,i4\nb,i0,i5\n007,i2,i0\n"
    sampler = make(tmp_path, rows)
    assert set(items(sampler, 0, 0)) == {3}
    assert set(items(sampler, 0, 1)) == {4}


def test_a_pair_without_rows_is_refused_or_drawn_uniformly_and_counted(tmp_path: Path) -> None:
    rows = "user_id,item_id\na,i3\n007,i0\n"
    with pytest.raises(DataError, match=r"no negatives for 1 of 4 train pairs, .*'b' with item 'i0'"):
        make(tmp_path, rows)
    sampler = make(tmp_path, rows, missing="uniform")
    assert set(items(sampler, 1, 0)) == {1, 2, 3, 4, 5}
    assert sampler.counts()["missing_drawn_uniformly"] == 400


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ("user_id,item_id\na,i3\nzoe,i3\n", "1 of 2 rows name a user or an item"),
        ("user_id,item_id\na,i3\na,i99\n", "'item_id': 'i99'"),
        ("user_id,item_id\na,i3\na,i1\n", "1 of 2 rows give a train item"),
        ("user_id,thing\na,i3\n", "lacks the column item_id; it has user_id, thing"),
        ("user_id,item_id,weight\na,i3,heavy\n", "1 weights are not numbers .* in row 1, is 'heavy'"),
        ("user_id,item_id,weight\na,i3,-1\n", "not numbers of at least 0"),
        ("user_id,item_id,weight\na,i3,0\n", "no usable negative"),
        ("user_id,item_id\n", "no usable negative"),
        ("", "cannot be read as CSV"),
    ],
)
def test_wrong_files_are_refused(rows: str, match: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=match):
        make(tmp_path, rows, missing="uniform")


def test_wrong_rows_can_be_dropped_and_are_counted(tmp_path: Path) -> None:
    rows = "user_id,item_id\na,i3\nzoe,i3\na,i1\nb,\n"
    sampler = make(tmp_path, rows, missing="uniform", unknown="drop", observed="drop")
    counts = sampler.counts()
    assert counts["rows_dropped_unknown"] == 2
    assert counts["rows_dropped_observed"] == 1
    assert set(items(sampler, 0, 0)) == {3}


def test_parquet_is_read_too_and_ids_of_numbers_are_strings(tmp_path: Path) -> None:
    dataset = InteractionDataset(
        Vocabulary(["1"]), Vocabulary(["7", "8"]), Interactions.from_pairs([0], [0], 1, 2), EMPTY, EMPTY
    )
    path = tmp_path / "negatives.parquet"
    pl.DataFrame({"user_id": [1], "item_id": [8]}).write_parquet(path)
    assert set(items(FileSampler(dataset, FileConfig(path=str(path))), 0, 0)) == {1}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.csv"):
        FileSampler(DATASET, FileConfig(path=str(tmp_path / "nowhere.csv")))
