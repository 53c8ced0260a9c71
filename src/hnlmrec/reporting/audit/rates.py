"""FHNS rates: of mixed, drawn and generated negatives, over epochs, and by how active the users are.

A negative that a generated vector is mixed into is as false as its parts: a tenth of e_hard and nine of an item
that would have been liked are nine tenths of a false negative.

An interval is Wilson's (1927), at 95 %, with the effective number of draws in place of their number: the draws of
one user resemble each other, so that a thousand draws of ten users are no thousand observations (Kish, Survey
Sampling, 1965). What uniform sampling would reach is known exactly for each user; so a ratio's interval leaves out
how much users differ in that, and counts only how they scatter about their common ratio.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.evaluation.false_negatives import held_out, uniform_rates
from hnlmrec.evaluation.groups import quantile_groups
from hnlmrec.reporting.audit.drawn import JUDGED, Drawn, Numbers, Series

ALL = "all"
_Z = 1.959964  # the normal distribution's 97.5 % quantile
_GROUPS = 4


@dataclass(frozen=True)
class Rate:
    """The FHNS rate of some draws: the share of the user's held-out positives among them.

    `held_out` is how many those are; of mixed negatives the sum of their parts, rounded. `ratio` is the share over
    what uniform sampling would reach for the same users; None where that is 0.
    """

    label: str
    series: str
    kind: str
    initialisation: str
    group: str
    pairs: int
    users: int
    held_out: int
    rate: float
    interval: tuple[float, float]
    uniform: float
    ratio: float | None
    ratio_interval: tuple[float, float] | None


@dataclass(frozen=True)
class JudgedDraws:
    """What a judge said of the draws that it was asked about, beside what is held out.

    Attributes:
        label: of the experiment.
        asked: draws that were judged.
        called_false: those that the judge called false negatives.
        held_out_called: held-out positives among the ones called false.
        held_out_kept: held-out positives among the others.
    """

    label: str
    asked: int
    called_false: int
    held_out_called: int
    held_out_kept: int


def rates(drawn: Sequence[Drawn], dataset: InteractionDataset) -> list[Rate]:
    """Return the rate of each series, all users and epochs together."""
    return [rate for s in _rated(drawn) for rate in _rate(s, s.users, s.falseness(dataset), dataset, ALL)]


def rates_by_activity(drawn: Sequence[Drawn], dataset: InteractionDataset) -> list[Rate]:
    """Return the rate of each series within each quarter of the users by their number of train items."""
    groups, titles = activity_groups(dataset)
    found = []
    for series in _rated(drawn):
        users, falseness = series.users, series.falseness(dataset)
        for number, title in enumerate(titles):
            inside = groups[users] == number
            found += list(_rate(series, users[inside], falseness[inside], dataset, title))
    return found


def rates_by_epoch(drawn: Sequence[Drawn], dataset: InteractionDataset) -> list[tuple[int, Rate]]:
    """Return (epoch, rate) of each series and each epoch of which draws were kept."""
    found = []
    for series in _rated(drawn):
        epochs, users, falseness = series.frame["epoch"].to_numpy(), series.users, series.falseness(dataset)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            found += [(epoch, rate) for rate in _rate(series, users[here], falseness[here], dataset, ALL)]
    return found


def judged_draws(drawn: Sequence[Drawn], dataset: InteractionDataset) -> list[JudgedDraws]:
    """Return what judges said, for the experiments whose drawn.parquet has the column "judged_false"."""
    found = []
    for part in drawn:
        if JUDGED not in part.frame.columns:
            continue
        item = pl.when(pl.col("negative") >= 0).then("negative").otherwise("generated")
        frame = part.frame.with_columns(item=item).filter(pl.col(JUDGED).is_not_null(), pl.col("item") >= 0)
        false = frame[JUDGED].to_numpy().astype(np.bool_)
        users, items = (frame[name].to_numpy().astype(np.int64) for name in ("user", "item"))
        positive = held_out(dataset, users, items)
        counts = (len(false), false.sum(), (positive & false).sum(), (positive & ~false).sum())
        found.append(JudgedDraws(part.experiment.label, *map(int, counts)))
    return found


def activity_groups(dataset: InteractionDataset) -> tuple[Numbers, list[str]]:
    """Return the group of each user, int64 [n_users], and what each group is called; ties stay together."""
    degrees = dataset.train.degrees
    _, groups = np.unique(quantile_groups(degrees, _GROUPS), return_inverse=True)
    titles = []
    for number in range(int(groups.max(initial=-1)) + 1):
        inside = degrees[groups == number]
        low, high = int(inside.min()), int(inside.max())
        titles.append(f"{low}" if low == high else f"{low}–{high}")
    return groups.astype(np.int64), titles


def wilson_interval(share: float, effective: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share that was seen in so many (effective) draws."""
    centre = share + _Z**2 / (2 * effective)
    half = _Z * math.sqrt(share * (1 - share) / effective + (_Z / (2 * effective)) ** 2)
    scale = 1 + _Z**2 / effective
    return max((centre - half) / scale, 0.0), min((centre + half) / scale, 1.0)


def effective_draws(
    users: Numbers, hits: npt.NDArray[np.float64], expected: npt.NDArray[np.float64] | None = None
) -> float:
    """Return how many independent draws tell as much as these do, at most their number.

    It is the variance of independent draws over that of a mean of clusters (users). Where nothing varies, each
    user counts once.

    Args:
        users: int [n], the user of each draw.
        hits: float [n], in [0, 1].
        expected: float [n], what is known beforehand of each draw; hits are compared with their share of it. None
            for the same everywhere.
    """
    _, numbers = np.unique(users, return_inverse=True)
    n, n_users, share = len(users), int(numbers.max()) + 1, float(hits.mean())
    weights = np.ones(n) if expected is None else expected / expected.mean()
    residuals = np.bincount(numbers, weights=hits - share * weights)
    if n_users < 2 or not 0 < share < 1 or not residuals.any():
        return float(n_users)
    variance = n_users / (n_users - 1) * float(residuals @ residuals) / n**2
    return min(share * (1 - share) / variance, float(n))


def _rated(drawn: Sequence[Drawn]) -> list[Series]:
    return [series for part in drawn for series in part.rated]


def _rate(
    series: Series, users: Numbers, hits: npt.NDArray[np.float64], dataset: InteractionDataset, group: str
) -> Iterator[Rate]:
    """Give the rate of draws that are as false as that; nothing where there are none."""
    if not len(users):
        return
    share, expected = float(hits.mean()), uniform_rates(dataset)[users]
    uniform = float(expected.mean())
    limits = wilson_interval(share, effective_draws(users, hits, expected)) if uniform else (0.0, 0.0)
    yield Rate(
        label=series.experiment.label,
        series=series.name,
        kind=series.kind,
        initialisation=series.experiment.initialisation,
        group=group,
        pairs=len(users),
        users=len(np.unique(users)),
        held_out=round(float(hits.sum())),
        rate=share,
        interval=wilson_interval(share, effective_draws(users, hits)),
        uniform=uniform,
        ratio=share / uniform if uniform else None,
        ratio_interval=(limits[0] / uniform, limits[1] / uniform) if uniform else None,
    )
