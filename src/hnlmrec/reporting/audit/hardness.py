"""Hardness over the epochs: how far the positive is scored above its negative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from hnlmrec.reporting.audit.drawn import Drawn

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Hardness:
    """Positive score minus negative score (dot products) of the draws of one epoch.

    Attributes:
        label: of the experiment.
        name: the label without the initialisation.
        initialisation: its initialisation.
        epoch: counted from 1.
        draws: finite ones.
        mean: of the differences.
        quantiles: of the differences, at 0.1, 0.25, 0.5, 0.75, 0.9.
        share_above: the share of the negatives that the model scored above their positive.
    """

    label: str
    name: str
    initialisation: str
    epoch: int
    draws: int
    mean: float
    quantiles: tuple[float, ...]
    share_above: float


def hardness_by_epoch(drawn: Sequence[Drawn]) -> list[Hardness]:
    """Return the hardness of what each experiment drew, by epoch: that of the vectors that it was trained on."""
    return [row for part in drawn for row in _of(part)]


def _of(part: Drawn) -> list[Hardness]:
    gap = pl.col("positive_score") - pl.col("negative_score")
    frame = part.frame.select("epoch", gap=gap.cast(pl.Float64)).filter(pl.col("gap").is_finite())
    measures = [pl.len().alias("draws"), pl.col("gap").mean().alias("mean")]
    measures += [(pl.col("gap") < 0).mean().alias("share_above")]
    measures += [pl.col("gap").quantile(q, "linear").alias(f"q{q}") for q in QUANTILES]
    experiment = part.experiment
    return [
        Hardness(
            experiment.label,
            part.name,
            experiment.initialisation,
            row["epoch"],
            row["draws"],
            row["mean"],
            tuple(row[f"q{q}"] for q in QUANTILES),
            row["share_above"],
        )
        for row in frame.group_by("epoch").agg(measures).sort("epoch").iter_rows(named=True)
    ]
