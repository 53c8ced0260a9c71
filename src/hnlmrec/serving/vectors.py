"""Trained vectors, with what is needed to recommend by them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.data.embeddings import EmbeddingTable, Vectors
from hnlmrec.data.interactions import InteractionDataset, Interactions, Numbers, Vocabulary
from hnlmrec.errors import ConfigError, UnknownIdError, did_you_mean
from hnlmrec.pipeline.results import Run

_NEAR_AMONG = 20_000  # the search for a near id takes about a second for so many


@dataclass(frozen=True, eq=False)
class TrainedVectors:
    """What a training leaves behind: the score of (u, i) is the dot product of their vectors.

    Attributes:
        dataset: vocabularies and splits.
        users: float [n_users, d].
        items: float [n_items, d].
        titles: item id -> title, of the items that have one.
    """

    dataset: InteractionDataset
    users: Vectors
    items: Vectors
    titles: dict[str, str] = field(default_factory=dict)

    @cached_property
    def seen(self) -> Interactions:
        """The pairs of train and validation: what a user is never recommended."""
        data = self.dataset
        users = np.concatenate([data.train.users, data.valid.users])
        items = np.concatenate([data.train.indices, data.valid.indices])
        return Interactions.from_pairs(users, items, data.n_users, data.n_items)

    def check_k(self, k: int, n_candidates: int | None = None) -> int:
        """Return k, the number of items to recommend.

        Raises:
            ConfigError: it is below 1, or larger than the number of items there are to choose from.
        """
        most = self.dataset.n_items if n_candidates is None else n_candidates
        if not 1 <= k <= most:
            raise ConfigError(f"k = {k} was given, and there are {most:,} items: give a k from 1 to {most}.")
        return k


def vectors_of_run(run: Run) -> TrainedVectors:
    """Return the vectors of a run's main experiment, memory-mapped.

    Raises:
        DataError: the run was stopped before anything was trained.
    """
    prepared, trained = run.payload("prepare"), run.payload(f"train/{run.experiment}")
    dataset = InteractionDataset.load(prepared)
    tables = [EmbeddingTable.load(trained, name) for name in ("users", "items")]
    items = pl.read_parquet(prepared / "items.parquet", columns=["item_id", "title"])
    titles = {id_: title for id_, title in items.iter_rows() if title}
    return TrainedVectors(dataset, tables[0].vectors, tables[1].vectors, titles)


def numbers_of(vocabulary: Vocabulary, ids: Sequence[str]) -> Numbers:
    """Return the rows of these ids, int64 [len(ids)].

    Raises:
        UnknownIdError: one is not in the vocabulary; names the nearest id that is.
    """
    for id_ in ids:
        if id_ not in vocabulary:
            raise UnknownIdError(unknown_id(vocabulary, id_))
    return vocabulary.numbers(ids)


def unknown_id(vocabulary: Vocabulary, id_: str) -> str:
    """Return the message about an id that a vocabulary does not hold."""
    near: Iterable[str] = vocabulary.all_ids[:_NEAR_AMONG]
    examples = ", ".join(repr(known) for known in vocabulary.all_ids[:3])
    return (
        f"there is no {vocabulary.kind} {id_!r} in this data set{did_you_mean(id_, near)} It holds "
        f"{len(vocabulary):,} {vocabulary.kind}s, for example {examples}."
    )


def rows_of(table: Vectors, numbers: Numbers | slice) -> npt.NDArray[np.float32]:
    """Return some rows of a table that may be memory-mapped or of half precision, float32."""
    return np.asarray(table[numbers], dtype=np.float32)
