"""The gradient that a sampler gives in expectation, against that of the same sampler with an oracle beside it.

Positives (u, i) have weights a(u, i) that sum to 1. A sampler draws negatives j ~ q(j | u, i), items or vectors;
the negatives of one draw are weighed as the sampler says, 1/K each where it says nothing. With l(x) = log(1 + e^x)
the expected gradient of the ranking loss at the layer-0 vectors is

    G = sum_{(u, i)} a(u, i) E_{j ~ q} grad l(s(u, j) - s(u, i)).

**Oracle of the same rule.** A negative is false where u likes an item that it stands on: the item drawn or mixed
in, or the item that a generated vector was made for. (Of a negative that is chosen layer by layer, the choice of
layer 0 counts; a vector that stands for no item is never false.) The oracle draws from q*(j | u, i) =
q(j | u, i, j is true), and leaves out the positives that u does not like, which a judge may have brought in:

    G* = sum a*(u, i) E_{j ~ q*} grad l(s(u, j) - s(u, i)),    a* = a on true positives, scaled to sum 1.

A pair for which no true negative came up has no q*; uniform true negatives stand in, and the share of these pairs
is reported. With observed positives only, and pi(u, i) the share of false negatives,

    G - G* = sum a(u, i) pi(u, i) (E_false grad l - E_true grad l):

the bias is the share of false negatives times how differently they pull.

**Ideal.** All liked pairs against all that are not liked, see `ideal`; it differs from G in the positives as well.

Expectations are means over repeated draws. Norms and cosines come from two independent halves of them, A and B
(|x|² = <x_A, x_B>), so that the noise of the draws does not add to a bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from hnlmrec.models.base import Embeddings, TrainableModel
from hnlmrec.negative_sampling.base import Negatives, NegativeSampler

_STAND_INS = 32  # uniform true negatives of a pair for which no true negative came up


@dataclass(frozen=True)
class Positives:
    """The positives that a method trains on.

    Attributes:
        users: int64 [P].
        items: int64 [P].
        weights: float32 [P], sum 1.
    """

    users: Tensor
    items: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Half:
    """Half of the draws of one method.

    Attributes:
        mean: [n_users + n_items, d], the mean of the gradients, an estimate of G.
        oracle: likewise, of G*.
        spread: mean squared distance of the gradient of one pass over the positives from `mean`.
        facts: false_share, false_positive_share, unreachable_share (of pairs for which no true negative came up),
            and mean sigma(s(u, j) - s(u, i)) of all draws, the true and the false ones: hardness, hardness_true,
            hardness_false.
    """

    mean: Tensor
    oracle: Tensor
    spread: float
    facts: dict[str, float]


@dataclass(frozen=True)
class _Scene:
    """What all draws of a method have in common."""

    embeddings: Embeddings  # with gradient
    ego: tuple[Tensor, Tensor]  # layer-0 vectors of users and items
    positives: Positives
    liked: Tensor  # bool [n_users, n_items]
    rng: torch.Generator

    def gradient(self, loss: Tensor) -> Tensor:
        """Return the gradient at the layer-0 vectors, [n_users + n_items, d]."""
        return torch.cat(torch.autograd.grad(loss, self.ego, retain_graph=True)).detach()

    def margins(self, rows: Tensor, vectors: Tensor) -> Tensor:
        """Return s(u, j) - s(u, i) of some positives: int64 [B], [B, K, d] -> [B, K]."""
        user = self.embeddings.users[self.positives.users[rows]]
        positive = self.embeddings.items[self.positives.items[rows]]
        return (vectors @ user[:, :, None]).squeeze(2) - (user * positive).sum(1)[:, None]


@dataclass(frozen=True)
class _Draw:
    losses: Tensor  # [P, K], with gradient
    weights: Tensor  # [P, K], sum 1 over K
    is_false: Tensor  # bool [P, K]
    pulls: Tensor  # [P, K], sigma(s(u, j) - s(u, i)), the size of the gradient at the scores


def measure_gradients(
    model: TrainableModel,
    sampler: NegativeSampler,
    positives: Positives,
    liked: Tensor,
    rng: torch.Generator,
    *,
    n_draws: int,
) -> tuple[Half, Half]:
    """Draw the negatives of all positives again and again; nothing is trained.

    Args:
        model: as it is.
        sampler: after `start_epoch`.
        positives: what the method trains on.
        liked: bool [n_users, n_items], the truth.
        rng: of the draws.
        n_draws: passes over the positives, even, at least 4.

    Returns:
        The two halves.

    Raises:
        ValueError: `n_draws` is odd or below 4.
    """
    if n_draws < 4 or n_draws % 2:
        raise ValueError(f"n_draws is {n_draws}: give an even number of at least 4.")
    embeddings, ego = model.propagate(layers=sampler.uses_layers), model.ego_embeddings()
    scene = _Scene(embeddings, (ego.users, ego.items), positives, liked, rng)
    first, second = (_half(scene, [_draw(scene, sampler) for _ in range(n_draws // 2)]) for _ in range(2))
    return first, second


def _draw(scene: _Scene, sampler: NegativeSampler) -> _Draw:
    users, items = scene.positives.users, scene.positives.items
    negatives = sampler.sample(users, items, scene.embeddings, scene.rng)
    margins = scene.margins(torch.arange(len(users)), negatives.embeddings(scene.embeddings))
    weights = negatives.weights
    if weights is None:
        weights = torch.full_like(margins, 1 / margins.shape[1])
    is_false = _false(negatives, users, scene.liked)
    return _Draw(functional.softplus(margins), weights.detach(), is_false, torch.sigmoid(margins.detach()))


def _false(negatives: Negatives, users: Tensor, liked: Tensor) -> Tensor:
    """Return which negatives stand on an item that the user likes, bool [P, K]."""
    assert negatives.items is not None, "every sampler of the table gives items"
    is_false = liked[users[:, None], negatives.items]
    if negatives.hard_items is not None:
        named = negatives.hard_items
        is_false = is_false | (liked[users[:, None], named.clamp(min=0)] & (named >= 0))
    return is_false


def _half(scene: _Scene, draws: list[_Draw]) -> Half:
    shares = scene.positives.weights[:, None]
    each = torch.stack([scene.gradient((shares * draw.weights * draw.losses).sum()) for draw in draws])
    mean = each.mean(dim=0)
    spread = float((each - mean).square().sum() / (len(draws) - 1))
    loss, unreachable = _oracle_loss(scene, draws)
    return Half(mean, scene.gradient(loss), spread, _facts(scene, draws) | {"unreachable_share": unreachable})


def _oracle_loss(scene: _Scene, draws: list[_Draw]) -> tuple[Tensor, float]:
    """Return the loss whose gradient is G*, and the share of pairs for which no true negative came up."""
    positives, embeddings = scene.positives, scene.embeddings
    shares = positives.weights * scene.liked[positives.users, positives.items]
    shares = shares / shares.sum()
    kept = [draw.weights * ~draw.is_false for draw in draws]
    mass = torch.stack([weights.sum(dim=1) for weights in kept]).sum(dim=0)  # [P]
    scale = torch.where(mass > 0, shares / mass.clamp(min=1e-12), 0.0)[:, None]
    terms = [(scale * weights * draw.losses).sum() for weights, draw in zip(kept, draws, strict=True)]
    missing = (mass == 0).nonzero().squeeze(1)
    if len(missing):
        truth = (~scene.liked[positives.users[missing]]).float()
        others = torch.multinomial(truth, _STAND_INS, replacement=True, generator=scene.rng)
        losses = functional.softplus(scene.margins(missing, embeddings.items[others]))
        terms.append((shares[missing] * losses.mean(dim=1)).sum())
    return torch.stack(terms).sum(), float(positives.weights[missing].sum())


def _facts(scene: _Scene, draws: list[_Draw]) -> dict[str, float]:
    positives = scene.positives
    weights = torch.stack([positives.weights[:, None] * draw.weights for draw in draws]) / len(draws)
    is_false = torch.stack([draw.is_false for draw in draws])
    pulls = torch.stack([draw.pulls for draw in draws])
    wrong = ~scene.liked[positives.users, positives.items]
    return {
        "false_share": float((weights * is_false).sum()),
        "false_positive_share": float((positives.weights * wrong).sum()),
        "hardness": float((weights * pulls).sum()),
        "hardness_true": _mean(pulls, weights * ~is_false),
        "hardness_false": _mean(pulls, weights * is_false),
    }


def _mean(values: Tensor, weights: Tensor) -> float:
    total = float(weights.sum())
    return float((values * weights).sum()) / total if total else float("nan")
