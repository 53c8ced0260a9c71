"""The result files of a study, cut into the parts that are compared: one data set, model and varied value each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from hnlmrec.errors import MissingFileError
from hnlmrec.evaluation.files import UserValues

PART = ("dataset", "model", "varied", "value")
NO_START = "none"
RESULTS, PER_USER, CURVES = "results.parquet", "per_user.parquet", "curves.parquet"
ITEM_GROUPS = "item_groups.parquet"
ACTIVITY = "train_items"
"""Column of per_user.parquet: how many train interactions the user has."""


@dataclass(frozen=True)
class Outline:
    """What a study asks.

    Attributes:
        title: heading.
        baseline: the variant that others are tested against, each under the same initialisation.
        metrics: what is tested; the first is the main one.
        test: whose marks the tables show.
        n_seeds: seeds of a finished system.
        groups: how many groups of users and items are looked at; 0 for none.
    """

    title: str
    baseline: str
    metrics: tuple[str, ...]
    test: str
    n_seeds: int
    groups: int = 0


@dataclass(frozen=True, eq=False)
class Part:
    """What is compared in one table.

    Attributes:
        dataset: label.
        model: label.
        varied: label of the varied parameter, or "".
        value: its value, or "".
        rows: of results.parquet.
        users: of per_user.parquet.
    """

    dataset: str
    model: str
    varied: str
    value: str
    rows: pl.DataFrame
    users: pl.DataFrame

    @property
    def title(self) -> str:
        """The part in words."""
        return f"{self.dataset}, {self.model}" + (f", {self.varied} = {self.value}" if self.varied else "")

    @cached_property
    def systems(self) -> list[tuple[str, str]]:
        """(variant, initialisation) in the order of the study, by initialisation; "none" last."""
        pairs = list(dict.fromkeys(self.rows.select("variant", "initialisation").iter_rows()))
        starts = [*dict.fromkeys(start for _, start in pairs if start != NO_START), NO_START]
        return sorted(pairs, key=lambda pair: starts.index(pair[1]))

    def of(self, system: tuple[str, str]) -> pl.DataFrame:
        """Return the rows of a system, a row a seed."""
        return self.rows.filter(_is(system))

    @cached_property
    def families(self) -> dict[tuple[str, str], str]:
        """The family of methods of each system, for example "hnlmrec" or "classic"."""
        rows = self.rows.select("variant", "initialisation", "family").unique(maintain_order=True)
        return {(variant, start): family for variant, start, family in rows.iter_rows()}

    def means(self, system: tuple[str, str]) -> dict[str, float]:
        """Return the mean over the seeds of every numeric column, test metrics without "test/"."""
        frame = self.of(system).select(pl.col(pl.Float64, pl.Int64).exclude("seed")).mean()
        return {n.removeprefix("test/"): v for n, v in frame.row(0, named=True).items() if v is not None}

    def averaged(self, columns: Sequence[str]) -> tuple[list[str], dict[str, pl.DataFrame]]:
        """Return (ids of the users, system key -> columns of per_user.parquet, averaged over the seeds).

        A user counts that was measured with every seed of every system.
        """
        measured = [
            self.users.filter(_is(system))
            .sort("seed")  # a sum depends on its order
            .group_by("user_id", maintain_order=True)
            .agg(pl.len().alias("n"), *(pl.col(name).cast(pl.Float64).mean() for name in columns))
            .filter(pl.col("n") == pl.col("n").max())
            .with_columns(pl.col("user_id").cast(pl.String))
            for system in self.systems
        ]
        common = measured[0].select("user_id")
        for frame in measured[1:]:
            common = common.join(frame.select("user_id"), on="user_id", how="semi")
        common = common.sort("user_id")
        joined = (common.join(frame, on="user_id", how="left", maintain_order="left") for frame in measured)
        frames = {key(system): frame.select(columns) for system, frame in zip(self.systems, joined, strict=True)}
        return common["user_id"].to_list(), frames

    def by_user(self, metrics: Sequence[str]) -> dict[str, UserValues]:
        """Return the values of every user, averaged over the seeds, by system key; see `averaged`."""
        ids, frames = self.averaged(metrics)
        numbers = np.arange(len(ids))
        return {
            system: UserValues(numbers, {name: frame[name].to_numpy() for name in metrics}, {})
            for system, frame in frames.items()
        }

    def by_seed(self, metrics: Sequence[str]) -> dict[str, UserValues]:
        """Return the means of every seed that all trained systems have, by system key; those without seeds out."""
        frames = {system: self.of(system).drop_nulls("seed") for system in self.systems}
        frames = {system: frame for system, frame in frames.items() if len(frame)}
        common = set.intersection(*(set(frame["seed"]) for frame in frames.values())) if frames else set()
        seeds = np.array(sorted(common), dtype=np.int64)
        kept = {s: frame.filter(pl.col("seed").is_in(list(common))).sort("seed") for s, frame in frames.items()}
        return {
            key(system): UserValues(seeds, {name: frame[f"test/{name}"].to_numpy() for name in metrics}, {})
            for system, frame in kept.items()
        }


def column_of_hits(group: int) -> str:
    """Return the column of per_user.parquet with the user's hits among the items of a group, from 1."""
    return f"hits_{group}"


def column_of_test_items(group: int) -> str:
    """Return the column of per_user.parquet with the user's test items of a group, from 1."""
    return f"test_items_{group}"


def key(system: tuple[str, str]) -> str:
    """Return the name of a system: "dns+random", or "ease" where there is no initialisation."""
    variant, start = system
    return variant if start == NO_START else f"{variant}+{start}"


@dataclass(frozen=True)
class StudyFiles:
    """The tables of a study's folder, as far as its runs are done."""

    outline: Outline
    results: pl.DataFrame
    users: pl.DataFrame
    curves: pl.DataFrame
    item_groups: pl.DataFrame = field(default_factory=pl.DataFrame)

    @classmethod
    def read(cls, folder: Path, outline: Outline) -> StudyFiles:
        """Read a study's folder.

        Raises:
            MissingFileError: a table is not there.
        """
        try:
            tables = [pl.read_parquet(folder / name) for name in (RESULTS, PER_USER, CURVES, ITEM_GROUPS)]
        except FileNotFoundError:
            raise MissingFileError(f"{folder} holds no study: run `hnlmrec compare STUDY.toml` first.") from None
        return cls(outline, *tables)

    def parts(self) -> Iterator[Part]:
        """Go through the parts in the order of the study."""
        for place in dict.fromkeys(self.results.select(PART).iter_rows()):
            is_part = pl.all_horizontal(pl.col(n) == v for n, v in zip(PART, place, strict=True))
            dataset, model, varied, value = place
            rows, users = self.results.filter(is_part), self.users.filter(is_part)
            yield Part(dataset, model, varied, value, rows, users)


def _is(system: tuple[str, str]) -> pl.Expr:
    return (pl.col("variant") == system[0]) & (pl.col("initialisation") == system[1])
