"""Scores of users and items of theirs, with a gradient that costs no copy of the items' vectors.

A gather of [B, n, d] is written and read again by each operation, forward and backward, and its gradient is summed
up into a table at last. Here both passes are one compiled loop over the pairs, which read and write rows of the
tables where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hnlmrec.models.base import take
from hnlmrec.models.kernels import Floats, compiled
from hnlmrec.models.threads import in_threads
from hnlmrec.negative_sampling.scoring import candidate_scores

_WIDTH = 16  # columns of a block: 64 bytes of a row, and enough blocks for some threads


def pair_scores(users: Tensor, items: Tensor, places: Tensor) -> Tensor:
    """Return the dot product of each user's vector with those of its items, with gradient.

    Args:
        users: [B, d].
        items: [m, d].
        places: int64 [B, n], rows of `items`.

    Returns:
        [B, n].
    """
    if users.device.type != "cpu" or users.dtype != torch.float32 or items.dtype != torch.float32:
        return (users[:, None] * take(items, places)).sum(-1)
    return _pair_scores(users, items, places)


class _PairScores(Function):
    @staticmethod
    def forward(ctx: Any, users: Tensor, items: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(users, items, places)
        return candidate_scores(users, items, places)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        users, items, places = ctx.saved_tensors
        arrays = [tensor.detach().contiguous().numpy() for tensor in (users, items, places, gradient)]
        of_users, of_items = torch.zeros(users.shape), torch.zeros(items.shape)
        # A block of columns is one thread's alone: pairs share rows, and are added in the same order always.
        shares = [(block, 0, len(users)) for block in range(-(-users.shape[1] // _WIDTH))]
        in_threads(_add_gradients, shares, *arrays, of_users.numpy(), of_items.numpy())
        return of_users, of_items, None


_pair_scores: Callable[..., Tensor] = _PairScores.apply


@compiled
def _add_gradients(  # noqa: PLR0917 - arguments come by position
    users: Floats,
    items: Floats,
    places: np.ndarray[Any, np.dtype[np.int64]],
    gradient: Floats,
    of_users: Floats,
    of_items: Floats,
    block: int,
    first: int,
    last: int,
) -> None:
    """Add a block's columns of both gradients, for the users `first` to `last - 1` and all of their items."""
    begin = block * _WIDTH
    width = min(_WIDTH, users.shape[1] - begin)
    for row in range(first, last):
        user, of_user = users[row, begin:], of_users[row, begin:]
        for n in range(places.shape[1]):
            weight = gradient[row, n]
            item, of_item = items[places[row, n], begin:], of_items[places[row, n], begin:]
            if width == _WIDTH:  # a loop of constant length becomes vectors
                for k in range(_WIDTH):
                    of_user[k] += weight * item[k]
                    of_item[k] += weight * user[k]
            else:
                for k in range(width):
                    of_user[k] += weight * item[k]
                    of_item[k] += weight * user[k]
