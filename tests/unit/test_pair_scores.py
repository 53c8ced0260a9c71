"""Scores of pairs and their gradients are those of the plain formula, and so are a step's terms."""

from __future__ import annotations

import pytest
import torch
from tests.planted import checkerboard
from torch import Tensor
from torch.nn import functional

from hnlmrec.models.base import Batch
from hnlmrec.models.lightgcn import LightGCN
from hnlmrec.models.mf import MF
from hnlmrec.negative_sampling.uniform import UniformSampler
from hnlmrec.training import TrainingConfig
from hnlmrec.training.objective import compute_step
from hnlmrec.training.pair_scores import pair_scores


def gradients(total: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(total, of)


@pytest.mark.parametrize("n", [1, 3, 40])
@pytest.mark.parametrize("size", [1, 16, 40])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_scores_and_gradients_are_those_of_the_formula(
    monkeypatch: pytest.MonkeyPatch, n: int, size: int, n_threads: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    rng = torch.Generator().manual_seed(0)
    users = torch.randn(50, size, generator=rng, requires_grad=True)
    items = torch.randn(9, size, generator=rng, requires_grad=True)
    places = torch.randint(9, (50, n), generator=rng)
    weights = torch.randn(50, n, generator=rng)
    scores = pair_scores(users, items, places)
    made = gradients((scores * weights).sum(), users, items)
    exact_users, exact_items = (table.detach().double().requires_grad_() for table in (users, items))
    expected = (exact_users[:, None] * exact_items[places]).sum(-1)
    torch.testing.assert_close(scores.double(), expected, rtol=1e-4, atol=1e-4)
    for own, exact in zip(made, gradients((expected * weights).sum(), exact_users, exact_items), strict=True):
        torch.testing.assert_close(own.double(), exact, rtol=1e-4, atol=1e-4)


def test_tables_in_another_order_of_memory_have_their_gradients() -> None:
    users, items = torch.randn(8, 4).T.requires_grad_(), torch.randn(8, 3).T.requires_grad_()
    places = torch.tensor([[0, 1], [1, 1], [2, 0], [0, 2]])[:, :1]
    made = gradients(pair_scores(users, items, places).sum(), users, items)
    torch.testing.assert_close(made, gradients((users[:, None] * items[places]).sum(), users, items))


def test_other_types_take_the_plain_way() -> None:
    users, items = torch.randn(4, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    places = torch.tensor([[0, 4], [1, 1], [2, 0], [3, 3]])
    torch.testing.assert_close(pair_scores(users, items, places), (users[:, None] * items[places]).sum(-1))


@pytest.mark.parametrize("model_class", [MF, LightGCN])
def test_a_step_is_that_of_its_pairs_one_by_one(model_class: type[MF | LightGCN]) -> None:
    dataset = checkerboard()
    model = model_class(dataset, model_class.Config(embedding_size=8), generator=torch.Generator().manual_seed(1))
    sampler = UniformSampler(dataset, UniformSampler.Config(n_negatives=3))
    train = dataset.train
    batch = Batch(torch.from_numpy(train.users[:64]).long(), torch.from_numpy(train.indices[:64]).long())
    step = compute_step(
        model, sampler, TrainingConfig(regularization=0.1), batch, torch.Generator().manual_seed(2)
    )
    assert step.negatives.items is not None
    everything = model.propagate()
    users, positives = everything.users[batch.users], everything.items[batch.positives]
    negatives = everything.items[step.negatives.items]  # [64, 3, 8]
    margins = (users * positives).sum(-1)[:, None] - (users[:, None] * negatives).sum(-1)
    own = (
        model.user_embedding[batch.users],
        model.item_embedding[batch.positives],
        model.item_embedding[step.negatives.items],
    )
    expected = {
        "ranking": -functional.logsigmoid(margins).mean(),
        "l2": 0.1 * 0.5 * sum(rows.square().sum() for rows in own) / 64,
    }
    assert step.losses.keys() == expected.keys()
    parameters = model.user_embedding, model.item_embedding
    for name, loss in expected.items():
        torch.testing.assert_close(step.losses[name], loss)
        torch.testing.assert_close(
            torch.autograd.grad(step.losses[name], parameters, retain_graph=True), gradients(loss, *parameters)
        )


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_diverged_vector_is_seen(value: float) -> None:
    users, items = torch.ones(4, 8), torch.ones(3, 8)
    users[2, 5] = value
    scores = pair_scores(users.requires_grad_(), items.requires_grad_(), torch.tensor([[0, 1]] * 4))
    assert scores.isfinite().all(dim=1).tolist() == [True, True, False, True]
    assert not gradients(scores.sum(), items)[0][:2].isfinite().any(dim=0)[5]
