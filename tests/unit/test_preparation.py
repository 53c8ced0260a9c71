from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from hnlmrec.config import build, fingerprint_fields
from hnlmrec.data.interactions import SPLITS
from hnlmrec.data.preparation import (
    PreparationConfig,
    Prepared,
    load_prepared,
    prepare,
    prepare_source,
    source_fingerprint,
)
from hnlmrec.data.readers import INTERACTION_SCHEMA, RawData
from hnlmrec.data.side_information import items_frame, users_frame
from hnlmrec.errors import ConfigError
from hnlmrec.rng import RandomStreams

DAY = 86400


def _raw(*rows: tuple[object, ...], columns: str = "user_id item_id rating timestamp", **extra: object) -> RawData:
    names = columns.split()
    frame = pl.DataFrame(rows, schema={name: INTERACTION_SCHEMA[name] for name in names}, orient="row")
    missing = [
        pl.lit(None, dtype=kind).alias(name) for name, kind in INTERACTION_SCHEMA.items() if name not in names
    ]
    return RawData(Path("test"), "test", frame.with_columns(missing).select(*INTERACTION_SCHEMA), **extra)  # type: ignore[arg-type]


def _prepare(raw: RawData, seed: int = 0, **settings: object) -> Prepared:
    return prepare(raw, PreparationConfig.model_validate(settings), RandomStreams(seed))


def _pairs(prepared: Prepared, split: str) -> set[tuple[str, str]]:
    part = prepared.dataset.split(split)  # type: ignore[arg-type]
    users, items = prepared.dataset.users, prepared.dataset.items
    return set(zip(users.ids(part.users.tolist()), items.ids(part.indices.tolist()), strict=True))


def _grid(n_users: int = 6, n_items: int = 10) -> RawData:
    return _raw(*((f"u{u}", f"i{i}", 1.0 + i % 5, DAY * i + u) for u in range(n_users) for i in range(n_items)))


def test_numeric_ids_keep_their_meaning() -> None:
    rows = [(str(u), str(i), "train" if i % 2 else "test") for u in (10, 9, 2, 0) for i in (11, 100, 3, 8)]
    prepared = _prepare(_raw(*rows, columns="user_id item_id split"), valid_fraction=0.0)
    assert prepared.dataset.users.all_ids == ("0", "2", "9", "10")
    assert prepared.dataset.items.all_ids == ("3", "8", "11", "100")
    mixed = _prepare(_raw(*rows, ("a", "7", "train"), columns="user_id item_id split"), valid_fraction=0.0)
    assert mixed.dataset.users.all_ids == ("0", "10", "2", "9", "a")


def test_duplicates_are_merged_to_the_latest_and_counted() -> None:
    timed = _raw(("u", "i", 1.0, 300), ("u", "i", 5.0, 100), ("u", "j", 4.0, 100), ("u", "k", 2.0, 200))
    merged = _prepare(timed, split="leave_last_out", valid_fraction=0.0)
    assert merged.statistics["duplicates"] == 1
    assert merged.statistics["ratings"] == {"1.0": 1, "2.0": 1, "4.0": 1}
    assert _pairs(merged, "test") == {("u", "i")}
    assert merged.statistics["steps"][1]["lost_interactions"] == 1


def test_a_pair_in_several_splits_stays_in_train_only() -> None:
    rows = [("u", "a", "test"), ("u", "a", "train"), ("u", "b", "train"), ("u", "c", "test"), ("v", "b", "valid")]
    prepared = _prepare(_raw(*rows, columns="user_id item_id split"))
    assert _pairs(prepared, "train") == {("u", "a"), ("u", "b")}
    assert _pairs(prepared, "test") == {("u", "c")}
    assert prepared.statistics["pairs_in_several_splits"] == 1


def test_given_splits_get_a_valid_part_from_train_and_keep_test() -> None:
    rows = [(f"u{u}", f"i{i}", "train") for u in range(5) for i in range(20)]
    rows += [("new", "only-in-test", "test"), ("u0", "only-in-test", "test")]
    raw = _raw(*rows, columns="user_id item_id split")
    prepared = _prepare(raw)
    assert prepared.statistics["split"] == "given"
    assert [len(prepared.dataset.split(name)) for name in SPLITS] == [90, 10, 2]
    assert _pairs(prepared, "test") == {("new", "only-in-test"), ("u0", "only-in-test")}
    assert prepared.statistics["users_without_train"] == 1
    assert prepared.statistics["items_without_train"] == 1
    assert len(_prepare(raw, valid_fraction=0.0).dataset.valid) == 0
    assert _pairs(_prepare(raw, seed=1), "valid") != _pairs(prepared, "valid")
    assert _pairs(_prepare(raw), "valid") == _pairs(prepared, "valid")


