"""Sums of layers of a bipartite graph on the CPU: the kernels, and the arrays that they work in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hnlmrec.models import kernels, row_kernels
from hnlmrec.models.kernels import Floats, Ints
from hnlmrec.models.row_kernels import Flags
from hnlmrec.models.threads import Shares, in_threads, share

_ROW_COST = 4  # what writing a row costs, in neighbours read
_EVERYWHERE: Ints = np.zeros(0, dtype=np.int32)  # in place of places: a table has a row for every node


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


@dataclass(frozen=True)
class _Neighbours:
    """Row r's neighbours are columns[starts[r] : ends[r]]."""

    starts: Ints
    ends: Ints
    columns: Ints

    def __iter__(self) -> Any:
        return iter((self.starts, self.ends, self.columns))


@dataclass(frozen=True)
class CompactRows:
    """A table that is zero but for some rows, scaled by D^-1/2, in blocks.

    Attributes:
        nodes: which rows are kept; int32, ascending, none twice.
        blocks: [n_blocks, len(nodes) + 1, WIDTH]; the last row is zero and stands for all other nodes.
        places: int32 [N], each node's row of `blocks`.
        size: length d of a row; the blocks have zeros beyond it.
    """

    nodes: Ints
    blocks: Floats
    places: Ints
    size: int


