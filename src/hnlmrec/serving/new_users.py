"""Vectors for users that were not trained on, from the items that they have.

    user = W [mean of the item vectors of the history; 1]

with W by ridge regression, over the known users, of their trained vectors on the same mean of their train items.
A trained user is nearly linear in that mean: LightGCN's propagation is, up to weights by degree.
`experiments/new_users.py` compares this with the plain mean, the propagation rule and implicit least squares, on
users that were held out whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hnlmrec.data.embeddings import Vectors
from hnlmrec.data.interactions import Interactions, Numbers
from hnlmrec.errors import DataError
from hnlmrec.serving.vectors import rows_of

PENALTY = 1e-3  # of the ridge regression, in units of the mean squared entry of the history means

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FoldIn:
    """The map from histories to user vectors.

    Attributes:
        items: [n_items, d], the trained item vectors.
        weights: [d + 1, d]; the last row is the constant.
    """

    items: Vectors
    weights: npt.NDArray[np.float64]

    @classmethod
    def fit(cls, users: Vectors, items: Vectors, train: Interactions, *, penalty: float = PENALTY) -> FoldIn:
        """Learn the map from the users that were trained.

        Args:
            users: [n_users, d].
            items: [n_items, d].
            train: what they were trained on.
            penalty: weight of the squared entries of W, in units of the mean squared entry of the means.

        Raises:
            DataError: no user has a train item.
        """
        known = np.flatnonzero(train.degrees)
        if not len(known):
            raise DataError(
                "new users are placed by what the known ones have trained, and no user has a train item."
            )
        item_vectors = rows_of(items, slice(None))
        means = (train.to_scipy() @ item_vectors)[known] / train.degrees[known, None]
        return cls(items, _ridge(means, rows_of(users, known), penalty))

    def vectors(self, histories: Sequence[Numbers]) -> Matrix:
        """Return the vectors of new users, float32 [len(histories), d].

        Args:
            histories: item numbers of each user, int64; none may be empty.
        """
        means = np.stack([rows_of(self.items, history).mean(axis=0) for history in histories])
        return np.asarray(means @ self.weights[:-1] + self.weights[-1], dtype=np.float32)


def _ridge(means: npt.NDArray[np.floating[Any]], targets: Matrix, penalty: float) -> npt.NDArray[np.float64]:
    """Return argmin_W |[means, 1] W - targets|² + penalty s |W|², [d + 1, d], the constant not penalised."""
    inputs = np.hstack([means, np.ones((len(means), 1))]).astype(np.float64)  # [n, d + 1]
    scale = float(np.square(means, dtype=np.float64).sum()) / means.shape[1]
    added = np.full(inputs.shape[1], max(penalty * scale, 1e-12))
    added[-1] = 1e-12 * len(means)
    weights: npt.NDArray[np.float64] = np.linalg.solve(inputs.T @ inputs + np.diag(added), inputs.T @ targets)
    return weights
