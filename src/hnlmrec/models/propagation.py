"""The normalised user-item graph and its differentiable propagation.

A = D^-1/2 B D^-1/2 over users and items together ([N, N], N = n_users + n_items) is symmetric. Models need
sums w_0 e + w (A e + … + A^L e); the gradient of such a sum is the same sum of the incoming gradient, so nothing
has to be saved for the backward pass. On the CPU our own kernels do it, elsewhere a sparse matrix of torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hnlmrec.data.interactions import Interactions
from hnlmrec.models import row_kernels
from hnlmrec.models.base import take
from hnlmrec.models.cpu_propagation import CpuPropagation, LayerSum, inverse_positions

__all__ = ["BipartiteGraph", "LayerSum"]


class BipartiteGraph:
    """The graph of a train split, or of a part of its edges.

    Args:
        interactions: its (user, item) pairs are the edges.
    """

    def __init__(self, interactions: Interactions) -> None:
        self.n_users, self.n_items = interactions.n_users, interactions.n_items
        matrix = interactions.to_scipy()
        transposed = matrix.T.tocsr()
        columns = np.concatenate([matrix.indices + self.n_users, transposed.indices]).astype(np.int32)
        self.degrees = np.concatenate([interactions.degrees, interactions.item_degrees])
        self.indptr = np.concatenate([[0], np.cumsum(self.degrees)]).astype(np.int32)
        self.cpu = CpuPropagation(self.indptr, columns, self.n_users)
        self.columns = self.cpu.columns
        self._matrices: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    @property
    def n_nodes(self) -> int:
        """Number N of users and items together; the items come after the users."""
        return self.n_users + self.n_items

    def propagate(self, users: Tensor, items: Tensor, layers: LayerSum) -> tuple[Tensor, Tensor]:
        """Return the sum of layers of all users [n_users, d] and all items [n_items, d], with gradient."""
        if users.device.type == "cpu":
            return _propagate(users, items, self, layers)
        both = _propagate_sparse(torch.cat([users, items]), self, layers)
        return both[: self.n_users], both[self.n_users :]

    def hop(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return one layer A e, with gradient."""
        return self.propagate(users, items, LayerSum(1, 0.0, 1.0))

    def propagate_at(
        self, users: Tensor, items: Tensor, layers: LayerSum, at_users: Tensor, at_items: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the sum of layers of some users and items, and their own vectors, with gradient.

        On the CPU the last layer is computed at those rows alone, and the backward pass starts from them alone.

        Args:
            users: [n_users, d].
            items: [n_items, d].
            layers: the sum.
            at_users: int64 [B]; one may come more than once.
            at_items: int64 [M]; likewise.

        Returns:
            (sum at the users [B, d], at the items [M, d], own vectors of the users [B, d], of the items [M, d]).
        """
        if users.device.type == "cpu":
            sums, own = _propagate_at(users, items, self, layers, at_users, at_items)
            n = len(at_users)
            return sums[:n], sums[n:], own[:n], own[n:]
        all_users, all_items = self.propagate(users, items, layers)
        return take(all_users, at_users), take(all_items, at_items), take(users, at_users), take(items, at_items)

    def matrix(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Return A as a sparse CSR tensor [N, N] on that device; made once."""
        if (device, dtype) not in self._matrices:
            scale = 1 / np.sqrt(np.maximum(self.degrees, 1))
            values = np.repeat(scale, self.degrees) * scale[self.columns]
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Sparse (CSR tensor support|invariant checks)")  # of torch
                self._matrices[device, dtype] = torch.sparse_csr_tensor(
                    torch.from_numpy(self.indptr),
                    torch.from_numpy(self.columns),
                    torch.from_numpy(values).to(dtype),
                    (self.n_nodes, self.n_nodes),
                    device=device,
                    check_invariants=False,
                )
        return self._matrices[device, dtype]

    def propagate_sparse(self, both: Tensor, layers: LayerSum) -> Tensor:
        """Compute the sum of layers [N, d] with torch's sparse product, without gradient."""
        total = layers.own_weight * both
        for layer in self.hops_sparse(both, layers.n_layers):
            total += layers.layer_weight * layer
        return total

    def hops_sparse(self, both: Tensor, n_layers: int) -> Iterator[Tensor]:
        """Yield A e, A² e, … A^n_layers e, each [N, d], without gradient."""
        matrix = self.matrix(both.device, both.dtype)
        for _ in range(n_layers):
            with torch.autocast(both.device.type, enabled=False):
                both = matrix @ both
            yield both


def _numpy(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().numpy()


class _Propagate(Function):
    # Two results, not two slices of one: the gradient of a slice is a table of zeros with the slice copied in.
    @staticmethod
    def forward(
        ctx: Any, users: Tensor, items: Tensor, graph: BipartiteGraph, layers: LayerSum
    ) -> tuple[Tensor, Tensor]:
        ctx.graph, ctx.layers = graph, layers
        both, n = graph.cpu.full(_numpy(users), _numpy(items), layers), graph.n_users
        return torch.from_numpy(both[:n]), torch.from_numpy(both[n:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor, None, None]:
        graph = ctx.graph
        both, n = graph.cpu.full_of_sparse(_numpy(users), _numpy(items), ctx.layers), graph.n_users
        return torch.from_numpy(both[:n]), torch.from_numpy(both[n:]), None, None


class _PropagateAt(Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes arguments by position
        ctx: Any,
        users: Tensor,
        items: Tensor,
        graph: BipartiteGraph,
        layers: LayerSum,
        at_users: Tensor,
        at_items: Tensor,
    ) -> tuple[Tensor, Tensor]:
        wanted = np.concatenate([at_users.numpy(), at_items.numpy() + graph.n_users])
        nodes, places = inverse_positions(wanted, graph.n_nodes)
        ctx.graph, ctx.layers, ctx.nodes, ctx.places = graph, layers, nodes, places
        sums = torch.from_numpy(graph.cpu.at(_numpy(users), _numpy(items), layers, nodes))
        own = torch.cat([users.index_select(0, at_users), items.index_select(0, at_items)])
        return sums.index_select(0, torch.from_numpy(places)), own

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, sums: Tensor, own: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        graph, nodes = ctx.graph, ctx.nodes
        gradient = _numpy(sums)
        values = np.zeros((len(nodes), gradient.shape[1]), dtype=gradient.dtype)
        row_kernels.add_rows(values, ctx.places, gradient, 1.0)
        rows, layers = graph.cpu.compact(values, nodes), ctx.layers
        result = graph.cpu.spread([rows] * layers.n_layers, layers.layer_weight)
        values *= values.dtype.type(layers.own_weight)
        row_kernels.add_rows(values, ctx.places, _numpy(own), 1.0)
        row_kernels.add_rows(result, nodes, values, 1.0)
        both = torch.from_numpy(result)
        return both[: graph.n_users], both[graph.n_users :], None, None, None, None


class _PropagateSparse(Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor, graph: BipartiteGraph, layers: LayerSum) -> Tensor:
        ctx.graph, ctx.layers = graph, layers
        return graph.propagate_sparse(both, layers)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.graph.propagate_sparse(gradient, ctx.layers), None, None


_propagate: Callable[..., tuple[Tensor, Tensor]] = _Propagate.apply
_propagate_at: Callable[..., tuple[Tensor, Tensor]] = _PropagateAt.apply
_propagate_sparse: Callable[..., Tensor] = _PropagateSparse.apply
