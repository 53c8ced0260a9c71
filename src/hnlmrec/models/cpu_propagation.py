"""Sums of layers of a bipartite graph on the CPU: the kernels, and the arrays that they work in."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hnlmrec.models import kernels
from hnlmrec.models.kernels import Flags, Floats, Ints

_ROW_COST = 4  # what writing a row costs, in neighbours read
_WORK_OF_A_THREAD = 5_000  # neighbours to read that are worth waking a thread for
_ALL = np.zeros(0, dtype=np.bool_)
_Own = tuple[Floats, Floats]  # the users' and the items' own vectors
_Where = tuple[Ints, list[int]]  # nodes, and where the threads' shares of them end


@dataclass(frozen=True)
class LayerSum:
    """Which sum of layers: own_weight * e + layer_weight * (A e + … + A^n_layers e)."""

    n_layers: int
    own_weight: float
    layer_weight: float

    @classmethod
    def mean(cls, n_layers: int) -> LayerSum:
        """Return the mean of layers 0 … n_layers (LightGCN, equations 6 and 8)."""
        return cls(n_layers, 1 / (n_layers + 1), 1 / (n_layers + 1))


class CpuPropagation:
    """Sums of layers with A = D^-1/2 B D^-1/2.

    The arrays in between are kept for the next call, so calls on one object must not overlap in time.

    Args:
        indptr: int32 [N + 1], of B in CSR form.
        columns: int32 [n_edges * 2].
        n_users: the first nodes are users, the others items.
    """

    def __init__(self, indptr: Ints, columns: Ints, n_users: int) -> None:
        self.indptr, self.columns, self.n_users = indptr, columns, n_users
        self.degrees = np.diff(indptr)
        self._longest = int(self.degrees.max(initial=0))
        self._nodes = np.arange(len(self.degrees), dtype=np.int32)
        self._everywhere = self._nodes, self._share(self._nodes)
        self._scales = cache(self._make_scales)
        self._spaces: dict[tuple[int, np.dtype[Any]], tuple[Floats, Floats, Floats]] = {}

    def full(self, users: Floats, items: Floats, layers: LayerSum, *, sparse: bool = False) -> Floats:
        """Return the sum at every node, [N, d].

        Args:
            users: [n_users, d].
            items: [n_items, d].
            layers: the sum.
            sparse: look first for rows that are zero, and do not read them in the first layer.
        """
        nonzero = np.empty(len(self._nodes), dtype=np.bool_) if sparse else _ALL
        z = self._start(users, items, nonzero)
        return self._run(z, nonzero, (users, items), layers, self._everywhere)

    def at(self, users: Floats, items: Floats, layers: LayerSum, nodes: Ints) -> Floats:
        """Return the sum at some nodes (ascending, none twice), [len(nodes), d]."""
        z = self._start(users, items, _ALL)
        return self._run(z, _ALL, (users, items), layers, (nodes, self._share(nodes)))

    def spread(self, values: Floats, nodes: Ints, layers: LayerSum) -> Floats:
        """Return the sum at every node, [N, d], where only `nodes` have a row that is not zero: `values`."""
        z = self._space(values.shape[1], values.dtype)[0]
        z[nodes] = values * self._scales(values.dtype)[1][nodes, None]
        nonzero = np.zeros(len(self._nodes), dtype=np.bool_)
        nonzero[nodes] = True
        nothing = np.empty((0, values.shape[1]), dtype=values.dtype)
        rest = LayerSum(layers.n_layers, 0.0, layers.layer_weight)
        result = self._run(z, nonzero, (nothing, nothing), rest, self._everywhere)
        result[nodes] += values.dtype.type(layers.own_weight) * values
        return result

    def _start(self, users: Floats, items: Floats, nonzero: Flags) -> Floats:
        z = self._space(users.shape[1], users.dtype)[0]
        inverse_root = self._scales(users.dtype)[1]
        _in_threads(kernels.scale_rows, self._everywhere[1], users, items, inverse_root, z, nonzero)
        return z

    def _run(self, z: Floats, nonzero: Flags, own: _Own, layers: LayerSum, where: _Where) -> Floats:
        _, following, total = self._space(z.shape[1], z.dtype)
        inverse, _, root = self._scales(z.dtype)
        graph, (nodes, ends) = (self.indptr, self.columns), where
        for layer in range(layers.n_layers - 1):
            is_first = layer == 0
            options = nonzero if is_first else _ALL, self._longest, is_first
            _in_threads(kernels.add_layer, self._everywhere[1], *graph, inverse, z, *options, following, total)
            z, following = following, z
        is_only = layers.n_layers == 1
        options = nonzero if is_only else _ALL, self._longest, is_only
        weights = layers.own_weight, layers.layer_weight
        out = np.empty((len(nodes), z.shape[1]), dtype=z.dtype)
        _in_threads(
            kernels.last_layer, ends, *graph, nodes, inverse, root, z, *options, total, *own, *weights, out
        )
        return out

    def _share(self, nodes: Ints) -> list[int]:
        """Return where the threads' shares of `nodes` end, all of about the same work."""
        work = np.concatenate([[0], np.cumsum(self.degrees[nodes] + _ROW_COST)])
        n_shares = min(torch.get_num_threads(), 1 + int(work[-1]) // _WORK_OF_A_THREAD)
        inner = np.searchsorted(work, np.arange(1, n_shares) * work[-1] / n_shares)
        return [0, *inner.tolist(), len(nodes)]

    def _make_scales(self, dtype: np.dtype[Any]) -> tuple[Floats, Floats, Floats]:
        degrees = self.degrees.astype(np.float64)
        inverse = np.divide(1.0, degrees, out=np.zeros_like(degrees), where=degrees > 0)
        return inverse.astype(dtype), np.sqrt(inverse).astype(dtype), np.sqrt(degrees).astype(dtype)

    def _space(self, size: int, dtype: np.dtype[Any]) -> tuple[Floats, Floats, Floats]:
        if (size, dtype) not in self._spaces:
            shape = len(self._nodes), size
            self._spaces[size, dtype] = np.empty(shape, dtype), np.empty(shape, dtype), np.empty(shape, dtype)
        return self._spaces[size, dtype]


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="propagation")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not live on in a forked process


def _in_threads(kernel: Callable[..., None], ends: list[int], *arguments: Any) -> None:
    """Call the kernel for every share, one of them in this thread.

    Threads of our own, and not those of OpenMP: these wait for one another by spinning, which makes a step many
    times slower as soon as another program wants a core.
    """
    others = list(pairwise(ends))[1:]
    pending = [_pool(len(others)).submit(kernel, *arguments, *share) for share in others]
    kernel(*arguments, ends[0], ends[1])
    for future in pending:
        future.result()


def inverse_positions(nodes: npt.NDArray[np.int64], n_nodes: int) -> tuple[Ints, npt.NDArray[np.int64]]:
    """Return (the distinct nodes, ascending, int32; for each of `nodes` its place among them, int64)."""
    flags = np.zeros(n_nodes, dtype=np.bool_)
    flags[nodes] = True
    distinct = np.flatnonzero(flags)
    places = np.empty(n_nodes, dtype=np.int64)
    places[distinct] = np.arange(len(distinct))
    return distinct.astype(np.int32), places[nodes]
