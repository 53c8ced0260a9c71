"""Sums of layers of a bipartite graph on the CPU: the kernels, and the arrays that they work in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hnlmrec.models import kernels
from hnlmrec.models.kernels import Flags, Floats, Ints
from hnlmrec.models.threads import Shares, in_threads, share

_ROW_COST = 4  # what writing a row costs, in neighbours read
_NOWHERE: Ints = np.zeros(0, dtype=np.int32)


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
        in_threads(kernels.find_nonzero, self._shares(self._nodes, 1), users, items, nonzero)
        if 2 * np.count_nonzero(nonzero) > len(nonzero):
            return self.full(users, items, layers)
        nodes = np.flatnonzero(nonzero).astype(np.int32)
        inner = np.searchsorted(nodes, self.n_users)
        values = np.concatenate([users[nodes[:inner]], items[nodes[inner:] - self.n_users]])
        result = self.spread(values, nodes, layers)
        result[nodes] += values.dtype.type(layers.own_weight) * values
        return result

    def at(self, users: Floats, items: Floats, layers: LayerSum, nodes: Ints) -> Floats:
        """Return the sum at some nodes (ascending, none twice), [len(nodes), d]."""
        start, *spare = self._space(users.shape[1], users.dtype)
        inverse_root = self._scales(users.dtype)[1]
        in_threads(kernels.scale_rows, self._shares(self._nodes, len(start)), users, items, inverse_root, start)
        y = self._inner_layers(start, _NOWHERE, self._neighbours, layers.n_layers, spare)
        return self._last_layer(y, self._neighbours, nodes, (users, items), layers)

    def spread(self, values: Floats, nodes: Ints, layers: LayerSum) -> Floats:
        """Return layer_weight * (A e + … + A^n_layers e) at every node, [N, d].

        Args:
            values: [len(nodes), d], the rows of e that are not zero.
            nodes: where they are; ascending, none twice.
            layers: the sum; its own_weight is left out.
        """
        if 2 * self.degrees[nodes].sum() > len(self.columns):  # then leaving rows out takes longer than it saves
            return self._spread_densely(values, nodes, layers)
        start, places = self._compact(values, nodes)
        in_threads(
            kernels.keep_neighbours,
            self._shares(self._nodes, 1),
            *self._neighbours,
            places,
            len(nodes),
            *self._kept,
        )
        near = _Neighbours(self._neighbours.starts, self._kept[1], self._kept[0])
        spare = self._space(values.shape[1], values.dtype)[1:]
        y = self._inner_layers(start, places, near, layers.n_layers, spare)
        last = near if layers.n_layers == 1 else self._neighbours
        nothing = np.empty((0, values.shape[1]), dtype=values.dtype)
        rest = LayerSum(layers.n_layers, 0.0, layers.layer_weight)
        return self._last_layer(y, last, self._nodes, (nothing, nothing), rest)

    def _compact(self, values: Floats, nodes: Ints) -> tuple[Floats, Ints]:
        """Return (y_1 at `nodes` and a row of zeros, in blocks; where in it each node's row is, int32 [N])."""
        n, size = values.shape
        start = kernels.aligned_blocks(n + 1, size, values.dtype)
        start[:, n] = 0  # the row of all other nodes
        scale, nothing = self._scales(values.dtype)[1][nodes], values[:0]
        in_threads(kernels.scale_rows, self._shares(nodes, len(start)), values, nothing, scale, start)
        places = np.full(len(self._nodes), n, dtype=np.int32)
        places[nodes] = np.arange(n, dtype=np.int32)
        return start, places

    def _spread_densely(self, values: Floats, nodes: Ints, layers: LayerSum) -> Floats:
        both = np.zeros((len(self._nodes), values.shape[1]), dtype=values.dtype)
        both[nodes] = values
        rest = LayerSum(layers.n_layers, 0.0, layers.layer_weight)
        return self.full(both[: self.n_users], both[self.n_users :], rest)

    def _inner_layers(
        self, start: Floats, places: Ints, near: _Neighbours, n_layers: int, spare: list[Floats]
    ) -> Floats:
        """Return y_n of y_1 = start, y_(k+1) = start + D^-1 B y_k; `near`: neighbours that y_1 has rows of."""
        inverse = self._scales(start.dtype)[0]
        y, shares = start, self._shares(self._nodes, len(start))
        for layer in range(n_layers - 1):
            neighbours = near if layer == 0 else self._neighbours
            following = spare[layer % 2]
            in_threads(kernels.add_layer, shares, *neighbours, inverse, y, start, places, following)
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

    def _make_scales(self, dtype: np.dtype[Any]) -> tuple[Floats, Floats]:
        degrees = self.degrees.astype(np.float64)
        inverse = np.divide(1.0, degrees, out=np.zeros_like(degrees), where=degrees > 0)
        return inverse.astype(dtype), np.sqrt(inverse).astype(dtype)

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
