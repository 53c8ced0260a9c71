"""Shares cover every row of every block once, and every share is worked on once."""

from __future__ import annotations

from threading import Lock

import numpy as np
import pytest
import torch

from hnlmrec.models.threads import in_threads, share


@pytest.mark.parametrize("n_rows", [0, 1, 7, 1000])
@pytest.mark.parametrize("n_blocks", [1, 3])
def test_shares_cover_each_row_once(n_rows: int, n_blocks: int) -> None:
    work = np.random.default_rng(0).integers(1, 2000, n_rows)
    covered = np.zeros((n_blocks, n_rows), dtype=int)
    for block, first, last in share(work, n_blocks):
        covered[block, first:last] += 1
    assert (covered == 1).all()


def test_shares_are_of_about_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    work = np.random.default_rng(0).integers(1, 2000, 5000)
    sums = [work[first:last].sum() for _, first, last in share(work, 1)]
    assert len(sums) == 8
    assert max(sums) - min(sums) <= 2 * work.max()


def test_little_work_is_not_cut() -> None:
    assert share(np.ones(100, dtype=int), 2) == [(0, 0, 100), (1, 0, 100)]


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_each_share_is_worked_on_once(monkeypatch: pytest.MonkeyPatch, n_threads: int) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    seen, lock = [], Lock()

    def kernel(argument: str, block: int, first: int, last: int) -> None:
        with lock:
            seen.append((argument, block, first, last))

    shares = [(0, n, n + 1) for n in range(50)]
    in_threads(kernel, shares, "x")
    assert sorted(seen) == [("x", *own) for own in shares]


def test_an_error_in_another_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def kernel(_block: int, first: int, _last: int) -> None:
        raise ValueError(f"row {first}")

    with pytest.raises(ValueError, match="row"):
        in_threads(kernel, [(0, 0, 1), (0, 1, 2)])
