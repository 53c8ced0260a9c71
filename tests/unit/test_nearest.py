"""The items nearest to generated vectors: never barred ones, never ones without a vector."""

from __future__ import annotations

import numpy as np

from hnlmrec.data import nearest
from hnlmrec.data.interactions import Interactions

N, SIZE = 10, 6
RNG = np.random.default_rng(0)
ITEMS = RNG.standard_normal((N, SIZE)).astype(np.float32)


def test_nearest_first_without_those_that_are_barred_for_the_user() -> None:
    vectors = 5 * ITEMS[[3, 3, 4]] + 0.01
    train, false = (Interactions.from_pairs(*pairs, 3, N) for pairs in (([0, 2], [3, 4]), ([1], [3])))
    users = np.array([1, 2, 0])
    found = nearest.nearest_items(vectors, users, ITEMS, (train,), 3)
    cosines = vectors @ (ITEMS / np.linalg.norm(ITEMS, axis=1, keepdims=True)).T
    assert found[0].tolist() == np.argsort(-cosines[0])[:3].tolist()
    assert found[0, 0] == found[1, 0] == 3  # users 1 and 2 do not have it
    assert found[2, 0] == 4  # user 0 does not have this one
    assert nearest.nearest_items(vectors, users, ITEMS, (train, false))[0, 0] != 3


def test_there_may_be_fewer_than_asked_for() -> None:
    has_all = Interactions.from_pairs([0] * N, range(N), 2, N)
    known = np.where(np.arange(N)[:, None] < 3, ITEMS, 0)
    found = nearest.nearest_items(ITEMS[:2], np.array([0, 1]), known, (has_all,), N + 2)
    assert found[0].tolist() == [-1] * (N + 2)
    assert sorted(found[1, :3].tolist()) == [0, 1, 2]  # the others have no vector
    assert found[1, 3:].tolist() == [-1] * (N - 1)


def test_rows_are_compared_in_parts(monkeypatch) -> None:
    vectors, users = RNG.standard_normal((7, SIZE)), np.zeros(7, dtype=np.int64)
    barred = (Interactions.from_pairs([], [], 1, N),)
    whole = nearest.nearest_items(vectors, users, ITEMS, barred, 4)
    monkeypatch.setattr(nearest, "_COSINES", 2 * N)
    assert nearest.nearest_items(vectors, users, ITEMS, barred, 4).tolist() == whole.tolist()
