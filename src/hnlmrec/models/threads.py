"""Kernels in threads of our own: shares of blocks and rows, taken by whichever thread is free.

Not those of OpenMP: these wait for one another by spinning, which makes a step many times slower as soon as
another program wants a core.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Share = tuple[int, int, int]
"""A block, its first row, and the row after its last."""
Shares = list[Share]

_WORK_OF_A_SHARE = 20_000  # less is not worth waking a thread for
_SHARES_OF_A_THREAD = 4  # more than one, so that a thread that is held up leaves its work to the others


def share(work: npt.NDArray[np.integer[Any]], n_blocks: int) -> Shares:
    """Cut every block's rows into shares of about the same work.

    Args:
        work: [N], what each row of a block costs, in neighbours read.
        n_blocks: number of blocks.
    """
    ends = np.cumsum(work)
    in_all = int(ends[-1]) if len(ends) else 0
    wanted = -(-_SHARES_OF_A_THREAD * torch.get_num_threads() // max(n_blocks, 1))
    n_shares = max(1, min(wanted, in_all // _WORK_OF_A_SHARE))
    inner = np.searchsorted(ends, np.arange(1, n_shares) * (in_all / n_shares), side="right").tolist()
    return [
        (block, first, last)
        for block in range(n_blocks)
        for first, last in zip([0, *inner], [*inner, len(work)], strict=True)
    ]


def in_threads(kernel: Callable[..., None], shares: Shares, *arguments: Any) -> None:
    """Call the kernel for every share, in this thread and as many others as torch may use."""
    todo, lock = iter(shares), Lock()
    n_others = min(torch.get_num_threads(), len(shares)) - 1
    pending = [_pool(n_others).submit(_work, kernel, arguments, todo, lock) for _ in range(n_others)]
    _work(kernel, arguments, todo, lock)
    for future in pending:
        future.result()


def _work(kernel: Callable[..., None], arguments: tuple[Any, ...], todo: Iterator[Share], lock: Lock) -> None:
    while True:
        with lock:
            own = next(todo, None)
        if own is None:
            return
        kernel(*arguments, *own)


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="propagation")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not live on in a forked process
