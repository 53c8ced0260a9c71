"""Embeddings to start training from, out of tables on disk: those of another model, of another library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hnlmrec.artifacts import sha256_of
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset, Vocabulary
from hnlmrec.errors import ConfigError, DataError, MissingFileError
from hnlmrec.models.base import xavier_uniform

_NAMES = ("users", "items")


@dataclass(frozen=True, eq=False)
class InitialEmbeddings:
    """What was read.

    Attributes:
        users: [n_users, d].
        items: [n_items, d].
        counts: {"users_without_initial_vector": …, "items_without_initial_vector": …}; their rows are random.
    """

    users: Tensor
    items: Tensor
    counts: dict[str, int]


def initial_embeddings(
    folder: Path, dataset: InteractionDataset, size: int, *, generator: torch.Generator
) -> InitialEmbeddings:
    """Read the tables `users` and `items` of a folder, as `EmbeddingTable.save` and a train stage write them.

    Rows are found by id, so the table may hold others and come in another order. An id that it lacks gets the
    values that it would have had in a random start with the same generator; how many do is counted.

    Args:
        folder: with users.npy, users.parquet, items.npy and items.parquet.
        dataset: whose ids are looked up.
        size: length d of the model's embeddings.
        generator: for the rows that are not found.

    Raises:
        MissingFileError: one of the files is not there.
        ConfigError: the vectors have another length than the model's.
        DataError: a table holds none of the ids, or a vector that is not finite.
    """
    vocabularies = (dataset.users, dataset.items)
    parts = [_rows(folder, name, ids, size, generator) for name, ids in zip(_NAMES, vocabularies, strict=True)]
    counts = {f"{name}_without_initial_vector": missing for name, (_, missing) in zip(_NAMES, parts, strict=True)}
    return InitialEmbeddings(parts[0][0], parts[1][0], counts)


def initial_table_digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file of the tables, by "initial " and its name: they decide what is trained."""
    files = [folder / f"{name}{suffix}" for name in _NAMES for suffix in (".npy", ".parquet")]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise MissingFileError(
            f"initialisation=table:{folder}: this folder lacks {', '.join(missing)}. Give one that holds the "
            "tables users and items, such as the folder of a train stage (its path is among the stages that "
            "`hnlmrec train --json` prints)."
        )
    return {f"initial {path.name}": sha256_of(path) for path in files}


def _rows(folder: Path, name: str, ids: Vocabulary, size: int, generator: torch.Generator) -> tuple[Tensor, int]:
    """Return ([n, d], number of rows that were not found)."""
    table = EmbeddingTable.load(folder, name)
    if table.size != size:
        raise ConfigError(
            f"the vectors of {folder / name}.npy have length {table.size}, and model.embedding_size is {size}. "
            f"Set model.embedding_size={table.size}, or give another table."
        )
    vectors, found = table.rows(ids.all_ids)
    if not found.any():
        examples = ", ".join(repr(id_) for id_ in table.ids.all_ids[:3])
        raise DataError(
            f"the table {folder / name} holds not one of the {len(ids)} {name} of this data set; its ids are "
            f"{examples}, …, those of the data set {', '.join(repr(id_) for id_ in ids.all_ids[:3])}, …."
        )
    if not np.isfinite(vectors).all():
        raise DataError(
            f"the table {folder / name}.npy holds vectors that are not finite; nothing can start there."
        )
    start = xavier_uniform((len(ids), size), generator)
    start[torch.from_numpy(found)] = torch.from_numpy(vectors[found])
    return start, int((~found).sum())
