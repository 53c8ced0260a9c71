"""`hnlmrec compare STUDY.toml`: the grid, shared stages, resume, failures."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from tests.cli.conftest import Outcome
from tests.cli.small_study import VARIANTS, VARIED, made, results

from hnlmrec.artifacts import alone_in

Cli = Callable[..., Outcome]


@pytest.mark.usefixtures("undrawn")
def test_the_grid_is_run_once_and_found_again(cli: Cli, write: Callable[..., Path]) -> None:
    study = write()
    first = cli("compare", study, "study.initialisations=['random','semantic']", "--json")
    assert first.status == 0, first.stderr
    assert (first.json["cells"], first.json["done"], first.json["failed"]) == (9, 9, [])
    assert {stage: len(made(stage)) for stage in ("prepare", "encode", "train", "evaluate", "recommender")} == {
        "prepare": 1,
        "encode": 1,
        "train": 8,
        "evaluate": 8,
        "recommender": 1,
    }
    frame = results()
    assert frame.select("variant", "initialisation", "seed").rows() == [
        *[("uniform", start, seed) for start in ("random", "semantic") for seed in (0, 1)],
        *[("dns", start, seed) for start in ("random", "semantic") for seed in (0, 1)],
        ("knn", "none", None),
    ]
    assert frame["test/recall@5"].is_between(0, 1).all()
    assert frame["config"].n_unique() == 9
    assert frame.filter(variant="dns")["fhns_ratio"].null_count() == 0
    before = {path: path.stat().st_mtime_ns for path in Path("artifacts").rglob("manifest.json")}
    again = cli("compare", study, "study.initialisations=['random','semantic']")
    assert again.status == 0
    assert "9 of 9 runs" in again.stdout
    assert results().equals(frame)
    assert {path: path.stat().st_mtime_ns for path in Path("artifacts").rglob("manifest.json")} == before


def test_what_it_leaves_behind(cli: Cli, write: Callable[..., Path]) -> None:
    outcome = cli("compare", write(VARIED))
    assert outcome.status == 0, outcome.stderr
    folder = Path("runs/small")
    users = pl.read_parquet(folder / "per_user.parquet")
    assert users.filter(variant="uniform", seed=0)["user_id"].n_unique() == 30
    means = users.filter(variant="uniform", seed=0).select("recall@5", "ndcg@5").mean().row(0)
    row = results().filter(variant="uniform", seed=0)
    assert means == pytest.approx((row["test/recall@5"][0], row["test/ndcg@5"][0]), abs=1e-6)
    curves = pl.read_parquet(folder / "curves.parquet")
    assert set(curves["metric"]) == {"recall@5", "ndcg@5"}
    assert curves.filter(variant="dns", seed=1, value="3", metric="recall@5")["epoch"].to_list() == [1, 2]
    tests = pl.read_parquet(folder / "tests.parquet")
    assert set(tests.filter(over="users")["test"]) == {"t", "wilcoxon", "bootstrap"}
    assert tests.filter(over="seeds")["n"].unique().to_list() == [2]
    assert "**" in (folder / "tables.md").read_text()
    assert r"\textbf" in (folder / "tables.tex").read_text()
    page = (folder / "study.html").read_text()
    assert page.count("<svg") == page.count("<figure") == 8
    groups = pl.read_parquet(folder / "groups.parquet")
    assert set(groups["kind"]) == {"users", "items"}
    assert set(groups["variant"]) == {"uniform", "dns", "knn"}
    kept = users.filter(variant="dns", seed=0, value="")
    hits, wanted = (kept.select(pl.sum_horizontal(f"^{name}_.$").sum()).item() for name in ("hits", "test_items"))
    assert wanted == 30  # one of each user's nine items
    assert kept["recall@5"].mean() == pytest.approx(hits / wanted)
    assert set(pl.read_parquet(folder / "reach.parquet").select("variant", "seed").unique().rows()) == {
        (variant, seed) for variant in ("uniform", "dns") for seed in (0, 1)
    }
    assert "<script" not in page
    pictures = {path.name for path in (folder / "pictures").iterdir()}
    assert {"films-mf-random-K.png", "films-mf-recall-5.svg", "films-mf-random-seconds.png"} <= pictures
    assert results().select("variant", "family").unique().sort("variant").rows() == [
        ("dns", "classic"),
        ("knn", "untrained"),
        ("uniform", "classic"),
    ]
    same = results().filter((pl.col("variant") == "dns") & (pl.col("value").is_in(["", "1"])))
    assert same.filter(seed=0)["key"].n_unique() == 1  # one negative is the default: nothing is run twice


@pytest.mark.usefixtures("undrawn")
def test_what_only_served_to_make_what_is_there_is_not_made_again(cli: Cli, write: Callable[..., Path]) -> None:
    options = ("study.initialisations=['semantic']", "select.variants=['dns']")
    assert cli("compare", write(), *options).status == 0
    before = results()
    shutil.rmtree("artifacts/encode")
    assert cli("compare", write(), *options).status == 0
    assert not made("encode")
    assert results().equals(before)
    shutil.rmtree("artifacts/evaluate")
    assert cli("compare", write(), *options).status == 0  # from the trained tables, whose start is gone
    assert not made("encode")
    assert results().equals(before)
    assert cli("compare", write(), *options, "study.seeds=[0,1,2]").status == 0
    assert len(made("encode")) == 1
    assert results().height == 3


@pytest.mark.usefixtures("undrawn")
def test_its_results_are_published_by_one_command(cli: Cli, write: Callable[..., Path]) -> None:
    assert cli("compare", write(), "study.seeds=[0]", "study.title=Small things").status == 0
    outcome = cli("results", "runs/small", "--into", "kept", "--page", "pages/results.md")
    assert (outcome.status, outcome.stdout.strip()) == (0, "pages/results.md"), outcome.stderr
    assert "[Small things](results/small.md)" in Path("pages/results.md").read_text()
    text = Path("pages/results/small.md").read_text()
    assert text.startswith("# Small things\n")
    assert "`study.seeds=[0]`; `study.title=Small things`" in text
    assert str(Path.cwd().parent) not in text + Path("kept/small/study.json").read_text()
    missing = cli("results", "runs/none", "--into", "kept", "--page", "pages/results.md")
    assert missing.status == 2
    assert "holds no finished study" in missing.stderr


@pytest.mark.usefixtures("undrawn")
def test_tables_of_an_earlier_call_are_not_published_once_a_later_one_writes_over_them(
    cli: Cli, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    assert cli("compare", write(), "study.seeds=[0]").status == 0
    with monkeypatch.context() as patch:
        patch.setattr("hnlmrec.studies.run._run_grid", killed)
        assert cli("compare", write()).status == 130
    outcome = cli("results", "runs/small", "--into", "kept", "--page", "pages/results.md")
    assert outcome.status == 2
    assert "study.json is missing" in outcome.stderr
    assert cli("compare", write(), "study.seeds=[0]").status == 0
    assert cli("results", "runs/small", "--into", "kept", "--page", "pages/results.md").status == 0


@pytest.mark.usefixtures("undrawn")
def test_a_study_starts_from_tables_on_disk(
    cli: Cli, write: Callable[..., Path], data: Path, tmp_path: Path
) -> None:
    options = ("model.embedding_size=4", "training.epochs=1", "training.select_by=recall@5", "evaluation.ks=[5]")
    trained = cli("train", data, "--model", "mf", *options, "--json")
    assert trained.status == 0, trained.stderr
    train = next(stage for stage in trained.json["stages"] if stage["stage"] == "train")
    tables = Path(train["path"]).rename(tmp_path / "tables")
    outcome = cli("compare", write(), "study.seeds=[0]", f"study.initialisations=['random','table:{tables}']")
    assert outcome.status == 0, outcome.stderr
    assert set(results()["initialisation"]) == {"random", f"table:{tables}", "none"}
    assert {path.parent for path in Path("runs/small").rglob("*.svg")} == {Path("runs/small/pictures")}


@pytest.mark.usefixtures("undrawn")
def test_a_second_call_on_the_same_study_waits_for_nothing_and_touches_nothing(
    cli: Cli, write: Callable[..., Path]
) -> None:
    study = write()
    with alone_in(Path("runs/small"), "the study 'small'"):  # as another call holds it while it works
        refused = cli("compare", study, "--json")
        other = cli("compare", study, "study.name=other", "select.variants=['knn']", "--json")
    assert refused.status == 2
    assert "the study 'small' is under way in runs/small by another process" in refused.stderr
    assert not Path("runs/small/results.parquet").exists()
    assert (other.status, other.json["done"]) == (0, 1)
    assert cli("compare", study, "select.variants=['knn']").status == 0


@pytest.mark.usefixtures("undrawn")
def test_a_failing_cell_costs_itself_and_the_exit_status(cli: Cli, write: Callable[..., Path]) -> None:
    bad = '[[variants]]\nlabel = "broken"\nsampler = "file"\nset = ["sampler.path=nonsense.csv"]\n'
    Path("nonsense.csv").write_text("a,b\n1,2\n")
    outcome = cli("compare", write(VARIANTS + bad), "--json")
    assert outcome.status == 1
    assert [failure["cell"] for failure in outcome.json["failed"]] == [
        f"films mf broken+random seed {seed}" for seed in (0, 1)
    ]
    assert "DataError" in outcome.json["failed"][0]["error"]
    assert len(results()) == outcome.json["done"] == 5


@pytest.mark.usefixtures("undrawn")
def test_a_seed_varies_the_training_or_everything(cli: Cli, write: Callable[..., Path]) -> None:
    assert cli("compare", write(), "study.vary=all").status == 0
    assert len(made("prepare")) == len(made("recommender")) == 2
    assert results().filter(variant="knn")["seed"].to_list() == [0, 1]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_two_processes_give_the_same_results(cli: Cli, write: Callable[..., Path]) -> None:
    assert cli("compare", write()).status == 0
    options = ("resources.processes=2", "resources.memory_gib=4", "runtime.artifacts=others", "study.name=beside")
    outcome = cli("compare", write(), *options, "resources.threads_per_process=1")
    assert outcome.status == 0, outcome.stderr
    columns = ["variant", "seed", "test/recall@5", "test/ndcg@5", "best_epoch"]
    assert results("runs/beside").select(columns).equals(results().select(columns))


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_killed_in_the_middle_it_goes_on_to_the_same_results(cli: Cli, write: Callable[..., Path]) -> None:
    study = write()
    options = ["training.epochs=150", "training.patience=150", "training.checkpoint_every=5"]
    options += ["training.evaluate_every=50"]
    assert cli("compare", study, *options, "runtime.artifacts=others", "study.name=whole").status == 0
    command = [sys.executable, "-m", "hnlmrec", "compare", str(study), *options, "resources.processes=2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not made("evaluate") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None, "it was done before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(1.5)  # its processes end by themselves
    assert len(made("evaluate")) < 4
    outcome = cli("compare", study, *options, "resources.processes=2", "--json")
    assert outcome.status == 0, outcome.stderr
    columns = ["variant", "seed", "test/recall@5", "test/ndcg@5", "best_epoch", "fhns_ratio"]
    assert results().select(columns).equals(results("runs/whole").select(columns))