def test_leave_last_out() -> None:
    rows = [("u", item, position) for item, position in (("c", 2), ("a", 0), ("d", 3), ("b", 1))]
    rows += [("v", "a", 5), ("v", "b", 9), ("w", "a", 0)]
    prepared = _prepare(_raw(*rows, columns="user_id item_id position"), split="leave_last_out")
    assert _pairs(prepared, "test") == {("u", "d"), ("v", "b")}
    assert _pairs(prepared, "valid") == {("u", "c")}
    assert _pairs(prepared, "train") == {("u", "a"), ("u", "b"), ("v", "a"), ("w", "a")}


def test_temporal_is_one_cut_for_all_users() -> None:
    rows = [("u", f"i{t}", t) for t in range(16)] + [
        ("v", "i1", 1),
        ("v", "i9", 18),
        ("late", "i1", 17),
        ("late", "i2", 19),
    ]
    prepared = _prepare(_raw(*rows, columns="user_id item_id timestamp"), split="temporal")
    # Of the last two of 20, and of the two before them, one each is of a user unknown to train.
    assert _pairs(prepared, "test") == {("v", "i9")}
    assert _pairs(prepared, "valid") == {("u", "i15")}
    assert len(prepared.dataset.train) == 16
    assert "late" not in prepared.dataset.users
    assert prepared.statistics["steps"][-1]["step"] == "users_without_train"
    assert prepared.statistics["steps"][-1]["lost_users"] == 1


def test_filters_and_their_funnel() -> None:
    raw = _grid()
    prepared = _prepare(raw, min_rating=3.0, since=date(1970, 1, 3), until=date(1970, 1, 10), core=4)
    kept = {f"i{i}" for i in range(2, 10) if 1.0 + i % 5 >= 3.0}
    assert set(prepared.dataset.items.all_ids) == kept == {"i2", "i3", "i4", "i7", "i8", "i9"}
    steps = prepared.statistics["steps"]
    assert [step["step"] for step in steps] == ["read", "merge_duplicates", "dates", "min_rating", "core"]
    assert [step["interactions"] for step in steps] == [60, 60, 48, 36, 36]
    assert steps[2]["lost_items"] == 2


def test_subset_is_seeded_and_cored_again() -> None:
    raw = _grid(12, 12)
    first = _prepare(raw, max_users=5, max_items=6, core=5)
    assert (first.dataset.n_users, first.dataset.n_items) == (5, 6)
    assert _prepare(raw, max_users=5, max_items=6, core=5).dataset.users == first.dataset.users
    assert _prepare(raw, 3, max_users=5, max_items=6, core=5).dataset.users != first.dataset.users
    assert first.statistics["steps"][-1]["step"] == "core_again"


def test_a_share_of_train_is_nested_and_leaves_everything_else() -> None:
    raw = _raw(
        *((f"u{u}", f"i{i}", 1.0, 0) for u in range(12) for i in range(u % 9 + 2)),
        reviews=pl.DataFrame(
            {"user_id": ["u7"] * 9, "item_id": [f"i{i}" for i in range(9)], "text": ["good"] * 9}
        ),
    )
    whole = _prepare(raw)
    shares = {share: _prepare(raw, train_share=share) for share in (0.01, 0.2, 0.4, 0.6, 0.8, 1.0)}
    before: set[tuple[str, str]] = set()
    for share, thinned in shares.items():
        kept = _pairs(thinned, "train")
        assert before <= kept <= _pairs(whole, "train")
        before = kept
        for split in ("valid", "test"):
            assert _pairs(thinned, split) == _pairs(whole, split)
        assert thinned.dataset.items.all_ids == whole.dataset.items.all_ids
        degrees, full = thinned.dataset.train.degrees, whole.dataset.train.degrees
        assert degrees.tolist() == [max(int(n * share + 0.5 + 1e-9), 1) for n in full]
        assert thinned.reviews is not None
        assert set(thinned.reviews.select("user_id", "item_id").iter_rows()) <= kept
        steps = {step["step"]: step["interactions"] for step in thinned.statistics["steps"]}
        if share < 1:
            assert steps["train_share"] == sum(len(_pairs(thinned, split)) for split in SPLITS)
    assert _pairs(shares[1.0], "train") == _pairs(whole, "train")
    assert _pairs(_prepare(raw, train_share=0.4), "train") == _pairs(shares[0.4], "train")


def test_the_whole_train_split_leaves_no_trace_in_keys() -> None:
    assert "train_share" not in fingerprint_fields(PreparationConfig())
    assert fingerprint_fields(PreparationConfig(train_share=0.5))["train_share"] == 0.5


