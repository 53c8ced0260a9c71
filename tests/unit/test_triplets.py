"""Triplets: what each strategy chooses, and that nothing but the train split can reach them."""

import numpy as np
import pytest

from hnlmrec.data.embeddings import HardNegativeTable
from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.errors import ConfigError, DataError
from hnlmrec.finetuning import STRATEGIES, TripletInputs, Triplets, TripletsConfig, build_triplets
from hnlmrec.rng import RandomStreams

N_USERS, N_ITEMS, SIZE = 30, 40, 5


def make_train(seed=0, share=0.15):
    rng = np.random.default_rng(seed)
    return Interactions.from_pairs(*np.nonzero(rng.random((N_USERS, N_ITEMS)) < share), N_USERS, N_ITEMS)


def generated(train):
    """For each pair an unobserved item, then an observed one, then none."""
    rng = np.random.default_rng(1)
    users, positives = np.tile(train.users, 3), np.tile(train.indices, 3)
    free = [rng.choice(np.setdiff1d(np.arange(N_ITEMS), train.of(user))) for user in train.users]
    items = np.concatenate([free, train.indices, np.full(len(train), -1)])
    return HardNegativeTable(users, positives, np.zeros((len(users), 1), np.float32), N_ITEMS, items)


@pytest.fixture
def inputs():
    train, rng = make_train(), np.random.default_rng(2)
    users, items = (rng.normal(size=(n, SIZE)).astype(np.float32) for n in (N_USERS, N_ITEMS))
    texts = rng.normal(size=(N_ITEMS, 7)).astype(np.float16)
    return TripletInputs(train, users, items, texts, generated(train))


def config(strategy="cf_hard", **changes):
    return TripletsConfig(**{"strategy": strategy, "rank_from": 2, "rank_to": 14, "n_text": 12, **changes})


def build(inputs, *args, seed=0, **changes):
    return build_triplets(inputs, config(*args, **changes), RandomStreams(seed))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_chooses_unobserved_items_for_observed_pairs(inputs, strategy):
    triplets = build(inputs, strategy, max_pairs_per_user=None)
    assert len(triplets) == len(inputs.train)
    assert inputs.train.contains(triplets.users, triplets.positives).all()
    assert not inputs.train.contains(triplets.users, triplets.hard).any()
    again = build(inputs, strategy, max_pairs_per_user=None)
    np.testing.assert_array_equal(triplets.hard, again.hard)
    if strategy != "llm_text":
        assert (triplets.hard != build(inputs, strategy, max_pairs_per_user=None, seed=1).hard).any()


def rank_of(scores, inputs, user, item):
    """Number of unobserved items that are better."""
    unobserved = np.setdiff1d(np.arange(N_ITEMS), inputs.train.of(user))
    return int((scores[unobserved] > scores[item]).sum())


def cf_rank(inputs, user, item):
    return rank_of(inputs.users[user] @ inputs.items.T, inputs, user, item)


def text_scores(inputs, user):
    texts = inputs.item_texts.astype(np.float64)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    return texts @ texts[inputs.train.of(user)].mean(axis=0)


def test_cf_hard_stays_in_the_window_of_ranks(inputs):
    triplets = build(inputs, "cf_hard")
    ranks = [cf_rank(inputs, u, j) for u, j in zip(triplets.users, triplets.hard, strict=True)]
    assert min(ranks) >= 2
    assert max(ranks) < 14
    assert len(set(ranks)) > 8  # all over the window


def test_semantic_close_behaviour_far_is_near_in_text_and_the_lowest_there_by_cf(inputs):
    triplets = build(inputs, "semantic_close_behaviour_far")
    for user, item in zip(triplets.users, triplets.hard, strict=True):
        unobserved = np.setdiff1d(np.arange(N_ITEMS), inputs.train.of(user))
        near = unobserved[np.argsort(-text_scores(inputs, user)[unobserved])[:12]]
        lowest = near[np.argsort((inputs.users[user] @ inputs.items.T)[near])[:3]]  # a quarter of 12
        assert item in lowest


def test_combined_is_in_the_window_and_the_nearest_there_in_text(inputs):
    triplets = build(inputs, "combined")
    for user, item in zip(triplets.users, triplets.hard, strict=True):
        unobserved = np.setdiff1d(np.arange(N_ITEMS), inputs.train.of(user))
        window = unobserved[np.argsort(-(inputs.users[user] @ inputs.items.T)[unobserved])[2:14]]
        nearest = window[np.argsort(-text_scores(inputs, user)[window])[:3]]
        assert item in nearest


def test_llm_text_takes_what_was_generated_for_the_pair(inputs):
    table = inputs.generated
    triplets = build(inputs, "llm_text", max_pairs_per_user=None)
    first = {
        (u, i): j for u, i, j in zip(table.users, table.positives, table.items[: len(inputs.train)], strict=False)
    }
    pairs = zip(triplets.users, triplets.positives, triplets.hard, strict=True)
    assert all(first[user, positive] == hard for user, positive, hard in pairs)


def test_llm_text_leaves_out_pairs_without_a_usable_item(inputs):
    table = HardNegativeTable([0, 1], [-1, -1], np.zeros((2, 1), np.float32), N_ITEMS, [-1, 0])
    train = Interactions.from_pairs([0, 1, 1, 2], [1, 2, 3, 4], N_USERS, N_ITEMS)
    triplets = build(TripletInputs(train, inputs.users, inputs.items, generated=table), "llm_text")
    assert (triplets.users == 1).all()  # by the row that stands for any positive of the user
    assert (triplets.hard == 0).all()
    assert len(triplets) == 2
    only_observed = HardNegativeTable([0], [-1], np.zeros((1, 1), np.float32), N_ITEMS, [1])
    with pytest.raises(DataError, match="no hard item for any of 4 pairs"):
        build(TripletInputs(train, inputs.users, inputs.items, generated=only_observed), "llm_text")


