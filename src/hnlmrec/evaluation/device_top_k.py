"""The best K items of each row of scores on the device of the scores: the lists leave it, the scores do not."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_LOW = 0xFFFFFFFF
_INFINITY = int(np.float32(-np.inf).view(np.int32)) ^ 0x7FFFFFFF  # minus infinity, as `_ordered` has it
_MASKED = torch.iinfo(torch.int32).min


def select_top_there(scores: Tensor, masked: tuple[Tensor, Tensor], k: int) -> Tensor:
    """Return each row's best items, best first, as `select_top` ranks them.

    Score and item make one whole number, so equal scores are ranked by item whatever the device does with ties.

    Args:
        scores: [B, n_items], none of them NaN; left alone.
        masked: row and item, int64 [M] each, of what may not be recommended.
        k: length of the lists, at most n_items.

    Returns:
        int32 [B, K]; -1 where a row has fewer than K items left.
    """
    ordered = _ordered(scores)
    ordered[masked] = _MASKED
    last = scores.shape[1] - 1
    backwards = torch.arange(last, -1, -1, device=scores.device)
    best = ((ordered.long() << 32) + backwards).topk(k, dim=1).values
    items = last - (best & _LOW)
    return torch.where((best >> 32) > _INFINITY, items, -1).to(torch.int32)


def _ordered(scores: Tensor) -> Tensor:
    """Return int32 numbers that are in the order of the float32 scores."""
    bits = (scores.float() + 0.0).view(torch.int32)  # + 0.0: -0.0 is no less than 0.0
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)
