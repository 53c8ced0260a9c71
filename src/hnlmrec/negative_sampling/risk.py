"""The guard: what a candidate's score loses for the risk that it is a false negative."""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor, nn

from hnlmrec.data.judgements import JudgementTable
from hnlmrec.models.threads import in_threads, share


class Guard(nn.Module):
    """Lowers the scores of risky candidates: s(u, j) - penalty * spread * log2(1 + p(false | u, j) / p_median).

    `spread` is the standard deviation of the scores of one pair's candidates, so that a guard does not wear off
    while scores grow in training. p_median is the median of the probabilities that the table lists: sparse data
    make all of them small, and one penalty fits sparse and dense data.

    Args:
        table: the judgements; a pair that it does not list has no risk.
        n_users: number of users of the data set.
        n_items: number of its items.
        penalty: standard deviations that a candidate of median risk loses.
    """

    indptr: Tensor  # int64 [n_users + 1], where a user's rows begin
    keys: Tensor  # int64 [n], user * n_items + item, ascending
    losses: Tensor  # float32 [n], in standard deviations

    def __init__(self, table: JudgementTable, n_users: int, n_items: int, penalty: float) -> None:
        super().__init__()
        self.n_items = n_items
        keys = table.users * n_items + table.items
        order = np.argsort(keys, kind="stable")
        positive = table.probabilities[table.probabilities > 0]
        odds = table.probabilities[order] / (np.median(positive) if len(positive) else 1.0)
        losses = (penalty * np.log2(1 + odds)).astype(np.float32)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(table.users, minlength=n_users))])
        for name, values in (("indptr", indptr), ("keys", keys[order]), ("losses", losses)):
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def lower(self, users: Tensor, candidates: Tensor, scores: Tensor) -> Tensor:
        """Return the scores less what the risk costs, float32 [B, K, n].

        Args:
            users: int64 [B].
            candidates: int64 [B, K, n].
            scores: float32 [B, K, n], without gradient.
        """
        if not len(self.keys):
            return scores
        wanted = (users[:, None, None] * self.n_items + candidates).flatten(1)
        losses = self._in_each_list(users, wanted) if users.device.type == "cpu" else self.at_any_device(wanted)
        spread = scores.flatten(1).std(dim=1, correction=0)
        return scores - spread[:, None, None] * losses.view(scores.shape)

    def at_any_device(self, wanted: Tensor) -> Tensor:
        """Return the losses of keys by tensor operations alone, float32 of their shape."""
        places = torch.searchsorted(self.keys, wanted).clamp(max=len(self.keys) - 1)
        return torch.where(self.keys[places] == wanted, self.losses[places], 0.0)

    def _in_each_list(self, users: Tensor, wanted: Tensor) -> Tensor:
        """Return the same of [B, n] keys on a CPU: a search in a user's own rows stays in the nearest cache."""
        losses = np.empty(wanted.shape, dtype=np.float32)
        arrays = (tensor.numpy() for tensor in (users, wanted, self.indptr, self.keys, self.losses))
        in_threads(_find, share(np.full(len(users), wanted.shape[1]), 1), *arrays, losses)
        return torch.from_numpy(losses)


@numba.njit(cache=True, nogil=True)
def _find(users, wanted, indptr, keys, losses, found, block, first, last):  # type: ignore[no-untyped-def]  # noqa: ARG001, PLR0917
    for b in range(first, last):
        for n in range(wanted.shape[1]):
            low, end = indptr[users[b]], indptr[users[b] + 1]
            high = end
            while low < high:
                middle = (low + high) >> 1
                if keys[middle] < wanted[b, n]:
                    low = middle + 1
                else:
                    high = middle
            found[b, n] = losses[low] if low < end and keys[low] == wanted[b, n] else np.float32(0.0)
