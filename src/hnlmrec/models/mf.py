"""Matrix factorisation: one free vector for each user and each item.

Steffen Rendle, Christoph Freudenthaler, Zeno Gantner, Lars Schmidt-Thieme: "BPR: Bayesian Personalized Ranking
from Implicit Feedback", UAI 2009, section 4.3.1. Departs from the paper in the initial values (Xavier uniform) and
in that the regularisation is the trainer's, the same for all vectors.
"""

from __future__ import annotations

from torch import Tensor

from hnlmrec.models.base import CFModel, Embeddings, ModelConfig, Rows, take


class MFConfig(ModelConfig):
    """Matrix factorisation has no fields of its own."""


class MF(CFModel):
    """Score of (u, i): the dot product of two free vectors."""

    Config = MFConfig

    def propagate(self, *, layers: bool = False) -> Embeddings:
        """Return the parameters themselves; there are no layers."""
        del layers
        return self.ego_embeddings()

    def rows(self, users: Tensor, items: Tensor) -> Rows:
        """Look every row up once: final and layer-0 vectors are the same."""
        user_rows, item_rows = take(self.user_embedding, users), take(self.item_embedding, items)
        return Rows(user_rows, item_rows, user_rows, item_rows)
