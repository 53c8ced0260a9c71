"""The files of an evaluation: written by the evaluate stage, read by tables, tests and reports (without torch)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.artifacts import write_json
from hnlmrec.data.tables import read_parquet
from hnlmrec.errors import DataError, MissingFileError

HIT_SCHEMA: dict[str, Any] = {"user": pl.Int32, "item": pl.Int32, "rank": pl.Int16}
_HITS = "hits.parquet"


class UserResult(Protocol):
    """What is needed of an evaluation: `EvaluationResult` and `UserValues` have it."""

    @property
    def users(self) -> npt.NDArray[np.int64]:
        """User numbers [U]."""

    @property
    def per_user(self) -> Mapping[str, npt.NDArray[Any]]:
        """Metric name -> values [U]."""

    @property
    def hits(self) -> pl.DataFrame | None:
        """The relevant items in the lists (user, item, rank); None where they are not known."""

    def means(self) -> dict[str, float]:
        """Metric name -> mean, and the metrics of the whole catalogue."""


@dataclass(frozen=True, eq=False)
class UserValues:
    """One split of an evaluation as read from its files.

    Attributes:
        users: int64 [U], user numbers.
        per_user: "recall@20" -> float32 [U].
        all_means: "recall@20" -> mean; holds the metrics of the whole catalogue too.
        hits: not read with the rest, see `read_hits`.
    """

    users: npt.NDArray[np.int64]
    per_user: Mapping[str, npt.NDArray[Any]]
    all_means: Mapping[str, float]
    hits: pl.DataFrame | None = None

    def means(self) -> dict[str, float]:
        """Return metric name -> mean over the users, and the catalogue's metrics."""
        return dict(self.all_means)


def write_evaluation(
    folder: Path, results: Mapping[str, UserResult], fhns: Mapping[str, float | int | None] | None = None
) -> None:
    """Write metrics.json, per_user.parquet, hits.parquet where they are known, and fhns.json where given.

    Args:
        folder: made if it is not there.
        results: by split.
        fhns: what `fhns_rate` returned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "metrics.json", {split: result.means() for split, result in results.items()})
    frames = [
        pl.DataFrame(
            {"split": [split] * len(result.users), "user": result.users.astype(np.int32)}
            | {name: values.astype(np.float32) for name, values in result.per_user.items()}
        )
        for split, result in results.items()
    ]
    pl.concat(frames).write_parquet(folder / "per_user.parquet")
    hits = {split: result.hits for split, result in results.items()}
    known = [frame.with_columns(split=pl.lit(split)) for split, frame in hits.items() if frame is not None]
    if known:
        pl.concat(known).select("split", *HIT_SCHEMA).write_parquet(folder / _HITS)
    if fhns is not None:
        write_json(folder / "fhns.json", dict(fhns))


def drawn_frame(folder: Path, columns: Iterable[str]) -> pl.DataFrame:
    """Return the negatives that a training kept, drawn.parquet in its folder.

    Raises:
        MissingFileError: it is not there.
        DataError: it lacks one of the columns.
    """
    try:
        return read_parquet(folder / "drawn.parquet", columns)
    except DataError as error:
        raise DataError(f"{error} Of an earlier version? Delete {folder}, and train again.") from None


def read_hits(folder: Path, split: str) -> pl.DataFrame:
    """Return the relevant items in the lists of a split: user, item, rank.

    Raises:
        MissingFileError: the evaluation was made without them.
    """
    try:
        frame = pl.read_parquet(folder / _HITS)
    except FileNotFoundError:
        raise MissingFileError(f"{folder} holds no {_HITS}: run the evaluate stage again.") from None
    return frame.filter(pl.col("split") == split).drop("split")


def read_evaluation(folder: Path) -> dict[str, UserValues]:
    """Read what `write_evaluation` wrote, by split.

    Raises:
        MissingFileError: metrics.json or per_user.parquet is not there.
        DataError: metrics.json is not valid JSON.
    """
    try:
        means = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        frame = pl.read_parquet(folder / "per_user.parquet")
    except FileNotFoundError:
        raise MissingFileError(
            f"{folder} holds no evaluation (metrics.json and per_user.parquet): run the evaluate stage first."
        ) from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"{folder / 'metrics.json'} is not valid JSON: {error}. Run the evaluate stage again."
        ) from None
    metrics = [name for name in frame.columns if name not in ("split", "user")]
    result = {}
    for split in means:
        part = frame.filter(pl.col("split") == split)
        per_user = {name: part[name].to_numpy() for name in metrics}
        result[split] = UserValues(part["user"].to_numpy().astype(np.int64), per_user, means[split])
    return result