def test_texts_follow_the_vocabulary_and_reviews_are_of_train_only() -> None:
    items = items_frame([{"item_id": "i3", "title": "Three"}, {"item_id": "i3", "title": "3"}, {"item_id": "zz"}])
    users = users_frame([{"user_id": "u1", "age": 30, "profile": "Likes."}])
    grid = _grid()
    reviews = grid.interactions.select("user_id", "item_id", text=pl.col("item_id"))
    prepared = _prepare(RawData(Path("t"), "test", grid.interactions, items, users, reviews))
    assert prepared.items["item_id"].to_list() == list(prepared.dataset.items.all_ids)
    assert prepared.items.row(3) == ("i3", "Three", "", None)
    assert prepared.items.row(4) == ("i4", "", "", None)
    assert prepared.users.row(1) == ("u1", "30 years old", "Likes.")
    assert prepared.reviews is not None
    assert set(prepared.reviews.select("user_id", "item_id").rows()) == _pairs(prepared, "train")
    statistics = prepared.statistics
    assert statistics["described_items_without_interactions"] == 1
    repeated, profiles = statistics["warnings"]
    assert repeated == "1 items are described more than once; the first counts"
    assert profiles.startswith("1 users come with a profile from the source. The source does not say")
    assert statistics["text"]["items_with_title"] == pytest.approx(0.1)


def test_statistics() -> None:
    statistics = _prepare(_grid()).statistics
    assert statistics["density"] == 1.0
    assert statistics["user_degree"] == {"min": 10, "mean": 10.0, "median": 10.0, "max": 10}
    assert statistics["ratings"] == {f"{r}.0": 12 for r in range(1, 6)}
    assert (statistics["train"], statistics["valid"], statistics["test"]) == (48, 6, 6)
    json.dumps(statistics, allow_nan=False)


def test_save_and_load(tmp_path: Path) -> None:
    grid = _grid()
    reviews = grid.interactions.select("user_id", "item_id", text=pl.lit("Good"))
    prepared = _prepare(RawData(Path("t"), "test", grid.interactions, reviews=reviews))
    prepared.save(tmp_path)
    again = load_prepared(tmp_path)
    assert all(_pairs(again, name) == _pairs(prepared, name) for name in SPLITS)
    assert again.items.equals(prepared.items)
    assert again.users.equals(prepared.users)
    assert again.reviews is not None
    assert again.reviews.equals(prepared.reviews)
    assert again.statistics == prepared.statistics
    (tmp_path / "manifest.json").write_text("{}")
    loaded = prepare_source(PreparationConfig(source=str(tmp_path)), RandomStreams(5))
    assert _pairs(loaded, "test") == _pairs(prepared, "test")


def test_the_order_of_rows_does_not_matter() -> None:
    grid = _grid()
    shuffled = RawData(Path("t"), "test", grid.interactions.sample(fraction=1.0, shuffle=True, seed=3))
    settings = {"max_users": 4, "max_items": 8}
    first, second = _prepare(grid, **settings), _prepare(shuffled, **settings)
    assert all(_pairs(first, name) == _pairs(second, name) for name in SPLITS)


def test_config_rules_are_reported_together() -> None:
    values = {"split": "radnom", "core": 0, "test_fraction": 0.0, "minrating": 3}
    with pytest.raises(ConfigError) as caught:
        build(PreparationConfig, values)
    message = str(caught.value)
    assert all(name in message for name in ("split", "core", "test_fraction", "did you mean 'min_rating'"))
    with pytest.raises(ConfigError, match="must leave something for train"):
        build(PreparationConfig, {"valid_fraction": 0.5, "test_fraction": 0.5})
    with pytest.raises(ConfigError, match="since must not be after until"):
        build(PreparationConfig, {"since": "2020-01-02", "until": "2020-01-01"})
    with pytest.raises(ConfigError, match=r"nothing called uid is read\. Known here: .*user_id"):
        build(PreparationConfig, {"columns": {"uid": "user"}})
    named = build(PreparationConfig, {"columns": {"user_id": "user"}})
    assert {named, build(PreparationConfig, named.model_dump(mode="json"))} == {named}  # hashed, written and read
    with pytest.raises(ConfigError, match="name a column of the source once"):
        build(PreparationConfig, {"columns": {"title": "name", "description": "name"}})


def test_fingerprint_follows_the_content(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text("user_id,item_id\nu,i\n")
    first = source_fingerprint(str(tmp_path))
    assert source_fingerprint(str(tmp_path)) == first
    (tmp_path / "interactions.csv").write_text("user_id,item_id\nu,j\n")
    assert source_fingerprint(str(tmp_path)) != first
    assert len(source_fingerprint("ml-100k")) == 64  # known before it is fetched
