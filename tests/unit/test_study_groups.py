"""Groups of users and items, and how fast systems converge: against plain loops on known values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.errors import MissingFileError
from hnlmrec.evaluation.evaluator import dot_product_scorer, evaluate
from hnlmrec.evaluation.files import read_hits, write_evaluation
from hnlmrec.evaluation.groups import counts_by_group, quantile_groups
from hnlmrec.reporting.study import group_views
from hnlmrec.reporting.study.group_views import group_figures, group_tables
from hnlmrec.reporting.study.groups import groups_frame
from hnlmrec.reporting.study.inputs import Outline, Part, StudyFiles
from hnlmrec.reporting.study.reach import reach_caption, reach_frame, reach_table
from hnlmrec.reporting.tables import to_markdown
from hnlmrec.studies.collect import _steady
from hnlmrec.studies.groups import PreparedGroups

torch = pytest.importorskip("torch")
N_USERS, METRIC = 40, "recall@5"
OUTLINE = Outline("Known", "dns", (METRIC,), "t", 1, 2)
SYSTEMS = {("dns", "random"): 0.0, ("better", "random"): 0.5, ("knn", "none"): 0.0}


def place(system: tuple[str, str], seed: int | None = 0) -> dict[str, Any]:
    named = {"dataset": "toys", "model": "mf", "varied": "", "value": "", "seed": seed}
    return {**named, "variant": system[0], "initialisation": system[1]}


def hits(system: tuple[str, str]) -> np.ndarray:
    """Hits of each user among the items of the two groups; nobody has a test item of the second's last users."""
    rng = np.random.default_rng(3)
    return (rng.random((N_USERS, 2)) < 0.3 + SYSTEMS[system]).astype(np.int32)


