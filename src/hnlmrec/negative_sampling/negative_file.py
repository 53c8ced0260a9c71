"""Reads and checks a file of negatives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.data.pickles import refuse_pickle
from hnlmrec.errors import DataError, MissingFileError

Policy = Literal["error", "drop"]
_COLUMNS = ("user_id", "item_id", "negative_id", "weight")


@dataclass(frozen=True, eq=False)
class NegativeRows:
    """The rows of a file in numbers, int64 or float64 [n] each.

    Attributes:
        users: user numbers.
        positives: item numbers, -1 for any positive of the user.
        negatives: item numbers.
        weights: above 0.
        n_unknown: rows dropped for an unknown id.
        n_observed: rows dropped since the negative is a train item of the user.
    """

    users: npt.NDArray[np.int64]
    positives: npt.NDArray[np.int64]
    negatives: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    n_unknown: int
    n_observed: int


def read_negatives(path: Path, dataset: InteractionDataset, *, unknown: Policy, observed: Policy) -> NegativeRows:
    """Read `user_id, item_id[, negative_id][, weight]`; see `FileConfig` for what they mean.

    Raises:
        MissingFileError: the file is not there.
        DataError: a column is missing, a value is wrong, a policy refuses a row, or no row is left.
    """
    frame = _with_numbers(_read(path), path, dataset)
    is_known = pl.all_horizontal(pl.col("user", "negative").is_not_null(), pl.col("positive").is_not_null())
    frame, n_unknown = _keep(frame, frame.select(is_known).to_series(), unknown, path, "unknown")
    seen = dataset.train.contains(frame["user"].to_numpy(), frame["negative"].to_numpy())
    frame, n_observed = _keep(frame, pl.Series(~seen), observed, path, "observed")
    frame = frame.filter(pl.col("weight") > 0)
    if frame.is_empty():
        raise DataError(f"{path} holds no usable negative: no row of positive weight is left.")
    users, positives, negatives = (frame[name].to_numpy().copy() for name in ("user", "positive", "negative"))
    return NegativeRows(users, positives, negatives, frame["weight"].to_numpy().copy(), n_unknown, n_observed)


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise MissingFileError(f"there is no file of negatives {path} (sampler.path).")
    refuse_pickle(path)
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        return pl.read_csv(path, infer_schema=False)  # ids stay the strings they are: 007 is not 7
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as CSV or Parquet: {error}.") from None


def _with_numbers(frame: pl.DataFrame, path: Path, dataset: InteractionDataset) -> pl.DataFrame:
    lacking = [name for name in _COLUMNS[:2] if name not in frame.columns]
    if lacking:
        raise DataError(
            f"{path} lacks the column {' and '.join(lacking)}; it has {', '.join(frame.columns)}. "
            f"Allowed: user_id, item_id and, if wanted, negative_id and weight."
        )
    users = {id_: number for number, id_ in enumerate(dataset.users.all_ids)}
    items = {id_: number for number, id_ in enumerate(dataset.items.all_ids)}

    def numbers(column: str, table: dict[str, int]) -> pl.Expr:
        return pl.col(column).cast(pl.String).replace_strict(table, default=None, return_dtype=pl.Int64)

    has_positive = "negative_id" in frame.columns
    is_any = pl.col("item_id").is_null() | (pl.col("item_id").cast(pl.String) == "")
    positive = pl.when(is_any).then(-1).otherwise(numbers("item_id", items)) if has_positive else pl.lit(-1)
    return frame.with_columns(
        user=numbers("user_id", users),
        positive=positive.cast(pl.Int64),
        negative=numbers("negative_id" if has_positive else "item_id", items),
        weight=_weights(frame, path),
    )


def _weights(frame: pl.DataFrame, path: Path) -> pl.Series:
    if "weight" not in frame.columns:
        return pl.Series(np.ones(len(frame)))
    weights = frame["weight"].cast(pl.Float64, strict=False)
    wrong = (~(weights.is_finite() & (weights >= 0))).fill_null(value=True).arg_true()
    if len(wrong):
        given = frame["weight"][wrong[0]]
        raise DataError(
            f"{path}: {len(wrong)} weights are not numbers of at least 0; the first, in row {wrong[0] + 1}, is "
            f"{given!r}."
        )
    return weights


def _keep(
    frame: pl.DataFrame, good: pl.Series, policy: Policy, path: Path, kind: Literal["unknown", "observed"]
) -> tuple[pl.DataFrame, int]:
    bad = frame.filter(~good)
    if len(bad) and policy == "error":
        what = {
            "unknown": "name a user or an item that the data set does not hold",
            "observed": "give a train item of the user as a negative",
        }[kind]
        row = bad.select(name for name in _COLUMNS if name in bad.columns).row(0, named=True)
        raise DataError(
            f"{path}: {len(bad)} of {len(frame)} rows {what}, for example {row}. Mend the file, or set "
            f"sampler.{kind}=drop."
        )
    return frame.filter(good), len(bad)
