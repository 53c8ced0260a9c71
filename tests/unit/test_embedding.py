"""All vectors and layers, with gradients of single rows, are what plain autograd makes of the dense product."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.unit.test_propagation import N_ITEMS, N_USERS, SIZE, SUMS, dense, make_graph, tables
from torch import Tensor

from hnlmrec.models.base import Embeddings
from hnlmrec.models.embedding import backward_sparse, embed, forward_sparse
from hnlmrec.models.propagation import BipartiteGraph, LayerSum

USERS, ITEMS = torch.tensor([3, 3, 0, 4, 12]), torch.tensor([[8, 1], [1, 2]])


def plain(graph: BipartiteGraph, users: Tensor, items: Tensor, layers: LayerSum) -> Embeddings:
    """Compute the same with a dense matrix, and nothing of ours in the backward pass."""
    matrix, both = dense(graph).to(users.dtype), [torch.cat([users, items])]
    for _ in range(layers.n_layers):
        both.append(matrix @ both[-1])
    total = layers.own_weight * both[0] + layers.layer_weight * torch.stack(both[1:]).sum(0)
    of_users, of_items = (
        tuple(part) for part in zip(*(torch.split(t, [N_USERS, N_ITEMS]) for t in both), strict=True)
    )
    return Embeddings(*torch.split(total, [N_USERS, N_ITEMS]), of_users, of_items, (users, items))


def of_the_sum(embeddings: Embeddings) -> Tensor:
    users = embeddings.take(embeddings.users, USERS)
    return users.square().sum() + embeddings.take(embeddings.items, ITEMS).pow(3).sum()


def of_layer_zero(embeddings: Embeddings) -> Tensor:
    assert embeddings.ego is not None
    return embeddings.take(embeddings.ego[0], USERS).square().sum()


def of_each_layer(embeddings: Embeddings) -> Tensor:
    terms = [of_the_sum(embeddings), of_layer_zero(embeddings)]
    for n, (users, items) in enumerate(zip(embeddings.user_layers, embeddings.item_layers, strict=True)):
        terms.append((n + 1) * embeddings.take(items, ITEMS + n % 2 * -1).square().sum())
        terms.append(embeddings.take(users, USERS[n:]).pow(3).sum())
    return torch.stack(terms).sum()


def of_rows_and_whole_tables(embeddings: Embeddings) -> Tensor:
    whole = embeddings.items.square().sum() + sum(table.sum() for table in embeddings.item_layers)
    return of_each_layer(embeddings) + whole + embeddings.users[1:3].sum()


LOSSES = [of_the_sum, of_layer_zero, of_each_layer, of_rows_and_whole_tables]


@pytest.mark.parametrize("share", [0.4, 0.1])
@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("layers", SUMS)
@pytest.mark.parametrize("loss", LOSSES)
def test_values_and_gradients_are_those_of_plain_autograd(
    loss: Callable[[Embeddings], Tensor], layers: LayerSum, each: bool, share: float
) -> None:
    graph, (users, items) = make_graph(share=share), tables()
    if loss is of_rows_and_whole_tables and not each:
        loss = of_the_sum
    found, expected = embed(graph, users, items, layers, each=each), plain(graph, users, items, layers)
    assert found.row_gradients
    assert len(found.user_layers) == (layers.n_layers + 1 if each else 0)
    if not each:
        expected = Embeddings(expected.users, expected.items, ego=expected.ego)
    torch.testing.assert_close(tuple(vars(found).values())[:4], tuple(vars(expected).values())[:4])
    theirs = torch.autograd.grad(loss(expected), [users, items], allow_unused=True, materialize_grads=True)
    ours = torch.autograd.grad(loss(found), [users, items])
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("size", [1, 32, 70])
def test_vectors_of_any_length_fit(size: int) -> None:
    graph, (users, items), layers = make_graph(), tables(torch.float32, size), LayerSum.mean(3)
    ours, theirs = (
        torch.autograd.grad(of_each_layer(e), [users, items])
        for e in (embed(graph, users, items, layers, each=True), plain(graph, users, items, layers))
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("layers", SUMS)
def test_other_devices_do_the_same(layers: LayerSum, each: bool) -> None:
    graph, (users, items) = make_graph(), tables()
    both = torch.cat([users, items])
    expected = plain(graph, users, items, layers)
    total, of_layers = forward_sparse(both.detach(), graph, layers, each)
    torch.testing.assert_close(total, torch.cat([expected.users, expected.items]))
    assert len(of_layers) == (layers.n_layers if each else 0)
    generator = torch.Generator().manual_seed(5)
    pairs = [
        tuple(torch.randn(n, SIZE, generator=generator, dtype=torch.float64) for n in (N_USERS, N_ITEMS))
        for _ in range(2 + len(of_layers))
    ]
    pairs[0] = pairs[0][0], None  # nobody has read the items' sum
    outputs = [(expected.users, expected.items), *zip(expected.user_layers, expected.item_layers, strict=True)]
    loss = sum(
        (o * g).sum()
        for output, pair in zip(outputs, pairs, strict=False)
        for o, g in zip(output, pair, strict=True)
        if g is not None
    )
    theirs = torch.cat(torch.autograd.grad(loss, [users, items]))
    torch.testing.assert_close(backward_sparse(graph, layers, pairs, users.detach()[:0]), theirs)


def test_without_gradient_there_is_none() -> None:
    graph, (users, items) = make_graph(), tables()
    with torch.no_grad():
        found = embed(graph, users, items, LayerSum.mean(2), each=True)
    assert not any(table.requires_grad for table in (found.users, found.items, *found.user_layers))


def test_two_embeddings_do_not_mix() -> None:
    graph, (users, items), layers = make_graph(), tables(), LayerSum.mean(3)
    first = embed(graph, users, items, layers, each=True)
    kept = first.item_layers[2].clone()
    embed(graph, 2 * users, items, layers, each=True)
    torch.testing.assert_close(first.item_layers[2], kept)
