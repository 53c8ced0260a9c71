"""The losses of one training step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hnlmrec.losses import LOSSES, ego_l2, hard_negative_contrast, judged_order
from hnlmrec.models.base import Batch, Embeddings, Rows, TrainableModel, take
from hnlmrec.negative_sampling.base import Negatives, NegativeSampler
from hnlmrec.processes import Processes
from hnlmrec.training.config import TrainingConfig
from hnlmrec.training.judged_order import JudgedOrder
from hnlmrec.training.pair_scores import pair_scores
from hnlmrec.training.sharing import ALONE, Share


@dataclass(frozen=True)
class Step:
    """What one step came to.

    Attributes:
        losses: scalar of each term, already weighted; the step descends on their sum.
        positive_scores: [B].
        negative_scores: [B, K].
        batch: the rows that this process took; all the rest is about them.
        negatives: what the sampler gave.
        catalogue: [n_items, d], the items' vectors without gradient, where the sampler was given them.
    """

    losses: dict[str, Tensor]
    batch: Batch
    positive_scores: Tensor
    negative_scores: Tensor
    negatives: Negatives
    catalogue: Tensor | None


def compute_step(
    model: TrainableModel,
    sampler: NegativeSampler,
    config: TrainingConfig,
    batch: Batch,
    rng: torch.Generator,
    *,
    order: JudgedOrder | None = None,
    processes: Processes = ALONE,
) -> Step:
    """Draw the negatives of a batch and compute every term of the loss.

    Where the sampler does not look at embeddings, the negatives are drawn first, and the model need only make the
    vectors of the batch. With several processes each computes the terms of its own rows, weighted so that their
    sum is the loss of the batch; the terms that need the whole batch are computed by all, and divided.
    """
    share = Share.of(len(batch.users), processes)
    own = share.batch(batch)
    embeddings = model.propagate(layers=sampler.uses_layers) if sampler.uses_embeddings else None
    seen = embeddings or model.ego_embeddings().detach()
    drawn, negatives = share.draw(sampler, batch, seen, rng)
    parts = [own.positives[:, None]] if negatives.items is None else [own.positives[:, None], negatives.items]
    n_parts = sum(part.shape[1] for part in parts)
    ordered = None if order is None else order.draw(batch.users, rng).of_rows(share.rows)
    if ordered is not None:
        parts.append(ordered.items)
    rows, places = _rows(model, embeddings, torch.cat(parts, dim=1), batch, share)
    places, order_places = places[:, :n_parts], places[:, n_parts:]
    positive_scores, negative_scores = _scores(rows, places, negatives)
    losses = {"ranking": LOSSES[config.loss](positive_scores, negative_scores, negatives.weights)}
    if ordered is not None:
        order_scores = pair_scores(rows.users, rows.items, order_places)
        losses["order"] = config.order_weight * judged_order(order_scores, ordered.targets, ordered.known)
    if config.regularization:
        counts = places.flatten().bincount(minlength=len(rows.items))
        losses["l2"] = config.regularization * ego_l2(rows.ego_users, rows.ego_items, counts)
    if not share.is_whole:
        losses = {name: share.weight * loss for name, loss in losses.items()}
    contrast = _contrast(rows, places[:, 0], negatives, config)
    losses |= {name: _part(loss, share, negatives, drawn) for name, loss in contrast.items()}
    together = _auxiliary(model, sampler, batch, drawn, embeddings)
    losses |= {name: loss / processes.size for name, loss in together.items()}
    catalogue = None if embeddings is None else embeddings.items.detach()
    return Step(losses, own, positive_scores, negative_scores, negatives, catalogue)


def _rows(
    model: TrainableModel, embeddings: Embeddings | None, pairs: Tensor, batch: Batch, share: Share
) -> tuple[Rows, Tensor]:
    """Return the rows of the own users and of all items that are asked for, and where the pairs' items are there.

    Each item's row is made once, however many of the `pairs` (int64 [B, n]) it is in.
    """
    together = model.needs_whole_batch and not share.is_whole
    users = batch.users if together else share.batch(batch).users
    wanted = torch.cat([pairs.flatten(), batch.positives]) if together else pairs.flatten()
    items, places = torch.unique(wanted, return_inverse=True)
    rows = model.rows(users, items) if embeddings is None else model.take(embeddings, users, items)
    if together:
        rows = replace(rows, users=rows.users[share.rows], ego_users=rows.ego_users[share.rows])
    return rows, places[: pairs.numel()].view(pairs.shape)


def _scores(rows: Rows, places: Tensor, negatives: Negatives) -> tuple[Tensor, Tensor]:
    """Score the pairs; `places` [B, 1 or 1 + K] are rows of the positive, and of negatives that are items."""
    if negatives.vectors is None:
        scores = pair_scores(rows.users, rows.items, places)
        return scores[:, 0], scores[:, 1:]
    positive = pair_scores(rows.users, rows.items, places[:, :1])
    return positive[:, 0], (rows.users[:, None] * negatives.vectors).sum(-1)


def _contrast(rows: Rows, positives: Tensor, negatives: Negatives, config: TrainingConfig) -> dict[str, Tensor]:
    if negatives.hard is None or negatives.hard_found is None or not config.contrastive_weight:
        return {}
    # Without gradient: a projector that learns from this loss emits easy negatives, and training collapses.
    hard = negatives.hard.detach()
    vectors = take(rows.items, positives)
    loss = hard_negative_contrast(rows.users, vectors, hard, negatives.hard_found, config.temperature)
    return {"contrastive": config.contrastive_weight * loss}


def _part(loss: Tensor, share: Share, negatives: Negatives, drawn: Negatives) -> Tensor:
    """Weight the mean over what was found in the own rows, so that the sum is the mean over the whole batch."""
    if share.is_whole or negatives.hard_found is None or drawn.hard_found is None:
        return loss
    return loss * (share.weight > 0) * negatives.hard_found.sum() / drawn.hard_found.sum().clamp(min=1)


def _auxiliary(
    model: TrainableModel,
    sampler: NegativeSampler,
    batch: Batch,
    negatives: Negatives,
    embeddings: Embeddings | None,
) -> dict[str, Tensor]:
    terms = {"model": model.auxiliary_loss(batch)}
    if embeddings is not None:
        terms["sampler"] = sampler.auxiliary_loss(batch.users, batch.positives, negatives, embeddings)
    return {name: term for name, term in terms.items() if term is not None}
