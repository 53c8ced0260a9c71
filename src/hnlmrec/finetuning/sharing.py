"""Several processes read the prompts of one batch: each its share, and all have all vectors afterwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from hnlmrec.processes import Processes

T = TypeVar("T")


@dataclass(frozen=True)
class Sharing:
    """Cuts a batch, and joins what was made of it.

    Every process computes the loss of the whole batch, with the negatives of the whole batch, from the joined
    vectors. Its gradient goes through its own share alone, so that the sum over the processes is the gradient of a
    single process that has read everything.

    Args:
        processes: this one among the others.
    """

    processes: Processes

    def own(self, rows: Sequence[T]) -> Sequence[T]:
        """Return this process's share. All are of the same length: the first row fills up the last of them."""
        size, rank = self.processes.size, self.processes.rank
        if size == 1:
            return rows
        each = math.ceil(len(rows) / size)
        filled = [*rows, *[rows[0]] * (each * size - len(rows))]
        return filled[rank * each : (rank + 1) * each]

    def join(self, vectors: Tensor, n: int) -> Tensor:
        """Return the vectors of all shares, [n, d], from those of this one; gradient flows to these alone."""
        if self.processes.size == 1:
            return vectors
        parts = [torch.empty_like(vectors) for _ in range(self.processes.size)]
        dist.all_gather(parts, vectors.detach().contiguous())
        parts[self.processes.rank] = vectors
        return torch.cat(parts)[:n]
