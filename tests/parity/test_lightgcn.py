"""Our LightGCN against that of PyTorch Geometric: values and gradients."""

from __future__ import annotations

import pytest
import torch
from tests.planted import checkerboard

from hnlmrec.models.lightgcn import LightGCN

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("n_layers", [1, 3])
@pytest.mark.filterwarnings("ignore")
def test_propagation_and_gradient_equal_torch_geometric(n_layers: int) -> None:
    models = pytest.importorskip("torch_geometric.nn.models", exc_type=ImportError)
    dataset = checkerboard(seed=4)
    generator = torch.Generator().manual_seed(0)
    ours = LightGCN(dataset, LightGCN.Config(embedding_size=16, n_layers=n_layers), generator=generator)
    theirs = models.LightGCN(dataset.n_users + dataset.n_items, embedding_dim=16, num_layers=n_layers)
    with torch.no_grad():
        theirs.embedding.weight.copy_(torch.cat([ours.user_embedding, ours.item_embedding]))
    users, items = (torch.from_numpy(a).long() for a in (dataset.train.users, dataset.train.indices))
    items = items + dataset.n_users
    edges = torch.stack([torch.cat([users, items]), torch.cat([items, users])])
    found, expected = torch.cat([ours.propagate().users, ours.propagate().items]), theirs.get_embedding(edges)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    weights = torch.randn(found.shape, generator=generator)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    gradient = torch.cat([ours.user_embedding.grad, ours.item_embedding.grad])
    torch.testing.assert_close(gradient, theirs.embedding.weight.grad, rtol=1e-5, atol=1e-6)