class CpuPropagation:
    """Sums of layers with A = D^-1/2 B D^-1/2, by Horner's rule.

    A e + … + A^n e = A h_n with h_1 = e and h_(k+1) = e + A h_k: a layer reads its neighbours and e, and no
    running sum has to be kept. The arrays in between are kept for the next call, so calls on one object must not
    overlap in time.

    Args:
        indptr: int32 [N + 1], of B in CSR form.
        columns: int32 [n_edges * 2].
        n_users: the first nodes are users, the others items.
    """

    def __init__(self, indptr: Ints, columns: Ints, n_users: int) -> None:
        self.indptr, self.n_users = indptr, n_users
        padded = np.concatenate([columns, np.zeros(kernels.PADDING, dtype=np.int32)])
        self.columns = padded[: len(columns)]
        self.degrees = np.diff(indptr)
        self._neighbours = _Neighbours(indptr[:-1], indptr[1:], padded)
        self._nodes = np.arange(len(self.degrees), dtype=np.int32)
        self._work = self.degrees + _ROW_COST
        self._scales = cache(self._make_scales)
        self._space = cache(self._make_space)
        self._shares_of_all = cache(lambda n_blocks, _n_threads: share(self._work, n_blocks))

    def full(self, users: Floats, items: Floats, layers: LayerSum) -> Floats:
        """Return the sum at every node, [N, d].

        Args:
            users: [n_users, d].
            items: [n_items, d].
            layers: the sum.
        """
        return self.at(users, items, layers, self._nodes)

    def full_of_sparse(self, users: Floats, items: Floats, layers: LayerSum) -> Floats:
        """Return the same as `full`, in less time where most rows are zero."""
        nonzero: Flags = np.empty(len(self._nodes), dtype=np.bool_)
        in_threads(row_kernels.find_nonzero, self._shares(self._nodes, 1), users, items, nonzero)
        if 2 * np.count_nonzero(nonzero) > len(nonzero):
            return self.full(users, items, layers)
        nodes = np.flatnonzero(nonzero).astype(np.int32)
        inner = np.searchsorted(nodes, self.n_users)
        values = np.concatenate([users[nodes[:inner]], items[nodes[inner:] - self.n_users]])
        result = self.spread([self.compact(values, nodes)] * layers.n_layers, layers.layer_weight)
        result[nodes] += values.dtype.type(layers.own_weight) * values
        return result

    def at(self, users: Floats, items: Floats, layers: LayerSum, nodes: Ints) -> Floats:
        """Return the sum at some nodes (ascending, none twice), [len(nodes), d]."""
        start, *spare = self._space(users.shape[1], users.dtype)
        inverse_root = self._scales(users.dtype)[1]
        in_threads(kernels.scale_rows, self._shares(self._nodes, len(start)), users, items, inverse_root, start)
        y = self._inner_layers(start, self._neighbours, [(start, _EVERYWHERE)] * (layers.n_layers - 1), spare)
        return self._last_layer(y, self._neighbours, nodes, (users, items), layers)

    def each_layer(self, users: Floats, items: Floats, layers: LayerSum) -> tuple[Floats, Floats]:
        """Return (the sum at every node, [N, d]; layers 1 … L of which it is made, [n_layers, N, d])."""
        start, *spare = self._space(users.shape[1], users.dtype)
        inverse, inverse_root, root = self._scales(users.dtype)
        shares = self._shares(self._nodes, len(start))
        in_threads(kernels.scale_rows, shares, users, items, inverse_root, start)
        y, tables = start, np.empty((layers.n_layers, len(self._nodes), users.shape[1]), dtype=users.dtype)
        for layer, table in enumerate(tables[:-1]):
            following = spare[layer % 2]
            in_threads(kernels.next_layer, shares, *self._neighbours, inverse, root, y, following, table)
            y = following
        last = self._nodes, inverse_root, y, users, items, 0.0, 1.0, tables[-1]
        in_threads(kernels.last_layer, shares, *self._neighbours, *last)
        total, weights = np.empty_like(tables[0]), (layers.own_weight, layers.layer_weight)
        in_threads(row_kernels.sum_layers, self._shares(self._nodes, 1), users, items, tables, *weights, total)
        return total, tables

    def compact(self, values: Floats, nodes: Ints) -> CompactRows:
        """Return the table whose rows at `nodes` (ascending, none twice) are `values` [len(nodes), d]."""
        n, size = values.shape
        blocks = kernels.aligned_blocks(n + 1, size, values.dtype)
        blocks[:, n] = 0
        scale, nothing = self._scales(values.dtype)[1][nodes], values[:0]
        in_threads(kernels.scale_rows, self._shares(nodes, len(blocks)), values, nothing, scale, blocks)
        places = np.full(len(self._nodes), n, dtype=np.int32)
        places[nodes] = np.arange(n, dtype=np.int32)
        return CompactRows(nodes, blocks, places, size)

    def spread(self, rows: Sequence[CompactRows], weight: float) -> Floats:
        """Return weight * A (r_1 + A (r_2 + … A r_n)) at every node, [N, d], of rows = (r_1, …, r_n)."""
        farthest = rows[-1]
        space = self._space(farthest.size, farthest.blocks.dtype)
        if 2 * self.degrees[farthest.nodes].sum() > len(self.columns):
            start, near = space[0], self._neighbours  # leaving neighbours out would take longer than it saves
            start[:] = 0
            start[:, farthest.nodes] = farthest.blocks[:, :-1]
        else:
            start, near = farthest.blocks, self._neighbours_within(farthest)
        initial = [(own.blocks, own.places) for own in reversed(rows[:-1])]
        y = self._inner_layers(start, near, initial, space[1:])
        last = near if len(rows) == 1 else self._neighbours
        nothing = np.empty((0, farthest.size), dtype=start.dtype)
        return self._last_layer(y, last, self._nodes, (nothing, nothing), LayerSum(1, 0.0, weight))

    def _neighbours_within(self, rows: CompactRows) -> _Neighbours:
        """Return of each node's neighbours those that are kept, by their places."""
        columns, ends = self._kept
        shares = self._shares(self._nodes, 1)
        in_threads(kernels.keep_neighbours, shares, *self._neighbours, rows.places, len(rows.nodes), columns, ends)
        return _Neighbours(self._neighbours.starts, ends, columns)

    def _inner_layers(
        self, y: Floats, near: _Neighbours, initial: Sequence[tuple[Floats, Ints]], spare: list[Floats]
    ) -> Floats:
        """Return y after y = y_0 + D^-1 B y, once for each (table y_0, each node's row of it).

        `near`: each node's neighbours among the rows of the first y.
        """
        inverse = self._scales(y.dtype)[0]
        shares = self._shares(self._nodes, len(y))
        for layer, (table, places) in enumerate(initial):
            neighbours, following = near if layer == 0 else self._neighbours, spare[layer % 2]
            in_threads(kernels.add_layer, shares, *neighbours, inverse, y, table, places, following)
            y = following
        return y

    def _last_layer(
        self, y: Floats, near: _Neighbours, nodes: Ints, own: tuple[Floats, Floats], layers: LayerSum
    ) -> Floats:
        """Return own_weight * own + layer_weight * A h at `nodes`, [len(nodes), d], of y = D^-1/2 h."""
        out = np.empty((len(nodes), own[0].shape[1]), dtype=y.dtype)
        shares, scale = self._shares(nodes, len(y)), self._scales(y.dtype)[1]
        weights = layers.own_weight, layers.layer_weight
        in_threads(kernels.last_layer, shares, *near, nodes, scale, y, *own, *weights, out)
        return out

    def _shares(self, nodes: Ints, n_blocks: int) -> Shares:
        if nodes is self._nodes:
            return self._shares_of_all(n_blocks, torch.get_num_threads())
        return share(self._work[nodes], n_blocks)

    @cached_property
    def _kept(self) -> tuple[Ints, Ints]:
        """Space for the neighbours that count, and where each row's end."""
        return np.zeros_like(self._neighbours.columns), np.zeros_like(self._neighbours.ends)

    def _make_scales(self, dtype: np.dtype[Any]) -> tuple[Floats, Floats, Floats]:
        """Return D^-1, D^-1/2 and D^1/2; 0 for a node without neighbours."""
        degrees = self.degrees.astype(np.float64)
        inverse = np.divide(1.0, degrees, out=np.zeros_like(degrees), where=degrees > 0)
        return inverse.astype(dtype), np.sqrt(inverse).astype(dtype), np.sqrt(degrees).astype(dtype)

    def _make_space(self, size: int, dtype: np.dtype[Any]) -> list[Floats]:
        return [kernels.aligned_blocks(len(self._nodes), size, dtype) for _ in range(3)]


def inverse_positions(nodes: npt.NDArray[np.int64], n_nodes: int) -> tuple[Ints, npt.NDArray[np.int64]]:
    """Return (the distinct nodes, ascending, int32; for each of `nodes` its place among them, int64)."""
    flags = np.zeros(n_nodes, dtype=np.bool_)
    flags[nodes] = True
    distinct = np.flatnonzero(flags)
    places = np.empty(n_nodes, dtype=np.int64)
    places[distinct] = np.arange(len(distinct))
    return distinct.astype(np.int32), places[nodes]
