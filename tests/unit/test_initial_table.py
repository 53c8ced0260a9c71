"""Embeddings to start from, out of tables: found by id, gaps counted, and what is said where they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.planted import checkerboard

from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import Vocabulary
from hnlmrec.errors import ConfigError, DataError, MissingFileError
from hnlmrec.models.initial_table import initial_embeddings, initial_table_digests
from hnlmrec.models.mf import MF

DATASET = checkerboard(n_users=6, n_items=10)


def save(folder: Path, users: list[str], items: list[str], size: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    tables = {}
    for name, ids in (("users", users), ("items", items)):
        tables[name] = rng.random((len(ids), size)).astype(np.float32)
        EmbeddingTable(Vocabulary(ids), tables[name]).save(folder, name)
    return tables


def read(folder: Path, size: int = 4) -> object:
    return initial_embeddings(folder, DATASET, size, generator=torch.Generator().manual_seed(3))


def test_rows_are_found_by_id_and_gaps_are_random_and_counted(tmp_path: Path) -> None:
    users = ["stranger", "u5", "u0"]
    tables = save(tmp_path, users, list(reversed(DATASET.items.all_ids)))
    start = read(tmp_path)
    assert start.counts == {"users_without_initial_vector": 4, "items_without_initial_vector": 0}
    assert torch.equal(start.users[[5, 0]], torch.from_numpy(tables["users"][1:]))
    assert torch.equal(start.items, torch.from_numpy(tables["items"][::-1].copy()))
    random = MF(DATASET, MF.Config(embedding_size=4), generator=torch.Generator().manual_seed(3)).user_embedding
    assert torch.equal(start.users[1:5], random[1:5]), "what a random start gives these users"


def test_another_length_is_refused_with_the_setting_that_fits(tmp_path: Path) -> None:
    save(tmp_path, ["u0"], ["i0"], size=7)
    with pytest.raises(ConfigError, match=r"users\.npy have length 7.*is 4\. Set model\.embedding_size=7"):
        read(tmp_path)


def test_tables_of_other_data_are_refused(tmp_path: Path) -> None:
    save(tmp_path, ["u0"], ["alien"])
    with pytest.raises(DataError, match=r"not one of the 10 items.*'alien'.*'i0'"):
        read(tmp_path)


def test_vectors_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    save(tmp_path, ["u0"], ["i0"])
    np.save(tmp_path / "items.npy", np.full((1, 4), np.nan, dtype=np.float32))
    with pytest.raises(DataError, match=r"items\.npy holds vectors that are not finite"):
        read(tmp_path)


def test_the_digests_change_with_the_content_and_not_with_the_place(tmp_path: Path) -> None:
    save(tmp_path / "a", ["u0"], ["i0"])
    save(tmp_path / "b", ["u0"], ["i0"])
    assert initial_table_digests(tmp_path / "a") == initial_table_digests(tmp_path / "b")
    np.save(tmp_path / "b" / "items.npy", np.zeros((1, 4), dtype=np.float32))
    assert initial_table_digests(tmp_path / "a") != initial_table_digests(tmp_path / "b")
    (tmp_path / "b" / "users.parquet").unlink()
    with pytest.raises(MissingFileError, match=r"lacks users\.parquet.*train stage"):
        initial_table_digests(tmp_path / "b")
