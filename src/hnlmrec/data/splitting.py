"""Splits of numbered pairs into train, valid and test: pure functions on arrays.

Every random choice depends on the set of pairs and on the stream, not on the order in which a source lists them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hnlmrec.data.interactions import Numbers

Codes = npt.NDArray[np.int8]
Ordered = npt.NDArray[np.int64] | npt.NDArray[np.float64]
TRAIN, VALID, TEST, LEFT_OUT, UNUSED = 0, 1, 2, -1, -2
"""Codes of a pair: its place in SPLITS, out of the data set, or in none of the splits (its user and item stay)."""


def hold_out_random(
    users: Numbers, items: Numbers, valid_fraction: float, test_fraction: float, rng: np.random.Generator
) -> Codes:
    """Split each user's pairs at random; returns codes [n].

    A user with n pairs gives round(n * fraction) of them (halves up) to test and to valid, and keeps at least one.
    """
    order = np.lexsort((items, users))
    draws = np.empty(len(users))
    draws[order] = rng.random(len(users))
    degree, rank = ranks_within(users, draws)
    n_test = np.minimum(_rounded(degree * test_fraction), degree - 1)
    n_valid = np.minimum(_rounded(degree * valid_fraction), degree - 1 - n_test)
    return np.where(rank < n_test, TEST, np.where(rank < n_test + n_valid, VALID, TRAIN)).astype(np.int8)


def hold_out_last(users: Numbers, order: Ordered, *, with_valid: bool) -> Codes:
    """Give each user's last pair to test and the one before it to valid; returns codes [n].

    A user with two pairs has no valid pair, a user with one has neither.

    Args:
        users: int64 [n].
        order: [n], ascends with time; ties are broken by the place in the arrays.
        with_valid: False gives all but the last to train.
    """
    degree, rank = ranks_within(users, order)
    from_end = degree - 1 - rank
    test = (from_end == 0) & (degree > 1)
    valid = (from_end == 1) & (degree > 2) & with_valid
    return np.where(test, TEST, np.where(valid, VALID, TRAIN)).astype(np.int8)


def hold_out_latest(users: Numbers, times: Numbers, valid_fraction: float, test_fraction: float) -> Codes:
    """Cut time in three for all users together: train, then valid, then test; returns codes [n].

    Pairs of the same time stay together. The pairs of a user who has none in train are left out, since no model
    could know that user.
    """
    ascending = np.sort(times)
    codes = np.full(len(users), TRAIN, dtype=np.int8)
    for code, share in ((VALID, valid_fraction + test_fraction), (TEST, test_fraction)):
        first = len(times) - int(_rounded(np.array(len(times) * share)))
        if share > 0 and first < len(times):
            codes[times >= ascending[first]] = code
    known = np.isin(users, users[codes == TRAIN])
    return np.where(known, codes, LEFT_OUT).astype(np.int8)


def cut_valid(codes: Codes, users: Numbers, items: Numbers, fraction: float, rng: np.random.Generator) -> Codes:
    """Move a share of each user's train pairs to valid, at random; at least one stays. Returns new codes [n]."""
    result = codes.copy()
    train = codes == TRAIN
    result[train] = hold_out_random(users[train], items[train], fraction, 0.0, rng)
    return result


def keep_share(codes: Codes, users: Numbers, items: Numbers, share: float, rng: np.random.Generator) -> Codes:
    """Keep round(n * share) of each user's n train pairs (halves up), at least one; the others become UNUSED.

    With the same generator, what a smaller share keeps is kept by a larger one too. Returns new codes [n].
    """
    train = np.flatnonzero(codes == TRAIN)
    order = np.lexsort((items[train], users[train]))
    draws = np.empty(len(train))
    draws[order] = rng.random(len(train))
    degree, rank = ranks_within(users[train], draws)
    result = codes.copy()
    result[train[rank >= np.maximum(_rounded(degree * share), 1)]] = UNUSED
    return result


def ranks_within(users: npt.NDArray[np.integer[Any]], order: Ordered) -> tuple[Numbers, Numbers]:
    """Return (number of pairs of the row's user, the row's place among them by `order`), int64 [n] each."""
    by_user = np.lexsort((order, users))  # stable: ties keep their place
    counts = np.bincount(users) if len(users) else np.zeros(0, dtype=np.int64)
    starts = np.cumsum(counts) - counts
    rank = np.empty(len(users), dtype=np.int64)
    rank[by_user] = np.arange(len(users)) - starts[users[by_user]]
    return counts[users], rank


def _rounded(values: npt.NDArray[np.floating[Any]]) -> Numbers:
    # The small term: 5 * 0.1 is to count as a half, whatever its last bit.
    rounded: Numbers = np.floor(values + (0.5 + 1e-9)).astype(np.int64)
    return rounded
