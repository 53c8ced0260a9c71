# ruff: noqa: I001 - the order of imports matters
"""How far each stage is from what the memory allows: `python benchmarks/bandwidth.py [FOLDER ...]`.

Measures the machine first: a stream (a copy, reading and writing counted), and a gather (rows of 128 bytes at
random places summed up, as the propagation reads them), each in tables that fit the second-level cache, the third,
and neither; all threads together. Then, for each FOLDER (text format of LightGCN), the stages of a LightGCN step
(d 64, 3 layers, batch 2048, uniform negatives): the bytes that they have to move, the time that these take at the
measured rates, and the time that they do take. The rate of a layer's gather is measured with the neighbours of the
graph in random order, so that the popular rows are as popular as they are. Prints one JSON object.
"""

from __future__ import annotations

import hnlmrec  # noqa: F401 - before torch: it sets how OpenMP waits

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from epoch import read

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.evaluation.evaluator import dot_product_scorer, evaluate
from hnlmrec.models import kernels
from hnlmrec.models.propagation import BipartiteGraph, LayerSum
from hnlmrec.models.threads import in_threads
from hnlmrec.negative_sampling.candidates import UniformCandidates

SIZE, BATCH, LAYERS = 64, 2048, LayerSum.mean(3)
ROW = kernels.WIDTH * 4  # bytes of a row of a block
TABLES = {"L2": 256 << 10, "L3": 6 << 20, "memory": 256 << 20}  # bytes
N_GATHERED = 2_000_000  # rows, all threads together


def fastest(work: Callable[[], object], repeats: int = 7) -> float:
    """Return the least seconds of some calls: what the machine can do, whatever else it does."""
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


@numba.njit(nogil=True)
def _copy(source, target, repeats, thread, _first, _last):
    for _ in range(repeats):
        target[thread, :] = source[thread]


