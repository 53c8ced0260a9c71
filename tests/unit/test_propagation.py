"""Propagation is the dense product it stands for, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from hnlmrec.data.interactions import Interactions
from hnlmrec.models.propagation import BipartiteGraph, LayerSum

N_USERS, N_ITEMS, SIZE = 13, 9, 5
SUMS = [LayerSum.mean(3), LayerSum.mean(1), LayerSum(1, 0.0, 1.0), LayerSum(2, 0.0, 0.5)]


def make_graph(seed: int = 0, share: float = 0.4) -> BipartiteGraph:
    pairs = np.argwhere(np.random.default_rng(seed).random((N_USERS, N_ITEMS)) < share)
    pairs = pairs[(pairs[:, 0] != 4) & (pairs[:, 1] != 2)]  # a user and an item without any interaction
    return BipartiteGraph(Interactions.from_pairs(pairs[:, 0], pairs[:, 1], N_USERS, N_ITEMS))


def dense(graph: BipartiteGraph) -> Tensor:
    """D^-1/2 B D^-1/2 written out, from the graph's edges alone."""
    matrix = torch.zeros(graph.n_nodes, graph.n_nodes, dtype=torch.float64)
    for row in range(graph.n_nodes):
        matrix[row, graph.columns[graph.indptr[row] : graph.indptr[row + 1]].astype(np.int64)] = 1
    scale = matrix.sum(1).clamp(min=1).rsqrt()
    return scale[:, None] * matrix * scale


def dense_sum(graph: BipartiteGraph, both: Tensor, layers: LayerSum) -> Tensor:
    matrix = dense(graph).to(both.dtype)
    total = layers.own_weight * both
    for _ in range(layers.n_layers):
        both = matrix @ both
        total = total + layers.layer_weight * both
    return total


def tables(dtype: torch.dtype = torch.float64, size: int = SIZE) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    users = torch.randn(N_USERS, size, generator=generator, dtype=dtype)
    return users.requires_grad_(), torch.randn(N_ITEMS, size, generator=generator, dtype=dtype).requires_grad_()


def test_adjacency_is_symmetric_and_contracts() -> None:
    matrix = dense(make_graph())
    torch.testing.assert_close(matrix, matrix.T)
    assert torch.linalg.eigvalsh(matrix).abs().max() <= 1 + 1e-12


@pytest.mark.parametrize("layers", SUMS)
def test_propagate_equals_the_dense_product_and_its_gradient(layers: LayerSum) -> None:
    graph, (users, items) = make_graph(), tables()
    result = torch.cat(graph.propagate(users, items, layers))
    expected = dense_sum(graph, torch.cat([users, items]), layers)
    torch.testing.assert_close(result, expected)
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(2), dtype=result.dtype)
    weights[::2] = 0  # rows without gradient are left out in the backward pass
    ours = torch.autograd.grad((result * weights).sum(), [users, items])
    theirs = torch.autograd.grad((expected * weights).sum(), [users, items])
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("layers", SUMS)
def test_propagate_at_equals_the_rows_of_the_whole(layers: LayerSum) -> None:
    graph, (users, items) = make_graph(), tables()
    at_users, at_items = torch.tensor([3, 3, 0, 4, 12]), torch.tensor([8, 1, 1, 2])
    found = graph.propagate_at(users, items, layers, at_users, at_items)
    whole = dense_sum(graph, torch.cat([users, items]), layers)
    expected = (whole[at_users], whole[N_USERS + at_items], users[at_users], items[at_items])
    torch.testing.assert_close(found, expected)
    loss, expected_loss = (
        sum((n + 1) * part.square().sum() for n, part in enumerate(p)) for p in (found, expected)
    )
    torch.testing.assert_close(
        torch.autograd.grad(loss, [users, items]), torch.autograd.grad(expected_loss, [users, items])
    )


@pytest.mark.parametrize("part", [0, 1, 2, 3])
def test_propagate_at_takes_a_gradient_of_any_one_output(part: int) -> None:
    graph, (users, items) = make_graph(), tables()
    at_users, at_items = torch.tensor([1, 5]), torch.tensor([0, 0, 7])
    layers = LayerSum.mean(2)
    assert torch.autograd.gradcheck(
        lambda u, i: graph.propagate_at(u, i, layers, at_users, at_items)[part], (users, items)
    )


def test_gradcheck_of_a_hop() -> None:
    graph = make_graph()
    assert torch.autograd.gradcheck(graph.hop, tables())


