"""Claims by rule, what is published of a study, and the page of results."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from hnlmrec.errors import MissingFileError
from hnlmrec.evaluation.significance import holm
from hnlmrec.reporting.results import publish_study, write_results_page
from hnlmrec.reporting.results.beside import BesideAccuracy
from hnlmrec.reporting.results.publish import without_machine, without_paths
from hnlmrec.reporting.study.claims import claims_frame
from hnlmrec.reporting.study.inputs import Outline, StudyFiles
from hnlmrec.reporting.study.page import write_study

N_USERS, SEEDS, METRIC = 60, (0, 1), "recall@20"
OUTLINE = Outline("Known", "dns", (METRIC,), "t", len(SEEDS))
FAMILIES = {"dns": "classic", "mixgcf": "classic", "hnlmrec": "hnlmrec", "noise": "ablation", "ease": "untrained"}
GAINS = {"dns": 0.0, "mixgcf": 0.04, "hnlmrec": 0.05, "noise": 0.05, "ease": 0.3}


def values(variant: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng([list(GAINS).index(variant), seed])
    base = np.random.default_rng(9).uniform(0.2, 0.6, N_USERS)
    return base + GAINS[variant] + 0.03 * rng.standard_normal(N_USERS)


def files() -> StudyFiles:
    rows, users = [], []
    for variant, family in FAMILIES.items():
        start = "none" if family == "untrained" else "random"
        for seed in (None,) if family == "untrained" else SEEDS:
            place = {"dataset": "toys", "model": "mf", "varied": "", "value": "", "variant": variant}
            place |= {"initialisation": start, "seed": seed}
            found = values(variant, seed or 0)
            mean = float(found.mean())
            row = {"family": family, f"test/{METRIC}": mean, f"valid/{METRIC}": mean, "test/arp@20": 3.0}
            row["fhns_ratio"] = 4.0 - list(FAMILIES).index(variant)
            rows.append({**place, **row, "test/map@5": 0.1, "key": f"{variant}{seed}", "seconds": 1800.0})
            frame = pl.DataFrame({"user_id": [f"u{n}" for n in range(N_USERS)], METRIC: found})
            users.append(frame.with_columns(pl.lit(value).alias(name) for name, value in place.items()))
    results = pl.DataFrame(rows, infer_schema_length=None)
    return StudyFiles(OUTLINE, results, pl.concat(users, how="diagonal_relaxed"), pl.DataFrame())


def test_a_claim_is_decided_by_the_best_rival_of_a_family_and_by_holm() -> None:
    (part,) = files().parts()
    claims = claims_frame([part], OUTLINE)
    assert claims.select("variant", "family", "rival").rows() == [
        ("hnlmrec", "classic", "mixgcf"),
        ("hnlmrec", "ablation", "noise"),
        ("hnlmrec", "untrained", "ease"),
    ]
    mine = np.mean([values("hnlmrec", seed) for seed in SEEDS], axis=0)
    theirs = [np.mean([values(rival, seed) for seed in SEEDS], axis=0) for rival in ("mixgcf", "noise")]
    raw = [stats.ttest_rel(mine, other).pvalue for other in [*theirs, values("ease", 0)]]
    assert claims["p_value"].to_list() == pytest.approx(raw)
    assert claims["p_adjusted"].to_list() == pytest.approx(holm(np.array(raw)))
    assert claims["verdict"].to_list()[1:] == ["open", "below"]
    assert claims["seeds"].to_list() == [2, 2, 2]
    above = [sum(values("hnlmrec", s).mean() > values("mixgcf", s).mean() for s in SEEDS)]
    assert claims["seeds_above"].to_list()[::2] == [*above, 0]


def test_nothing_is_claimed_where_nothing_is_ours() -> None:
    known = files()
    (part,) = StudyFiles(
        OUTLINE,
        known.results.filter(pl.col("family") != "hnlmrec"),
        known.users.filter(pl.col("variant") != "hnlmrec"),
        known.curves,
    ).parts()
    assert len(claims_frame([part], OUTLINE)) == 0


def test_an_ablation_of_the_baseline_claims_nothing() -> None:
    known = files()
    family = pl.when(pl.col("variant") == "dns").then(pl.lit("hnlmrec")).otherwise("family")
    ablated = StudyFiles(OUTLINE, known.results.with_columns(family.alias("family")), known.users, known.curves)
    (part,) = ablated.parts()
    assert set(claims_frame([part], OUTLINE)["variant"]) == {"dns"}
    assert set(claims_frame([part], replace(OUTLINE, baseline="hnlmrec"))["variant"]) == {"hnlmrec"}
    assert set(claims_frame([part], replace(OUTLINE, baseline="noise"))["variant"]) == {"dns", "hnlmrec"}


def summary(**changes: Any) -> dict[str, Any]:
    section = {"title": "Known things", "seeds": [0, 1], "vary": "training", "test": "t", "metrics": [METRIC]}
    config = {
        "study": {**section, "reductions": ["1 | 2 of the users"]},
        "datasets": [
            {"label": "toys", "set": ["data.source=/home/me/data/toys", "runtime.runs=/tmp/x"]},
            {"label": "ml1m", "set": []},
        ],
        "select": {"datasets": ["toys"]},
        "variants": [{"label": "file", "set": ["sampler.path=../negatives/a.csv"]}],
        "vary": [],
        "search": {"trials": 0},
    }
    facts = {
        "study": "known",
        "shipped": "",
        "baseline": "dns",
        "cells": 10,
        "done": 9,
        "failed": [{"cell": "toys mf file", "error": "no file /home/me/negatives.csv"}],
        "machine": {"system": "Linux x86_64", "cores": 2, "memory_gib": 8.0, "accelerator": ""},
        "finished": "2026-11-29",
        "overrides": ["study.seeds=[0,1]", "resources.processes=2", "llm.base_url=http://10.0.0.1/v1"],
        "environment": {"hnlmrec": "0.1.0", "commit": "0" * 40, "packages": {"torch": "2.13"}},
        "config": config,
    }
    return {**facts, **changes}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "runs/known"
    folder.mkdir(parents=True)
    found = files()
    found.results.write_parquet(folder / "results.parquet")
    found.users.write_parquet(folder / "per_user.parquet")
    found.curves.write_parquet(folder / "curves.parquet")
    found.item_groups.write_parquet(folder / "item_groups.parquet")
    write_study(folder, OUTLINE)
    (folder / "study.json").write_text(json.dumps(summary()))
    return folder


def test_pictures_of_an_earlier_selection_go(study: Path) -> None:
    old = study / "pictures/known-lightgcn-random-epoch.svg"
    old.write_text("<svg/>")
    write_study(study, OUTLINE)
    assert not old.exists()
    assert list(old.parent.glob("*.svg"))


def test_what_is_published_is_small_and_tells_of_no_folder(study: Path, tmp_path: Path) -> None:
    target = publish_study(study, tmp_path / "results", tmp_path / "docs/results")
    assert target == tmp_path / "results/known"
    columns = pl.read_parquet(target / "results.parquet").columns
    assert "test/arp@20" in columns
    assert "test/map@5" not in columns
    assert not (target / "per_user.parquet").exists()
    text = (target / "study.json").read_text()
    assert "home" not in text
    assert "10.0.0.1" not in text
    facts = json.loads(text)
    assert facts["datasets"] == [{"label": "toys", "set": ["data.source=toys"]}]
    assert facts["changed"] == ["study.seeds=[0,1]"]
    assert facts["failed"][0]["error"] == "no file negatives.csv"
    assert facts["run_seconds"] == 9 * 1800
    assert list((tmp_path / "docs/results/known").glob("*.svg"))


def test_the_page_says_what_was_run_and_what_held(study: Path, tmp_path: Path) -> None:
    results, page = tmp_path / "results", tmp_path / "docs/results.md"
    assert "No study" in write_results_page(results, page).read_text()
    publish_study(study, results, page.with_suffix(""))
    overview = write_results_page(results, page).read_text()
    assert "| [Known things](results/known.md) | 2026-11-29 | toys | 2 | 9 of 10 | 3 |" in overview
    own = page.with_suffix("") / "known.md"
    text = own.read_text()
    assert "[results](../results.md)" in text
    assert "2 cores, 8 GiB, no GPU" in text
    assert "| 4.5 h for trainings" in text
    assert "1 \\| 2 of the users" in text
    assert "`study.seeds=[0,1]`" in text
    assert "| toys, mf, random | hnlmrec above the best method without training | **no, below**: " in text
    assert "(noise)" in text
    assert "higher in 0 of 2 seeds" in text
    assert "\n## toys, mf" in text
    assert "| toys, mf, random | hnlmrec | **yes**: 2.00 against 4.00 | – | – | – |" in text
    pictures = [line.split('"')[1] for line in text.splitlines() if line.startswith("<img")]
    assert pictures
    assert all((own.parent / picture).is_file() for picture in pictures)
    publish_study(study, results, page.with_suffix(""))  # again: in place of the former copy
    assert write_results_page(results, page).read_text() == overview
    assert own.read_text() == text


def test_the_page_of_a_study_that_was_removed_goes_and_no_other_file(study: Path, tmp_path: Path) -> None:
    results, page = tmp_path / "results", tmp_path / "docs/results.md"
    shutil.rmtree(publish_study(study, results, page.with_suffix("")).rename(tmp_path / "gone"))
    own, notes = (page.with_suffix("") / name for name in ("known.md", "notes.md"))
    own.write_text("<!-- Written by `hnlmrec results`: change nothing here. -->")
    notes.write_text("of a person")
    write_results_page(results, page)
    assert not own.exists()
    assert notes.read_text() == "of a person"


def test_a_folder_without_a_finished_study_is_refused_and_nothing_is_lost(study: Path, tmp_path: Path) -> None:
    results, page = tmp_path / "results", tmp_path / "docs/results.md"
    target = publish_study(study, results, page.with_suffix(""))
    (study / "claims.parquet").unlink()
    with pytest.raises(MissingFileError, match=r"claims\.parquet is missing"):
        publish_study(study, results, page.with_suffix(""))
    assert (target / "claims.parquet").exists()
    (target / "tables.md").unlink()
    with pytest.raises(MissingFileError, match=r"tables\.md is missing"):
        write_results_page(results, page)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("data.source=../shared/data/toys", "data.source=toys"),
        ("~/a/b.toml: wrong", "b.toml: wrong"),
        ("sampler.alpha=0.1", "sampler.alpha=0.1"),
    ],
)
def test_of_a_path_the_last_part_is_kept(text: str, kept: str) -> None:
    assert without_paths(text) == kept


def test_places_of_a_machine_are_not_told() -> None:
    assert without_machine(["runtime.artifacts=x", "training.epochs=3"]) == ["training.epochs=3"]


def test_beside_accuracy_by_value_and_by_interval() -> None:
    place = {"dataset": "toys", "model": "mf", "initialisation": "random"}
    results = pl.DataFrame(
        [
            {**place, "variant": v, "family": FAMILIES[v], "fhns_ratio": r}
            for v, r in (("dns", 2.0), ("hnlmrec", 3.0))
        ]
    )
    reach = pl.DataFrame(
        [{**place, "variant": v, "seed": s, "epoch": e} for v, s, e in (("dns", 0, None), ("hnlmrec", 0, 5))]
    )
    interval = {"mean": 0.2, "difference": 0.1, "difference_low": 0.05, "difference_high": 0.2}
    lower = {"mean": 0.1, "difference": -0.1, "difference_low": -0.2, "difference_high": 0.01}
    groups = pl.DataFrame(
        [
            {**place, "variant": "hnlmrec", "kind": "items", "group": 2, **lower},
            {**place, "variant": "hnlmrec", "kind": "items", "group": 1, **interval},
            {**place, "variant": "hnlmrec", "kind": "users", "group": 1, **lower},
        ]
    )
    (line,) = BesideAccuracy(results, groups, reach, "dns").lines()
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "toys, mf, random",
        "hnlmrec",
        "**no**: 3.00 against 2.00",
        "**yes**: epoch 5.0 against never in some seed",
        "**yes**: 0.2000, +0.1000 (+0.0500 … +0.2000)",
        "not shown: 0.1000, -0.1000 (-0.2000 … +0.0100)",
    ]
