"""The best K items of each row of scores, masked items left out: one compiled pass that leaves the scores alone.

A row is scanned in blocks; a block whose values are all at or below the threshold (the K-th best at the last
count) is passed over by vector instructions, so that selection costs little more than reading the scores once.
What is above it is gathered in a buffer; when that is full, its best K stay and the threshold rises. Only such a
value is looked up among the masked items. Equal scores are ranked by item number, the smaller first, and a score
of minus infinity is never recommended.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

_BLOCK = 64  # scores that are compared with the threshold at once
_BUFFER = 4  # candidates that are gathered before the best K are picked out, in multiples of K

Array = npt.NDArray[Any]


@numba.njit(nogil=True, cache=True)
def _contains(indices: Array, start: int, stop: int, item: int) -> bool:
    while start < stop:
        middle = (start + stop) // 2
        if indices[middle] < item:
            start = middle + 1
        elif indices[middle] > item:
            stop = middle
        else:
            return True
    return False


@numba.njit(nogil=True, cache=True)
def _before(value: float, item: int, other_value: float, other_item: int) -> bool:
    return value > other_value or (value == other_value and item < other_item)


@numba.njit(nogil=True, cache=True)
def _select_first(values: Array, items: Array, size: int, k: int) -> None:
    """Move the best k of the first `size` entries to the front, the k-th itself at place k - 1 (quickselect)."""
    low, high = 0, size - 1
    while low < high:
        middle = (low + high) // 2
        pivot, pivot_item = values[middle], items[middle]
        left, right = low, high
        while left <= right:
            while _before(values[left], items[left], pivot, pivot_item):
                left += 1
            while _before(pivot, pivot_item, values[right], items[right]):
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                items[left], items[right] = items[right], items[left]
                left += 1
                right -= 1
        if k - 1 <= right:
            high = right
        elif k - 1 >= left:
            low = left
        else:
            return


@numba.njit(nogil=True, cache=True)
def _sink(values: Array, items: Array, place: int, size: int) -> None:
    """Let an entry sink in a heap whose root comes last in rank order."""
    while True:
        last = place
        for child in (2 * place + 1, 2 * place + 2):
            if child < size and _before(values[last], items[last], values[child], items[child]):
                last = child
        if last == place:
            return
        values[place], values[last] = values[last], values[place]
        items[place], items[last] = items[last], items[place]
        place = last


@numba.njit(nogil=True, cache=True)
def _sort(values: Array, items: Array, size: int) -> None:
    """Put the first `size` entries in rank order (heap sort)."""
    for place in range(size // 2 - 1, -1, -1):
        _sink(values, items, place, size)
    for end in range(size - 1, 0, -1):
        values[0], values[end] = values[end], values[0]
        items[0], items[end] = items[end], items[0]
        _sink(values, items, 0, end)


@numba.njit(nogil=True, cache=True)
def _select_row(scores: Array, masked: Array, values: Array, items: Array, k: int) -> int:
    """Put the best k in rank order at the front of the buffers; return how many there are, -1 for a NaN."""
    threshold = np.float32(-np.inf)
    size = 0
    for first in range(0, len(scores), _BLOCK):
        last = min(first + _BLOCK, len(scores))
        above = 0
        for item in range(first, last):
            above += not scores[item] <= threshold  # true for NaN as well
        if above == 0:
            continue
        for item in range(first, last):
            score = scores[item]
            if score <= threshold:
                continue
            if np.isnan(score):
                return -1
            if _contains(masked, 0, len(masked), item):
                continue
            values[size], items[size] = score, item
            size += 1
            if size == len(values):  # an equal score that comes later has a larger number: it may be left out
                _select_first(values, items, size, k)
                size, threshold = k, values[k - 1]
    if size > k:
        _select_first(values, items, size, k)
        size = k
    _sort(values, items, size)
    return size


@numba.njit(nogil=True, cache=True)
def select_top(scores: Array, users: Array, mask_indptr: Array, mask_indices: Array, items: Array) -> int:
    """Write the numbers of each row's best items.

    Args:
        scores: float32 [B, n_items].
        users: int64 [B], the row of the mask that belongs to each row of scores.
        mask_indptr: int64 [n_users + 1], CSR of the items that may not be recommended, ascending within a user.
        mask_indices: int32 [n_masked].
        items: int32 [B, K], written: best first, -1 where a user has fewer than K items left.

    Returns:
        The first row with a score that is not a number, or -1.
    """
    k = items.shape[1]
    values = np.empty(_BUFFER * k, dtype=np.float32)
    candidates = np.empty(_BUFFER * k, dtype=np.int32)
    for row in range(len(users)):
        masked = mask_indices[mask_indptr[users[row]] : mask_indptr[users[row] + 1]]
        size = _select_row(scores[row], masked, values, candidates, k)
        if size < 0:
            return row
        items[row, :size] = candidates[:size]
        items[row, size:] = -1
    return -1


@numba.njit(nogil=True, cache=True)
def mark_hits(items: Array, users: Array, indptr: Array, indices: Array, hits: Array) -> None:
    """Write hits bool [B, K]: which of `items` int32 [B, K] are among the user's, given as CSR."""
    for row in range(len(users)):
        start, stop = indptr[users[row]], indptr[users[row] + 1]
        for place in range(items.shape[1]):
            hits[row, place] = _contains(indices, start, stop, items[row, place])