def test_long_rows_use_every_branch_of_the_kernel() -> None:
    for n_items in range(1, 20):  # a user's degree decides which unrolled loops run
        graph = BipartiteGraph(Interactions.from_pairs([0] * n_items, range(n_items), 1, n_items))
        users, items = torch.randn(1, 3, dtype=torch.float64), torch.randn(n_items, 3, dtype=torch.float64)
        result, _ = graph.hop(users, items)
        torch.testing.assert_close(result, items.sum(0, keepdim=True) / n_items**0.5)


def test_sparse_path_of_other_devices_gives_the_same() -> None:
    graph, (users, items) = make_graph(), tables()
    layers = LayerSum.mean(3)
    sparse = graph.propagate_sparse(torch.cat([users, items]).detach(), layers)
    torch.testing.assert_close(sparse, torch.cat(graph.propagate(users, items, layers)).detach())


def test_float32_is_near_float64() -> None:
    graph = make_graph()
    layers = LayerSum.mean(3)
    small = torch.cat(graph.propagate(*tables(torch.float64), layers))
    single = torch.cat(graph.propagate(*(table.detach().float() for table in tables()), layers))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), small.detach(), rtol=1e-5, atol=1e-6)


def test_values_that_are_not_finite_are_seen() -> None:
    graph, (users, items) = make_graph(), tables()
    with torch.no_grad():
        users[0] = torch.nan
    assert not torch.cat(graph.propagate(users, items, LayerSum.mean(2))).isfinite().all()


@pytest.mark.parametrize("size", [1, 31, 32, 33, 64, 70])
def test_vectors_of_any_length_fit_into_blocks(size: int) -> None:
    graph, (users, items), layers = make_graph(), tables(size=size), LayerSum.mean(3)
    expected = dense_sum(graph, torch.cat([users, items]), layers)
    torch.testing.assert_close(torch.cat(graph.propagate(users, items, layers)), expected)
    at_users, at_items = torch.tensor([12, 0]), torch.tensor([1])
    found = graph.propagate_at(users, items, layers, at_users, at_items)
    torch.testing.assert_close(torch.cat(found[:2]), expected[[12, 0, N_USERS + 1]])
    ours = torch.autograd.grad(found[0].square().sum(), [users, items])
    theirs = torch.autograd.grad(expected[at_users].square().sum(), [users, items])
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("layers", SUMS)
@pytest.mark.parametrize("n_rows", [1, 4, 20])
def test_gradient_of_few_and_of_many_rows(layers: LayerSum, n_rows: int) -> None:
    """Few rows leave neighbours out, many do not: both ways give the dense product."""
    graph, (users, items) = make_graph(), tables()
    weights = torch.zeros(graph.n_nodes, SIZE, dtype=torch.float64)
    weights[torch.randperm(graph.n_nodes, generator=torch.Generator().manual_seed(3))[:n_rows]] = 0.5
    expected = dense_sum(graph, weights, layers)
    ours = torch.autograd.grad((torch.cat(graph.propagate(users, items, layers)) * weights).sum(), [users, items])
    torch.testing.assert_close(torch.cat(ours), expected)
    rows = weights.any(1).nonzero().flatten()
    at_users, at_items = rows[rows < N_USERS], rows[rows >= N_USERS] - N_USERS
    found = graph.propagate_at(users, items, layers, at_users, at_items)
    ours = torch.autograd.grad(0.5 * (found[0].sum() + found[1].sum()), [users, items])
    torch.testing.assert_close(torch.cat(ours), expected)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    rng, n = np.random.default_rng(0), 600
    pairs = np.argwhere(rng.random((n, n)) < 0.2)  # enough work for several shares
    graph = BipartiteGraph(Interactions.from_pairs(pairs[:, 0], pairs[:, 1], n, n))
    generator = torch.Generator().manual_seed(0)
    users, items = (torch.randn(n, 70, generator=generator, requires_grad=True) for _ in range(2))
    before, results = torch.get_num_threads(), []
    try:
        for n_threads in (1, 3):
            torch.set_num_threads(n_threads)
            found = graph.propagate_at(users, items, LayerSum.mean(3), torch.arange(n), torch.arange(40))
            whole = graph.propagate(users, items, LayerSum.mean(3))
            loss = sum((part.square().sum() for part in (*found, *whole)), torch.zeros(()))
            results.append([*found, *whole, *torch.autograd.grad(loss, [users, items])])
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*results, strict=True):
        assert torch.equal(one, three)


def test_two_sizes_do_not_mix_their_work_spaces() -> None:
    graph = make_graph()
    small, large = tables(size=2), tables(size=7)
    first = torch.cat(graph.propagate(*small, LayerSum.mean(3)))
    graph.propagate(*large, LayerSum.mean(3))
    torch.testing.assert_close(first, dense_sum(graph, torch.cat(small), LayerSum.mean(3)))
