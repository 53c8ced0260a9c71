"""Several processes train one model: each takes its rows of every batch, and the gradients are summed.

Parameters, propagation and random streams are the same in every process, so that the rows which the processes take
make up the batch of a single one, with the same negatives; only the order of the sums differs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hnlmrec.models.base import Batch, Embeddings
from hnlmrec.negative_sampling.base import Negatives, NegativeSampler
from hnlmrec.negative_sampling.candidates import UniformCandidates
from hnlmrec.processes import Processes

ALONE = Processes()


@dataclass(frozen=True)
class Share:
    """This process's rows of a batch.

    Attributes:
        rows: which; at least one.
        total: rows of the batch.
        weight: their part of it, 0 for a process that is one too many: it computes the first row for nothing.
    """

    rows: slice
    total: int
    weight: float

    @classmethod
    def of(cls, total: int, processes: Processes) -> Share:
        """Cut a batch into parts that differ by one row at most."""
        each, left = divmod(total, processes.size)
        start = processes.rank * each + min(processes.rank, left)
        stop = start + each + (processes.rank < left)
        if start == stop:
            return cls(slice(0, 1), total, 0.0)
        return cls(slice(start, stop), total, (stop - start) / total)

    @property
    def is_whole(self) -> bool:
        """Whether there is no other process."""
        return self.weight == 1.0

    def batch(self, batch: Batch) -> Batch:
        """Return this process's rows."""
        return batch if self.is_whole else Batch(batch.users[self.rows], batch.positives[self.rows])

    def draw(
        self, sampler: NegativeSampler, batch: Batch, seen: Embeddings, rng: torch.Generator
    ) -> tuple[Negatives, Negatives]:
        """Draw negatives, so that `rng` is where it would be after the whole batch.

        Returns:
            those of the whole batch (of the own rows alone where the sampler draws by row); those of the own rows.
        """
        if self.is_whole:
            negatives = sampler.sample(batch.users, batch.positives, seen, rng)
            return negatives, negatives
        if sampler.draws_by_row:
            own, candidates = self.batch(batch), sampler.candidates
            assert isinstance(candidates, UniformCandidates)
            with candidates.only(self.rows, self.total):
                negatives = sampler.sample(own.users, own.positives, seen, rng)
            return negatives, negatives
        negatives = sampler.sample(batch.users, batch.positives, seen, rng)
        return negatives, negatives.of_rows(self.rows)
