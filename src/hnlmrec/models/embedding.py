"""All vectors of a sum of layers, and each layer, with a backward pass that takes the gradients of single rows.

With r_l the gradient of layer l, that of layer 0 is

    g = r_0 + A (r_1 + A (r_2 + … A r_L)),

so all layers together cost one walk back, on which each r_l is added where it belongs. A step reads few rows of
each table. On the CPU their gradients come as these rows alone; as whole tables of zeros with a few rows in them,
one for each read, they would cost as much again as the walk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hnlmrec.models import row_kernels
from hnlmrec.models.base import Embeddings
from hnlmrec.models.cpu_propagation import inverse_positions
from hnlmrec.models.kernels import Floats, Ints
from hnlmrec.models.propagation import BipartiteGraph, LayerSum

GradientPair = tuple[Tensor | None, Tensor | None]
"""Gradients of a users' and of an items' table; None stands for zeros."""


def embed(graph: BipartiteGraph, users: Tensor, items: Tensor, layers: LayerSum, *, each: bool) -> Embeddings:
    """Return the sum of layers at every user and item, with gradient; with `each`, layers 0 … L too.

    Args:
        graph: of N users and items.
        users: [n_users, d], layer 0.
        items: [n_items, d], layer 0.
        layers: the sum.
        each: return the layers that the sum is made of.
    """
    all_users, all_items, *of_layers = _embed(users, items, graph, layers, each)
    of_users, of_items = tuple(of_layers[::2]), tuple(of_layers[1::2])
    return Embeddings(
        all_users,
        all_items,
        user_layers=of_users if each else (),
        item_layers=of_items if each else (),
        ego=(of_users[0], of_items[0]),
        row_gradients=users.device.type == "cpu",
    )


class _Embed(Function):
    """(users, items) -> users and items of: the sum, layer 0, and where `each`, layers 1 … L."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes arguments by position
        ctx: Any, users: Tensor, items: Tensor, graph: BipartiteGraph, layers: LayerSum, each: bool
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)  # a table that nobody reads has the gradient None
        ctx.graph, ctx.layers, ctx.nothing = graph, layers, users.detach()[:0]
        if users.device.type == "cpu":
            total, of_layers = _forward_on_cpu(users, items, graph, layers, each)
        else:
            total, of_layers = forward_sparse(torch.cat([users, items]), graph, layers, each)
        n = graph.n_users
        halves = [half for table in of_layers for half in (table[:n], table[n:])]
        return total[:n], total[n:], users.detach(), items.detach(), *halves

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, Tensor, None, None, None]:
        graph = ctx.graph
        run = _backward_on_cpu if ctx.nothing.device.type == "cpu" else backward_sparse
        both = run(graph, ctx.layers, list(zip(gradients[::2], gradients[1::2], strict=True)), ctx.nothing)
        return both[: graph.n_users], both[graph.n_users :], None, None, None


_embed: Callable[..., tuple[Tensor, ...]] = _Embed.apply


def _forward_on_cpu(
    users: Tensor, items: Tensor, graph: BipartiteGraph, layers: LayerSum, each: bool
) -> tuple[Tensor, list[Tensor]]:
    """Return the sum [N, d], and where `each`, layers 1 … L."""
    of_users, of_items = (table.detach().contiguous().numpy() for table in (users, items))
    if not each:
        return torch.from_numpy(graph.cpu.full(of_users, of_items, layers)), []
    total, of_layers = graph.cpu.each_layer(of_users, of_items, layers)
    return torch.from_numpy(total), [torch.from_numpy(table) for table in of_layers]


def forward_sparse(
    both: Tensor, graph: BipartiteGraph, layers: LayerSum, each: bool
) -> tuple[Tensor, list[Tensor]]:
    """Return the same from users and items in one table [N, d], with torch's sparse product, on any device."""
    if not each:
        return graph.propagate_sparse(both, layers), []
    of_layers = list(graph.hops_sparse(both, layers.n_layers))
    total = layers.own_weight * both + layers.layer_weight * torch.stack(of_layers).sum(dim=0)
    return total, of_layers


