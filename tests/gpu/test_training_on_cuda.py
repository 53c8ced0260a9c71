"""On a CUDA device: the same values as on the CPU, and a run that solves the planted structure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.planted import checkerboard, separation

from hnlmrec.data.judgements import JudgementTable
from hnlmrec.errors import DataError
from hnlmrec.evaluation.evaluator import dot_product_scorer, evaluate
from hnlmrec.models import MODELS
from hnlmrec.models.propagation import BipartiteGraph, LayerSum
from hnlmrec.negative_sampling.uniform import UniformSampler
from hnlmrec.rng import RandomStreams
from hnlmrec.training import Trainer, TrainingConfig, TrainingResult
from hnlmrec.training.judged_order import JudgedOrder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
DATASET = checkerboard()


def train(name: str, **changes: object) -> TrainingResult:
    options = {"epochs": 40, "batch_size": 128, "learning_rate": 0.02, "device": "cuda", "patience": 99}
    kind = MODELS[name]
    small = {"ssl_weight": 0.02} if "ssl_weight" in kind.Config.model_fields else {}
    config = kind.Config(embedding_size=8, **small)
    model = kind(DATASET, config, generator=torch.Generator().manual_seed(0))
    sampler = UniformSampler(DATASET, UniformSampler.Config())
    training = TrainingConfig(**(options | changes))  # type: ignore[arg-type]
    return Trainer(model, sampler, training, RandomStreams(3), evaluate=separation(DATASET)).fit(DATASET)


def test_propagation_and_gradient_equal_the_cpu() -> None:
    graph, layers = BipartiteGraph(DATASET.train), LayerSum.mean(3)
    generator = torch.Generator().manual_seed(0)
    at_users, at_items = torch.tensor([0, 5, 5]), torch.tensor([2, 2, 29, 1])
    results = []
    for device in ("cpu", "cuda"):
        generator.manual_seed(0)
        tables = [
            torch.randn(n, 16, generator=generator).to(device).requires_grad_()
            for n in (DATASET.n_users, DATASET.n_items)
        ]
        parts = graph.propagate_at(*tables, layers, at_users.to(device), at_items.to(device))
        torch.stack([part.square().sum() for part in parts]).sum().backward()
        results.append([*(part.detach().cpu() for part in parts), *(table.grad.cpu() for table in tables)])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_solves_the_checkerboard(name: str) -> None:
    assert train(name).best_value > 0.95


@pytest.mark.parametrize("mixed_precision", [False, True])
def test_two_runs_are_equal(mixed_precision: bool) -> None:
    first, second = (train("lightgcn", epochs=3, mixed_precision=mixed_precision) for _ in range(2))
    assert torch.equal(first.embeddings.users, second.embeddings.users)


def test_judged_pairs_are_drawn_where_the_batch_is() -> None:
    users, items = np.repeat([0, 2], 3), np.array([4, 7, 9, 1, 2, 3])
    scores = np.array([2, 1, 0, 0, 1, 2], dtype=np.float32)
    table = JudgementTable(users, items, np.ones(6, np.float32), scores)
    order = JudgedOrder(table, 4, 3, torch.device("cuda"))
    drawn = order.draw(torch.tensor([0, 2, 1, 3] * 50).cuda(), torch.Generator("cuda").manual_seed(0))
    assert drawn.known.tolist() == [True, True, False, False] * 50
    score_of = dict(zip(items.tolist(), scores.tolist(), strict=True))
    pairs = drawn.items[drawn.known].tolist()
    expected = torch.tensor([score_of[a] - score_of[b] for a, b in pairs]).sigmoid()
    assert all(a != b for a, b in pairs)
    torch.testing.assert_close(drawn.targets[drawn.known].cpu(), expected)


def test_evaluation_equals_the_cpu() -> None:
    generator = torch.Generator().manual_seed(0)
    users = torch.randint(-3, 4, (DATASET.n_users, 4), generator=generator).float()  # many equal scores
    items = torch.randint(-3, 4, (DATASET.n_items, 4), generator=generator).float()
    here = evaluate(dot_product_scorer(users, items), DATASET, ks=(5, 20))
    there = evaluate(dot_product_scorer(users.cuda(), items.cuda()), DATASET, ks=(5, 20))
    assert np.array_equal(there.items, here.items)
    assert there.means() == here.means()


def test_a_score_on_cuda_that_is_not_a_number_is_refused() -> None:
    users, items = torch.ones(DATASET.n_users, 2), torch.ones(DATASET.n_items, 2)
    users[1] = torch.nan
    with pytest.raises(DataError, match="user number 1 hold a value that is not a number"):
        evaluate(dot_product_scorer(users.cuda(), items.cuda()), DATASET, ks=(5,))
