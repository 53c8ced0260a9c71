"""Sums of layers of a bipartite graph on the CPU: the kernels, and the arrays that they work in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from hnlmrec.models import kernels
from hnlmrec.models.kernels import Flags, Floats, Ints

_CHUNKS = 64  # shares of equal work, which the threads divide among themselves
_ROW_COST = 4  # what writing a row costs, in neighbours read
_WORK_OF_A_THREAD = 200_000  # numbers to add up that are worth waking a thread for
_ALL = np.zeros(0, dtype=np.bool_)
_Own = tuple[Floats, Floats]  # the users' and the items' own vectors
_Where = tuple[Ints, Ints]  # nodes, and where the threads' shares of them end


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
        with self._threads(users.shape[1]):
            z = self._start(users, items, nonzero)
            return self._run(z, nonzero, (users, items), layers, self._everywhere)

    def at(self, users: Floats, items: Floats, layers: LayerSum, nodes: Ints) -> Floats:
        """Return the sum at some nodes (ascending, none twice), [len(nodes), d]."""
        with self._threads(users.shape[1]):
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
        with self._threads(values.shape[1]):
            result = self._run(z, nonzero, (nothing, nothing), rest, self._everywhere)
        result[nodes] += values.dtype.type(layers.own_weight) * values
        return result

    def _start(self, users: Floats, items: Floats, nonzero: Flags) -> Floats:
        z = self._space(users.shape[1], users.dtype)[0]
        kernels.scale_rows(users, items, self._scales(users.dtype)[1], z, nonzero)
        return z

    def _run(self, z: Floats, nonzero: Flags, own: _Own, layers: LayerSum, where: _Where) -> Floats:
        _, following, total = self._space(z.shape[1], z.dtype)
        inverse, _, root = self._scales(z.dtype)
        graph, (nodes, chunks) = (self.indptr, self.columns), where
        for layer in range(layers.n_layers - 1):
            first = layer == 0
            flags = nonzero if first else _ALL
            all_chunks = self._everywhere[1]
            kernels.add_layer(*graph, all_chunks, inverse, z, flags, self._longest, first, following, total)
            z, following = following, z
        single = layers.n_layers == 1
        flags = nonzero if single else _ALL
        scales, weights = (inverse, root), (layers.own_weight, layers.layer_weight)
        out = np.empty((len(nodes), z.shape[1]), dtype=z.dtype)
        kernels.last_layer(
            *graph, nodes, chunks, *scales, z, flags, self._longest, single, total, *own, *weights, out
        )
        return out

    @contextmanager
    def _threads(self, size: int) -> Iterator[None]:
        """Use no more threads than there is work for: those of a small graph would only wait for one another."""
        before = numba.get_num_threads()
        numba.set_num_threads(min(before, 1 + len(self.columns) * size // _WORK_OF_A_THREAD))
        try:
            yield
        finally:
            numba.set_num_threads(before)

    def _share(self, nodes: Ints) -> Ints:
        work = np.concatenate([[0], np.cumsum(self.degrees[nodes] + _ROW_COST)])
        return np.searchsorted(work, np.linspace(0, work[-1], _CHUNKS + 1)).astype(np.int32)

    def _make_scales(self, dtype: np.dtype[Any]) -> tuple[Floats, Floats, Floats]:
        degrees = self.degrees.astype(np.float64)
        inverse = np.divide(1.0, degrees, out=np.zeros_like(degrees), where=degrees > 0)
        return inverse.astype(dtype), np.sqrt(inverse).astype(dtype), np.sqrt(degrees).astype(dtype)

    def _space(self, size: int, dtype: np.dtype[Any]) -> tuple[Floats, Floats, Floats]:
        if (size, dtype) not in self._spaces:
            shape = len(self._nodes), size
            self._spaces[size, dtype] = np.empty(shape, dtype), np.empty(shape, dtype), np.empty(shape, dtype)
        return self._spaces[size, dtype]


def inverse_positions(nodes: npt.NDArray[np.int64], n_nodes: int) -> tuple[Ints, npt.NDArray[np.int64]]:
    """Return (the distinct nodes, ascending, int32; for each of `nodes` its place among them, int64)."""
    flags = np.zeros(n_nodes, dtype=np.bool_)
    flags[nodes] = True
    distinct = np.flatnonzero(flags)
    places = np.empty(n_nodes, dtype=np.int64)
    places[distinct] = np.arange(len(distinct))
    return distinct.astype(np.int32), places[nodes]
