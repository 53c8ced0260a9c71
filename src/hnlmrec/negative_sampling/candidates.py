"""Uniform draws outside a user's train items, without rejection: the start of most samplers.

A user with the sorted history h_0 < h_1 < … has N - |h| items left. The r-th of them is

    j = r + #{k : h_k - k <= r},   r uniform in 0 … N - |h| - 1,

because h_k - k counts the free items below h_k. One bisection replaces draw, check and draw again, so the cost
does not grow with the share of items that a user has seen, and every draw is right by construction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal, Self

import numba
import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from hnlmrec.data.interactions import InteractionDataset, Interactions
from hnlmrec.errors import DataError
from hnlmrec.negative_sampling.base import NegativeSampler, SamplerConfig, SamplerResources
from hnlmrec.negative_sampling.risk import Guard
from hnlmrec.negative_sampling.scoring import candidate_scores


class UniformCandidates(nn.Module):
    """Draws items outside train(u), each with probability 1 / (N - |train(u)|).

    On a CPU the bisection is a compiled loop over each user's own slice; on other devices it is one
    `torch.searchsorted` over keys of all users. Both turn the same random numbers into the same items.

    Args:
        train: the split whose items are never drawn.

    Raises:
        DataError: a user has interacted with every item, so that no negative exists.
    """

    indptr: Tensor  # int64 [n_users + 1]
    thresholds: Tensor  # int32 [n_pairs], h_k - k, ascending within a user
    keys: Tensor  # int64 [n_pairs], user * (n_items + 1) + threshold, ascending
    pairs: Tensor  # int64 [n_pairs], user * n_items + item, ascending

    def __init__(self, train: Interactions) -> None:
        super().__init__()
        self.n_items = train.n_items
        self._rows: tuple[slice, int] | None = None
        check_that_negatives_exist(train)
        places = np.arange(len(train)) - np.repeat(train.indptr[:-1], train.degrees)
        thresholds = train.indices - places
        rows = train.users.astype(np.int64)
        keys, pairs = rows * (train.n_items + 1) + thresholds, rows * train.n_items + train.indices
        self.register_buffer("indptr", torch.from_numpy(train.indptr.copy()), persistent=False)
        self.register_buffer("thresholds", torch.from_numpy(thresholds.astype(np.int32)), persistent=False)
        self.register_buffer("keys", torch.from_numpy(keys), persistent=False)
        self.register_buffer("pairs", torch.from_numpy(pairs), persistent=False)

    def draw(self, users: Tensor, n: int, rng: torch.Generator) -> Tensor:
        """Return n items for each user, independent of one another.

        Args:
            users: int64 [B].
            n: items per user; one item may come more than once.
            rng: on the device of `users`.

        Returns:
            int64 [B, n].
        """
        rows, total = self._rows or (slice(None), len(users))
        places = torch.rand((total, n), generator=rng, device=users.device, dtype=torch.float64)
        return self.at(users, places[rows])

    @contextmanager
    def only(self, rows: slice, total: int) -> Iterator[None]:
        """Within the block, draw for these rows of a batch of `total` what they would get in the whole batch."""
        self._rows = (rows, total)
        try:
            yield
        finally:
            self._rows = None

    def is_train(self, users: Tensor, items: Tensor) -> Tensor:
        """Return which pairs are in the train split: bool, of the shape of `items`.

        Args:
            users: int64 [B].
            items: int64 [B, n].
        """
        ends = self.indptr[users + 1][:, None]
        wanted = users[:, None] * self.n_items + items
        places = torch.searchsorted(self.pairs, wanted)
        inside = places < ends
        return inside & (self.pairs[torch.where(inside, places, 0)] == wanted) if len(self.pairs) else inside

    def at(self, users: Tensor, places: Tensor) -> Tensor:
        """Return the items at relative places in [0, 1) of each user's ascending list of free items.

        Args:
            users: int64 [B].
            places: float64 [B, n].

        Returns:
            int64 [B, n].
        """
        if users.device.type == "cpu":
            items = np.empty(places.shape, dtype=np.int64)
            arrays = (tensor.numpy() for tensor in (users, places, self.indptr, self.thresholds))
            _nth_free_item(*arrays, self.n_items, items)  # type: ignore[call-arg]
            return torch.from_numpy(items)
        return self.at_any_device(users, places)

    def at_any_device(self, users: Tensor, places: Tensor) -> Tensor:
        """Do the same with tensor operations alone, which any device has."""
        ranks = (places * self.n_free(users)[:, None]).long()  # [B, n]
        keys = users[:, None] * (self.n_items + 1) + ranks
        return ranks + torch.searchsorted(self.keys, keys, right=True) - self.indptr[users][:, None]

    def n_free(self, users: Tensor) -> Tensor:
        """Return how many items each user has left, int64 [B]."""
        return self.n_items - (self.indptr[users + 1] - self.indptr[users])


NCandidates = Annotated[int, Field(ge=1)] | Literal["auto"]
_MOST, _ITEMS_EACH = 16, 100  # of "auto"


def number_of_candidates(n: int | Literal["auto"], n_items: int) -> int:
    """Return the number, for "auto" one in a hundred of the catalogue's items: at least 1, at most 16.

    The hardest of n uniform candidates stands, on average, at one (n + 1)th of a user's ranking. So `auto` goes up
    to about the hundredth place and no further: in a small catalogue, what stands higher is mostly liked. Found on
    validation of MovieLens-100K and of 148 gift cards (experiments/LOG.md).
    """
    return max(1, min(_MOST, n_items // _ITEMS_EACH)) if n == "auto" else n


class CandidateConfig(SamplerConfig):
    """Fields of the samplers that choose each negative from uniform candidates."""

    n_candidates: NCandidates = 16
    """Number n of candidates, drawn uniformly outside the user's train items, that one negative is chosen from.
    With K > 1, each negative is chosen from n candidates of its own. `auto`: one in a hundred of the catalogue's
    items, at least 1 and at most 16."""
    risk_penalty: float = Field(0.0, ge=0)
    """Trades hardness against risk: what a candidate of median risk loses of its score, in standard deviations of
    the candidates' scores; one of r times that risk loses log2(1 + r) times as much. 0 needs no judge."""


