"""The order of a judge as a lesson: which pairs are drawn, what they ask for, and that a model learns it."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tests.unit.judging_world import N_ITEMS, N_USERS, dataset, grouped_dataset

from hnlmrec.data.judgements import JudgementTable
from hnlmrec.errors import ConfigError
from hnlmrec.losses import judged_order
from hnlmrec.models.base import Batch
from hnlmrec.models.mf import MF
from hnlmrec.negative_sampling.uniform import UniformSampler
from hnlmrec.rng import RandomStreams
from hnlmrec.training import Trainer, TrainingConfig
from hnlmrec.training.judged_order import JudgedOrder
from hnlmrec.training.objective import compute_step

CPU = torch.device("cpu")


def table(rows: dict[int, dict[int, float]]) -> JudgementTable:
    """Return judgements with these scores by user and item."""
    triples = [(user, item, score) for user, items in rows.items() for item, score in items.items()]
    users, items, scores = (np.array(column) for column in zip(*triples, strict=True))
    return JudgementTable(users, items, np.full(len(users), 0.5, np.float32), scores.astype(np.float32))


def test_all_pairs_of_the_best_are_drawn_alike_and_none_with_itself() -> None:
    scores = {4: 2.0, 7: 1.0, 9: 0.5, 3: 0.0, 8: -1.0}
    order = JudgedOrder(table({1: scores}), 3, 4, CPU)  # 8 is the fifth
    drawn = order.draw(torch.ones(24_000, dtype=torch.int64), torch.Generator().manual_seed(0))
    assert drawn.known.all()
    pairs = list(map(tuple, drawn.items.tolist()))
    expected = [pair for a, b in combinations([4, 7, 9, 3], 2) for pair in ((a, b), (b, a))]
    assert set(pairs) == set(expected)
    assert [pairs.count(pair) / 24_000 for pair in expected] == pytest.approx([1 / 12] * 12, abs=0.01)
    for (a, b), target in zip(pairs[:50], drawn.targets.tolist(), strict=False):
        assert target == pytest.approx(1 / (1 + np.exp(scores[b] - scores[a])))


@pytest.mark.parametrize("user", [0, 2, 3])
def test_users_with_fewer_than_two_judged_items_count_for_nothing(user: int) -> None:
    order = JudgedOrder(table({1: {4: 2.0, 7: 1.0}, 2: {5: 1.0}}), 4, 100, CPU)
    drawn = order.draw(torch.tensor([1, user]), torch.Generator().manual_seed(0))
    assert drawn.known.tolist() == [True, False]
    scores = torch.tensor([[0.3, -0.2], [50.0, -50.0]], requires_grad=True)
    judged_order(scores, drawn.targets, drawn.known).backward()
    assert scores.grad is not None
    assert scores.grad[1].tolist() == [0, 0]
    assert scores.grad[0].abs().min() > 0


def test_the_loss_is_least_where_the_model_says_what_the_judge_says() -> None:
    target = torch.tensor([0.8])
    known = torch.tensor([True])
    scores = torch.tensor([[float(np.log(4)), 0.0]], requires_grad=True)  # odds of 4 to 1
    loss = judged_order(scores, target, known)
    assert float(loss.detach()) == pytest.approx(-(0.8 * np.log(0.8) + 0.2 * np.log(0.2)))
    loss.backward()
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, torch.zeros(1, 2))


@pytest.mark.parametrize("n_negatives", [1, 3])
def test_the_other_terms_of_a_step_are_as_without_it(n_negatives: int) -> None:
    data = grouped_dataset()
    batch = Batch(torch.from_numpy(data.train.users[:64]).long(), torch.from_numpy(data.train.indices[:64]).long())
    order = JudgedOrder(table({user: {4: 1.0, 9: 0.0} for user in range(N_USERS)}), N_USERS, 2, CPU)
    config = TrainingConfig(regularization=0.1, order_weight=2.0)
    steps = []
    for own in (None, order):
        model = MF(data, MF.Config(embedding_size=8), generator=torch.Generator().manual_seed(1))
        sampler = UniformSampler(data, UniformSampler.Config(n_negatives=n_negatives))
        steps.append(compute_step(model, sampler, config, batch, torch.Generator().manual_seed(2), order=own))
    without, with_it = (step.losses for step in steps)
    assert with_it.keys() - without.keys() == {"order"}
    for name, loss in without.items():
        torch.testing.assert_close(with_it[name], loss)
    everything = model.propagate()
    first, second = ((everything.users[batch.users] * everything.items[item]).sum(-1) for item in (4, 9))
    one = torch.nn.functional.softplus(-(first - second))
    other = torch.nn.functional.softplus(first - second)
    likely = 1 / (1 + np.exp(-1.0))
    torch.testing.assert_close(with_it["order"], 2.0 * (likely * one + (1 - likely) * other).mean())


def trained(order_weight: float, judgements: JudgementTable | None) -> torch.Tensor:
    data = grouped_dataset()
    config = TrainingConfig(
        order_weight=order_weight, epochs=60, batch_size=128, learning_rate=0.02, evaluate_every=60,
        select_on="test", device="cpu", drawn_per_epoch=0,
    )  # fmt: skip
    streams = RandomStreams(0)
    model = MF(data, MF.Config(embedding_size=16), generator=torch.Generator().manual_seed(0))
    result = Trainer(
        model,
        UniformSampler(data, UniformSampler.Config()),
        config,
        streams,
        evaluate=lambda embeddings, split: {"recall@20": 0.0},
        judgements=judgements,
    ).fit(data)
    return result.embeddings.users @ result.embeddings.items.T


def test_a_model_learns_the_order() -> None:
    rng = np.random.default_rng(0)
    data = grouped_dataset()
    rows = {}
    for user in range(N_USERS):
        free = np.setdiff1d(np.arange(N_ITEMS), data.train.indices[data.train.users == user])
        rows[user] = dict(zip(rng.permutation(free)[:6].tolist(), (3.0, 1.5, 0.0, -1.5, -3.0, -4.5), strict=True))

    def right(scores: torch.Tensor) -> float:
        """Return the share of judged pairs that are in the judge's order."""
        pairs = [(u, *pair) for u, items in rows.items() for pair in combinations(items, 2)]
        return float(np.mean([float(scores[u, a] > scores[u, b]) for u, a, b in pairs]))

    assert right(trained(0.0, None)) == pytest.approx(0.5, abs=0.1)
    assert right(trained(1.0, table(rows))) > 0.9


def test_without_judgements_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="order_weight is 1, and there are no judgements"):
        trained(1.0, None)


def test_probabilities_alone_tell_the_odds(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": ["u0"] * 3, "item_id": ["i2", "i3", "i4"], "probability": [0.6, 0.2, 0.0]})
    frame.write_parquet(tmp_path / "judgements.parquet")
    judgements = JudgementTable.load(tmp_path, dataset([0], [1]))
    assert judgements.best(3).items.tolist() == [2, 3, 4]
    order = JudgedOrder(judgements, N_USERS, 2, CPU)
    drawn = order.draw(torch.zeros(8, dtype=torch.int64), torch.Generator().manual_seed(0))
    assert set(drawn.targets.round(decimals=4).tolist()) == {0.75, 0.25}
