"""What every entry of SAMPLERS must hold, on a small data set with text and generated negatives."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from hnlmrec.alignment import AlignmentConfig, SemanticProjector
from hnlmrec.config import Config, field_docstrings
from hnlmrec.data.embeddings import HardNegativeTable
from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.errors import ConfigError, DataError, UnknownChoiceError
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling import SAMPLERS, Negatives, NegativeSampler, SamplerResources, build_sampler

N_USERS, N_ITEMS, SIZE, TEXT_SIZE = 30, 40, 8, 16


def make_dataset() -> InteractionDataset:
    rng = np.random.default_rng(0)
    seen = rng.random((N_USERS, N_ITEMS)) < 0.4
    seen[0] = True
    seen[0, 7] = False  # only one negative left
    seen[1] = False
    seen[1, [0, N_ITEMS - 1]] = True
    users, items = seen.nonzero()
    empty = Interactions.from_pairs([], [], N_USERS, N_ITEMS)
    return InteractionDataset(
        Vocabulary((f"u{n}" for n in range(N_USERS)), "user"),
        Vocabulary((f"i{n}" for n in range(N_ITEMS)), "item"),
        Interactions.from_pairs(users, items, N_USERS, N_ITEMS),
        empty,
        empty,
    )


DATASET = make_dataset()


def make_resources(kind: str = "attention") -> SamplerResources:
    rng = np.random.default_rng(1)
    train = DATASET.train
    item_vectors = rng.standard_normal((N_ITEMS, TEXT_SIZE)).astype(np.float16)
    item_vectors[3] = 0  # an item without text
    pairs = np.repeat(np.arange(0, len(train), 2), 2)  # every other pair has two generated negatives
    table = HardNegativeTable(
        train.users[pairs],
        train.indices[pairs],
        rng.standard_normal((len(pairs), TEXT_SIZE)).astype(np.float16),
        N_ITEMS,
        np.full(len(pairs), -1),
    )
    generator = torch.Generator().manual_seed(2)
    config = AlignmentConfig(projector=kind, hidden_size=6)  # type: ignore[arg-type]
    projector = SemanticProjector(item_vectors, SIZE, config, generator=generator)
    return SamplerResources(DATASET, table, projector, item_vectors, SIZE)


def make_embeddings(n_layers: int = 3) -> tuple[Embeddings, list[Tensor]]:
    generator = torch.Generator().manual_seed(3)
    leaves = [
        torch.randn(n, SIZE, generator=generator).requires_grad_()
        for n in [N_USERS] * n_layers + [N_ITEMS] * n_layers
    ]
    users, items = leaves[:n_layers], leaves[n_layers:]
    layers = (tuple(users), tuple(items)) if n_layers > 1 else ((), ())
    return Embeddings(torch.stack(users).mean(0), torch.stack(items).mean(0), *layers), leaves


def make_batch() -> tuple[Tensor, Tensor]:
    train = DATASET.train
    places = np.random.default_rng(4).permutation(len(train))[:64]
    places[0] = 0  # user 0
    return torch.from_numpy(train.users[places].astype(np.int64)), torch.from_numpy(
        train.indices[places].astype(np.int64)
    )


@pytest.fixture
def negatives_file(tmp_path: Path) -> str:
    users, items = (~DATASET.train.to_scipy().toarray().astype(bool)).nonzero()
    path = tmp_path / "negatives.csv"
    pl.DataFrame({"user_id": DATASET.users.ids(users), "item_id": DATASET.items.ids(items)}).write_csv(path)
    return str(path)


def make(name: str, k: int, negatives_file: str) -> NegativeSampler:
    needed = {"path": negatives_file} if name == "file" else {}
    sampler = build_sampler(name, SAMPLERS[name].Config(n_negatives=k, **needed), make_resources())
    sampler.start_epoch(1, make_embeddings()[0].detach())
    return sampler


def same(left: Negatives, right: Negatives) -> bool:
    pairs = zip(vars(left).values(), vars(right).values(), strict=True)
    return all(
        (a is None and b is None)
        or (isinstance(a, tuple) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True)))
        or (isinstance(a, Tensor) and torch.equal(a, b))
        for a, b in pairs
    )


every_sampler = pytest.mark.parametrize("name", SAMPLERS)


@every_sampler
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("n_layers", [1, 3])
def test_negatives_have_the_right_shape_and_are_never_train_items(
    name: str, k: int, n_layers: int, negatives_file: str
) -> None:
    sampler = make(name, k, negatives_file)
    embeddings, _ = make_embeddings(n_layers)
    users, positives = make_batch()
    rng = torch.Generator().manual_seed(5)
    for _ in range(10):
        drawn = sampler.sample(users, positives, embeddings, rng)
        assert drawn.items is not None
        assert drawn.items.shape == (len(users), k)
        assert drawn.items.dtype == torch.int64
        assert drawn.items.min() >= 0
        assert drawn.items.max() < N_ITEMS
        assert not DATASET.train.contains(users[:, None], drawn.items).any()
        assert drawn.embeddings(embeddings).shape == (len(users), k, SIZE)
        assert drawn.embeddings(embeddings).isfinite().all()
        if drawn.weights is not None:
            assert drawn.weights.shape == (len(users), k)
            assert not drawn.weights.requires_grad
            total = drawn.weights.sum(1)
            if name == "warp":  # the one that weighs pairs
                assert ((total >= 0) & (total <= 1.000001)).all()
            else:
                torch.testing.assert_close(total, torch.ones(len(users)))
        if drawn.hard is not None:
            assert drawn.hard.shape == (len(users), k, SIZE)
            assert not drawn.hard.requires_grad


@every_sampler
def test_draws_are_decided_by_the_generator(name: str, negatives_file: str) -> None:
    embeddings, _ = make_embeddings()
    users, positives = make_batch()
    first, again, other = (
        make(name, 3, negatives_file).sample(users, positives, embeddings, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert same(first, again)
    assert not same(first, other)


@every_sampler
def test_global_randomness_is_neither_read_nor_moved(name: str, negatives_file: str) -> None:
    before = torch.get_rng_state()
    sampler = make(name, 3, negatives_file)
    sampler.sample(*make_batch(), make_embeddings()[0], torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)


@every_sampler
def test_the_gradient_reaches_the_embeddings_and_every_parameter(name: str, negatives_file: str) -> None:
    sampler = make(name, 3, negatives_file)
    embeddings, leaves = make_embeddings()
    users, positives = make_batch()
    drawn = sampler.sample(users, positives, embeddings, torch.Generator().manual_seed(1))
    vectors = drawn.embeddings(embeddings)
    (ranking,) = torch.autograd.grad(vectors.square().sum(), [leaves[-1]], retain_graph=True)
    assert ranking.isfinite().all()
    assert ranking.abs().sum() > 0
    loss = sampler.auxiliary_loss(users, positives, drawn, embeddings)
    trained = {n: p for n, p in sampler.named_parameters() if p.requires_grad}
    if not trained:
        assert loss is None
        return
    assert loss is not None
    loss.backward()
    for parameter_name, parameter in trained.items():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@every_sampler
def test_a_loaded_state_goes_on_as_the_saved_one(name: str, negatives_file: str) -> None:
    embeddings, _ = make_embeddings()
    batch = make_batch()
    one, rng = make(name, 3, negatives_file), torch.Generator().manual_seed(1)
    one.sample(*batch, embeddings, rng)
    other = make(name, 3, negatives_file)
    other.load_state_dict({key: value.clone() for key, value in one.state_dict().items()})
    other_rng = torch.Generator()
    other_rng.set_state(rng.get_state())
    for epoch in (2, 3):
        for sampler in (one, other):
            sampler.start_epoch(epoch, embeddings.detach())
        for _ in range(2):
            left, right = (s.sample(*batch, embeddings, r) for s, r in ((one, rng), (other, other_rng)))
            assert same(left, right)
    assert one.counts() == other.counts()


@every_sampler
def test_a_user_without_any_negative_is_refused(name: str, negatives_file: str) -> None:
    full = Interactions.from_pairs(np.repeat([0, 1], [3, 1]), [0, 1, 2, 0], 2, 3)
    empty = Interactions.from_pairs([], [], 2, 3)
    dataset = InteractionDataset(Vocabulary("ab", "user"), Vocabulary("xyz", "item"), full, empty, empty)
    table = HardNegativeTable([], [], np.zeros((0, TEXT_SIZE), np.float16), 3, [])
    resources = SamplerResources(
        dataset, table, make_resources().projector, np.zeros((3, TEXT_SIZE), np.float16), SIZE
    )
    path = Path(negatives_file).with_name("other.csv")
    path.write_text("user_id,item_id\nb,y\n")
    needed = {"path": str(path)} if name == "file" else {}
    with pytest.raises(DataError, match="all 3 items"):
        build_sampler(name, SAMPLERS[name].Config(**needed), resources)


@pytest.mark.parametrize("name", ["semantic", "noise", "shuffled"])
def test_a_missing_resource_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' needs hard negatives and projector"):
        build_sampler(name, SAMPLERS[name].Config(), SamplerResources(DATASET))


def test_an_unknown_sampler_lists_the_choices() -> None:
    with pytest.raises(UnknownChoiceError, match="did you mean 'mixgcf'"):
        build_sampler("mixgfc", SAMPLERS["uniform"].Config(), SamplerResources(DATASET))


@every_sampler
def test_every_field_is_documented_and_every_file_states_source_and_departures(name: str) -> None:
    kind = SAMPLERS[name]
    documented = field_docstrings(kind.Config)
    assert not kind.Config.model_fields.keys() - documented.keys(), "a field has no docstring"
    assert kind.Config.__doc__ != Config.__doc__
    module = inspect.getmodule(kind)
    assert module is not None
    head = ast.get_docstring(ast.parse(inspect.getsource(module))) or ""
    assert re.search(r"(19|20)\d\d|arXiv \d|No paper", head), "the file's docstring cites no source"
    assert name == "file" or "Departs from" in (kind.__doc__ or "")
    about_k = (kind.Config.__doc__ or "") + documented["n_negatives"]
    assert re.search(r"\bK\b", about_k), "what K > 1 means is not stated"
