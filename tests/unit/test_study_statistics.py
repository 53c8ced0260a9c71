"""Statistics and tables of a study against scipy, and as they are to look."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from hnlmrec.evaluation.significance import bootstrap_interval, holm
from hnlmrec.reporting.study.inputs import Outline, Part, StudyFiles
from hnlmrec.reporting.study.statistics import part_statistics, statistics_frame
from hnlmrec.reporting.study.tables import caption, part_table
from hnlmrec.reporting.tables import to_latex, to_markdown

N_USERS, SEEDS = 80, (0, 1, 2)
METRICS = ("recall@20", "ndcg@20")
OUTLINE = Outline("Known", "dns", METRICS, "t", len(SEEDS))
GAINS = {("dns", "random"): 0.0, ("better", "random"): 0.06, ("worse", "random"): -0.05, ("same", "random"): 0.0}
EVERYTHING = {**GAINS, ("dns", "semantic"): 0.1, ("better", "semantic"): 0.101}


def values(system: tuple[str, str], seed: int) -> dict[str, np.ndarray]:
    """The same users are easy for all systems; "same" is dns itself."""
    noise = 0 if system[0] == "same" else list(EVERYTHING).index(system)
    rng = np.random.default_rng([noise, seed])
    base = np.random.default_rng(99).uniform(0.2, 0.6, N_USERS)
    return {
        name: base * (n + 1) / 2 + EVERYTHING[system] + 0.05 * rng.standard_normal(N_USERS)
        for n, name in enumerate(METRICS)
    }


def place(system: tuple[str, str], seed: int | None) -> dict[str, object]:
    named = {"dataset": "toys", "model": "mf", "varied": "", "value": ""}
    return {**named, "variant": system[0], "initialisation": system[1], "seed": seed}


@pytest.fixture(scope="module")
def files() -> StudyFiles:
    rows, users = [], []
    for system in EVERYTHING:
        for seed in SEEDS:
            found = values(system, seed)
            means = {f"test/{name}": float(array.mean()) for name, array in found.items()}
            rows.append({**place(system, seed), **means, "fhns_ratio": 2.0})
            frame = pl.DataFrame({"user_id": [f"u{n}" for n in range(N_USERS)], **found})
            users.append(frame.with_columns(pl.lit(v).alias(k) for k, v in place(system, seed).items()))
    rows.append({**place(("ease", "none"), None), "test/recall@20": 0.5, "test/ndcg@20": 0.9})
    own = {
        "user_id": [f"u{n}" for n in range(N_USERS)],
        "recall@20": np.full(N_USERS, 0.5),
        "ndcg@20": np.full(N_USERS, 0.9),
    }
    users.append(
        pl.DataFrame(own).with_columns(pl.lit(v).alias(k) for k, v in place(("ease", "none"), None).items())
    )
    joined = pl.concat(users, how="diagonal_relaxed").sample(fraction=1, shuffle=True, seed=1)
    return StudyFiles(OUTLINE, pl.DataFrame(rows, infer_schema_length=None), joined, pl.DataFrame())


@pytest.fixture(scope="module")
def part(files: StudyFiles) -> Part:
    (part,) = files.parts()
    return part


def averaged(system: tuple[str, str], metric: str) -> np.ndarray:
    return np.mean([values(system, seed)[metric] for seed in SEEDS], axis=0)


def test_tests_over_users_are_scipys_on_values_averaged_over_seeds(part: Part) -> None:
    found = part_statistics(part, OUTLINE)
    for metric in METRICS:
        mine, base = averaged(("better", "random"), metric), averaged(("dns", "random"), metric)
        test = found.over_users["t"].find("better+random", metric)
        assert test is not None
        assert test.baseline == "dns+random"
        assert test.p_value == pytest.approx(stats.ttest_rel(mine, base).pvalue)
        assert test.effect_size == pytest.approx((mine - base).mean() / (mine - base).std(ddof=1))
        ranks = found.over_users["wilcoxon"].find("better+random", metric)
        assert ranks is not None
        assert ranks.p_value == pytest.approx(
            stats.wilcoxon(mine, base, zero_method="pratt", method="approx").pvalue
        )
        same = found.over_users["t"].find("same+random", metric)
        assert same is not None
        assert same.p_adjusted == 1.0


def test_tests_over_seeds_are_scipys_on_their_means(part: Part) -> None:
    comparison = part_statistics(part, OUTLINE, tests=()).over_seeds
    assert comparison is not None
    test = comparison.find("better+random", "recall@20")
    assert test is not None
    means = {s: [values((s, "random"), seed)["recall@20"].mean() for seed in SEEDS] for s in ("better", "dns")}
    assert test.p_value == pytest.approx(stats.ttest_rel(means["better"], means["dns"]).pvalue)
    assert test.n_users == 3
    assert comparison.find("ease", "recall@20") is None  # it has no seeds


def test_each_is_tested_against_the_baseline_of_its_own_initialisation_and_corrected_together(part: Part) -> None:
    comparison = part_statistics(part, OUTLINE, tests=("t",)).over_users["t"]
    bases = {test.label: test.baseline for test in comparison.tests}
    assert bases == {
        "better+random": "dns+random",
        "worse+random": "dns+random",
        "same+random": "dns+random",
        "better+semantic": "dns+semantic",
        "ease": "dns+random",
    }
    raw = np.array([test.p_value for test in comparison.tests])
    assert [test.p_adjusted for test in comparison.tests] == pytest.approx(holm(raw))


def test_a_system_with_fewer_seeds_is_tested_on_those_that_all_have(part: Part) -> None:
    lacking = (pl.col("variant") == "better") & (pl.col("seed") == 2)
    fewer = Part(
        "toys",
        "mf",
        "",
        "",
        part.rows.filter(~lacking.fill_null(value=False)),
        part.users.filter(~lacking.fill_null(value=False)),
    )
    comparison = part_statistics(fewer, OUTLINE, tests=("t",))
    assert comparison.over_seeds is not None
    assert {test.n_users for test in comparison.over_seeds.tests} == {2}
    table = to_markdown(part_table(fewer, comparison, OUTLINE))
    assert "2 of 3" in table


def test_the_bootstrap_interval_is_about_that_of_the_normal_distribution() -> None:
    sample = np.random.default_rng(0).normal(2.0, 1.0, 400)
    low, high = bootstrap_interval(sample, np.random.default_rng(1))
    half = 1.96 * sample.std() / 20
    assert (low, high) == pytest.approx((sample.mean() - half, sample.mean() + half), abs=0.02)


def test_marks_places_and_gains_look_like_this(part: Part) -> None:
    found = part_statistics(part, OUTLINE)
    table = part_table(part, found, OUTLINE)
    by_label = {(row.group, row.label): row.cells for row in table.rows}
    assert [cell.mark for cell in by_label["random initialisation", "better"][:2]] == ["▲", "▲"]
    assert [cell.mark for cell in by_label["random initialisation", "worse"][:2]] == ["▼", "▼"]
    assert [cell.mark for cell in by_label["random initialisation", "same"][:2]] == ["", ""]
    assert by_label["without training", "ease"][0].place == 1
    assert [cell.text for cell in by_label["random initialisation", "same"][2:]] == [
        "+0.0 %",
        "+0.0 %",
        *[cell.text for cell in by_label["random initialisation", "dns"][4:]],
    ]
    assert [cell.text for cell in by_label["random initialisation", "dns"][2:4]] == ["–", "–"]
    assert [row.group for row in table.rows][-1] == "without training"
    markdown, latex = to_markdown(table), to_latex(table)
    assert "| **0.5000**▲ | **0.9000**▲ |" in markdown
    assert r"\textbf{0.5000}$^{\uparrow}$" in latex
    assert markdown.count("<u>") == latex.count(r"\underline") == 2
    assert "80 users" in caption(part, found, OUTLINE)
    assert "over 3 seeds" in caption(part, found, OUTLINE)


def test_a_part_without_its_baseline_says_that_nothing_is_tested(part: Part) -> None:
    outline = replace(OUTLINE, baseline="not run")
    found = part_statistics(part, outline)
    assert "Nothing is tested: that takes not run and another system" in caption(part, found, outline)
    marks = [cell.mark for row in part_table(part, found, outline).rows for cell in row.cells]
    assert not any(marks)


def test_the_tidy_table_has_every_test(part: Part) -> None:
    frame = statistics_frame([(part, part_statistics(part, OUTLINE))])
    assert frame.group_by("over", "test").len().sort("over", "test").rows() == [
        ("seeds", "t", 8),
        ("users", "bootstrap", 10),
        ("users", "t", 10),
        ("users", "wilcoxon", 10),
    ]
    row = frame.filter(over="users", test="t", label="better+random", metric="recall@20").row(0, named=True)
    assert row["relative_percent"] == pytest.approx(100 * (row["mean"] / row["baseline_mean"] - 1))
    assert row["interval_low"] < row["difference"] < row["interval_high"]


def test_without_the_baseline_nothing_is_tested_and_the_table_stands(part: Part) -> None:
    outline = Outline("Known", "absent", METRICS, "wilcoxon", 3)
    found = part_statistics(part, outline)
    table = part_table(part, found, outline)
    assert found.over_users["wilcoxon"].tests == ()
    assert all(cell.mark == "" for row in table.rows for cell in row.cells)
    assert len(statistics_frame([(part, found)])) == 0