ACTIVITY = np.repeat([3, 3, 3, 8], N_USERS // 4)
WANTED = np.column_stack([np.full(N_USERS, 1), np.arange(N_USERS) % 2]).astype(np.int32)


@pytest.fixture
def files() -> StudyFiles:
    users = []
    for system in SYSTEMS:
        found = np.minimum(hits(system), WANTED)
        columns = {"user_id": [f"u{n:02}" for n in range(N_USERS)], METRIC: found.sum(1) / WANTED.sum(1)}
        columns |= {"train_items": ACTIVITY}
        columns |= {f"hits_{g + 1}": found[:, g] for g in (0, 1)}
        columns |= {f"test_items_{g + 1}": WANTED[:, g] for g in (0, 1)}
        frame = pl.DataFrame(columns)
        users.append(frame.with_columns(pl.lit(value).alias(name) for name, value in place(system).items()))
    results = pl.DataFrame([{**place(system), f"test/{METRIC}": 0.1} for system in SYSTEMS])
    bounds = {"dataset": "toys", "varied": "", "value": "", "prepared": "k"}
    groups = pl.DataFrame([{**bounds, "group": g, "low": 4 * g, "high": 4 * g + 3, "items": 9} for g in (1, 2)])
    return StudyFiles(OUTLINE, results, pl.concat(users), pl.DataFrame(), groups)


def only(files: StudyFiles) -> Part:
    (part,) = files.parts()
    return part


def test_equal_counts_stay_together_and_a_group_may_be_empty() -> None:
    assert quantile_groups(np.arange(8), 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    tied = quantile_groups(np.array([1, 1, 1, 1, 1, 1, 1, 9]), 4)
    assert tied.tolist() == [0] * 7 + [3]
    assert quantile_groups(np.array([5, 2]), 1).tolist() == [0, 0]
    assert quantile_groups(np.array([]), 4).tolist() == []
    counted = counts_by_group(np.array([0, 2, 2]), np.array([1, 0, 0]), 3, 2)
    assert counted.tolist() == [[0, 1], [0, 0], [2, 0]]


def test_values_of_groups_are_means_over_users_and_recall_over_items(files: StudyFiles) -> None:
    frame = groups_frame(files, [only(files)])
    for system in SYSTEMS:
        own = frame.filter(variant=system[0])
        found = np.minimum(hits(system), WANTED)
        values = found.sum(1) / WANTED.sum(1)
        users = own.filter(kind="users").select("group", "low", "high", "n", "mean").rows()
        few, many = ACTIVITY == 3, ACTIVITY == 8
        assert users == [
            (1, 3, 3, 30, pytest.approx(values[few].mean())),
            (2, 8, 8, 10, pytest.approx(values[many].mean())),
        ]
        items = own.filter(kind="items").select("group", "low", "high", "n", "mean").rows()
        assert items == [
            (1, 4, 7, N_USERS, pytest.approx(found[:, 0].sum() / N_USERS)),
            (2, 8, 11, N_USERS // 2, pytest.approx(found[:, 1].sum() / (N_USERS // 2))),
        ]
    assert (frame["interval_low"] <= frame["mean"]).all()
    assert (frame["mean"] <= frame["interval_high"]).all()
    better = frame.filter(variant="better", kind="items", group=1).row(0, named=True)
    assert better["difference_low"] > 0
    assert frame.filter(variant="dns")["difference"].null_count() == 4
    same = frame.filter(variant="knn")  # the baseline's values under another name: paired, so no width
    assert same["difference_low"].to_list() == same["difference_high"].to_list() == [0.0] * 4


def test_a_group_without_test_items_has_no_row_and_no_column(
    files: StudyFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied = files.users.with_columns(pl.lit(0).alias("hits_2"), pl.lit(0).alias("test_items_2"))
    lacking = StudyFiles(OUTLINE, files.results, emptied, files.curves, files.item_groups)
    part = only(lacking)
    frame = groups_frame(lacking, [part])
    assert frame.filter(kind="items")["group"].unique().to_list() == [1]
    users, items = group_tables(frame, OUTLINE)
    assert users.table.columns == ("3", "8")
    assert items.table.columns == ("4-7",)
    assert "▲" in to_markdown(items.table)
    figures = group_figures(part, frame, OUTLINE, tmp_path / "toys")
    assert len(figures) == 2
    assert {path.name for path in tmp_path.glob("*.png")} == {"toys-random-users.png", "toys-random-items.png"}
    monkeypatch.setattr(group_views, "_MOST_LINES", 1)
    of_users, of_items = group_figures(part, frame, OUTLINE, tmp_path / "many")
    base, better = (
        frame.filter(kind="items", variant=variant, initialisation="random")["mean"].item()
        for variant in ("dns", "better")
    )
    assert f"{round(100 * (better / base - 1)):+d} %" in of_items.svg
    assert "against dns" in of_users.caption
    nothing = Outline("Known", "dns", (METRIC,), "t", 1)
    assert len(groups_frame(StudyFiles(nothing, files.results, emptied, files.curves), [part])) == 0


def test_what_a_run_says_of_groups_is_what_its_lists_say(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    code = rng.choice(4, size=(30, 25), p=[0.7, 0.2, 0.02, 0.08])
    splits = [Interactions.from_pairs(*np.nonzero(code == n), 30, 25) for n in (1, 2, 3)]
    names = Vocabulary([f"u{n}" for n in range(30)]), Vocabulary([f"i{n}" for n in range(25)])
    dataset = InteractionDataset(*names, *splits)
    dataset.save(tmp_path)
    for name, ids in (("users", names[0]), ("items", names[1])):
        pl.DataFrame({f"{name[:-1]}_id": ids.all_ids}).write_parquet(tmp_path / f"{name}.parquet")
    vectors = [torch.from_numpy(rng.standard_normal((n, 4)).astype(np.float32)) for n in (30, 25)]
    result = evaluate(dot_product_scorer(*vectors), dataset, ks=(5, 10), metrics=("recall",))
    write_evaluation(tmp_path / "evaluated", {"test": result})
    groups = PreparedGroups(tmp_path, 3)
    columns = groups.columns(tmp_path / "evaluated", result.users, 5)
    assert columns["train_items"].tolist() == dataset.train.degrees[result.users].tolist()
    for row, user in enumerate(result.users):
        wanted = dataset.test.of(user)
        for group in range(3):
            here = [item for item in wanted if groups.items[item] == group]
            assert columns[f"test_items_{group + 1}"][row] == len(here)
            assert columns[f"hits_{group + 1}"][row] == len(set(here) & set(result.items[row, :5].tolist()))
    recalled = sum(columns[f"hits_{g}"] for g in (1, 2, 3)) / dataset.test.degrees[result.users]
    assert recalled == pytest.approx(result.per_user["recall@5"])
    bounds = groups.bounds()
    assert bounds["items"].sum() == 25
    assert (bounds["high"].to_numpy()[:-1] < bounds["low"].to_numpy()[1:]).all()
    with pytest.raises(MissingFileError, match="run the evaluate stage again"):
        read_hits(tmp_path, "test")


def test_an_epoch_that_pays_for_compiling_does_not_count_as_the_methods_time() -> None:
    assert _steady([15.0, 0.5, 0.4, 0.6]) == [0.5, 0.5, 0.4, 0.6]
    assert _steady([0.1, 0.5, 0.4]) == [0.1, 0.5, 0.4]
    assert _steady([3.0]) == [3.0]


def test_the_first_epoch_at_95_percent_of_the_baselines_best(files: StudyFiles) -> None:
    values = {"dns": ([0.1, 0.2, 0.3], [0.1, 0.3, 0.5]), "better": ([0.37, 0.5, 0.5], [0.39, 0.3, 0.3])}
    values["slow"] = ([0.1, 0.2, 0.2], [0.1, 0.1, 0.9])
    rows = [
        {**place((variant, "random"), seed), "epoch": 5 * (n + 1), "seconds": 2.0 * (n + 1), "value_at": value}
        for variant, seeds in values.items()
        for seed, curve in enumerate(seeds)
        for n, value in enumerate(curve)
    ]
    curves = pl.DataFrame(rows).with_columns(split=pl.lit("valid"), metric=pl.lit(METRIC))
    results = pl.DataFrame(
        [{**place((v, "random"), seed), f"test/{METRIC}": 0.1} for v in values for seed in (0, 1)]
    )
    known = StudyFiles(OUTLINE, results, files.users, curves)
    frame = reach_frame(known, [only(known)])
    assert frame["target"].unique().to_list() == [pytest.approx(0.95 * 0.4)]
    assert frame.select("variant", "seed", "epoch", "seconds").rows() == [
        ("dns", 0, None, None),
        ("dns", 1, 15, 6.0),
        ("better", 0, 10, 4.0),
        ("better", 1, 5, 2.0),
        ("slow", 0, None, None),
        ("slow", 1, 15, 6.0),
    ]
    table = reach_table(frame, OUTLINE)
    assert table is not None
    assert {row.label: [cell.text for cell in row.cells] for row in table.rows} == {
        "dns": ["–", "–", "1 of 2"],
        "better": ["7.5", "3.0", "2 of 2"],
        "slow": ["–", "–", "1 of 2"],
    }
    assert "95 % of the best value of dns" in reach_caption(frame, OUTLINE)
    assert reach_table(reach_frame(files, [only(files)]), OUTLINE) is None  # no curves
