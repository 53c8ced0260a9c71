"""A run's negatives as rows (user_id, item_id, positive_id, source), a batch of train pairs at a time.

`source` says where a row is from: `generated`, an item that the LLM's negative of the pair stands for; `sampler`,
a fresh draw of the run's sampler on its trained vectors; `training`, a draw that the training kept. No row names
an item of the user's train split. Items of validation and test are not known here, as in the training itself.
What a sampler learns or remembers is not kept with a run: it draws as at the start of an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from hnlmrec.data.embeddings import HardNegativeTable, Vectors
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.errors import DataError
from hnlmrec.evaluation.files import drawn_frame
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling import SAMPLERS, NegativeSampler
from hnlmrec.pipeline.results import Run
from hnlmrec.pipeline.run import nodes_of
from hnlmrec.pipeline.training_stages import TrainStage
from hnlmrec.rng import RandomStreams
from hnlmrec.serving.run_config import config_of
from hnlmrec.serving.vectors import TrainedVectors, rows_of, vectors_of_run

NEGATIVES = {"user_id": pl.String, "item_id": pl.String, "positive_id": pl.String, "source": pl.String}
_BATCH = 4096

Numbers2D = npt.NDArray[np.int64]


def negative_frames(run: Run) -> Iterator[pl.DataFrame]:
    """Yield the negatives of a run's train pairs, columns as in `NEGATIVES`; the pairs come in random order.

    A sampler that reads the layers of the model (MixGCF, DENS), of which a run keeps the end alone, cannot draw
    anew: its rows are those that the training kept of its last audited epoch.

    Raises:
        DataError: the run was stopped before anything was trained, or its sampler names no items.
    """
    source = _Source.open(run)
    dataset = source.vectors.dataset
    streams = RandomStreams(source.seed)
    order = streams.generator("export/shuffle").permutation(len(dataset.train))
    rng = torch.Generator().manual_seed(streams.integer("export/negatives"))
    n_rows = 0
    for start in range(0, len(order), _BATCH):
        pairs = order[start : start + _BATCH]
        users, positives = (a[pairs].astype(np.int64) for a in (dataset.train.users, dataset.train.indices))
        parts = [(source.generated(users, positives), "generated")]
        parts.append((source.drawn(users, positives, rng), "sampler"))
        for items, name in parts:
            frame = _frame(dataset, users, positives, items, name)
            n_rows += len(frame)
            yield frame
    if source.kept is not None:
        n_rows += len(source.kept)
        yield source.kept
    if not n_rows:
        raise DataError(
            f"the sampler of the run {run.folder} makes vectors that stand for no item, so there is nothing to "
            "export. Choose --format parquet for the embeddings, or a run whose sampler draws items."
        )


@dataclass(frozen=True, eq=False)
class _Source:
    """What negatives are drawn from: the trained vectors, the sampler (None where it cannot), the LLM's table."""

    vectors: TrainedVectors
    embeddings: Embeddings
    sampler: NegativeSampler | None
    table: HardNegativeTable | None
    kept: pl.DataFrame | None
    seed: int

    @classmethod
    def open(cls, run: Run) -> _Source:
        vectors = vectors_of_run(run)
        stage, inputs = _training(run)
        resources = stage.resources(vectors.dataset, inputs, RandomStreams(stage.config.seed))
        embeddings = Embeddings(_tensor(vectors.users), _tensor(vectors.items))
        kind = SAMPLERS[stage.config.sampler.name]
        if kind.uses_layers:
            kept = _kept(run.payload(f"train/{run.experiment}"), vectors.dataset)
            return cls(vectors, embeddings, None, resources.hard_negatives, kept, stage.config.seed)
        sampler = kind.build(resources, stage.config.sampler)
        with torch.no_grad():
            sampler.start_epoch(0, embeddings)
        return cls(vectors, embeddings, sampler, resources.hard_negatives, None, stage.config.seed)

    def generated(self, users: npt.NDArray[np.int64], positives: npt.NDArray[np.int64]) -> Numbers2D:
        """Return the items that the LLM's negatives of the pairs stand for, int64 [B, K]; -1 for none."""
        table = self.table
        if table is None or not len(table):
            return np.empty((len(users), 0), dtype=np.int64)
        rows = table.rows(users, positives, table.max_per_pair)
        items = np.where(rows >= 0, table.items[rows], -1)
        seen = self.vectors.dataset.train.contains(users[:, None], np.maximum(items, 0))
        return np.where(seen, -1, items)

    def drawn(
        self, users: npt.NDArray[np.int64], positives: npt.NDArray[np.int64], rng: torch.Generator
    ) -> Numbers2D:
        """Return a fresh draw, int64 [B, K]; no column where the sampler names no items."""
        nothing = np.empty((len(users), 0), dtype=np.int64)
        if self.sampler is None:
            return nothing
        with torch.no_grad():
            batch = torch.from_numpy(users), torch.from_numpy(positives)
            items = self.sampler.sample(*batch, self.embeddings, rng).items
        return nothing if items is None else items.numpy()


def _tensor(table: Vectors) -> torch.Tensor:
    return torch.from_numpy(rows_of(table, slice(None)).copy())


def _training(run: Run) -> tuple[TrainStage, dict[str, Path]]:
    """Return the stage that trained the run's main experiment, and the folders that it read."""
    label = f"train/{run.experiment}"
    for node in nodes_of(config_of(run)):
        if node.label == label:
            assert isinstance(node.stage, TrainStage)
            return node.stage, {role: run.payload(source) for role, source in node.inputs.items()}
    raise DataError(f"the configuration of the run {run.folder} does not make its experiment {run.experiment}.")


def _kept(folder: Path, dataset: InteractionDataset) -> pl.DataFrame:
    drawn = drawn_frame(folder, ("epoch", "user", "positive", "negative")).filter(pl.col("negative") >= 0)
    drawn = drawn.filter(pl.col("epoch") == pl.col("epoch").max())
    users, positives, items = (drawn[name].to_numpy() for name in ("user", "positive", "negative"))
    return _frame(dataset, users, positives, items[:, None], "training")


def _frame(
    dataset: InteractionDataset, users: npt.NDArray[Any], positives: npt.NDArray[Any], items: Any, source: str
) -> pl.DataFrame:
    """Return a row for each item that is there; items is int64 [B, K], -1 for none."""
    rows, columns = np.nonzero(items >= 0)
    values: Mapping[str, Any] = {
        "user_id": dataset.users.ids(users[rows].tolist()),
        "item_id": dataset.items.ids(items[rows, columns].tolist()),
        "positive_id": dataset.items.ids(positives[rows].tolist()),
        "source": [source] * len(rows),
    }
    return pl.DataFrame(values, schema=NEGATIVES)