class CandidateSampler(NegativeSampler):
    """Base of the samplers that draw n candidates for each negative and choose by the model's scores."""

    def __init__(self, dataset: InteractionDataset, config: CandidateConfig) -> None:
        super().__init__(dataset, config)
        self.n_candidates = number_of_candidates(config.n_candidates, dataset.n_items)
        self.candidates = UniformCandidates(dataset.train)
        self.guard: Guard | None = None

    @classmethod
    def build(cls, resources: SamplerResources, config: SamplerConfig) -> Self:
        """Make the sampler; with a risk penalty it needs judgements."""
        assert isinstance(config, CandidateConfig)
        sampler = cls.create(resources, config)
        sampler.guard = guard_of(cls.__name__.removesuffix("Sampler").lower(), resources, config.risk_penalty)
        return sampler

    @classmethod
    def create(cls, resources: SamplerResources, config: CandidateConfig) -> Self:
        """Make the sampler without its guard."""
        return cls(resources.dataset, config)

    def guarded(self, users: Tensor, candidates: Tensor, scores: Tensor) -> Tensor:
        """Return the scores [B, K, n] less the penalty for the risk that a candidate is a false negative."""
        return scores if self.guard is None else self.guard.lower(users, candidates, scores)

    def draw(self, users: Tensor, rng: torch.Generator) -> Tensor:
        """Return the candidates of each negative, int64 [B, K, n]."""
        drawn = self.candidates.draw(users, self.n_negatives * self.n_candidates, rng)
        return drawn.view(len(users), self.n_negatives, self.n_candidates)

    @staticmethod
    def scores(user_vectors: Tensor, item_table: Tensor, candidates: Tensor) -> Tensor:
        """Return the dot products without gradient: [B, d], [n_items, d], int64 [B, K, n] -> [B, K, n]."""
        return candidate_scores(user_vectors, item_table, candidates.flatten(1)).view(candidates.shape)


def guard_of(name: str, resources: SamplerResources, penalty: float) -> Guard | None:
    """Return the guard of the sampler of that name, None for a penalty of 0.

    Raises:
        ConfigError: a guard needs judgements, and there are none.
    """
    if not penalty:
        return None
    resources.require(f"{name} with risk_penalty={penalty:g}", "judgements")
    assert resources.judgements is not None
    dataset = resources.dataset
    return Guard(resources.judgements, dataset.n_users, dataset.n_items, penalty)


def choose(candidates: Tensor, places: Tensor) -> Tensor:
    """Return the candidate at one place of each list: [B, K, n], int64 [B, K] -> [B, K]."""
    return candidates.gather(2, places[:, :, None]).squeeze(2)


@numba.njit(cache=True, nogil=True)
def _nth_free_item(users, places, indptr, thresholds, n_items, items):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    for b in range(len(users)):
        start, end = indptr[users[b]], indptr[users[b] + 1]
        free = n_items - (end - start)
        for n in range(places.shape[1]):
            rank = np.int64(places[b, n] * free)
            low, high = start, end
            while low < high:  # the first threshold above the rank
                middle = (low + high) >> 1
                if thresholds[middle] <= rank:
                    low = middle + 1
                else:
                    high = middle
            items[b, n] = rank + low - start


def check_that_negatives_exist(train: Interactions) -> None:
    """Raise DataError where a user has interacted with every item."""
    full = np.flatnonzero(train.degrees >= train.n_items)
    if len(full):
        raise DataError(
            f"{len(full)} users have interacted with all {train.n_items} items of the train split, so no negative "
            f"exists for them (user numbers {', '.join(map(str, full[:3]))}, …). Remove these users, or add the "
            "items of the catalogue that nobody has interacted with."
        )
