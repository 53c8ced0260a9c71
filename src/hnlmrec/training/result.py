"""What training hands back, and the files in which it is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.nn import functional

from hnlmrec.artifacts import write_json
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset, Interactions
from hnlmrec.data.judgements import JudgementTable
from hnlmrec.models.base import Batch, Embeddings
from hnlmrec.training.objective import Step

_DRAWN = {
    "epoch": pl.Int32,
    "user": pl.Int32,
    "positive": pl.Int32,
    "negative": pl.Int32,
    "generated": pl.Int32,
    "share": pl.Float32,
    "positive_score": pl.Float32,
    "negative_score": pl.Float32,
}
_COSINES = 2**26  # of generated negatives with the whole catalogue, held at once: 256 MiB


@dataclass(frozen=True)
class EpochReport:
    """Told to the progress callback after each epoch.

    Attributes:
        done: epochs trained.
        total: epochs at most.
        losses: mean of each term over the epoch's steps.
        best_epoch: the best so far, 0 before the first evaluation.
        best_value: its value of `select_by`.
    """

    done: int
    total: int
    losses: Mapping[str, float]
    best_epoch: int
    best_value: float


class DrawnNegatives:
    """A sample of the negatives that were drawn: the first ones of the epochs 1, 2, 5, 10, 20, 50, and so on.

    `negative` is the item that was drawn, or that a vector was mixed from; `generated` the catalogue item that a
    generated vector stands for, which is looked up once `train` is set. Either is -1 where there is none. `share`
    is the generated vector's part in the negative; the item has the rest.

    Args:
        per_epoch: rows kept of each of these epochs.
    """

    def __init__(self, per_epoch: int) -> None:
        self.per_epoch = per_epoch
        self.train: Interactions | None = None
        self.frame = pl.DataFrame(schema=_DRAWN)
        self._parts: list[pl.DataFrame] = []
        self._missing = 0

    def start_epoch(self, epoch: int) -> None:
        """Begin an epoch, counted from 1."""
        leading = epoch // 10 ** (len(str(epoch)) - 1)
        is_kept = leading in (1, 2, 5) and str(epoch) == f"{leading:0<{len(str(epoch))}}"
        self._missing = self.per_epoch if is_kept else 0

    def add(self, epoch: int, batch: Batch, step: Step) -> None:
        """Keep a step's negatives, as many as are still missing."""
        if not self._missing:
            return
        shape = step.negative_scores.shape
        none = torch.full(shape, -1, device=step.negative_scores.device)
        items, shares = step.negatives.items, step.negatives.hard_shares
        columns = {
            "epoch": torch.full(shape, epoch),
            "user": batch.users[:, None].expand(shape),
            "positive": batch.positives[:, None].expand(shape),
            "negative": none if items is None else items,
            "generated": none if self.train is None else _generated_items(step, batch, self.train, none),
            "share": torch.zeros(shape) if shares is None else shares,
            "positive_score": step.positive_scores.detach()[:, None].expand(shape),
            "negative_score": step.negative_scores.detach(),
        }
        rows = {name: values.flatten()[: self._missing].cpu().numpy() for name, values in columns.items()}
        self._parts.append(pl.DataFrame({name: pl.Series(rows[name]).cast(kind) for name, kind in _DRAWN.items()}))
        self._missing -= len(self._parts[-1])

    def end_epoch(self) -> None:
        """Join what the epoch gave to `frame`."""
        self.frame = pl.concat([self.frame, *self._parts])
        self._parts = []


def mark_judged_false(drawn: pl.DataFrame, false: JudgementTable) -> pl.DataFrame:
    """Add the column `judged_false`: whether a judge lists what was drawn, or what a vector stands for."""
    items = drawn.select(pl.when(pl.col("negative") >= 0).then("negative").otherwise("generated")).to_series()
    listed = false.lists(drawn["user"].cast(pl.Int64).to_numpy(), items.cast(pl.Int64).to_numpy())
    return drawn.with_columns(pl.Series("judged_false", listed))


