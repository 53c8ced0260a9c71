"""From text vectors to the CF space, for items without interactions.

The closed form of the alignment's squared distance (`hnlmrec.alignment`, objective `mse`), fitted after the
training on the final vectors: V = mean + (T - mean_T) W by ridge regression. An item counts by the square root of
its number of users, because the vector of an item that few have is mostly noise. The projector that a sampler
trains on the way aims at vectors that still move, and is not kept. `experiments/cold_items.py` compares this with
projectors of `hnlmrec.alignment` that are trained afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnlmrec.alignment import has_text
from hnlmrec.data.embeddings import Vectors
from hnlmrec.data.interactions import Numbers
from hnlmrec.errors import DataError

PENALTY = 10.0  # of the ridge regression, in units of the mean variance of a text dimension
_ROWS = 8192

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TextProjection:
    """An affine map of text vectors [n, d_text] into the CF space [n, d].

    Attributes:
        text_mean: [d_text].
        item_mean: [d].
        weights: [d_text, d].
    """

    text_mean: Doubles
    item_mean: Doubles
    weights: Doubles

    @classmethod
    def fit(cls, texts: Vectors, items: Vectors, degrees: Numbers, *, penalty: float = PENALTY) -> TextProjection:
        """Learn the map from the items that have both a text and users.

        Args:
            texts: [n_items, d_text]; a row of zeros is an item without text.
            items: [n_items, d], trained vectors.
            degrees: int64 [n_items], number of train users.
            penalty: weight of the squared entries of W, in units of the mean variance of a text dimension.

        Raises:
            DataError: fewer than two items have both.
        """
        known = np.flatnonzero(has_text(texts) & (degrees > 0))
        if len(known) < 2:
            raise DataError(
                f"{len(known)} items have both a text and train users, and the map from texts to vectors is "
                "learned from these: give titles or descriptions for more items."
            )
        shares = np.sqrt(degrees[known]) / np.sqrt(degrees[known]).sum()  # [n], sum 1
        text_mean, item_mean = _mean(texts, known, shares), _mean(items, known, shares)
        size = len(text_mean)
        squares, products = np.zeros((size, size)), np.zeros((size, len(item_mean)))
        for start in range(0, len(known), _ROWS):
            rows, share = known[start : start + _ROWS], shares[start : start + _ROWS, None]
            centred = np.asarray(texts[rows], dtype=np.float64) - text_mean
            squares += centred.T @ (share * centred)
            products += centred.T @ (share * (np.asarray(items[rows], dtype=np.float64) - item_mean))
        added = max(penalty * np.trace(squares) / size, 1e-12)
        return cls(text_mean, item_mean, np.linalg.solve(squares + added * np.eye(size), products))

    def __call__(self, texts: Vectors) -> npt.NDArray[np.float32]:
        """Return points of the CF space, float32 [n, d]."""
        return ((texts - self.text_mean) @ self.weights + self.item_mean).astype(np.float32)


def _mean(table: Vectors, rows: Numbers, shares: Doubles) -> Doubles:
    parts = range(0, len(rows), _ROWS)
    means = [shares[at : at + _ROWS] @ np.asarray(table[rows[at : at + _ROWS]], dtype=np.float64) for at in parts]
    return np.asarray(np.sum(means, axis=0), dtype=np.float64)
