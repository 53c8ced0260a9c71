# ruff: noqa: I001 - the order of imports matters
"""What K negatives a pair cost, against a gather of their vectors: `python benchmarks/many_negatives.py`.

A step of MF on random pairs: scores, loss, L2 term and gradients of the tables, in turns with the same written
with a gather of [B, 1 + K, d]. Prints one JSON object: for each K milliseconds of CPU time a step, fastest and
median of the rounds, of both, and their ratio.
"""

from __future__ import annotations

import hnlmrec  # noqa: F401 - before torch: it sets how OpenMP waits

import argparse
import json
import os
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hnlmrec.losses import bpr, ego_l2
from hnlmrec.training.pair_scores import pair_scores


def gathered(users: Tensor, items: Tensor, at_users: Tensor, at_items: Tensor) -> Tensor:
    """Return the loss by way of a vector each pair."""
    user, item = functional.embedding(at_users, users), functional.embedding(at_items, items)  # [B, 1 + K, d]
    scores = (user[:, None] * item).sum(-1)
    l2 = 0.5 * (user.square().sum() + item.square().sum()) / len(user)
    return bpr(scores[:, 0], scores[:, 1:]) + 1e-4 * l2


def in_place(users: Tensor, items: Tensor, at_users: Tensor, at_items: Tensor) -> Tensor:
    """Return the same as a training step computes it."""
    distinct, places, counts = torch.unique(at_items, return_inverse=True, return_counts=True)
    user, item = functional.embedding(at_users, users), functional.embedding(distinct, items)
    scores = pair_scores(user, item, places)
    return bpr(scores[:, 0], scores[:, 1:]) + 1e-4 * ego_l2(user, item, counts)


def seconds(loss: Callable[..., Tensor], tables: tuple[Tensor, Tensor], batch: tuple[Tensor, Tensor]) -> float:
    """Return the CPU time of one step."""
    for table in tables:
        table.grad = None
    start = time.process_time()
    loss(*tables, *batch).backward()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--negatives", nargs="+", type=int, default=[1, 4, 16, 64, 256])
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=12_000)
    parser.add_argument("--batch-size", type=int, default=4_096)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    rng = torch.Generator().manual_seed(0)
    tables = tuple(
        torch.randn(n, options.size, generator=rng).requires_grad_() for n in (options.users, options.items)
    )
    report = {}
    for n in options.negatives:
        shape = options.batch_size, 1 + n
        batch = (
            torch.randint(options.users, shape[:1], generator=rng),
            torch.randint(options.items, shape, generator=rng),
        )
        ways = {"gathered": gathered, "in place": in_place}
        found = {name: np.empty(options.rounds) for name in ways}
        for loss in ways.values():
            seconds(loss, tables, batch)  # compiles the kernels
        for turn in range(options.rounds):
            for name, loss in ways.items():
                found[name][turn] = seconds(loss, tables, batch) * 1e3
        own = {
            name: {"fastest": round(t.min(), 2), "median": round(float(np.median(t)), 2)}
            for name, t in found.items()
        }
        ratios = {
            which: round(own["gathered"][which] / own["in place"][which], 2) for which in ("fastest", "median")
        }
        report[n] = own | {"ratio": ratios}
    settings = {key: value for key, value in vars(options).items() if key != "negatives"}
    print(json.dumps({"load_average_before": load, **settings, "milliseconds_per_step": report}, indent=2))


if __name__ == "__main__":
    main()
