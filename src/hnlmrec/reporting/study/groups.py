"""Users by activity and items by popularity: each system's metric in each group, with bootstrap intervals.

Users are grouped by their train interactions, items by theirs; see `quantile_groups`. Of a group of users the
value is the mean of the metric over its users; of a group of items the recall: hits among its items over its test
items, both summed over all users. Intervals are of resampled users, the same resamples for all systems, so that
differences to the baseline are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.evaluation.groups import quantile_groups
from hnlmrec.evaluation.significance import CONFIDENCE, N_RESAMPLES
from hnlmrec.reporting.study.inputs import (
    ACTIVITY,
    Outline,
    Part,
    StudyFiles,
    column_of_hits,
    column_of_test_items,
    key,
)
from hnlmrec.reporting.study.statistics import baseline_pairs

USERS, ITEMS = "users", "items"
_TEXTS = ("dataset", "model", "varied", "value", "variant", "initialisation", "kind", "metric")
_NUMBERS = ("mean", "interval_low", "interval_high", "difference", "difference_low", "difference_high")
GROUP_SCHEMA: dict[str, Any] = {
    **dict.fromkeys(_TEXTS, pl.String),
    **dict.fromkeys(("group", "low", "high", "n"), pl.Int64),
    **dict.fromkeys(_NUMBERS, pl.Float64),
}
_AT_ONCE = 50  # resamples in one product
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Group:
    """One group under one metric: value = sum of numerators over sum of denominators, over users.

    Attributes:
        facts: its columns of the table.
        numerators: system key -> [U].
        denominators: [U], the same for all systems.
    """

    facts: Mapping[str, Any]
    numerators: Mapping[str, Values]
    denominators: Values


def groups_frame(files: StudyFiles, parts: Sequence[Part]) -> pl.DataFrame:
    """Return a row for each system, group and metric: kind ("users", "items"), group (from 1), n, mean, intervals.

    `low` and `high` are the smallest and the largest number of train interactions in the group, `n` its users, or
    its test items. A group without any has no row. The difference is to the baseline under the same
    initialisation, and null for the baseline itself.

    Args:
        files: of the study.
        parts: those that are wanted.
    """
    outline = files.outline
    rows = [row for part in parts for row in _rows(part, outline, files.item_groups)] if outline.groups else []
    return pl.DataFrame(rows, schema=GROUP_SCHEMA, strict=False)


def _rows(part: Part, outline: Outline, item_groups: pl.DataFrame) -> Iterator[dict[str, Any]]:
    numbers = range(1, outline.groups + 1)
    counted = [name for group in numbers for name in (column_of_hits(group), column_of_test_items(group))]
    ids, frames = part.averaged([*outline.metrics, ACTIVITY, *counted])
    if not ids:
        return
    groups = [*_user_groups(frames, outline), *_item_groups(part, frames, outline, item_groups)]
    pairs = baseline_pairs(part, outline.baseline)
    for group, means, resampled in zip(groups, *_resampled(groups, len(ids)), strict=True):
        for system in part.systems:
            name = key(system)
            base = pairs.get(name)
            difference = None if base is None else resampled[name] - resampled[base]
            yield {
                **{field: getattr(part, field) for field in ("dataset", "model", "varied", "value")},
                **group.facts,
                "variant": system[0],
                "initialisation": system[1],
                "mean": means[name],
                **_interval("interval", resampled[name]),
                "difference": None if base is None else means[name] - means[base],
                **_interval("difference", difference),
            }


def _user_groups(frames: Mapping[str, pl.DataFrame], outline: Outline) -> Iterator[_Group]:
    activity = next(iter(frames.values()))[ACTIVITY].to_numpy()
    groups = quantile_groups(activity, outline.groups)
    for number in np.unique(groups):
        here = groups == number
        facts = {"kind": USERS, "group": int(number) + 1, "n": int(here.sum())}
        facts |= {"low": int(activity[here].min()), "high": int(np.ceil(activity[here].max()))}
        for metric in outline.metrics:
            values = {name: frame[metric].to_numpy() * here for name, frame in frames.items()}
            yield _Group({**facts, "metric": metric}, values, here.astype(np.float64))


def _item_groups(
    part: Part, frames: Mapping[str, pl.DataFrame], outline: Outline, bounds: pl.DataFrame
) -> Iterator[_Group]:
    own = bounds.filter(dataset=part.dataset, varied=part.varied, value=part.value)
    k = outline.metrics[0].partition("@")[2]
    for number in range(1, outline.groups + 1):
        wanted = next(iter(frames.values()))[column_of_test_items(number)].to_numpy()
        if not wanted.any():
            continue
        ends = own.filter(group=number)  # a row for each seed where a seed changes the split
        facts = {"kind": ITEMS, "group": number, "n": round(float(wanted.sum())), "metric": f"recall@{k}"}
        facts |= {"low": ends["low"].min(), "high": ends["high"].max()}
        hits = {name: frame[column_of_hits(number)].to_numpy() for name, frame in frames.items()}
        yield _Group(facts, hits, wanted)


def _resampled(groups: Sequence[_Group], n_users: int) -> tuple[list[dict[str, float]], list[dict[str, Values]]]:
    """Return, group by group, system key -> mean, and system key -> means of the resamples [N_RESAMPLES]."""
    rng = np.random.default_rng(0)
    columns = [np.column_stack([*group.numerators.values(), group.denominators]) for group in groups]
    sums = [np.empty((N_RESAMPLES, column.shape[1])) for column in columns]
    for start in range(0, N_RESAMPLES, _AT_ONCE):
        drawn = rng.integers(0, n_users, (_AT_ONCE, n_users))
        weights = np.stack([np.bincount(row, minlength=n_users) for row in drawn]).astype(np.float64)
        for place, column in zip(sums, columns, strict=True):
            place[start : start + _AT_ONCE] = weights @ column
    means, resampled = [], []
    for group, column, summed in zip(groups, columns, sums, strict=True):
        whole = column.sum(axis=0)
        ratios = summed[:, :-1] / np.where(summed[:, -1:] > 0, summed[:, -1:], np.nan)
        means.append(dict(zip(group.numerators, (whole[:-1] / whole[-1]).tolist(), strict=True)))
        resampled.append(dict(zip(group.numerators, ratios.T, strict=True)))
    return means, resampled


def _interval(name: str, values: Values | None) -> dict[str, float | None]:
    """Return the 95 % percentile interval; a resample without anyone of the group does not count."""
    if values is None or np.isnan(values).all():
        return {f"{name}_low": None, f"{name}_high": None}
    low, high = np.nanquantile(values, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return {f"{name}_low": float(low), f"{name}_high": float(high)}
