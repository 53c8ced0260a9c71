"""Several processes together compute the step of one, for every sampler, every model and every enhancement."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from tests.conformance.test_samplers import DATASET, SIZE, make_batch, make_resources, negatives_file

from hnlmrec.data.judgements import JudgementTable
from hnlmrec.data.node_texts import NodeTexts
from hnlmrec.data.preferences import PreferenceTable
from hnlmrec.models import MODELS
from hnlmrec.models.base import Batch, TrainableModel
from hnlmrec.models.enhancements import ENHANCEMENTS, EnhancementResources
from hnlmrec.negative_sampling import SAMPLERS, build_sampler
from hnlmrec.processes import Processes
from hnlmrec.training.config import TrainingConfig
from hnlmrec.training.judged_order import JudgedOrder
from hnlmrec.training.objective import Step, compute_step
from hnlmrec.training.sharing import Share

__all__ = ["negatives_file"]
CONFIG = TrainingConfig(regularization=1e-2, contrastive_weight=0.1, order_weight=0.5, device="cpu")


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("total", [1, 2, 6, 7, 20])
def test_the_shares_are_the_batch(total: int, size: int) -> None:
    shares = [Share.of(total, Processes(rank, size)) for rank in range(size)]
    rows = [row for share in shares if share.weight for row in range(total)[share.rows]]
    assert rows == list(range(total))
    assert sum(share.weight for share in shares) == pytest.approx(1)
    assert all(len(range(total)[share.rows]) for share in shares), "a process has nothing to compute"


def what_enhancements_read() -> EnhancementResources:
    """Texts of all items and of every other user, and a preference of each user."""
    rng = np.random.default_rng(7)
    users = rng.standard_normal((DATASET.n_users, 12)).astype(np.float32)
    users[::2] = 0
    texts = NodeTexts.of(rng.standard_normal((DATASET.n_items, 12)).astype(np.float32), users, DATASET.train)
    liked = rng.integers(DATASET.n_items, size=DATASET.n_users)
    preferences = PreferenceTable(np.arange(len(liked)), liked, (liked + 1) % DATASET.n_items)
    return EnhancementResources(texts, preferences)


def some_order() -> JudgedOrder:
    """Two to four judged items of each user but the first."""
    rng = np.random.default_rng(8)
    users = np.repeat(np.arange(1, DATASET.n_users), 2 + np.arange(1, DATASET.n_users) % 3)
    items = np.concatenate([rng.permutation(DATASET.n_items)[:n] for n in np.bincount(users)])
    scores = rng.standard_normal(len(users)).astype(np.float32)
    judged = JudgementTable(users, items, np.ones(len(users), np.float32), scores)
    return JudgedOrder(judged, DATASET.n_users, 100, torch.device("cpu"))


def step(
    model_name: str, sampler_name: str, enhancement: str | None, file: str, processes: Processes
) -> tuple[Step, list[torch.Tensor], Any]:
    """Compute one step from the same start; return it, the gradients, and what comes next from the stream."""
    options = {"path": file} if sampler_name == "file" else {}
    sampler = build_sampler(
        sampler_name, SAMPLERS[sampler_name].Config(n_negatives=2, **options), make_resources()
    )
    kind = MODELS[model_name]
    generator = torch.Generator().manual_seed(5)
    backbone = kind(DATASET, kind.Config(embedding_size=SIZE), generator=generator)
    model: TrainableModel = backbone
    if enhancement is not None:
        own = ENHANCEMENTS[enhancement]
        model = own.build(backbone, own.Config(), what_enhancements_read(), generator=generator)
    model.start_epoch(0)
    with torch.no_grad():
        sampler.start_epoch(0, model.propagate(layers=sampler.uses_layers))
    users, positives = make_batch()
    rng = torch.Generator().manual_seed(6)
    made = compute_step(
        model, sampler, CONFIG, Batch(users, positives), rng, order=some_order(), processes=processes
    )
    torch.stack(list(made.losses.values())).sum().backward()
    gradients = [
        torch.zeros_like(p) if p.grad is None else p.grad
        for module in (model, sampler)
        for p in module.parameters()
    ]
    return made, gradients, torch.rand(1, generator=rng)


@pytest.mark.parametrize(
    ("model", "sampler", "enhancement"),
    [
        *(("lightgcn", name, None) for name in SAMPLERS),
        *((name, "uniform", None) for name in MODELS if name != "lightgcn"),
        *(("lightgcn", sampler, name) for name in ENHANCEMENTS for sampler in ("uniform", "mixgcf")),
    ],
)
def test_the_sum_over_processes_is_the_step_of_one(
    model: str, sampler: str, enhancement: str | None, negatives_file: str
) -> None:
    whole, gradients, after = step(model, sampler, enhancement, negatives_file, Processes())
    parts = [step(model, sampler, enhancement, negatives_file, Processes(rank, 3)) for rank in range(3)]
    assert float(whole.losses["order"].detach()) > 0
    for name, loss in whole.losses.items():
        assert sum(float(part.losses[name].detach()) for part, _, _ in parts) == pytest.approx(
            float(loss.detach()), rel=1e-4, abs=1e-6
        )
    for number, expected in enumerate(gradients):
        found = sum(own[number] for _, own, _ in parts)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    assert {float(other) for _, _, other in parts} == {float(after)}, "the streams have parted"
    assert Counter(map(len, (part.batch.users for part, _, _ in parts))) == {21: 2, 22: 1}
    if whole.negatives.items is not None:
        drawn = torch.cat([part.negatives.items for part, _, _ in parts if part.negatives.items is not None])
        assert torch.equal(drawn, whole.negatives.items)