def _generated_items(step: Step, batch: Batch, train: Interactions, none: Tensor) -> Tensor:
    """Return the catalogue item that each generated negative stands for, int64 [B, K]; -1 where there is none.

    It is the item that the negative was made for, where that is known; else the one outside of the user's train
    items that it lies nearest to by cosine.
    """
    negatives = step.negatives
    if negatives.hard is None or negatives.hard_found is None or step.catalogue is None:
        return none
    known = none if negatives.hard_items is None else negatives.hard_items
    items = torch.where(negatives.hard_found, known, none)
    sought = (negatives.hard_found & (known < 0)).nonzero()  # [n, 2]
    directions = functional.normalize(step.catalogue, dim=1).T
    for part in torch.split(sought, max(1, _COSINES // directions.shape[1])):
        rows, places = part.T
        cosines = negatives.hard[rows, places] @ directions  # [B, n_items]
        cosines[tuple(map(torch.from_numpy, train.cells(batch.users[rows].cpu().numpy())))] = -torch.inf
        items[rows, places] = cosines.argmax(dim=1)
    return items


@dataclass
class History:
    """How far a run has come: everything about it that JSON can hold, and that a checkpoint does."""

    epochs: int = 0
    best_epoch: int = 0
    best_value: float = float("-inf")
    without_gain: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)
    epoch_seconds: list[float] = field(default_factory=list)
    total_seconds: float = 0.0

    def figures(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Return what loggers are told of the last epoch: its losses and, where it was evaluated, its metrics."""
        values = {"loss/total": sum(losses.values()), **{f"loss/{name}": value for name, value in losses.items()}}
        last = self.records[-1] if self.records and self.records[-1]["epoch"] == self.epochs else {}
        for split in ("valid", "test"):
            values |= {f"{split}/{name}": value for name, value in last.get(split, {}).items()}
        return values


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """A trained model's best epoch.

    Attributes:
        embeddings: final vectors of the best epoch, float32, on the CPU.
        best_epoch: counted from 1.
        best_value: its value of `select_by` on `select_on`.
        epochs: epochs trained.
        select_on: the split on which the best epoch was chosen; "test" makes figures on test optimistic.
        records: one for each evaluated epoch, as in metrics.jsonl.
        seconds: {"train_per_epoch": median, without evaluation; "total": all of it}.
        sampler_counts: what the sampler counted.
        drawn: a sample of the drawn negatives.
    """

    embeddings: Embeddings
    best_epoch: int
    best_value: float
    epochs: int
    select_on: str
    records: list[dict[str, Any]]
    seconds: dict[str, float]
    sampler_counts: dict[str, int]
    drawn: pl.DataFrame

    @classmethod
    def of(
        cls, embeddings: Embeddings, history: History, select_on: str, counts: dict[str, int], drawn: pl.DataFrame
    ) -> TrainingResult:
        """Put a result together from a run's history."""
        seconds = {"train_per_epoch": median(history.epoch_seconds), "total": history.total_seconds}
        return cls(
            embeddings,
            history.best_epoch,
            history.best_value,
            history.epochs,
            select_on,
            history.records,
            seconds,
            counts,
            drawn,
        )

    @property
    def first_is_best(self) -> bool:
        """Whether no evaluation was better than the first of several: from there on training gained nothing."""
        return len(self.records) > 1 and self.records[0]["epoch"] == self.best_epoch

    def save(self, folder: Path, dataset: InteractionDataset) -> None:
        """Write users.*, items.* (EmbeddingTable), drawn.parquet, metrics.jsonl and training.json."""
        for name, vocabulary, vectors in (
            ("users", dataset.users, self.embeddings.users),
            ("items", dataset.items, self.embeddings.items),
        ):
            EmbeddingTable(vocabulary, vectors.numpy().astype(np.float32)).save(folder, name)
        self.drawn.write_parquet(folder / "drawn.parquet")
        write_records(folder, self.records)
        summary = {
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "select_on": self.select_on,
            "first_is_best": self.first_is_best,
            "seconds": self.seconds,
            "sampler": self.sampler_counts,
        }
        write_json(folder / "training.json", summary)


def write_records(folder: Path, records: list[dict[str, Any]]) -> None:
    """Write metrics.jsonl: a line for each evaluated epoch."""
    path = folder / "metrics.jsonl"
    temporary = path.with_name(".metrics.jsonl.tmp")
    temporary.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    temporary.replace(path)
