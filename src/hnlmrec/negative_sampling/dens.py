"""DENS: negatives that differ from the positive in the factors that matter to the user.

Lai et al., "Disentangled Negative Sampling for Collaborative Filtering", WSDM 2023. Two gates split the positive
and the candidates into relevant and irrelevant factors; the negative shares the irrelevant ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.models.base import Embeddings, take
from hnlmrec.negative_sampling.base import Negatives, SamplerResources
from hnlmrec.negative_sampling.candidates import CandidateConfig, CandidateSampler, NCandidates, choose
from hnlmrec.negative_sampling.layers import own_layer_pairs, pool

_IN_CACHE = 2**18  # numbers of the candidates' vectors that a core works on at once: 1 MiB


class DENSConfig(CandidateConfig):
    """The K negatives are each chosen from n candidates of their own."""

    n_candidates: NCandidates = 6
    """Number n of uniform candidates that one negative is chosen from."""
    warmup_epochs: int = Field(100, ge=1)
    """T0: over these epochs the choice moves from hard negatives to those of the irrelevant factors."""
    gamma: float = Field(0.3, ge=0)
    """Weight of the contrast that the gates learn by."""
    seed: int = Field(0, ge=0)
    """Of the gates' initial values."""


class DENSSampler(CandidateSampler):
    """Factor-aware choice, layer by layer.

    Positive gate g_i = sigmoid(W_i e_i + b_i + W_u e_u + b_u), relevant factors r_i = g_i * e_i; candidate gate
    g_j = sigmoid(W_n e_j + b_n + W_p r_i + b_p), r_j = g_j * e_j. For each layer the candidate with the largest
    e_u . [(1 - min(1, t / T0)) e_j - r_j], t the epoch; the negative is the mean over the layers. Gates and choice
    take the user's vector of the same layer (as in the authors' code), not the pooled one that MixGCF takes.

    The gates learn by the contrast (gamma / 4) of four terms softplus(a - b), over scores with the pooled user:
    (positive irrelevant, positive relevant), (negative relevant, negative irrelevant), (negative relevant,
    positive relevant), (positive irrelevant, negative irrelevant). Its gradient reaches the embeddings too,
    as in the paper.

    Departs from the paper: with K > 1 the terms are means over the negatives. `items` are the choice of layer 0.
    """

    Config = DENSConfig
    uses_layers = True

    def __init__(self, dataset: InteractionDataset, config: DENSConfig, embedding_size: int) -> None:
        super().__init__(dataset, config)
        self.warmup_epochs, self.gamma = config.warmup_epochs, config.gamma
        self.keep = 1.0  # 1 - min(1, t / T0)
        generator = torch.Generator().manual_seed(config.seed)
        self.positive_gate = _Gate(embedding_size, generator)
        self.negative_gate = _Gate(embedding_size, generator)

    @classmethod
    def create(cls, resources: SamplerResources, config: CandidateConfig) -> Self:
        """Make the sampler with gates of the model's embedding size."""
        assert isinstance(config, DENSConfig)
        resources.require("dens", "embedding_size")
        assert resources.embedding_size is not None
        return cls(resources.dataset, config, resources.embedding_size)

    def start_epoch(self, epoch: int, embeddings: Embeddings) -> None:
        """Set how far the choice has moved to the irrelevant factors."""
        self.keep = 1.0 - min(1.0, epoch / self.warmup_epochs)

    def sample(self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator) -> Negatives:
        """Choose K vectors for each pair: vectors [B, K, d], items int64 [B, K]."""
        candidates = self.draw(users, rng)
        layers = own_layer_pairs(embeddings)
        user = torch.stack([embeddings.take(table, users) for table, _ in layers])  # [L, B, d]
        positive = torch.stack([embeddings.take(table, positives) for _, table in layers])
        relevant = self.positive_gate(positive, user) * positive
        tables = [table for _, table in layers]
        picks = self._choose(users, user.detach(), relevant.detach(), tables, candidates)
        negative = torch.stack([embeddings.take(*own) for own in zip(tables, picks, strict=True)])
        vectors = pool(negative, embeddings.items.shape[1])
        return DENSNegatives(picks[0], vectors, layer_items=picks, layer_vectors=(positive, relevant, negative))

    def auxiliary_loss(
        self, users: Tensor, positives: Tensor, negatives: Negatives, embeddings: Embeddings
    ) -> Tensor | None:
        """Return the contrast of relevant and irrelevant factors, times gamma; None where gamma is 0."""
        if self.gamma == 0:
            return None
        assert isinstance(negatives, DENSNegatives)
        user = embeddings.take(embeddings.users, users)[:, None]  # [B, 1, d]
        size = embeddings.items.shape[1]
        # Scores of the relevant and irrelevant factors, [B, 1] for the positive and [B, K] for the negatives.
        pos_in, pos_out, neg_in, neg_out = (
            (pool(part, size) * user).sum(dim=2) for part in self._factors(*negatives.layer_vectors)
        )
        orders = ((pos_out, pos_in), (neg_in, neg_out), (neg_in, pos_in), (pos_out, neg_out))
        terms = [functional.softplus(lower - higher).mean() for lower, higher in orders]
        return self.gamma / 4 * torch.stack(terms).sum()

    @torch.no_grad()
    def _choose(
        self, users: Tensor, user: Tensor, relevant: Tensor, tables: list[Tensor], candidates: Tensor
    ) -> Tensor:
        """Return each layer's picks: [B], [L, B, d] twice, L of [n_items, d], int64 [B, K, n] -> [L, B, K]."""
        items, places = torch.unique(candidates, return_inverse=True)  # [M], so that W_n e_j is made once an item
        picks = []
        for layer, table in enumerate(tables):
            scores = self._scores(user[layer], relevant[layer], take(table, items), places)
            picks.append(choose(candidates, self.guarded(users, candidates, scores).argmax(dim=2)))
        return torch.stack(picks)

    def _scores(self, user: Tensor, relevant: Tensor, vectors: Tensor, places: Tensor) -> Tensor:
        """Return e_u . (keep e_j - r_j): [B, d] twice, [M, d], int64 [B, K, n] in M -> [B, K, n]."""
        own, context = self.negative_gate.parts(vectors, relevant)
        # On a CPU a few pairs at a time: their candidates' vectors stay in its cache.
        numbers, at_once = places.shape[1:].numel() * vectors.shape[1], _IN_CACHE * torch.get_num_threads()
        step = max(1, at_once // numbers) if places.device.type == "cpu" else len(places)
        parts = (torch.split(part, step) for part in (user, context, places))
        scores = []
        for of_user, of_context, at in zip(*parts, strict=True):
            gate = (take(own, at) + of_context[:, None, None]).sigmoid_()  # [b, K, n, d]
            factors = gate.neg_().add_(self.keep).mul_(take(vectors, at))
            scores.append((factors @ of_user[:, None, :, None]).squeeze(3))
        return torch.cat(scores)

    def _factors(self, positive: Tensor, relevant: Tensor, negative: Tensor) -> tuple[Tensor, ...]:
        """Return relevant and irrelevant factors: positive's [L, B, 1, d] and the negatives' [L, B, K, d]."""
        pos_in, positive = relevant[:, :, None], positive[:, :, None]
        neg_in = self.negative_gate(negative, pos_in) * negative
        return pos_in, positive - pos_in, neg_in, negative - neg_in


@dataclass(frozen=True, kw_only=True)
class DENSNegatives(Negatives):
    """Negatives that remember the choice of every layer, for the contrast.

    Attributes:
        layer_items: int64 [L, B, K].
        layer_vectors: of the positives [L, B, d], their relevant factors [L, B, d], and of the negatives
            [L, B, K, d], with gradient.
    """

    layer_items: Tensor
    layer_vectors: tuple[Tensor, Tensor, Tensor]


class _Gate(nn.Module):
    """sigmoid(W x + b + V context + c): the share of each factor of x that is relevant in this context.

    Two biases, as in the authors' code, are not the same as one: Adam moves each by its own step, so together they
    go twice as far, and while the embeddings are small the gates are little else than their biases.
    """

    def __init__(self, size: int, generator: torch.Generator) -> None:
        super().__init__()
        bound = size**-0.5
        self.own, self.context = (
            nn.Parameter(torch.empty(size, size).uniform_(-bound, bound, generator=generator)) for _ in range(2)
        )
        self.own_bias, self.context_bias = (
            nn.Parameter(torch.empty(size).uniform_(-bound, bound, generator=generator)) for _ in range(2)
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        gate, of_context = self.parts(x, context)
        gate += of_context
        return gate.sigmoid_()  # in place, since these are the largest tensors of a step

    def parts(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return W x and b + V context + c, whose sum the sigmoid is taken of."""
        of_context = functional.linear(context, self.context, self.own_bias + self.context_bias)
        return functional.linear(x, self.own), of_context
