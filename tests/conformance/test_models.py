"""What every model of the table must do."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tests.planted import checkerboard, separation

from hnlmrec.models import MODELS
from hnlmrec.models.base import Batch, CFModel
from hnlmrec.negative_sampling.uniform import UniformSampler
from hnlmrec.rng import RandomStreams
from hnlmrec.training import Trainer, TrainingConfig, TrainingResult
from hnlmrec.training.objective import compute_step

DATASET = checkerboard()


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads have nothing to do on tensors this small, and wait for one another where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


NAMES = sorted(MODELS)


def make(name: str, seed: int = 0) -> CFModel:
    kind = MODELS[name]
    # A strong contrast spreads the users of one colour apart, which the planted structure does not reward.
    options = {"ssl_weight": 0.02} if "ssl_weight" in kind.Config.model_fields else {}
    config = kind.Config(embedding_size=8, **options)
    return kind(DATASET, config, generator=torch.Generator().manual_seed(seed))


def train(name: str, **changes: object) -> TrainingResult:
    options = {
        "epochs": 40,
        "batch_size": 128,
        "learning_rate": 0.02,
        "device": "cpu",
        "drawn_per_epoch": 0,
        "patience": 99,
    }
    config = TrainingConfig(**(options | changes))  # type: ignore[arg-type]
    sampler = UniformSampler(DATASET, UniformSampler.Config())
    return Trainer(make(name), sampler, config, RandomStreams(3), evaluate=separation(DATASET)).fit(DATASET)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_agree_and_scores_are_finite(name: str) -> None:
    embeddings = make(name).eval().propagate()
    assert len(embeddings.users) == DATASET.n_users
    assert len(embeddings.items) == DATASET.n_items
    assert embeddings.users.shape[1] == embeddings.items.shape[1]
    assert torch.isfinite(embeddings.users @ embeddings.items.T).all()


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_the_rows_of_propagate(name: str) -> None:
    model = make(name).eval()
    users, items = torch.tensor([0, 7, 7]), torch.tensor([3, 29, 0, 3])
    rows, embeddings, ego = model.rows(users, items), model.propagate(), model.ego_embeddings()
    torch.testing.assert_close(rows.users, embeddings.users[users], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(rows.items, embeddings.items[items], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close((rows.ego_users, rows.ego_items), (ego.users[users], ego.items[items]))


@pytest.mark.parametrize("name", NAMES)
def test_layers_on_demand_leave_the_result_as_it_is(name: str) -> None:
    model = make(name).eval()
    with_layers, without = model.propagate(layers=True), model.propagate()
    torch.testing.assert_close(with_layers.users, without.users, rtol=1e-4, atol=1e-6)
    assert without.user_layers == ()
    assert len(with_layers.user_layers) == len(with_layers.item_layers)
    assert (name == "mf") == (with_layers.user_layers == ())
    for layer in with_layers.item_layers:
        assert layer.shape[0] == DATASET.n_items
        assert layer.requires_grad


@pytest.mark.parametrize("regularization", [0.0, 0.1])
@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_finite_and_reaches_every_parameter(name: str, regularization: float) -> None:
    model = make(name).train()
    sampler = UniformSampler(DATASET, UniformSampler.Config())
    pairs = DATASET.train
    batch = Batch(torch.from_numpy(pairs.users).long(), torch.from_numpy(pairs.indices).long())
    config = TrainingConfig(regularization=regularization)
    model.start_epoch(0)
    step = compute_step(model, sampler, config, batch, torch.Generator().manual_seed(0))
    sum(step.losses.values()).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize("name", NAMES)
def test_solves_the_checkerboard_with_falling_loss(name: str) -> None:
    result = train(name)
    assert result.best_value > 0.95
    assert result.records[-1]["losses"]["ranking"] < 0.7 * result.records[0]["losses"]["ranking"]


@pytest.mark.parametrize("name", NAMES)
def test_two_runs_are_equal(name: str) -> None:
    first, second = (train(name, epochs=2) for _ in range(2))
    assert torch.equal(first.embeddings.users, second.embeddings.users)
    assert [r["losses"] for r in first.records] == [r["losses"] for r in second.records]


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_restored_it_is_the_same(name: str) -> None:
    model, other = make(name, seed=1).eval(), make(name, seed=2).eval()
    assert not torch.equal(model.propagate().users, other.propagate().users)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model.propagate().users, other.propagate().users)


@pytest.mark.parametrize("name", NAMES)
def test_starts_from_given_vectors(name: str) -> None:
    kind = MODELS[name]
    shapes = (DATASET.n_users, 8), (DATASET.n_items, 8)
    initial = tuple(torch.from_numpy(np.random.default_rng(0).normal(size=s)).float() for s in shapes)
    generator = torch.Generator().manual_seed(0)
    model = kind(DATASET, kind.Config(embedding_size=8), generator=generator, initial=initial)
    assert torch.equal(model.ego_embeddings().items, initial[1])
    with pytest.raises(ValueError, match="expected"):
        kind(DATASET, kind.Config(embedding_size=9), generator=generator, initial=initial)
