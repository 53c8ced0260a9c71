"""The user's own negatives, from a CSV or Parquet file, under any model.

No paper: the form in which negatives that another tool has mined are most often at hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.errors import DataError
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling.base import Negatives, NegativeSampler, SamplerConfig
from hnlmrec.negative_sampling.candidates import UniformCandidates
from hnlmrec.negative_sampling.negative_file import Policy, read_negatives
from hnlmrec.negative_sampling.pair_index import PairIndex


class FileConfig(SamplerConfig):
    """The K negatives are independent draws from the rows of the pair, or else of the user."""

    path: str
    """A `.csv`, `.csv.gz` or `.parquet` file with the columns user_id and item_id, and if wanted negative_id and
    weight. Without negative_id, item_id is the negative, for any positive of the user. With it, item_id is the
    positive (empty: any positive of the user) and negative_id the negative."""
    missing: Literal["error", "uniform"] = "error"
    """A train pair without any row: refuse the file, or draw uniform negatives for it, which `counts` reports."""
    unknown: Policy = "error"
    """A row with an id that the data set does not hold: refuse the file, or drop the row and count it."""
    observed: Policy = "error"
    """A row whose negative is a train item of the user: refuse the file, or drop the row and count it."""


class FileSampler(NegativeSampler):
    """p(j | u, i) ~ weight of the row (u, i, j); where the pair has no rows, of the rows (u, any, j).

    Without a weight column all rows weigh the same; a row of weight 0 is never drawn.

    Raises:
        MissingFileError: the file is not there.
        DataError: a column is missing, a weight is not a number of at least 0, or a row or pair is refused by
            `missing`, `unknown` or `observed`.
    """

    Config = FileConfig
    uses_embeddings = False
    negatives: Tensor  # int64 [n], in the order of the index
    ends: Tensor  # float64 [n], sum of the weights up to and with each row
    tally: Tensor  # int64 [2], drawn and missing

    def __init__(self, dataset: InteractionDataset, config: FileConfig) -> None:
        super().__init__(dataset, config)
        rows = read_negatives(Path(config.path), dataset, unknown=config.unknown, observed=config.observed)
        self.n_unknown, self.n_observed = rows.n_unknown, rows.n_observed
        self.candidates = UniformCandidates(dataset.train)
        self.index = PairIndex(rows.users, rows.positives, dataset.n_items)
        order = self.index.order
        self.register_buffer("negatives", torch.from_numpy(rows.negatives)[order], persistent=False)
        self.register_buffer("ends", torch.from_numpy(rows.weights)[order].cumsum(0), persistent=False)
        self.register_buffer("tally", torch.zeros(2, dtype=torch.int64))
        if config.missing == "error":
            self._check_that_all_pairs_have_rows(dataset, config.path)

    def sample(self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator) -> Negatives:
        """Draw K rows for each pair, int64 [B, K]."""
        shape = (len(users), self.n_negatives)
        first, count = (part[:, None] for part in self.index.find(users, positives))  # [B, 1]
        starts = torch.nn.functional.pad(self.ends, (1, 0))
        below, above = starts[first], starts[first + count]
        draws = torch.rand(shape, generator=rng, device=users.device, dtype=torch.float64)
        places = torch.searchsorted(self.ends, below + draws * (above - below), right=True)
        places = torch.maximum(torch.minimum(places, first + count - 1), first).clamp(max=len(self.ends) - 1)
        missing = (count == 0).expand(shape)
        uniform = self.candidates.draw(users, self.n_negatives, rng)
        self.tally += torch.stack([torch.full_like(missing.sum(), missing.numel()), missing.sum()])
        return Negatives(torch.where(missing, uniform, self.negatives[places]))

    def counts(self) -> dict[str, int]:
        """Return draws, those that had to be uniform, and the rows dropped at reading."""
        drawn, missing = self.tally.tolist()
        return {
            "drawn": drawn,
            "missing_drawn_uniformly": missing,
            "rows_dropped_unknown": self.n_unknown,
            "rows_dropped_observed": self.n_observed,
        }

    def _check_that_all_pairs_have_rows(self, dataset: InteractionDataset, path: str) -> None:
        train = dataset.train
        users = torch.from_numpy(train.users.astype(np.int64))
        _, count = self.index.find(users, torch.from_numpy(train.indices.astype(np.int64)))
        without = np.flatnonzero((count == 0).numpy())
        if len(without):
            user, item = (
                dataset.users.ids([train.users[without[0]]]),
                dataset.items.ids([train.indices[without[0]]]),
            )
            raise DataError(
                f"{path} has no negatives for {len(without)} of {len(train)} train pairs, for example user "
                f"{user[0]!r} with item {item[0]!r}. Add rows for them, or set sampler.missing=uniform."
            )