def test_pairs_of_one_user_get_different_hard_items(inputs):
    triplets = build(inputs, "cf_hard", max_pairs_per_user=None)
    for user in np.unique(triplets.users):
        hard = triplets.hard[triplets.users == user]
        assert len(set(hard)) == min(len(hard), 12)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_user_who_has_everything_gets_no_triplet(inputs, strategy):
    everything = [(0, item) for item in range(N_ITEMS)]
    train = Interactions.from_pairs(*zip(*everything, (1, 0), strict=True), N_USERS, N_ITEMS)
    table = HardNegativeTable([0, 1], [-1, -1], np.zeros((2, 1), np.float32), N_ITEMS, [3, 3])
    poor = TripletInputs(train, inputs.users, inputs.items, inputs.item_texts, table)
    assert set(build(poor, strategy).users) == {1}


def test_limits_and_held_out_parts(inputs):
    triplets = build(inputs, max_pairs_per_user=2, held_out_share=0.25)
    assert np.unique(triplets.users, return_counts=True)[1].max() == 2
    held, learned = triplets.part(held_out=True), triplets.part(held_out=False)
    assert not set(held.users) & set(learned.users)
    assert len(set(held.users)) == 8  # of 30 users
    assert len(held) + len(learned) == len(triplets)
    by_pairs = build(inputs, held_out_share=0.25, hold_out="pairs")
    assert by_pairs.held_out.mean() == pytest.approx(0.25, abs=0.02)


def test_given_pairs_alone_get_triplets(inputs):
    pairs = Interactions.from_pairs(inputs.train.users[::3], inputs.train.indices[::3], N_USERS, N_ITEMS)
    some = TripletInputs(inputs.train, inputs.users, inputs.items, pairs=pairs)
    triplets = build(some, max_pairs_per_user=None)
    assert len(triplets) == len(pairs)
    assert pairs.contains(triplets.users, triplets.positives).all()
    assert not inputs.train.contains(triplets.users, triplets.hard).any()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_held_out_can_reach_a_triplet(tmp_path, inputs, strategy):
    """The same train split with other validation and test splits gives the same triplets, byte for byte."""
    users, items = Vocabulary(map(str, range(N_USERS))), Vocabulary(map(str, range(N_ITEMS)))
    empty = Interactions.from_pairs([], [], N_USERS, N_ITEMS)
    rest = Interactions.from_pairs(
        *np.nonzero(~_matrix(inputs.train)), N_USERS, N_ITEMS
    )  # all that is not in train
    files = []
    for name, held_out in (("clean", empty), ("poisoned", rest)):
        InteractionDataset(users, items, inputs.train, held_out, held_out).save(_made(tmp_path / name))
        train = InteractionDataset.load(tmp_path / name).train
        source = TripletInputs(train, inputs.users, inputs.items, inputs.item_texts, inputs.generated)
        triplets = build(source, strategy)
        triplets.save(tmp_path / name)
        files.append((tmp_path / name / "triplets.parquet").read_bytes())
        assert not rest.contains(triplets.users, triplets.positives).any()
    assert files[0] == files[1]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_pairs_held_out_of_train_are_no_hard_items(inputs, strategy):
    part = np.arange(len(inputs.train)) % 3 == 0
    inner, pairs = (
        Interactions.from_pairs(inputs.train.users[here], inputs.train.indices[here], N_USERS, N_ITEMS)
        for here in (~part, part)
    )
    some = TripletInputs(inner, inputs.users, inputs.items, inputs.item_texts, inputs.generated, pairs)
    triplets = build(some, strategy, max_pairs_per_user=None)
    assert len(triplets) == len(pairs)
    assert pairs.contains(triplets.users, triplets.positives).all()
    assert not inputs.train.contains(triplets.users, triplets.hard).any()


def test_a_file_gives_back_the_same_triplets(tmp_path, inputs):
    triplets = build(inputs)
    triplets.save(tmp_path)
    loaded = Triplets.load(tmp_path)
    for name in ("users", "positives", "hard", "held_out"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(triplets, name))
        assert getattr(loaded, name).dtype == getattr(triplets, name).dtype


def test_missing_tables_and_wrong_sizes_are_told(inputs):
    bare = TripletInputs(inputs.train, inputs.users, inputs.items)
    for strategy, message in (("combined", "needs text vectors"), ("llm_text", "needs generated hard negatives")):
        with pytest.raises(ConfigError, match=message):
            build(bare, strategy)
    with pytest.raises(DataError, match="the CF vectors are of 30 and 39"):
        TripletInputs(inputs.train, inputs.users, inputs.items[1:])
    with pytest.raises(DataError, match="the pairs are of 2 users and 3 items"):
        TripletInputs(inputs.train, inputs.users, inputs.items, pairs=Interactions.from_pairs([0], [1], 2, 3))
    with pytest.raises(DataError, match="39 have text vectors"):
        TripletInputs(inputs.train, inputs.users, inputs.items, inputs.item_texts[1:])
    with pytest.raises(ValueError, match="must be larger than rank_from"):
        TripletsConfig(rank_from=5, rank_to=5)
    with pytest.raises(DataError, match="no hard item"):
        build(inputs, rank_from=40, rank_to=50)


def _matrix(train):
    dense = np.zeros((N_USERS, N_ITEMS), dtype=bool)
    dense[train.users, train.indices] = True
    return dense


def _made(folder):
    folder.mkdir()
    return folder
