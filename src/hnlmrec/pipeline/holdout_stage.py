"""The stage that holds a part of train out; what it leaves is a prepared data set for the stages after it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import polars as pl
from pydantic import Field

from hnlmrec.config import Config
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.judging import hold_out_of_train
from hnlmrec.pipeline.graph import Stage, StageSummary
from hnlmrec.rng import RandomStreams


class HoldOutConfig(Config):
    """What decides what is held out."""

    seed: int
    part: str
    """Whom the held-out pairs are for; parts with different names are drawn independently."""
    fraction: float = Field(gt=0, lt=1)
    """Share of train that is held out."""


class HoldOutStage(Stage[HoldOutConfig]):
    """Splits train into an inner train and a held-out part, which becomes `valid`; input prepare.

    The test split stays empty and the given validation split is left out, so that no stage that reads this
    artefact can see either of them.
    """

    name = "holdout"

    def __init__(self, config: HoldOutConfig) -> None:
        self.config = config

    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        """Write the tables of a prepared data set, texts included."""
        source = inputs["prepare"]
        rng = RandomStreams(self.config.seed).generator(f"holdout/{self.config.part}")
        inner = hold_out_of_train(InteractionDataset.load(source), self.config.fraction, rng)
        for name in ("users.parquet", "items.parquet"):
            shutil.copyfile(source / name, out / name)
        inner.save(out)
        if (source / "reviews.parquet").exists():
            _inner_reviews(source / "reviews.parquet", inner).write_parquet(out / "reviews.parquet")
        return StageSummary(inner.counts())


def _inner_reviews(path: Path, inner: InteractionDataset) -> pl.DataFrame:
    """Return the reviews of the inner train alone: one of a held-out pair would tell of it."""
    frame = pl.read_parquet(path)
    users = inner.users.numbers(frame["user_id"].to_list())
    items = inner.items.numbers(frame["item_id"].to_list())
    return frame.filter(pl.Series(inner.train.contains(users, items)))
