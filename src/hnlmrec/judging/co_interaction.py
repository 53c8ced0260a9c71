"""Text vectors that learn behaviour: a map under which items that the same users choose are near."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch.nn import functional

from hnlmrec.config import Config, added, runtime
from hnlmrec.data.interactions import Interactions, Numbers
from hnlmrec.errors import DataError
from hnlmrec.processes import best_device

Vectors = npt.NDArray[np.float32]


class CoInteractionConfig(Config):
    """How text vectors are tuned on co-interactions."""

    size: int = Field(256, ge=1)
    """Length of the mapped vectors; no longer than the text's."""
    steps: int = Field(100, ge=1)
    """Updates."""
    batch_size: int = Field(1_024, ge=2)
    """Pairs of items an update."""
    learning_rate: float = Field(2e-3, gt=0)
    """Step size of AdamW; rises over the first twentieth, then falls to 0."""
    temperature: float = Field(0.1, gt=0)
    """Cosines are divided by it."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of a text vector's entries that are left out in training."""
    weight_decay: float = Field(1e-3, ge=0)
    """Decoupled weight decay of AdamW."""
    candidates: int = added(16_384, ge=2)
    """Items drawn for each update that its pairs are set against, in a catalogue with more than that."""
    device: str = runtime("auto")
    """`auto` (CUDA where there is one), `cpu`, `cuda`, …"""


@dataclass(frozen=True)
class _Pairs:
    """Draws two different items of one user's history, every user that has two equally often."""

    train: Interactions
    users: Numbers

    @classmethod
    def of(cls, train: Interactions) -> _Pairs:
        users = np.flatnonzero(train.degrees > 1)
        if not len(users):
            raise DataError(
                "no user has two train items, so texts cannot be tuned on what is chosen together. "
                "Use judge.name=ease_text, or more data."
            )
        return cls(train, users)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        users = rng.choice(self.users, n)
        degrees, first = self.train.degrees[users], self.train.indptr[users]
        one = rng.integers(0, degrees)
        other = (one + rng.integers(1, degrees)) % degrees
        items = self.train.indices[np.stack([first + one, first + other])].astype(np.int64)
        return torch.from_numpy(items[0]), torch.from_numpy(items[1])


def tune_on_co_interactions(
    vectors: npt.NDArray[Any], train: Interactions, config: CoInteractionConfig, rng: np.random.Generator
) -> Vectors:
    """Map text vectors linearly so that items of the same users are near, and return unit rows [n, size].

    A pair (i, j) of a user's items is an example: P(j | i) = softmax_j(cos(W t_i, W t_j) / temperature + log n_j)
    over all other items, n_j the item's number of train interactions plus one. The popularity term keeps the
    cosines from having to express popularity, as the logQ correction does for a sampled softmax; it is not part
    of what is returned. W starts as the text vectors' principal axes. Our own step, not of a publication.

    In a catalogue of more than `candidates` items the softmax is over that many, drawn uniformly for each update,
    and the update's own items; each drawn one stands for the n / candidates that it was drawn from.

    Args:
        vectors: [n, d], a text vector each item; rows of zeros for items without a text stay zero.
        train: the only interactions that are read.
        config: see `CoInteractionConfig`.
        rng: draws the pairs, and seeds the dropout.

    Raises:
        DataError: no user has two train items.
    """
    pairs = _Pairs.of(train)
    device = torch.device(best_device() if config.device == "auto" else config.device)
    has_text = np.any(np.asarray(vectors) != 0, axis=1)
    texts = torch.from_numpy(_standardised(np.asarray(vectors, dtype=np.float32), has_text)).to(device)
    counts = np.bincount(train.indices, minlength=len(texts))
    popularity = torch.from_numpy(np.log1p(counts).astype(np.float32)).to(device)
    noise = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    axes = torch.linalg.svd(texts, full_matrices=False).Vh[: config.size].clone().requires_grad_()
    optimizer = torch.optim.AdamW([axes], lr=config.learning_rate, weight_decay=config.weight_decay)
    for step in range(config.steps):
        pace = min(1.0, 20 * (step + 1) / config.steps) * (1 - step / config.steps)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * pace
        given, chosen = (items.to(device) for items in pairs.draw(config.batch_size, rng))
        rows, prior = texts, popularity
        if len(texts) > config.candidates:
            drawn = torch.from_numpy(rng.choice(len(texts), config.candidates, replace=False)).to(device)
            own, (given, chosen) = torch.unique(torch.stack([given, chosen]), return_inverse=True)
            others = drawn[~torch.isin(drawn, own)]
            rows = texts[torch.cat([own, others])]
            weight = torch.full_like(others, np.log(len(texts) / config.candidates), dtype=prior.dtype)
            prior = torch.cat([popularity[own], popularity[others] + weight])
        kept = (torch.rand(rows.shape, generator=noise, device=device) >= config.dropout) / (1 - config.dropout)
        mapped = functional.normalize((rows * kept) @ axes.T, dim=1)  # [n, size]
        logits = mapped[given] @ mapped.T / config.temperature + prior  # [B, n]
        logits = logits.scatter(1, given[:, None], -torch.inf)
        loss = functional.cross_entropy(logits, chosen)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        return np.asarray(functional.normalize(texts @ axes.T, dim=1).cpu().numpy(), dtype=np.float32)


def _standardised(vectors: Vectors, has_text: npt.NDArray[np.bool_]) -> Vectors:
    """Return unit rows of the entries less their mean, over their deviation; a few entries of an LLM are huge."""
    some = vectors[has_text]
    result = np.zeros_like(vectors)
    if len(some):
        spread = some.std(axis=0)
        rows = (some - some.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        result[has_text] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return result
