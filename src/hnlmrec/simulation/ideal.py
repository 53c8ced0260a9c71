"""Gradients of the BPR risk over all pairs at once, without any sampling: what the samplers are held against.

Let a set of positives P and, for each user, a distribution b_u over negatives be given. The gradient of

    R = 1/|P| sum_{(u, i) in P} sum_j b_u(j) l(s(u, j) - s(u, i)),    l(x) = log(1 + e^x),

with respect to the model's layer-0 vectors is, by the chain rule over the scores s,

    sum_{u, j} C(u, j) grad s(u, j),
    C(u, j) = 1/|P| b_u(j) sum_{i in P_u} sigma(s(u, j) - s(u, i))          for a negative j,
    C(u, i) = -1/|P| sum_j b_u(j) sigma(s(u, j) - s(u, i))                  for a positive i.

b_u is the distribution of the hardest of n uniform draws from the negatives of u. With N negatives in descending
order of their scores, rank r = 1 … N is the hardest with probability ((N - r + 1)^n - (N - r)^n) / N^n. n = 1 is
the uniform distribution.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hnlmrec.models.base import TrainableModel
from hnlmrec.simulation.world import Doubles, Flags


def risk_gradient(model: TrainableModel, positives: Flags, negatives: Flags, *, n_candidates: int = 1) -> Tensor:
    """Return the gradient of R at the model's layer-0 vectors, [n_users + n_items, d], users first.

    With (liked, not liked) it is the ideal one; with (train, not train) the expectation of uniform sampling, or of
    DNS with that many candidates; with (train, not liked) that of the same without false negatives.

    Args:
        model: as it is; its parameters are left alone.
        positives: bool [n_users, n_items], P.
        negatives: bool [n_users, n_items], from which b_u draws.
        n_candidates: n.
    """
    embeddings = model.propagate()
    scores = embeddings.users @ embeddings.items.T
    weights = _coefficients(scores.detach().double().numpy(), positives, negatives, n_candidates)
    surrogate = (torch.from_numpy(weights).to(scores.dtype) * scores).sum()
    ego = model.ego_embeddings()
    return torch.cat(torch.autograd.grad(surrogate, [ego.users, ego.items])).detach()


def _coefficients(scores: Doubles, positives: Flags, negatives: Flags, n_candidates: int) -> Doubles:
    """Return C, float64 [n_users, n_items]."""
    result = np.zeros_like(scores)
    for user in np.flatnonzero(positives.any(axis=1) & negatives.any(axis=1)):
        chosen, others = np.flatnonzero(positives[user]), np.flatnonzero(negatives[user])
        others = others[np.argsort(-scores[user, others], kind="stable")]
        left = np.arange(len(others), -1, -1) / len(others)  # (N - r + 1) / N, and 0 at the end
        chances = -np.diff(left**n_candidates)
        pulls = 1 / (1 + np.exp(scores[user, chosen][:, None] - scores[user, others])) * chances  # [P_u, N]
        result[user, others] = pulls.sum(axis=0)
        result[user, chosen] -= pulls.sum(axis=1)
    return result / max(int(positives.sum()), 1)
