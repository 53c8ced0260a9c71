"""Ranking metrics: arrays in, one value a user (or one of the whole catalogue) out.

A user's list is judged by `hits` (is the item at rank r = 1 … Kmax relevant?) and by the number of the user's
relevant items |R_u|. Users without relevant items have no value: leave them out before, and count them. Several
metrics go by one name in the literature; each docstring states the variant. A list shorter than K counts as if
filled with misses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Hits = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.integer[Any]]
Items = npt.NDArray[np.integer[Any]]

UserFunction = Callable[[Hits, Counts, int], Values]
CatalogueFunction = Callable[[Items, Counts, int], float]


def recall(hits: Hits, n_relevant: Counts, k: int) -> Values:
    """Hits in the top K over |R_u| (not over min(K, |R_u|)). Takes [U, Kmax] and [U], returns [U] in [0, 1]."""
    return np.asarray(hits[:, :k].sum(axis=1) / n_relevant)


def precision(hits: Hits, n_relevant: Counts, k: int) -> Values:  # noqa: ARG001 - one signature for all
    """Hits in the top K over K."""
    return np.asarray(hits[:, :k].sum(axis=1) / k)


def hit_rate(hits: Hits, n_relevant: Counts, k: int) -> Values:  # noqa: ARG001 - one signature for all
    """1 where the top K hold a relevant item, else 0 (not hits over all test interactions)."""
    return np.asarray(hits[:, :k].any(axis=1), dtype=np.float64)


def mrr(hits: Hits, n_relevant: Counts, k: int) -> Values:  # noqa: ARG001 - one signature for all
    """1 over the rank of the first relevant item; 0 where it is not in the top K."""
    top = hits[:, :k]
    return np.where(top.any(axis=1), 1.0 / (top.argmax(axis=1) + 1.0), 0.0)


def ndcg(hits: Hits, n_relevant: Counts, k: int) -> Values:
    """Sum of hit_r / log2(r + 1), over its largest possible value for min(K, |R_u|) relevant items (binary gain).

    Järvelin and Kekäläinen, 2002.
    """
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[np.minimum(n_relevant, k) - 1]
    top = hits[:, :k].astype(np.float64)
    # Summed row by row: a matrix product rounds with the number of rows, and a user's value must not depend on it.
    gains = (top * discounts[: top.shape[1]]).sum(axis=1)
    return np.asarray(np.minimum(gains / ideal, 1.0))  # rounding alone could pass 1


def average_precision(hits: Hits, n_relevant: Counts, k: int) -> Values:
    """Sum of precision at r over the ranks r <= K of the hits, over min(K, |R_u|). Its mean is MAP."""
    top = hits[:, :k]
    precisions = np.cumsum(top, axis=1) / np.arange(1, top.shape[1] + 1)
    return np.asarray((precisions * top).sum(axis=1) / np.minimum(n_relevant, k))


def coverage(items: Items, popularity: Counts, k: int) -> float:
    """Share of the catalogue that is in the top K of at least one user.

    Args:
        items: [U, Kmax], item numbers in rank order; -1 where a list ends early.
        popularity: [n_items], number of training interactions of each item.
        k: length of the list.
    """
    return float(np.count_nonzero(_exposure(items, len(popularity), k)) / len(popularity))


def arp(items: Items, popularity: Counts, k: int) -> float:
    """Average recommendation popularity: mean number of training interactions of the items in the top K.

    The mean is taken over each user's list and then over the users with a list (Yin et al., 2012).
    """
    top = items[:, :k]
    given = top >= 0
    lengths = given.sum(axis=1)
    sums = (popularity[top] * given).sum(axis=1)
    return float((sums[lengths > 0] / lengths[lengths > 0]).mean()) if lengths.any() else 0.0


def gini(items: Items, popularity: Counts, k: int) -> float:
    """Gini index of the exposure: 0 where every item is recommended equally often, near 1 where one is always.

    sum_i (2 i - n - 1) c_i / (n sum_i c_i), c ascending: how often each of the n items is in a top K.
    """
    exposure = np.sort(_exposure(items, len(popularity), k)).astype(np.float64)
    n = len(exposure)
    total = exposure.sum()
    return float((2 * np.arange(1, n + 1) - n - 1) @ exposure / (n * total)) if total else 0.0


def _exposure(items: Items, n_items: int, k: int) -> npt.NDArray[np.intp]:
    top = items[:, :k]
    return np.bincount(top[top >= 0], minlength=n_items)


@dataclass(frozen=True)
class Metric:
    """A metric and how to read it.

    Attributes:
        title: what tables and plots call it.
        formula: its definition in one line.
        per_user: one value a user; None for a metric of the whole catalogue.
        catalogue: one value for all users together; None for a metric of users.
        higher_is_better: False where lower is, None where neither is.
    """

    title: str
    formula: str
    per_user: UserFunction | None = None
    catalogue: CatalogueFunction | None = None
    higher_is_better: bool | None = True


METRICS: dict[str, Metric] = {
    "recall": Metric("Recall", "hits in the top K / relevant items of the user", recall),
    "ndcg": Metric("NDCG", "sum of 1 / log2(rank + 1) over the hits / its largest possible value", ndcg),
    "precision": Metric("Precision", "hits in the top K / K", precision),
    "hit_rate": Metric("Hit rate", "1 if a relevant item is in the top K, else 0", hit_rate),
    "mrr": Metric("MRR", "1 / rank of the first hit, 0 if it is below K", mrr),
    "map": Metric("MAP", "sum of the precisions at the hits / min(K, relevant items)", average_precision),
    "coverage": Metric("Coverage", "share of the catalogue in some user's top K", None, coverage),
    "arp": Metric("ARP", "mean training interactions of the recommended items", None, arp, None),
    "gini": Metric("Gini", "inequality of the items' exposure, 0 equal to 1 concentrated", None, gini, False),
}