def stream_rate(n_bytes: int) -> float:
    """Return bytes a second of a copy, reading and writing; each thread has n_bytes, a half for the copy."""
    n_threads = torch.get_num_threads()
    tables = [np.ones((n_threads, n_bytes // 8), dtype=np.float32) for _ in range(2)]
    repeats = max(1, (64 << 20) // n_bytes)
    shares = [(thread, 0, 0) for thread in range(n_threads)]
    seconds = fastest(lambda: in_threads(_copy, shares, *tables, repeats), 15)
    return n_threads * repeats * n_bytes / seconds


def gather_rate(columns: np.ndarray, n_rows: int) -> float:
    """Return bytes a second of rows read at places of a block of n_rows, which all threads share."""
    n_threads, n = torch.get_num_threads(), len(columns)
    y = kernels.aligned_blocks(n_rows, kernels.WIDTH, np.dtype(np.float32))
    y[:] = 1
    columns = np.concatenate([columns, np.zeros(kernels.PADDING)]).astype(np.int32)
    ends = np.linspace(0, n, n_threads + 1).astype(np.int32)
    out = np.zeros((1, n_threads, kernels.WIDTH), dtype=np.float32)
    arguments = ends[:-1], ends[1:], columns, np.ones(n_threads, np.float32), y, out, np.zeros(0, np.int32), out
    shares = [(0, thread, thread + 1) for thread in range(n_threads)]
    return n * ROW / fastest(lambda: in_threads(kernels.add_layer, shares, *arguments), 15)


def random_gather_rate(n_bytes: int) -> float:
    """Return the same for rows that are all equally likely, in a table of n_bytes."""
    n_rows = n_bytes // ROW
    return gather_rate(np.random.default_rng(0).integers(0, n_rows, N_GATHERED), n_rows)


def product_rate() -> float:
    """Return floating-point operations a second of a product of float32 matrices."""
    matrix = torch.ones(2048, 2048)
    return 2 * 2048**3 / fastest(lambda: matrix @ matrix)


def between(rates: dict[str, float], n_bytes: float) -> float:
    """Return the rate for a table of some size: that of the smallest measured table that is as large."""
    return next((rates[name] for name, size in TABLES.items() if size >= n_bytes), rates["memory"])


class Bound:
    """Seconds that a stage needs at least: its gathers and its streams at the measured rates.

    Args:
        machine: what `measure_machine` returned.
        graph: of the data.
    """

    def __init__(self, machine: dict[str, Any], graph: BipartiteGraph) -> None:
        self.machine, self.graph = machine, graph
        self.table = graph.n_nodes * SIZE * 4
        order = np.random.default_rng(0).permutation
        n = len(graph.columns) // 2  # the first half are items, users' neighbours
        self.rates = (
            gather_rate(order(graph.columns[:n]) - graph.n_users, graph.n_items),
            gather_rate(order(graph.columns[n:]), graph.n_users),
        )

    def layer(self, nodes: np.ndarray | None = None) -> tuple[float, float]:
        """Return (bytes, seconds) of one layer at some nodes: neighbours gathered, a row read and one written."""
        graph = self.graph
        everything = nodes is None
        degrees = graph.degrees if everything else graph.degrees[nodes]
        users = np.arange(graph.n_nodes) < graph.n_users if everything else nodes < graph.n_users
        n_bytes = seconds = 0.0
        for side, rate in zip((users, ~users), self.rates, strict=True):
            gathered = 4.0 * SIZE * degrees[side].sum()
            seconds += gathered / rate
            n_bytes += gathered
        streamed = 2.0 * 4 * SIZE * len(degrees) + 4 * degrees.sum() * (SIZE // kernels.WIDTH)
        return n_bytes + streamed, seconds + streamed / between(self.machine["stream"], self.table)

    def streams(self, tables: float) -> tuple[float, float]:
        """Return (bytes, seconds) of passes over tables of all vectors, up to four of them at a time."""
        n_bytes = tables * self.table
        return n_bytes, n_bytes / between(self.machine["stream"], self.table * min(tables, 4))


def measure_machine() -> dict[str, Any]:
    return {
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2),
        "stream": {name: stream_rate(size) for name, size in TABLES.items()},
        "gather": {name: random_gather_rate(size) for name, size in TABLES.items()},
        "product": product_rate(),
    }


def measure_stages(dataset: InteractionDataset, machine: dict[str, Any]) -> dict[str, Any]:
    """Return milliseconds, bytes and the bound of each stage."""
    graph, rng = BipartiteGraph(dataset.train), np.random.default_rng(0)
    bound, tables = Bound(machine, graph), (dataset.n_users, dataset.n_items)
    users, items = (rng.standard_normal((n, SIZE), dtype=np.float32) for n in tables)
    chosen = rng.integers(0, len(dataset.train), BATCH)
    some = dataset.train.users[chosen].astype(np.int64)
    wanted = dataset.train.indices[chosen], rng.integers(0, dataset.n_items, BATCH)
    nodes = np.unique(np.concatenate([some, *(graph.n_users + own for own in wanted)])).astype(np.int32)
    values = rng.standard_normal((len(nodes), SIZE), dtype=np.float32)
    layer, last, begin = bound.layer(), bound.layer(nodes), bound.streams(2)
    draw = UniformCandidates(dataset.train).draw
    generator = torch.Generator().manual_seed(0)
    at, spread, step = graph.cpu.at, graph.cpu.spread, make_adam(dataset)
    u, i, some_users = torch.from_numpy(users), torch.from_numpy(items), torch.from_numpy(some)
    n_scores = (dataset.test.degrees > 0).sum() * dataset.n_items
    scored = 2.0 * SIZE * n_scores / machine["product"] + 8.0 * n_scores / machine["stream"]["L3"]
    score = dot_product_scorer(u, i)
    stages = {
        "propagation, forward": (lambda: at(users, items, LAYERS, nodes), _sum(begin, layer, layer, last)),
        "propagation, backward": (lambda: spread(values, nodes, LAYERS), _sum(last, layer, layer)),
        "Adam": (step, bound.streams(7)),
        "sampling": (lambda: draw(some_users, 1, generator), (8.0 * BATCH, 0.0)),
        "evaluation, all users": (
            lambda: evaluate(score, dataset, split="test", ks=(20,)),
            (8.0 * n_scores, scored),
        ),
    }
    rates = {"rate of the gather of items": bound.rates[0], "rate of the gather of users": bound.rates[1]}
    return {name: _stage(work, *needed) for name, (work, needed) in stages.items()} | rates


def make_adam(dataset: InteractionDataset) -> Callable[[], object]:
    parameters = [torch.nn.Parameter(torch.zeros(n, SIZE)) for n in (dataset.n_users, dataset.n_items)]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    return torch.optim.Adam(parameters, fused=True).step


def _sum(*parts: tuple[float, float]) -> tuple[float, float]:
    return sum(p[0] for p in parts), sum(p[1] for p in parts)


def _stage(work: Callable[[], object], n_bytes: float, bound: float) -> dict[str, float]:
    seconds = fastest(work, 2)
    seconds = min(seconds, fastest(work, min(50, 1 + int(2 / seconds))))
    return {
        "milliseconds": round(1e3 * seconds, 3),
        "bound_milliseconds": round(1e3 * bound, 3),
        "megabytes": round(n_bytes / 1e6, 3),
        "times_the_bound": round(seconds / bound, 2) if bound else 0.0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="*")
    options = parser.parse_args()
    machine = measure_machine()
    stages = {folder.name: measure_stages(read(folder), machine) for folder in options.folders}
    print(json.dumps({"machine": machine, "stages": stages}, indent=2))


if __name__ == "__main__":
    main()
