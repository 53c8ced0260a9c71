"""Properties of splits, k-core, vocabularies and tables, against naive loops."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlmrec.artifacts import artifact_key
from hnlmrec.config import Config, apply_overrides, build, runtime, to_toml
from hnlmrec.data.embeddings import HardNegativeTable
from hnlmrec.data.filtering import compact, k_core, subset
from hnlmrec.data.interactions import Interactions, Vocabulary
from hnlmrec.data.splitting import (
    LEFT_OUT,
    TEST,
    TRAIN,
    VALID,
    cut_valid,
    hold_out_last,
    hold_out_latest,
    hold_out_random,
)
from hnlmrec.rng import RandomStreams

quick = settings(max_examples=60, deadline=None, derandomize=True)

N_USERS, N_ITEMS = 8, 9
pair_lists = st.lists(
    st.tuples(st.integers(0, N_USERS - 1), st.integers(0, N_ITEMS - 1)), unique=True, min_size=1, max_size=60
)
fractions = st.sampled_from([0.0, 0.1, 0.2, 0.33])


def _arrays(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    users, items = zip(*pairs, strict=True)
    return np.array(users, dtype=np.int64), np.array(items, dtype=np.int64)


@quick
@given(pair_lists, fractions, fractions, st.integers(0, 5))
def test_random_split_partitions_and_keeps_a_train_item(pairs, valid_fraction, test_fraction, seed) -> None:
    users, items = _arrays(pairs)
    codes = hold_out_random(users, items, valid_fraction, test_fraction, np.random.default_rng(seed))
    assert set(codes.tolist()) <= {TRAIN, VALID, TEST}
    for user, degree in Counter(users.tolist()).items():
        mine = Counter(codes[users == user].tolist())
        assert mine[TRAIN] >= 1
        assert mine[TEST] == min(int(degree * test_fraction + 0.5 + 1e-9), degree - 1)
        assert mine[VALID] == min(int(degree * valid_fraction + 0.5 + 1e-9), degree - 1 - mine[TEST])


@quick
@given(pair_lists, st.integers(0, 5), st.randoms(use_true_random=False))
def test_random_split_does_not_depend_on_row_order(pairs, seed, shuffler) -> None:
    shuffled = list(pairs)
    shuffler.shuffle(shuffled)
    results = [
        dict(
            zip(
                order,
                hold_out_random(*_arrays(order), 0.2, 0.2, np.random.default_rng(seed)).tolist(),
                strict=True,
            )
        )
        for order in (pairs, shuffled)
    ]
    assert results[0] == results[1]


@quick
@given(pair_lists, st.data())
def test_last_and_latest_hold_out_what_comes_last(pairs, data) -> None:
    users, _ = _arrays(pairs)
    times = np.array(data.draw(st.lists(st.integers(0, 20), min_size=len(pairs), max_size=len(pairs))))
    codes = hold_out_last(users, times, with_valid=True)
    for user in set(users.tolist()):
        mine = users == user
        degree = int(mine.sum())
        assert Counter(codes[mine].tolist()) == Counter(
            [TEST] * (degree > 1) + [VALID] * (degree > 2) + [TRAIN] * max(1, degree - 2)
        )
        for early, late in ((TRAIN, VALID), (VALID, TEST), (TRAIN, TEST)):
            if (codes[mine] == early).any() and (codes[mine] == late).any():
                assert times[mine][codes[mine] == early].max() <= times[mine][codes[mine] == late].min()
    codes = hold_out_latest(users, times, 0.2, 0.2)
    for early, late in ((TRAIN, VALID), (VALID, TEST), (TRAIN, TEST)):
        if (codes == early).any() and (codes == late).any():
            assert times[codes == early].max() < times[codes == late].min()
    known = set(users[codes == TRAIN].tolist())
    assert all(
        (user in known) == (code != LEFT_OUT) for user, code in zip(users.tolist(), codes.tolist(), strict=True)
    )


@quick
@given(pair_lists, fractions, st.data())
def test_a_valid_cut_touches_train_only(pairs, fraction, data) -> None:
    users, items = _arrays(pairs)
    given_codes = np.array(
        data.draw(st.lists(st.sampled_from([TRAIN, TEST]), min_size=len(pairs), max_size=len(pairs))),
        dtype=np.int8,
    )
    codes = cut_valid(given_codes, users, items, fraction, np.random.default_rng(0))
    np.testing.assert_array_equal(codes == TEST, given_codes == TEST)
    assert set(users[given_codes == TRAIN].tolist()) == set(users[codes == TRAIN].tolist())


@quick
@given(pair_lists, st.integers(1, 5))
def test_k_core_holds_and_is_the_largest(pairs, core) -> None:
    users, items = _arrays(pairs)
    keep = k_core(users, items, core)
    assert all(count >= core for side in (users[keep], items[keep]) for count in Counter(side.tolist()).values())
    naive = set(pairs)
    while True:
        by_user, by_item = Counter(u for u, _ in naive), Counter(i for _, i in naive)
        smaller = {(u, i) for u, i in naive if by_user[u] >= core and by_item[i] >= core}
        if smaller == naive:
            break
        naive = smaller
    assert {pair for pair, kept in zip(pairs, keep.tolist(), strict=True) if kept} == naive


@quick
@given(pair_lists, st.integers(1, 10))
def test_subsets_hold_at_most_so_many(pairs, most) -> None:
    users, _ = _arrays(pairs)
    keep = subset(users, most, RandomStreams(0).generator("x"))
    assert len(set(users[keep].tolist())) == min(most, len(set(users.tolist())))
    assert not set(users[keep].tolist()) & set(users[~keep].tolist())


@quick
@given(pair_lists)
def test_compact_keeps_the_ids(pairs) -> None:
    users, _ = _arrays(pairs)
    ids = [f"id{number}" for number in range(N_USERS)]
    numbers, used = compact(users, ids)
    assert [used[number] for number in numbers] == [ids[user] for user in users]
    assert used == sorted(used)
    assert sorted(set(numbers.tolist())) == list(range(len(used)))


@quick
@given(st.lists(st.tuples(st.integers(0, N_USERS - 1), st.integers(0, N_ITEMS - 1)), max_size=60))
def test_interactions_against_sets(pairs) -> None:
    made = Interactions.from_pairs([u for u, _ in pairs], [i for _, i in pairs], N_USERS, N_ITEMS)
    distinct = set(pairs)
    assert len(made) == len(distinct)
    assert list(zip(made.users.tolist(), made.indices.tolist(), strict=True)) == sorted(distinct)
    for user in range(N_USERS):
        assert made.of(user).tolist() == sorted(i for u, i in distinct if u == user)
    assert made.degrees.tolist() == [sum(u == user for u, _ in distinct) for user in range(N_USERS)]
    assert made.item_degrees.tolist() == [sum(i == item for _, i in distinct) for item in range(N_ITEMS)]
    grid = made.contains(np.arange(N_USERS)[:, None], np.arange(N_ITEMS))
    assert grid.tolist() == [[(u, i) in distinct for i in range(N_ITEMS)] for u in range(N_USERS)]
    np.testing.assert_array_equal(made.to_scipy().toarray().astype(bool), grid)


@quick
@given(st.lists(st.text(max_size=5), unique=True, min_size=1, max_size=20), st.data())
def test_vocabulary_is_one_to_one(ids, data) -> None:
    vocabulary = Vocabulary(ids)
    some = data.draw(st.lists(st.sampled_from(ids)))
    assert vocabulary.ids(vocabulary.numbers(some)) == some
    assert vocabulary.numbers(ids).tolist() == list(range(len(ids)))


@quick
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 5)), max_size=25),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=15),
    st.integers(1, 4),
)
def test_hard_negative_lookup_against_a_loop(keys, queries, k) -> None:
    vectors = np.arange(len(keys) * 2, dtype=np.float32).reshape(-1, 2) + 1
    table = HardNegativeTable([u for u, _ in keys], [i for _, i in keys], vectors, 6, np.full(len(keys), -1))
    found_vectors, found = table.lookup([u for u, _ in queries], [i for _, i in queries], k)
    assert found_vectors.shape == (len(queries), k, 2)
    for query, vector_rows, found_row in zip(queries, found_vectors, found, strict=True):
        rows = [row for row, key in enumerate(keys) if key == query]
        rows = (rows or [row for row, key in enumerate(keys) if key == (query[0], -1)])[:k]
        assert found_row.tolist() == [place < len(rows) for place in range(k)]
        np.testing.assert_array_equal(vector_rows[: len(rows)], vectors[rows])
        assert not vector_rows[len(rows) :].any()
    counts = Counter(keys)
    assert table.max_per_pair == max(counts.values(), default=0)


class Section(Config):
    a: int = 1
    """A number."""
    b: float = 0.5
    """A number."""
    c: str = "x"
    """A text."""
    speed: int = runtime(1)
    """No part of the result."""


values = st.fixed_dictionaries(
    {},
    optional={
        "a": st.integers(-(2**60), 2**60),
        "b": st.floats(allow_nan=False, allow_infinity=False),
        "c": st.text(st.characters(blacklist_categories=["Cs"]), max_size=8),
        "speed": st.integers(0, 9),
    },
)


@quick
@given(values, values, st.randoms(use_true_random=False))
def test_keys_ignore_field_order_and_runtime_fields(first, second, shuffler) -> None:
    items = list(first.items())
    shuffler.shuffle(items)
    key = artifact_key("s", 1, build(Section, first), {})
    assert artifact_key("s", 1, build(Section, dict(items)), {}) == key
    assert artifact_key("s", 1, build(Section, {**first, "speed": 99}), {}) == key
    same = build(Section, {**first, "speed": 0}) == build(Section, {**second, "speed": 0})
    assert (artifact_key("s", 1, build(Section, second), {}) == key) == same


@quick
@given(values)
def test_toml_round_trip(given_values) -> None:
    import tomllib

    config = build(Section, given_values)
    assert build(Section, tomllib.loads(to_toml(config))) == config


@quick
@given(st.dictionaries(st.sampled_from(["a", "b.c", "b.d", "e.f.g"]), st.integers() | st.booleans(), max_size=4))
def test_overrides_set_what_they_say(changes) -> None:
    result = apply_overrides({"z": 1}, [f"{key}={str(value).lower()}" for key, value in changes.items()])
    for key, value in changes.items():
        place = result
        for part in key.split("."):
            place = place[part]
        assert place == value
    assert result["z"] == 1


def test_the_splits_are_not_trivial() -> None:
    users, items = np.repeat(np.arange(50), 20), np.tile(np.arange(20), 50)
    first, second = (hold_out_random(users, items, 0.1, 0.1, np.random.default_rng(seed)) for seed in (0, 1))
    assert (first != second).any()
    assert Counter(items[first == TEST].tolist()).most_common(1)[0][1] < 20  # no item is always the held-out one
    assert pytest.approx(100) == int((first == TEST).sum())