def _backward_on_cpu(
    graph: BipartiteGraph, layers: LayerSum, tables: list[GradientPair], nothing: Tensor
) -> Tensor:
    """Return the gradient of layer 0, [N, d], of those of the sum, of layer 0 itself, and of layers 1 … L."""
    total, own, *each = (_rows(pair, graph.n_users, nothing) for pair in tables)
    if each:
        shared = total.times(layers.layer_weight)
        parts = [graph.cpu.compact(*(shared + rows).distinct(graph.n_nodes)) for rows in each]
        result = graph.cpu.spread(parts, 1.0)
    else:
        part = graph.cpu.compact(*total.distinct(graph.n_nodes))
        result = graph.cpu.spread([part] * layers.n_layers, layers.layer_weight)
    (total.times(layers.own_weight) + own).add_to(result)
    return torch.from_numpy(result)


def backward_sparse(
    graph: BipartiteGraph, layers: LayerSum, tables: list[GradientPair], nothing: Tensor
) -> Tensor:
    """Return the same of whole tables, with torch's sparse product, on any device."""
    total, own, *each = (_whole(pair, graph, nothing) for pair in tables)
    each = each or [torch.zeros_like(total)] * layers.n_layers
    gradient = layers.layer_weight * total + each[-1]
    for layer in reversed(each[:-1]):
        (gradient,) = graph.hops_sparse(gradient, 1)
        gradient += layers.layer_weight * total + layer
    (gradient,) = graph.hops_sparse(gradient, 1)
    return gradient + layers.own_weight * total + own


@dataclass(frozen=True)
class _Part:
    """Some rows: nodes int64 [n], of which one may come more than once, values [n, d], and what they are times."""

    nodes: npt.NDArray[np.int64]
    values: Floats
    weight: float = 1.0

    def add_to(self, table: Floats, rows: npt.NDArray[np.int64]) -> None:
        row_kernels.add_rows(table, rows, self.values, self.weight)


@dataclass(frozen=True)
class _Rows:
    """The gradient of a table: zero but for the sum of some rows, whose values are never copied.

    Attributes:
        parts: the rows.
        nothing: [0, d], tells size and type.
    """

    parts: tuple[_Part, ...]
    nothing: Floats

    def __add__(self, other: _Rows) -> _Rows:
        return _Rows(self.parts + other.parts, self.nothing)

    def times(self, weight: float) -> _Rows:
        parts = (_Part(part.nodes, part.values, weight * part.weight) for part in self.parts)
        return _Rows(tuple(parts), self.nothing)

    def add_to(self, table: Floats) -> None:
        for part in self.parts:
            part.add_to(table, part.nodes)

    def distinct(self, n_nodes: int) -> tuple[Floats, Ints]:
        """Return (the sum at each node [m, d], the nodes, ascending, int32 [m])."""
        every = np.concatenate([np.zeros(0, dtype=np.int64), *(part.nodes for part in self.parts)])
        nodes, places = inverse_positions(every, n_nodes)
        sums = np.zeros((len(nodes), self.nothing.shape[1]), dtype=self.nothing.dtype)
        start = 0
        for part in self.parts:
            part.add_to(sums, places[start : start + len(part.nodes)])
            start += len(part.nodes)
        return sums, nodes


def _rows(pair: GradientPair, n_users: int, nothing: Tensor) -> _Rows:
    """Return the rows of a users' and an items' gradient; `nothing`: [0, d]."""
    parts = []
    for gradient, offset in zip(pair, (0, n_users), strict=True):
        if gradient is None:
            continue
        if gradient.is_sparse:  # of `take`, as it came: coalescing would sort the rows
            nodes, values = gradient._indices()[0], gradient._values()
        else:
            nodes = gradient.any(dim=1).nonzero().flatten()
            values = gradient[nodes]
        parts.append(_Part(nodes.numpy() + offset, values.contiguous().numpy()))
    return _Rows(tuple(parts), nothing.numpy())


def _whole(pair: GradientPair, graph: BipartiteGraph, nothing: Tensor) -> Tensor:
    """Return a users' and an items' gradient as one table [N, d]."""
    shapes = (graph.n_users, nothing.shape[1]), (graph.n_items, nothing.shape[1])
    return torch.cat(
        [
            nothing.new_zeros(shape) if gradient is None else gradient
            for gradient, shape in zip(pair, shapes, strict=True)
        ]
    )
