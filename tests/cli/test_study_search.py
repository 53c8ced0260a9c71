"""The search of a study: the same budget for all, on validation alone, and resumed as if undisturbed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from tests.cli.conftest import Outcome
from tests.cli.small_study import VARIANTS, results

from hnlmrec.pipeline.config import RunConfig
from hnlmrec.pipeline.run import run_pipeline
from hnlmrec.pipeline.shipped import load_run_config

Cli = Callable[..., Outcome]
SEARCH = '[search]\ntrials = 3\nset = ["training.epochs=1"]\nfixed = ["training.loss"]\n'


@pytest.mark.usefixtures("undrawn")
def test_the_search_spends_the_same_on_every_variant_and_its_best_is_used(
    cli: Cli, write: Callable[..., Path]
) -> None:
    pytest.importorskip("optuna")
    assert cli("compare", write(VARIANTS + SEARCH)).status == 0
    trials = pl.read_parquet("runs/small/search/trials.parquet")
    assert dict(trials.group_by("arm").len().rows()) == dict.fromkeys(
        ("films mf uniform+random", "films mf dns+random", "films mf knn"), 3
    )
    assert results().height == 5  # a row a cell, once
    arm = trials.filter(arm="films mf dns+random").sort("value", "trial", descending=[True, False])
    best = json.loads(arm["settings"][0])
    assert set(best) == {"training.learning_rate", "training.regularization"}  # n_candidates is set on purpose
    chosen = load_run_config(Path("runs/small/search/films-mf-dns-random.toml"))
    assert chosen.training.learning_rate == best["training.learning_rate"]
    assert chosen.training.epochs == 2  # the cheaper budget was that of the trials alone
    key = results().filter(variant="dns", seed=1)["key"][0]
    rerun = run_pipeline(
        RunConfig.model_validate(chosen.model_copy(update={"training_seed": 1})), until="evaluate"
    )
    assert key in {stage["key"] for stage in rerun["stages"]}
    assert cli("compare", write(VARIANTS + SEARCH)).status == 0
    assert pl.read_parquet("runs/small/search/trials.parquet").equals(trials)


@pytest.mark.usefixtures("undrawn")
def test_a_space_of_fewer_points_than_trials_is_gone_through(cli: Cli, write: Callable[..., Path]) -> None:
    pytest.importorskip("optuna")
    fixed = 'fixed = ["training.loss", "training.regularization", "training.learning_rate"]\n'
    search = (
        f'[search]\ntrials = 5\n{fixed}[search.space]\n"training.batch_size" = {{ choices = [16, 64, 256] }}\n'
    )
    assert cli("compare", write(VARIANTS + search), 'select.variants=["uniform","dns"]').status == 0
    trials = pl.read_parquet("runs/small/search/trials.parquet")
    for (arm,), tried in trials.group_by("arm"):
        sizes = [json.loads(settings)["training.batch_size"] for settings in tried.sort("trial")["settings"]]
        assert sorted(sizes) == [16, 64, 256], arm
        assert set(tried["state"]) == {"COMPLETE"}


@pytest.mark.usefixtures("undrawn")
def test_a_poisoned_test_split_changes_nothing_in_the_search(
    cli: Cli, write: Callable[..., Path], data: Path
) -> None:
    pytest.importorskip("optuna")
    frame = pl.read_csv(data / "interactions.csv").with_row_index()
    found = []
    for shift in (0, 1):
        place = pl.col("index") % 9
        split = (
            pl.when(place == 8)
            .then(pl.lit("test"))
            .when(place == 7)
            .then(pl.lit("valid"))
            .otherwise(pl.lit("train"))
        )
        given = frame.with_columns(split=split).drop("index")
        moved = pl.col("item_id").shift(9 * shift).fill_null("i0")
        given = given.with_columns(item_id=pl.when(pl.col("split") == "test").then(moved).otherwise("item_id"))
        given.unique(["user_id", "item_id"], keep="first", maintain_order=True).write_csv(
            data / "interactions.csv"
        )
        outcome = cli(
            "compare", write(VARIANTS + SEARCH), f"study.name=poison{shift}", f"runtime.artifacts=a{shift}"
        )
        assert outcome.status == 0, outcome.stderr
        found.append(pl.read_parquet(f"runs/poison{shift}/search/trials.parquet"))
    assert found[0].equals(found[1])
    measured = [results(f"runs/poison{shift}")["test/recall@5"].to_list() for shift in (0, 1)]
    assert measured[0] != measured[1]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_cut_search_goes_on_as_if_undisturbed(cli: Cli, write: Callable[..., Path]) -> None:
    pytest.importorskip("optuna")
    options = ("runtime.artifacts=others", "study.name=whole", "search.trials=4")
    assert cli("compare", write(VARIANTS + SEARCH), *options).status == 0
    assert cli("compare", write(VARIANTS + SEARCH), "search.trials=2").status == 0
    assert cli("compare", write(VARIANTS + SEARCH), "search.trials=4").status == 0
    one, other = (pl.read_parquet(f"runs/{name}/search/trials.parquet") for name in ("whole", "small"))
    assert one.equals(other)
