"""The losses of the fine-tuning, over cosines of queries and documents, with masks against false negatives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

ContrastiveLoss = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def cosines(queries: Tensor, documents: Tensor) -> Tensor:
    """Return the cosine of every query and document: [B, d] and [M, d] to [B, M]."""
    return functional.normalize(queries, dim=1) @ functional.normalize(documents, dim=1).T


def pairwise_logistic(similarity: Tensor, targets: Tensor, weights: Tensor, temperature: float) -> Tensor:
    """-mean_{a,b} log sigmoid((cos(q_a, p_a) - cos(q_a, n_b)) / tau): the loss of the authors' code.

    Args:
        similarity: cosines, [B, M].
        targets: int64 [B], the document that is each query's positive.
        weights: [B, M], how often a document counts as a negative of the query; 0 where it is none.
        temperature: tau.

    Returns:
        [B], the mean over each query's negatives; 0 where it has none.
    """
    positive = similarity.gather(1, targets[:, None])  # [B, 1]
    terms = functional.softplus((similarity - positive) / temperature)
    return (terms * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-12)


def info_nce(similarity: Tensor, targets: Tensor, weights: Tensor, temperature: float) -> Tensor:
    """-log( e^(cos(q_a, p_a)/tau) / (e^(cos(q_a, p_a)/tau) + sum_b w_ab e^(cos(q_a, n_b)/tau)) ), [B].

    Not in the paper. Arguments as for `pairwise_logistic`.
    """
    positive = similarity.gather(1, targets[:, None])  # [B, 1]
    gaps = (similarity - positive) / temperature + torch.log(weights)  # log 0 = -inf: no negative
    return torch.logsumexp(torch.cat([torch.zeros_like(positive), gaps], dim=1), dim=1)


LOSSES: dict[str, ContrastiveLoss] = {"pairwise_logistic": pairwise_logistic, "info_nce": info_nce}


def anchor(documents: Tensor, vectors: Tensor) -> Tensor:
    """Mean 1 - cosine of encoded items and their CF vectors, both [M, d]: ties the output to the CF space."""
    return (1 - functional.cosine_similarity(documents, vectors, dim=1)).mean()
