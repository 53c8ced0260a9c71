"""What every entry of ENHANCEMENTS must do, around every model that it takes."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.planted import checkerboard, separation

from hnlmrec.config import field_docstrings
from hnlmrec.data.interactions import InteractionDataset, Interactions
from hnlmrec.data.node_texts import NodeTexts
from hnlmrec.data.preferences import PreferenceTable
from hnlmrec.errors import ConfigError
from hnlmrec.models import MODELS
from hnlmrec.models.base import Batch
from hnlmrec.models.enhancements import ENHANCEMENTS, Enhancement, EnhancementConfig, EnhancementResources
from hnlmrec.negative_sampling import SAMPLERS
from hnlmrec.rng import RandomStreams
from hnlmrec.training import Trainer, TrainingConfig, TrainingResult
from hnlmrec.training.objective import compute_step

DATASET = checkerboard()
NAMES = sorted(ENHANCEMENTS)
PAIRS = [(name, model) for name in NAMES for model in MODELS if (name, model) != ("rlmrec_gen", "mf")]
ROOT = Path(__file__).parents[2]
every_pair = pytest.mark.parametrize(("name", "model"), PAIRS)
every_name = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def resources(dataset: InteractionDataset = DATASET) -> EnhancementResources:
    """Texts that tell the two colours of items, of every other user too; preferences that fit the colours."""
    rng = np.random.default_rng(5)
    colours = np.eye(2, 12)
    items = colours[np.arange(dataset.n_items) % 2] + 0.3 * rng.standard_normal((dataset.n_items, 12))
    users = colours[np.arange(dataset.n_users) % 2] + 0.3 * rng.standard_normal((dataset.n_users, 12))
    items[3], users[::2] = 0, 0  # an item without text, users without a profile
    who = np.arange(dataset.n_users)
    free = [np.setdiff1d(np.arange(dataset.n_items), dataset.train.of(user)) for user in who]
    liked = np.array([items[items % 2 == user % 2][0] for user, items in zip(who, free, strict=True)])
    disliked = np.array([items[items % 2 != user % 2][0] for user, items in zip(who, free, strict=True)])
    table = PreferenceTable(who, liked, disliked)
    return EnhancementResources(NodeTexts.of(items.astype(np.float32), users, dataset.train), table)


def make(
    name: str, model: str = "lightgcn", seed: int = 0, dataset: InteractionDataset = DATASET, **options: Any
) -> Enhancement:
    kind = MODELS[model]
    generator = torch.Generator().manual_seed(seed)
    weak = {"ssl_weight": 0.02} if "ssl_weight" in kind.Config.model_fields else {}
    backbone = kind(dataset, kind.Config(embedding_size=8, **weak), generator=generator)
    config = ENHANCEMENTS[name].Config(**options)
    return ENHANCEMENTS[name].build(backbone, config, resources(dataset), generator=generator)


def train(
    enhancement: Enhancement, *, sampler: str = "uniform", dataset: InteractionDataset = DATASET, **changes: Any
) -> TrainingResult:
    folder = changes.pop("folder", None)
    options: dict[str, Any] = {"epochs": 20, "batch_size": 256, "learning_rate": 0.05, "patience": 99}
    config = TrainingConfig(**(options | {"device": "cpu", "drawn_per_epoch": 0} | changes))
    drawn = SAMPLERS[sampler](dataset, SAMPLERS[sampler].Config())
    measure = separation(dataset)
    return Trainer(enhancement, drawn, config, RandomStreams(3), evaluate=measure, folder=folder).fit(dataset)


def all_pairs() -> Batch:
    pairs = DATASET.train
    return Batch(torch.from_numpy(pairs.users).long(), torch.from_numpy(pairs.indices).long())


@pytest.mark.parametrize("sampler", ["uniform", "mixgcf"])
@every_pair
def test_gradient_is_finite_and_reaches_every_parameter(name: str, model: str, sampler: str) -> None:
    enhancement = make(name, model).train()
    enhancement.start_epoch(0)
    drawn = SAMPLERS[sampler](DATASET, SAMPLERS[sampler].Config())
    step = compute_step(enhancement, drawn, TrainingConfig(), all_pairs(), torch.Generator().manual_seed(0))
    torch.stack(list(step.losses.values())).sum().backward()
    parameters = dict(enhancement.named_parameters())
    assert "backbone.user_embedding" in parameters
    for parameter_name, parameter in parameters.items():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@every_pair
def test_rows_are_the_rows_of_propagate(name: str, model: str) -> None:
    enhancement = make(name, model).eval()
    users, items = torch.tensor([0, 7, 7]), torch.tensor([3, 29, 0, 3])
    rows, embeddings = enhancement.rows(users, items), enhancement.propagate()
    taken = enhancement.take(embeddings, users, items)
    torch.testing.assert_close(rows.users, embeddings.users[users], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(rows.items, embeddings.items[items], rtol=1e-4, atol=1e-6)
    for left, right in zip(vars(rows).values(), vars(taken).values(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-6)


@every_name
def test_learns_the_planted_structure_with_falling_losses(name: str) -> None:
    result = train(make(name))
    assert result.best_value > 0.95
    first, last = result.records[0]["losses"], result.records[-1]["losses"]
    assert last["ranking"] < 0.7 * first["ranking"]
    if (
        "model" in first and name != "rlmrec_gen"
    ):  # how many are masked, and so its loss, differs from step to step
        assert last["model"] < 0.9 * first["model"]


@every_name
def test_two_runs_are_equal_and_a_resumed_one_as_well(name: str, tmp_path: Path) -> None:
    whole, again = (train(make(name), epochs=4, sampler="dns") for _ in range(2))
    assert torch.equal(whole.embeddings.users, again.embeddings.users)
    interrupted = make(name)
    stop = KeyboardInterrupt()

    def evaluate_twice(embeddings: Any, split: Any, calls: list[int] = []) -> dict[str, float]:  # noqa: B006
        calls.append(1)
        if len(calls) == 3:
            raise stop
        return separation(DATASET)(embeddings, split)

    options: dict[str, Any] = {"epochs": 4, "batch_size": 256, "learning_rate": 0.05, "patience": 99}
    config = TrainingConfig(**options, device="cpu", drawn_per_epoch=0, checkpoint_every=1)
    drawn = SAMPLERS["dns"](DATASET, SAMPLERS["dns"].Config())
    with pytest.raises(KeyboardInterrupt):
        Trainer(interrupted, drawn, config, RandomStreams(3), evaluate=evaluate_twice, folder=tmp_path).fit(
            DATASET
        )
    resumed = train(make(name, seed=9), epochs=4, sampler="dns", folder=tmp_path, checkpoint_every=1)
    assert [r["losses"] for r in resumed.records] == [r["losses"] for r in whole.records]
    assert torch.equal(resumed.embeddings.users, whole.embeddings.users)


@every_name
def test_what_is_held_out_changes_nothing(name: str) -> None:
    empty = Interactions.from_pairs([0], [1], DATASET.n_users, DATASET.n_items)
    other = replace(DATASET, valid=empty, test=empty)
    first, second = (train(make(name, dataset=d), dataset=d, epochs=3) for d in (DATASET, other))
    assert [r["losses"] for r in first.records] == [r["losses"] for r in second.records]


@every_name
def test_global_randomness_is_neither_read_nor_moved(name: str) -> None:
    before = torch.get_rng_state()
    train(make(name), epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


@every_name
def test_a_missing_resource_is_named(name: str) -> None:
    kind = ENHANCEMENTS[name]
    backbone = make(name).backbone
    with pytest.raises(ConfigError, match=f"needs {' and '.join(kind.requires)}"):
        kind.build(backbone, kind.Config(), EnhancementResources(), generator=torch.Generator())


@every_name
def test_every_field_is_documented_and_every_file_states_source_and_departures(name: str) -> None:
    kind = ENHANCEMENTS[name]
    assert issubclass(kind.Config, EnhancementConfig)
    documented = field_docstrings(kind.Config)
    assert not kind.Config.model_fields.keys() - documented.keys(), "a field has no docstring"
    module = inspect.getmodule(kind)
    assert module is not None
    assert re.search(r"\b20\d\d\b", ast.get_docstring(ast.parse(inspect.getsource(module))) or "")
    assert "Departs from the paper" in (kind.__doc__ or "")
    assert f"`{name}`" in (ROOT / "docs/baselines.md").read_text(encoding="utf-8")
