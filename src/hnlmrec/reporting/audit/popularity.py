"""Popularity skew: which part of the catalogue the negatives come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.evaluation.metrics import gini
from hnlmrec.reporting.audit.drawn import Drawn, Numbers, all_series

CATALOGUE = "train interactions"


@dataclass(frozen=True)
class Skew:
    """Where some draws lie in the catalogue, ordered by popularity (number of train users).

    Attributes:
        label: of the experiment; `CATALOGUE` for the positives of training, as the reference.
        series: its name.
        initialisation: of the experiment, "" for the reference.
        draws: number of them.
        mean_percentile: 0 (least popular) to 100; 50 for an even spread over the catalogue. Items of equal
            popularity share the middle of their places.
        gini: inequality of how often each item was drawn, 0 to 1. It rises where there are few draws an item, so
            compare samplers of one run only.
        items: the share of the catalogue that was drawn at all.
        deciles: share of the draws in each tenth of the catalogue, least popular first; 0.1 for an even spread.
    """

    label: str
    series: str
    initialisation: str
    draws: int
    mean_percentile: float
    gini: float
    items: float
    deciles: tuple[float, ...]


def popularity_skew(drawn: Sequence[Drawn], dataset: InteractionDataset) -> list[Skew]:
    """Return the skew of the train interactions, and of the draws of each series, all epochs together."""
    popularity = dataset.train.item_degrees
    rows = [(CATALOGUE, CATALOGUE, "", dataset.train.indices.astype(np.int64))]
    rows += [(s.experiment.label, s.name, s.experiment.initialisation, s.items) for s in all_series(drawn)]
    return [_skew(*row, popularity) for row in rows if len(row[3])]


def _skew(label: str, series: str, initialisation: str, items: Numbers, popularity: Numbers) -> Skew:
    counts = np.bincount(items, minlength=len(popularity))
    return Skew(
        label,
        series,
        initialisation,
        len(items),
        float(percentiles(popularity)[items].mean()),
        gini(items[:, None], popularity, 1),
        float((counts > 0).mean()),
        tuple(_decile_shares(counts, popularity)),
    )


def percentiles(popularity: Numbers) -> npt.NDArray[np.float64]:
    """Return the place of each item among all of them, 0 to 100, ties in the middle of their places, [n_items]."""
    _, level, sizes = np.unique(popularity, return_inverse=True, return_counts=True)
    ends = np.cumsum(sizes)
    return np.asarray(100 * (ends - sizes / 2)[level] / len(popularity))


def _decile_shares(counts: Numbers, popularity: Numbers) -> list[float]:
    """Return the share of the draws in each tenth of the catalogue; draws of a tie are spread evenly over it."""
    _, level, sizes = np.unique(popularity, return_inverse=True, return_counts=True)
    places = np.concatenate([[0.0], np.cumsum(sizes)]) / len(popularity)
    reached = np.concatenate([[0.0], np.cumsum(np.bincount(level, weights=counts))]) / counts.sum()
    return [float(share) for share in np.diff(np.interp(np.linspace(0, 1, 11), places, reached))]
