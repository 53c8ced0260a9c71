"""Draws outside the train items: never one of them, every other one, each as often as it should be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import DataError
from hnlmrec.negative_sampling.candidates import UniformCandidates
from hnlmrec.negative_sampling.pair_index import PairIndex
from hnlmrec.negative_sampling.popularity import WeightedCandidates


@st.composite
def interactions(draw: st.DrawFn) -> Interactions:
    n_users, n_items = draw(st.integers(1, 6)), draw(st.integers(2, 12))
    rows = [draw(st.sets(st.integers(0, n_items - 1), max_size=n_items - 1)) for _ in range(n_users)]
    pairs = [(user, item) for user, row in enumerate(rows) for item in row]
    users, items = zip(*pairs, strict=True) if pairs else ((), ())
    return Interactions.from_pairs(users, items, n_users, n_items)


@given(interactions(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_ranks_run_through_all_free_items_in_order(train: Interactions, seed: int) -> None:
    candidates = UniformCandidates(train)
    for user in range(train.n_users):
        free = np.setdiff1d(np.arange(train.n_items), train.of(user))
        places = (torch.arange(len(free), dtype=torch.float64) + 0.5) / len(free)
        assert candidates.at(torch.tensor([user]), places[None])[0].tolist() == free.tolist()
        last = torch.tensor([[np.nextafter(1.0, 0.0)]], dtype=torch.float64)
        assert candidates.at(torch.tensor([user]), last).item() == free[-1]
    users = torch.arange(train.n_users)
    drawn = candidates.draw(users, 20, torch.Generator().manual_seed(seed))
    assert not train.contains(users[:, None], drawn).any()
    assert torch.equal(candidates.is_train(users, drawn), torch.zeros_like(drawn, dtype=torch.bool))


@given(interactions(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=40)
def test_the_compiled_loop_and_the_device_path_agree(train: Interactions, seed: int) -> None:
    candidates = UniformCandidates(train)
    users = torch.arange(train.n_users)
    places = torch.rand((train.n_users, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert torch.equal(candidates.at(users, places), candidates.at_any_device(users, places))


@given(interactions())
@settings(deadline=None, max_examples=40)
def test_is_train_says_what_the_split_holds(train: Interactions) -> None:
    users = torch.arange(train.n_users)
    everything = torch.arange(train.n_items).expand(train.n_users, -1)
    expected = train.to_scipy().toarray().astype(bool)
    assert (UniformCandidates(train).is_train(users, everything).numpy() == expected).all()


@given(interactions(), st.integers(0, 2**32), st.floats(0, 2))
@settings(deadline=None, max_examples=60)
def test_weighted_draws_are_never_train_items(train: Interactions, seed: int, exponent: float) -> None:
    weights = np.maximum(train.item_degrees, 1).astype(np.float64) ** exponent
    users = torch.arange(train.n_users)
    drawn = WeightedCandidates(train, weights).draw(users, 50, torch.Generator().manual_seed(seed))
    assert ((drawn >= 0) & (drawn < train.n_items)).all()
    assert not train.contains(users[:, None], drawn).any()


def test_uniform_draws_are_uniform() -> None:
    train = Interactions.from_pairs([0, 0, 0, 1], [0, 3, 9, 5], 2, 10)
    drawn = UniformCandidates(train).draw(torch.tensor([0, 1]), 20_000, torch.Generator().manual_seed(0))
    for user in (0, 1):
        counts = np.bincount(drawn[user], minlength=10)
        free = np.setdiff1d(np.arange(10), train.of(user))
        assert counts[train.of(user)].sum() == 0
        assert stats.chisquare(counts[free]).pvalue > 0.001


def test_weighted_draws_follow_the_weights() -> None:
    train = Interactions.from_pairs([0, 0, 0, 1], [0, 3, 9, 5], 2, 10)
    weights = np.arange(1.0, 11.0) ** 1.5
    drawn = WeightedCandidates(train, weights).draw(torch.tensor([0, 1]), 20_000, torch.Generator().manual_seed(0))
    for user in (0, 1):
        free = np.setdiff1d(np.arange(10), train.of(user))
        expected = weights[free] / weights[free].sum() * 20_000
        assert stats.chisquare(np.bincount(drawn[user], minlength=10)[free], expected).pvalue > 0.001


@pytest.mark.parametrize("kind", ["uniform", "weighted"])
def test_a_user_with_every_item_is_named(kind: str) -> None:
    train = Interactions.from_pairs([1, 1], [0, 1], 3, 2)
    with pytest.raises(DataError, match="user numbers 1"):
        UniformCandidates(train) if kind == "uniform" else WeightedCandidates(train, np.ones(2))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 3)), max_size=20), st.integers(1, 4))
@settings(deadline=None, max_examples=80)
def test_the_pair_index_gives_own_rows_first_and_each_once(rows: list[tuple[int, int]], k: int) -> None:
    users, positives = (np.array([row[part] for row in rows], dtype=np.int64) for part in (0, 1))
    index = PairIndex(users, positives, 4)
    asked = torch.tensor([(user, item) for user in range(4) for item in range(4)])
    drawn = index.draw(asked[:, 0], asked[:, 1], k, torch.Generator().manual_seed(0))
    for (user, item), got in zip(asked.tolist(), drawn.tolist(), strict=True):
        own = [n for n, row in enumerate(rows) if row == (user, item)]
        wanted = own or [n for n, row in enumerate(rows) if row == (user, -1)]
        real = [n for n in got if n >= 0]
        assert len(real) == min(k, len(wanted)) == len(set(real))
        assert set(real) <= set(wanted)
