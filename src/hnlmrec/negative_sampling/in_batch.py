"""In-batch negatives: the positives of other pairs of the batch, with the correction for their popularity.

Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019,
equation 3: an item comes into a batch in proportion to its popularity q(j), which s(u, j) - log q(j)
corrects.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling.base import Negatives, NegativeSampler, SamplerConfig
from hnlmrec.negative_sampling.candidates import UniformCandidates


class InBatchConfig(SamplerConfig):
    """The K negatives of a row are positives of K other rows, without the user's own train items."""

    n_negatives: int = Field(16, ge=1)
    """Number K of negatives. The correction weighs them against one another, so it does nothing for K = 1."""
    correction: bool = True
    """Weigh the negatives by 1 / q(j), normalised over the K: the logQ correction, under the softmax loss."""
    n_spare: int = Field(8, ge=0)
    """Rows looked at beyond K, to stand in for those whose positive is a train item of the user."""


class InBatchSampler(NegativeSampler):
    """j = the positive of another, randomly chosen row of the batch, outside train(u).

    Departs from the paper: K rows in place of all others, since the batches here are large; q(j) is the
    item's share of the train pairs, known here, in place of an estimate from a stream; and items that the
    user has interacted with are masked. Where fewer than K of the K + `n_spare` rows looked at are allowed
    (or the batch has one row), uniform items fill the places; `counts` tells how many.
    """

    Config = InBatchConfig
    uses_embeddings = False
    log_q: Tensor  # [n_items]
    filled: Tensor  # int64 scalar
    drawn: Tensor  # int64 scalar

    def __init__(self, dataset: InteractionDataset, config: InBatchConfig) -> None:
        super().__init__(dataset, config)
        self.correction = config.correction
        self.n_looked_at = config.n_negatives + config.n_spare
        self.candidates = UniformCandidates(dataset.train)
        shares = np.maximum(dataset.train.item_degrees, 1) / max(len(dataset.train), 1)
        self.register_buffer("log_q", torch.from_numpy(np.log(shares).astype(np.float32)), persistent=False)
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))
        self.register_buffer("drawn", torch.zeros((), dtype=torch.int64))

    def sample(self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator) -> Negatives:
        """Choose K items for each row, int64 [B, K], with weights [B, K] where corrected."""
        n_rows, device = len(users), users.device
        shape = (n_rows, self.n_looked_at)
        steps = torch.randint(1, max(n_rows, 2), shape, generator=rng, device=device)  # never the row itself
        others = positives[(torch.arange(n_rows, device=device)[:, None] + steps) % n_rows]
        forbidden = self.candidates.is_train(users, others)
        order = forbidden.int().argsort(dim=1, stable=True)[:, : self.n_negatives]  # the allowed ones first
        missing = forbidden.gather(1, order)
        uniform = self.candidates.draw(users, self.n_negatives, rng)
        items = torch.where(missing, uniform, others.gather(1, order))
        self.filled += missing.sum()
        self.drawn += items.numel()
        return Negatives(items, weights=torch.softmax(-self.log_q[items], dim=1) if self.correction else None)

    def counts(self) -> dict[str, int]:
        """Return how many negatives were drawn, and how many of them had to be uniform."""
        return {"drawn": int(self.drawn), "filled_uniformly": int(self.filled)}
