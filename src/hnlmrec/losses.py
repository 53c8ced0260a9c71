"""Pure loss functions over batches of scores or vectors.

A ranking loss takes positive scores [B] and negative scores [B, K], with optional weights [B, K] of the
negatives that sum to 1 over K where a sampler gives them (to less for a pair that counts for less), and returns a
scalar. With K > 1 and no weights, `bpr`, `hinge` and `bce` are the mean over the K negatives; `softmax` puts the
positive against all K at once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

RankingLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def bpr(positive: Tensor, negative: Tensor, weights: Tensor | None = None) -> Tensor:
    """Bayesian personalised ranking, -mean log sigmoid(s+ - s-) (Rendle et al., 2009)."""
    return _weighted_mean(functional.softplus(negative - positive[:, None]), weights)


def hinge(positive: Tensor, negative: Tensor, weights: Tensor | None = None, margin: float = 0.3) -> Tensor:
    """Mean max(0, s- - s+ + margin); the authors' code of HNLMRec has margin 0.3."""
    return _weighted_mean(functional.relu(negative - positive[:, None] + margin), weights)


def bce(positive: Tensor, negative: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy: the positive's term plus the mean of the negatives'."""
    return functional.softplus(-positive).mean() + _weighted_mean(functional.softplus(negative), weights)


def softmax(positive: Tensor, negative: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sampled softmax: -mean log(e^s+ / (e^s+ + sum_k K w_k e^s-_k)); w_k = 1/K without weights."""
    if weights is not None:
        negative = negative + torch.log(weights * negative.shape[1] + 1e-12)
    return (torch.logsumexp(torch.cat([positive[:, None], negative], dim=1), dim=1) - positive).mean()


def info_nce(anchors: Tensor, positives: Tensor, temperature: float) -> Tensor:
    """In-batch InfoNCE over cosine similarities of [B, d] and [B, d]: row b's positive is row b."""
    logits = functional.normalize(anchors, dim=1) @ functional.normalize(positives, dim=1).T / temperature
    return functional.cross_entropy(logits, torch.arange(len(anchors), device=anchors.device))


def hard_negative_contrast(
    users: Tensor, positives: Tensor, hard: Tensor, found: Tensor, temperature: float
) -> Tensor:
    """L_CL of HNLMRec: -mean log( e^(cos(u,i)/tau) / (e^(cos(u,i)/tau) + e^(cos(u,h)/tau)) ).

    Args:
        users: [B, d].
        positives: [B, d].
        hard: [B, K, d], hard-negative vectors in the CF space.
        found: bool [B, K]; a row that was not found counts for nothing.
        temperature: tau.

    Returns:
        Scalar; zero where no row was found.
    """
    user = functional.normalize(users, dim=-1)
    positive = (user * functional.normalize(positives, dim=-1)).sum(-1)[:, None]  # [B, 1]
    negative = (functional.normalize(hard, dim=-1) @ user[:, :, None]).squeeze(-1)  # [B, K]
    terms = functional.softplus((negative - positive) / temperature) * found
    return terms.sum() / found.sum().clamp(min=1)


def judged_order(scores: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy of P(a preferred to b) = sigmoid(s_a - s_b) and what a judge says (RankNet's equation 3).

    Args:
        scores: [B, 2], of a and b.
        targets: [B], the judge's P(a preferred to b).
        known: bool [B]; the other rows count for nothing, and for the mean over B.
    """
    terms = functional.binary_cross_entropy_with_logits(scores[:, 0] - scores[:, 1], targets, reduction="none")
    return (terms * known).mean()


def ego_l2(users: Tensor, items: Tensor, counts: Tensor) -> Tensor:
    """Half the squared norm of the batch's layer-0 vectors over the batch size (LightGCN, equation 15).

    Args:
        users: [B, d].
        items: [m, d].
        counts: int64 [m], how often each item is in the batch.
    """
    return 0.5 * (users.square().sum() + (counts * items.square().sum(dim=1)).sum()) / len(users)


def _weighted_mean(terms: Tensor, weights: Tensor | None) -> Tensor:
    return terms.mean() if weights is None else (terms * weights).sum(dim=1).mean()


LOSSES: dict[str, RankingLoss] = {"bpr": bpr, "hinge": hinge, "softmax": softmax, "bce": bce}
