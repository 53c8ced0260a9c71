"""The audit's figures on planted draws, and what it does with bad files and hostile texts."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.result_files import report_inputs

from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.errors import DataError, MissingFileError, UnknownIdError
from hnlmrec.reporting.audit.calibration import Calibration, read_calibration
from hnlmrec.reporting.audit.content import Audit
from hnlmrec.reporting.audit.distance import HELD_OUT, RANDOM, distance_maps
from hnlmrec.reporting.audit.drawn import Drawn, read_drawn, style_numbers
from hnlmrec.reporting.audit.figures import calibration_plot
from hnlmrec.reporting.audit.hardness import hardness_by_epoch
from hnlmrec.reporting.audit.page import embedded_json, write_user_audit
from hnlmrec.reporting.audit.popularity import CATALOGUE, percentiles, popularity_skew
from hnlmrec.reporting.audit.rates import (
    activity_groups,
    effective_draws,
    judged_draws,
    rates,
    rates_by_activity,
    rates_by_epoch,
    wilson_interval,
)
from hnlmrec.reporting.audit.users import UserDossiers, shown
from hnlmrec.reporting.audit.words import audit_table, user_text
from hnlmrec.reporting.inputs import Experiment

N_USERS, N_ITEMS = 200, 100


@pytest.fixture(scope="module")
def dataset():
    """User u has items u … u + 9 to train on (modulo 100) and u + 10 … u + 14 held out."""
    users = np.repeat(np.arange(N_USERS), 15)
    items = (users + np.tile(np.arange(15), N_USERS)) % N_ITEMS
    place = np.tile(np.arange(15), N_USERS)
    parts = [
        Interactions.from_pairs(users[here], items[here], N_USERS, N_ITEMS)
        for here in (place < 10, (place >= 10) & (place < 12), place >= 12)
    ]
    ids = (Vocabulary(f"{kind}{n}" for n in range(size)) for kind, size in (("u", N_USERS), ("i", N_ITEMS)))
    return InteractionDataset(*ids, *parts)


def drawn_of(users, negatives, *, label="x+random", **columns):
    n = len(users)
    frame = {
        "epoch": np.ones(n, np.int32),
        "user": users,
        "positive": users % N_ITEMS,
        "negative": negatives,
        "generated": np.full(n, -1),
        "share": np.zeros(n, np.float32),
        "positive_score": np.ones(n, np.float32),
        "negative_score": np.zeros(n, np.float32),
    }
    experiment = Experiment(label, label.partition("+")[0], "random", None, None)
    return Drawn(experiment, pl.DataFrame({**frame, **columns}))


def planted(rng, share, n=8000):
    """Draws of which a share are held out, for users at random."""
    users = rng.integers(N_USERS, size=n)
    is_false = rng.random(n) < share
    places = np.where(is_false, rng.integers(10, 15, size=n), rng.integers(15, N_ITEMS, size=n))
    return users, (users + places) % N_ITEMS


def test_wilson_interval_has_the_known_values():
    assert wilson_interval(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(0.0, 100) == pytest.approx((0.0, 0.0370), abs=1e-4)
    assert wilson_interval(1.0, 100) == pytest.approx((0.9630, 1.0), abs=1e-4)


def test_draws_of_one_user_that_are_all_alike_count_once():
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(100), 50)
    alike = np.repeat(rng.random(100) < 0.3, 50)
    assert 50 < effective_draws(users, alike) < 200
    independent = rng.random(5000) < 0.3
    assert effective_draws(users, independent) > 3000
    assert effective_draws(users, np.zeros(5000, np.bool_)) == 100


def test_what_users_differ_in_beforehand_does_not_widen_the_ratio():
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(100), 200)
    expected = np.repeat(rng.uniform(0.02, 0.5, size=100), 200)
    hits = rng.random(len(users)) < expected
    assert effective_draws(users, hits, expected) > 5 * effective_draws(users, hits)


def test_rates_find_what_was_planted(dataset):
    rng = np.random.default_rng(0)
    uniform = 5 / 90
    parts = [drawn_of(*planted(rng, factor * uniform), label=f"x{factor}+random") for factor in (1, 3)]
    one, three = rates(parts, dataset)
    assert one.uniform == pytest.approx(uniform)
    assert one.ratio_interval[0] < 1 < one.ratio_interval[1]
    assert three.ratio_interval[0] > 2
    assert three.ratio_interval[0] < 3 < three.ratio_interval[1]
    assert three.held_out == round(three.rate * three.pairs)


def test_generated_and_mixed_in_items_are_counted_apart(dataset):
    rng = np.random.default_rng(0)
    users, negatives = planted(rng, 0.0)
    shares = np.where(users < 10, 0.5, 0.1).astype(np.float32)
    part = drawn_of(users, negatives, generated=(users + 10) % N_ITEMS, share=shares)  # always held out
    mixed, drawn, generated = rates([part], dataset)
    assert (mixed.series, mixed.kind) == ("x", "mixed")
    assert mixed.rate == pytest.approx(shares.mean())
    assert (drawn.series, drawn.kind, drawn.rate) == ("x (mixed-in item)", "drawn", 0.0)
    assert drawn.interval[1] > 0  # none was seen, which does not mean that there are none
    assert (generated.series, generated.kind, generated.rate) == ("x (generated)", "generated", 1.0)
    styles = style_numbers([part, drawn_of(users, negatives, label="y+random")])
    assert len(set(styles.values())) == len(styles) - 1  # the sampler and its main negatives look alike


def test_vectors_without_items_have_no_rate(dataset):
    users = np.arange(20)
    part = drawn_of(users, np.full(20, -1))
    assert rates([part], dataset) == []
    assert len(hardness_by_epoch([part])) == 1


def test_activity_groups_keep_ties_together_and_cover_everyone(dataset):
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(50), 1 + np.arange(50) // 10)
    train = Interactions.from_pairs(users, np.arange(len(users)) % 40, 50, 40)
    small = replace(dataset, users=Vocabulary(map(str, range(50))), train=train)
    groups, titles = activity_groups(small)
    assert len(titles) == groups.max() + 1 > 2
    assert all(len(set(groups[train.degrees == degree])) == 1 for degree in set(train.degrees))
    groups, titles = activity_groups(dataset)  # everybody has ten
    assert titles == ["10"]
    by_group = rates_by_activity([drawn_of(*planted(rng, 0.1))], dataset)
    assert [rate.group for rate in by_group] == ["10"]


def test_rates_by_epoch_add_up(dataset):
    users, negatives = planted(np.random.default_rng(0), 0.2)
    epochs = np.repeat([1, 2, 5, 10], len(users) // 4)
    part = drawn_of(users, negatives, epoch=epochs)
    rows = rates_by_epoch([part], dataset)
    assert [epoch for epoch, _ in rows] == [1, 2, 5, 10]
    assert sum(rate.held_out for _, rate in rows) == rates([part], dataset)[0].held_out


def test_hardness_is_that_of_the_finite_scores():
    negative = np.array([0, 2, 3, 4, np.nan, np.inf], dtype=np.float32)
    part = drawn_of(np.arange(6), np.arange(6), negative_score=negative, positive_score=np.full(6, 2.5))
    (row,) = hardness_by_epoch([part])
    assert row.draws == 4
    assert row.mean == pytest.approx(0.25)
    assert row.share_above == 0.5
    assert row.quantiles[2] == pytest.approx(0.0)


def test_popularity_of_an_even_spread_and_of_one_item(dataset):
    popularity = np.repeat([1, 1, 5, 9], 25)
    users = np.repeat(np.arange(N_USERS), popularity.sum() // N_USERS)[: popularity.sum()]
    pairs = np.unique(
        np.stack([np.arange(popularity.sum()) % N_USERS, np.repeat(np.arange(100), popularity)]), axis=1
    )
    skewed = replace(dataset, train=Interactions.from_pairs(*pairs, N_USERS, N_ITEMS))
    assert (skewed.train.item_degrees == popularity).all()
    users = np.arange(N_ITEMS)
    even, top = drawn_of(users, np.arange(N_ITEMS)), drawn_of(users, np.full(N_ITEMS, 99), label="top+random")
    reference, even_row, top_row = popularity_skew([even, top], skewed)
    assert reference.label == CATALOGUE
    assert reference.mean_percentile > 60
    assert even_row.mean_percentile == pytest.approx(50)
    assert even_row.deciles == pytest.approx([0.1] * 10)
    assert even_row.gini == pytest.approx(0)
    assert top_row.deciles[:7] == pytest.approx([0] * 7)
    assert sum(top_row.deciles) == pytest.approx(1)
    assert top_row.gini == pytest.approx(0.99)
    assert top_row.items == 0.01
    assert percentiles(popularity)[[0, 60, 99]] == pytest.approx([25, 62.5, 87.5])


def test_distances_are_cosines_and_standardised_scores(tmp_path):
    inputs = report_inputs(tmp_path)
    inputs = replace(inputs, experiments=inputs.experiments[:2])
    drawn = read_drawn(inputs)
    (found,) = distance_maps(inputs, drawn)
    assert found.judge == "uniform+random"
    assert [group.name for group in found.groups] == [HELD_OUT, RANDOM, "uniform", "dns"]
    dataset, last = inputs.dataset, drawn[1].series[0].last_epoch
    texts = EmbeddingTable.load(inputs.encode, "items").vectors
    texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    users, items = (EmbeddingTable.load(inputs.experiments[0].train, n).vectors for n in ("users", "items"))
    expected = []
    for user, item in last.select("user", "item").iter_rows():
        taste = texts[dataset.train.of(user)].sum(axis=0)
        scores = items @ users[user]
        expected.append(
            (texts[item] @ taste / np.linalg.norm(taste), (scores[item] - scores.mean()) / scores.std())
        )
    assert found.groups[3].points == pytest.approx(np.array(expected), abs=1e-4)
    assert distance_maps(replace(inputs, encode=None), drawn) == []


def test_what_a_judge_said_is_counted(dataset):
    users = np.arange(100)
    negatives = np.where(users < 40, users + 10, users + 50) % N_ITEMS  # the first 40 are held out
    said = pl.Series([True] * 30 + [False] * 20 + [True] * 10 + [None] * 40, dtype=pl.Boolean)
    (row,) = judged_draws([drawn_of(users, negatives, judged_false=said)], dataset)
    assert (row.asked, row.called_false, row.held_out_called, row.held_out_kept) == (60, 40, 30, 10)
    assert judged_draws([drawn_of(users, negatives)], dataset) == []


BIN = {"low": 0.0, "high": 0.5, "mean_probability": 0.2, "share_positive": 0.25, "n": 10}
JUDGE = {"name": "j", "auc_uniform": 0.9, "auc_hard": None, "brier": 0.1, "bins": [BIN]}


def test_calibration_is_read(tmp_path):
    assert read_calibration(None) == ()
    (tmp_path / "calibration.json").write_text(json.dumps({"judges": [JUDGE], "more": 1}))
    (judge,) = read_calibration(tmp_path)
    assert (judge.name, judge.auc_hard, judge.bins[0].n) == ("j", None, 10)


@pytest.mark.parametrize(
    ("judge", "says"),
    [
        ({**JUDGE, "auc_uniform": 1.5}, "auc_uniform"),
        ({**JUDGE, "bins": [{**BIN, "share_positive": None}]}, "share_positive"),
        ({"name": "j"}, "auc_uniform"),
    ],
)
def test_bad_calibration_is_refused(tmp_path, judge, says):
    (tmp_path / "calibration.json").write_text(json.dumps({"judges": [judge]}))
    with pytest.raises(DataError, match=says):
        read_calibration(tmp_path)


def test_a_judge_without_its_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"calibration\.json"):
        read_calibration(tmp_path)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return report_inputs(tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda frame: frame.drop("generated"), "generated"),
        (lambda frame: frame.drop("share"), r"share.*train again"),
        (lambda frame: frame.with_columns(user=pl.lit(999)), "user"),
        (lambda frame: frame.with_columns(negative=pl.lit(-2)), "negative"),
        (lambda frame: frame.with_columns(judged_false=pl.lit("yes")), "judged_false"),
    ],
)
def test_draws_of_another_data_set_are_refused(inputs, tmp_path, change, says):
    change(pl.read_parquet(inputs.experiments[0].train / "drawn.parquet")).write_parquet(
        tmp_path / "drawn.parquet"
    )
    experiment = replace(inputs.experiments[0], train=tmp_path)
    with pytest.raises(DataError, match=says):
        read_drawn(replace(inputs, experiments=(experiment,)))


def test_what_a_run_has_not_is_said(inputs):
    bare = replace(inputs, hard_negatives=None, encode=None, negatives=None)
    said = " ".join(Audit(bare).left_out())
    for words in ("noise", "language model", "text vectors", "judge", "judged_false"):
        assert words in said


def test_the_figures_are_json_and_the_table_names_every_series(inputs):
    audit = Audit(inputs)
    said = json.loads(json.dumps(audit.as_json(), allow_nan=False))
    assert {row["series"] for row in said["fhns_rate"]} == {
        "uniform",
        "dns",
        "semantic",
        "semantic (mixed-in item)",
        "semantic (generated)",
    }
    assert said["grounding"]["failures"] == 0
    assert sum(said["grounding"].values()) == 150
    text = audit_table(audit)
    assert all(row["series"] in text for row in said["fhns_rate"])
    assert "alone proves nothing" in text


def test_a_user_is_described(inputs, tmp_path):
    path, said = write_user_audit(inputs, tmp_path, "3")
    assert path.name == "audit-user-3.html"
    assert said["history_size"] == inputs.dataset.train.degrees[2]
    assert len(said["generated"]) == 5
    assert any(row["near"] for row in said["generated"])
    text = user_text(said)
    for words in ("user 3", "history", "held out:", "because:", "uniform+random"):
        assert words in text


def test_an_unknown_user_gets_near_ids(inputs, tmp_path):
    with pytest.raises(UnknownIdError, match=r"'33x'.*did you mean '33'"):
        write_user_audit(inputs, tmp_path, "33x")
    assert not list(tmp_path.iterdir())


def test_a_user_id_cannot_lead_out_of_the_folder(tmp_path):
    inputs = report_inputs(tmp_path / "run", first_user="../../evil")
    path, _ = write_user_audit(inputs, tmp_path / "out", "../../evil")
    assert path == tmp_path / "out" / "audit-user.0.html"


def test_users_with_generated_negatives_come_first(inputs):
    dossiers = UserDossiers(inputs, ())
    assert dossiers.choose(40) == [*range(0, 60, 2), *range(1, 20, 2)]
    assert dossiers.choose(0) == []


def test_embedded_json_cannot_end_its_element():
    hostile = "</script><!--<script>&lt;\u2028\u2029\ud800\"'"
    text = embedded_json({"a": hostile})
    assert not set(text) & set("<>&\u2028\u2029")
    assert text.isascii()
    assert json.loads(text) == {"a": hostile}


def test_shown_texts_are_short_and_plain():
    assert shown("a\x1b[31m\n\tb\ud800", 20) == "a [31m b"
    assert shown("x" * 10_000, 10) == "x" * 9 + "…"
    assert shown("👩‍🚀 שלום", 20) == "👩‍🚀 שלום"


def test_the_terminal_gets_no_turning_marks(inputs, tmp_path):
    _, said = write_user_audit(inputs, tmp_path, "1")
    assert "\u202e" not in user_text({**said, "profile": "abc\u202edef"})


@pytest.mark.parametrize("shares", [np.geomspace(1e-4, 0.4, 8), np.linspace(0.1, 0.9, 8), [0.0], []])
def test_calibration_is_drawn_for_small_and_for_large_probabilities(shares):
    bins = [{**BIN, "mean_probability": share, "share_positive": share} for share in map(float, shares)]
    judges = Calibration.model_validate({"judges": [{**JUDGE, "bins": bins}, {**JUDGE, "name": "e", "bins": []}]})
    svg = calibration_plot(judges.judges)
    assert svg.startswith("<svg")
    assert ("j</text>" in svg) == bool(bins)
    assert "e</text>" not in svg.replace("chose</text>", "").replace("gave</text>", "")
