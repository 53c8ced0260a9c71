"""Full ranking: masks, ties, bad input, and independence of the chunks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlmrec.config import build
from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.errors import ConfigError, DataError, UnknownChoiceError
from hnlmrec.evaluation.device_top_k import select_top_there
from hnlmrec.evaluation.evaluator import EvaluationConfig, dot_product_scorer, evaluate
from hnlmrec.evaluation.metrics import METRICS
from hnlmrec.evaluation.top_k import select_top


def dataset_of(train, valid, test, n_users, n_items):
    splits = [
        Interactions.from_pairs([u for u, _ in pairs], [i for _, i in pairs], n_users, n_items)
        for pairs in (train, valid, test)
    ]
    users = Vocabulary((f"u{n}" for n in range(n_users)), "user")
    return InteractionDataset(users, Vocabulary((f"i{n}" for n in range(n_items)), "item"), *splits)


def random_dataset(seed, n_users=40, n_items=130, share=0.15):
    rng = np.random.default_rng(seed)
    split = rng.choice(4, size=(n_users, n_items), p=[1 - share, share / 2, share / 4, share / 4])
    parts = [list(zip(*np.nonzero(split == number), strict=True)) for number in (1, 2, 3)]
    return dataset_of(*parts, n_users, n_items)


def naive_lists(scores, dataset, split, mask):
    """Rank by a plain sort: score descending, item number ascending."""
    earlier = {"valid": ["train"], "test": ["train"] if mask == "train" else ["train", "valid"]}[split]
    lists = {}
    for user in range(dataset.n_users):
        if not len(dataset.split(split).of(user)):
            continue
        hidden = {int(i) for name in earlier for i in dataset.split(name).of(user)}
        rest = [i for i in range(dataset.n_items) if i not in hidden and scores[user, i] > -np.inf]
        lists[user] = sorted(rest, key=lambda i: (-scores[user, i], i))
    return lists


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 130))
def test_the_lists_made_on_a_device_are_those_of_the_compiled_pass(seed, k):
    masked = random_dataset(seed).train
    rng = np.random.default_rng(seed)
    scores = rng.choice([-np.inf, -3.5, -1e-30, -0.0, 0.0, 1e-30, 2.0, 3e30], (40, 130)).astype(np.float32)
    users = rng.permutation(40)
    expected = np.empty((40, k), dtype=np.int32)
    assert select_top(scores, users, masked.indptr, masked.indices, expected) < 0
    given_scores = torch.from_numpy(scores.copy())
    rows, items = (torch.from_numpy(cells) for cells in masked.cells(users))
    found = select_top_there(given_scores, (rows, items), k)
    assert np.array_equal(found.numpy(), expected)
    assert np.array_equal(given_scores.numpy(), scores)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000), split=st.sampled_from(["valid", "test"]), mask=st.sampled_from(["seen", "train"])
)
def test_the_lists_are_those_of_a_plain_sort(seed, split, mask):
    dataset = random_dataset(seed)
    scores = np.random.default_rng(seed).integers(0, 8, (40, 130)).astype(np.float32)  # many ties
    scores[scores == 7] = -np.inf
    k = 100  # more than some users have left
    result = evaluate(
        lambda users: torch.from_numpy(scores[users]),
        dataset,
        split=split,
        mask=mask,
        ks=(k,),
        metrics=("recall",),
    )
    expected = naive_lists(scores, dataset, split, mask)
    assert result.users.tolist() == sorted(expected)
    assert result.n_skipped == 40 - len(expected)
    for row, user in enumerate(result.users.tolist()):
        best = expected[user][:k]
        assert result.items[row].tolist() == best + [-1] * (k - len(best))


@pytest.mark.parametrize("order", ["ascending", "descending", "equal"])
def test_adversarial_orders_of_scores(order):
    dataset = dataset_of([(0, 3)], [], [(0, 900)], 1, 1000)
    row = {"ascending": np.arange(1000), "descending": -np.arange(1000), "equal": np.zeros(1000)}[order]
    scores = row[None].astype(np.float32)
    result = evaluate(lambda users: torch.from_numpy(scores[users]), dataset, ks=(7,), metrics=("recall",))
    assert result.items[0].tolist() == naive_lists(scores, dataset, "test", "seen")[0][:7]


def test_results_do_not_depend_on_the_chunks_or_on_the_order_of_users():
    dataset = random_dataset(3, n_users=300, n_items=6000, share=0.01)
    generator = torch.Generator().manual_seed(0)
    users, items = torch.randn(300, 16, generator=generator), torch.randn(6000, 16, generator=generator)
    whole = evaluate(dot_product_scorer(users, items), dataset, memory_mib=64)
    small = evaluate(dot_product_scorer(users, items), dataset, memory_mib=1)  # 16 users at once
    assert np.array_equal(whole.items, small.items)
    assert whole.means() == small.means()

    order = np.random.default_rng(1).permutation(300)  # new number -> old number
    place = np.argsort(order)
    parts = [dataset.split(name) for name in ("train", "valid", "test")]
    moved = InteractionDataset(
        dataset.users,
        dataset.items,
        *(Interactions.from_pairs(place[p.users], p.indices, 300, 6000) for p in parts),
    )
    shuffled = evaluate(dot_product_scorer(users[torch.from_numpy(order)], items), moved)
    assert shuffled.means() == pytest.approx(whole.means())


def test_the_scorer_is_left_alone_and_may_share_memory():
    dataset = random_dataset(1)
    shared = torch.arange(130.0)
    evaluate(lambda users: shared.expand(len(users), -1), dataset, ks=(5,))
    assert torch.equal(shared, torch.arange(130.0))


def test_validation_items_stand_in_the_way_only_where_asked():
    dataset = dataset_of([(0, 0)], [(0, 1)], [(0, 2)], 1, 3)
    score = dot_product_scorer(torch.ones(1, 1), torch.tensor([[3.0], [2.0], [1.0]]))
    assert evaluate(score, dataset, ks=(1,)).means()["recall@1"] == 1.0
    assert evaluate(score, dataset, ks=(1,), mask="train").means()["recall@1"] == 0.0


def test_bad_input_is_named():
    dataset = random_dataset(0)
    score = dot_product_scorer(torch.ones(40, 1), torch.ones(130, 1))
    with pytest.raises(ConfigError, match="K = 200 is larger than the catalogue of 130 items"):
        evaluate(score, dataset, ks=(5, 200))
    with pytest.raises(UnknownChoiceError, match="did you mean 'recall'"):
        evaluate(score, dataset, metrics=("recal",))
    with pytest.raises(ConfigError, match="valid split is empty"):
        evaluate(score, dataset_of([(0, 0)], [], [(0, 1)], 1, 2), split="valid", ks=(1,))
    with pytest.raises(DataError, match="shape"):
        evaluate(dot_product_scorer(torch.ones(40, 1), torch.ones(3, 1)), dataset)
    with pytest.raises(DataError, match="not a number"):
        evaluate(dot_product_scorer(torch.full((40, 1), torch.nan), torch.ones(130, 1)), dataset)


@pytest.mark.parametrize(
    "values", [{"ks": []}, {"ks": [0]}, {"ks": [5, 5]}, {"metrics": []}, {"metrics": ["hits"]}]
)
def test_the_config_refuses(values):
    with pytest.raises(ConfigError):
        build(EvaluationConfig, values)


def test_the_default_config_measures_everything():
    config = EvaluationConfig()
    assert config.ks == (5, 10, 20, 50)
    assert config.metrics == tuple(METRICS)
