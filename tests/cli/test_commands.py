"""The command line's contract: what is printed where, exit statuses, files; on small real files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Outcome

Cli = Callable[..., Outcome]
QUICK = ("training.epochs=3", "training.batch_size=64", "model.embedding_size=8", "evaluation.ks=[5,10]")
SELECT = "training.select_by=recall@5"


def train(cli: Cli, data: Path, *more: str) -> Outcome:
    return cli("train", data, "--model", "lightgcn", "--sampler", "uniform", *QUICK, SELECT, *more)


def test_train_prints_one_json_object_with_the_promised_fields(cli: Cli, data: Path) -> None:
    outcome = train(cli, data, "--json")
    assert outcome.status == 0, outcome.stderr
    result = outcome.json
    assert not any(stage["reused"] for stage in result["stages"])
    assert result["dataset"]["users"] == 30
    assert sum(result["dataset"][split] for split in ("train", "valid", "test")) == 270
    assert (result["model"], result["sampler"]) == ("lightgcn", "uniform")
    assert result["config"]["training"]["epochs"] == 3
    assert 1 <= result["best_epoch"] <= result["epochs"] == 3
    assert set(result["seconds"]) >= {"train_per_epoch", "evaluate", "total"}
    assert 0 <= result["metrics"]["test"]["recall@10"] <= 1
    assert set(result["metrics"]["valid"]) >= {"recall@5", "ndcg@5"}
    assert set(result["fhns_rate"]) >= {"drawn", "uniform", "ratio"}
    assert set(result["llm"]) == {"requests", "cache_hits", "failures", "prompt_tokens", "completion_tokens"}
    files = {path.name for path in Path(result["run_dir"]).iterdir()}
    assert files >= {"config.toml", "stages.json", "metrics.jsonl", "metrics.json", "result.json"}


@pytest.mark.parametrize("values", [(0.3, 0.2, 0.1), (0.1, 0.2, 0.3)])
def test_a_training_that_gained_nothing_after_its_first_evaluation_says_so(
    cli: Cli, data: Path, monkeypatch: pytest.MonkeyPatch, values: tuple[float, ...]
) -> None:
    found = iter(values)
    measured = "hnlmrec.pipeline.training_stages.TrainStage._measure"
    monkeypatch.setattr(measured, lambda *_: lambda *_: {"recall@5": next(found), "ndcg@5": 0.1})
    outcome = train(cli, data, "training.evaluate_every=1")
    assert outcome.status == 0, outcome.stderr
    assert ("nothing was gained" in " ".join(outcome.stderr.split())) is (values[0] > values[1])


def test_a_second_run_makes_nothing(cli: Cli, data: Path) -> None:
    first, second = train(cli, data, "--json").json, train(cli, data, "--json").json
    assert first["metrics"] == second["metrics"]
    assert all(stage["reused"] for stage in second["stages"])
    other_seed = train(cli, data, "--json", "seed=1").json
    assert other_seed["metrics"] != first["metrics"]


def test_what_changes_speed_only_changes_no_key(cli: Cli, data: Path) -> None:
    first = train(cli, data, "--json").json
    second = train(cli, data, "--json", "evaluation.memory_mib=2", "training.device=cpu").json
    assert [stage["key"] for stage in first["stages"]] == [stage["key"] for stage in second["stages"]]


def test_a_changed_source_gets_a_new_key(cli: Cli, data: Path) -> None:
    first = train(cli, data, "--json").json
    with (data / "interactions.csv").open("a") as file:
        file.write("u1,i0,4,9999\n")
    second = train(cli, data, "--json").json
    assert first["stages"][0]["key"] != second["stages"][0]["key"]


def test_selecting_on_test_is_marked_and_keeps_all_of_train(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "train.txt").write_text("".join(f"{u} {u} {u + 1} {u + 2} {u + 3}\n" for u in range(12)))
    (folder / "test.txt").write_text("".join(f"{u} {(u + 5) % 12}\n" for u in range(12)))
    on_test = cli("train", folder, *QUICK, SELECT, "training.select_on=test", "--json").json
    on_valid = cli("train", folder, *QUICK, SELECT, "--json", "data.valid_fraction=0.25").json
    assert (on_test["dataset"]["train"], on_test["dataset"]["valid"]) == (48, 0)
    assert (on_valid["dataset"]["train"], on_valid["dataset"]["valid"]) == (36, 12)
    assert on_test["select_on"] == "test"
    text = cli("train", folder, *QUICK, SELECT, "training.select_on=test").stdout
    assert "selected on test" in text


def test_recommend_gives_items_that_the_user_does_not_have(cli: Cli, data: Path) -> None:
    run = train(cli, data, "--json").json["run_dir"]
    outcome = cli("recommend", run, "--user", "u3", "-k", "5", "--json")
    items = [row["item_id"] for row in outcome.json["items"]]
    assert len(set(items)) == 5
    prepared = next(Path("artifacts/prepare").iterdir())
    import polars as pl

    users = pl.read_parquet(prepared / "users.parquet")["user_id"].to_list()
    pairs = pl.read_parquet(prepared / "interactions.parquet").filter(
        (pl.col("user") == users.index("u3")) & (pl.col("split") != "test")
    )
    known = pl.read_parquet(prepared / "items.parquet")["item_id"].gather(pairs["item"]).to_list()
    assert not set(items) & set(known)
    assert cli("recommend", run, "--user", "nobody").status == 2


def test_compare_pairs_users_of_two_runs(cli: Cli, data: Path) -> None:
    first = train(cli, data, "--json", "name=a").json["run_dir"]
    second = train(cli, data, "--json", "name=b", "sampler.n_negatives=2").json["run_dir"]
    tests = cli("compare", first, second, "--metric", "recall@10", "--json").json["tests"]
    assert [(row["label"], row["baseline"]) for row in tests] == [(second, first)]
    assert cli("compare", first, second, "--metric", "recall@7").status == 2


@pytest.mark.parametrize("until", ["prepare", "profiles", "hard_negatives", "encode", "train", "evaluate"])
def test_a_run_can_stop_after_every_stage(cli: Cli, data: Path, tmp_path: Path, until: str) -> None:
    config = tmp_path / "plain.toml"
    config.write_text(f'name = "plain"\n[data]\nsource = "{data}"\n[sampler]\nname = "uniform"\n')
    outcome = cli("run", config, *QUICK, SELECT, "--until", until, "--json")
    assert outcome.status == 0, outcome.stderr
    finished = until == "evaluate"
    assert ("fhns_rate" in outcome.json) == (until in ("train", "evaluate"))
    assert cli("recommend", "runs/plain", "--user", "u1").status == (0 if finished or until == "train" else 2)
    assert cli("compare", "runs/plain", "runs/plain", "--metric", "recall@5").status == (0 if finished else 2)


def test_a_data_set_without_text_is_refused_before_the_llm_is_asked(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "ids"
    folder.mkdir()
    (folder / "train.txt").write_text("".join(f"{u} {u} {u + 1} {u + 2} {u + 3}\n" for u in range(12)))
    (folder / "test.txt").write_text("".join(f"{u} {(u + 5) % 12}\n" for u in range(12)))
    for extra in (("--sampler", "semantic"), ("initialisation=semantic",)):
        outcome = cli("train", folder, *extra, *QUICK, SELECT)
        assert outcome.status == 2
        assert "items.jsonl" in outcome.stderr


def test_shipped_configurations_are_listed_shown_copied_and_valid(cli: Cli, tmp_path: Path) -> None:
    names = [line.split()[0] for line in cli("config", "list").stdout.splitlines()]
    assert {"demo", "ml-100k"} <= set(names)
    for name in names:
        assert cli("config", "validate", name).status == 0
    copy = tmp_path / "mine.toml"
    assert cli("config", "copy", "demo", copy).status == 0
    assert cli("config", "copy", "demo", copy).status == 2
    shown = tmp_path / "shown.toml"
    shown.write_text(cli("config", "show", copy).stdout)
    assert cli("config", "show", shown).stdout == shown.read_text()


def test_data_stats_and_prepare(cli: Cli, data: Path) -> None:
    prepared = cli("data", "prepare", data, "core=2", "--json").json
    assert prepared["users"] == 30
    again = cli("train", prepared["path"], *QUICK, SELECT, "--json").json
    assert again["dataset"]["train"] == prepared["train"]
    assert json.loads(cli("data", "stats", data).stdout)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "nowhere"], ["nowhere"]),
        (["train", "DATA", "--model", "lightgnc"], ["lightgnc", "lightgcn"]),
        (["train", "DATA", "--sampler", "unifrom"], ["unifrom", "uniform"]),
        (["train", "DATA", "training.epoch=3"], ["training.epoch", "epochs"]),
        (
            ["train", "DATA", "training.epochs=0", "model.n_layers=x"],
            ["training.epochs", "model.lightgcn.n_layers"],
        ),
        (["train", "DATA", "epochs"], ["KEY=VALUE"]),
        (["train", "DATA", "evaluation.ks=[500]"], ["500", "24"]),
        (["train", "DATA", "evaluation.ks=[5]", SELECT, "training.device=tpu9"], ["tpu9"]),
        (["train", "DATA", "--sampler", "file"], ["path"]),
        (["run", "missing.toml"], ["missing.toml"]),
        (["run", "demo", "--until", "tomorrow"], ["tomorrow", "prepare"]),
        (["report", "no-run"], ["no-run"]),
        (["audit", "no-run"], ["no-run"]),
        (["report", "DATA/interactions.csv"], ["interactions.csv"]),
        (["config", "copy", "demo", "no-folder/x.toml"], ["no-folder"]),
        (["train", "DATA", "training=5"], ["training"]),
        (["train", "DATA", "hard_negatives.shortlist=scores"], ["shortlist"]),
        (["train", "DATA", "evaluation.ks=[5]", "training.select_by=recall@30"], ["training.select_by", "24"]),
        (["data", "fetch", "ml-200k"], ["ml-200k", "ml-100k"]),
        (["data", "stats", "DATA", "core=100"], ["core"]),
        (["config", "validate", "demo", "model.name=nothing"], ["nothing"]),
    ],
)
def test_bad_input_gets_one_clear_message_and_status_2(
    cli: Cli, data: Path, arguments: list[str], says: list[str]
) -> None:
    outcome = cli(*(argument.replace("DATA", str(data)) for argument in arguments))
    assert outcome.status == 2
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    message = " ".join(outcome.stderr.split())
    assert all(text in message for text in says), message


def test_a_corrupted_artifact_is_refused_and_kept(cli: Cli, data: Path) -> None:
    run = train(cli, data, "--json").json
    path = Path(next(s["path"] for s in run["stages"] if s["stage"] == "prepare")) / "interactions.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    outcome = train(cli, data)
    assert outcome.status == 2
    assert "interactions.parquet" in outcome.stderr
    assert path.exists()


def test_a_full_disk_is_reported_and_the_next_run_goes_on(
    cli: Cli, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hnlmrec.training.result import TrainingResult

    def full(self: TrainingResult, folder: Path, dataset: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(TrainingResult, "save", full)
        outcome = train(cli, data)
    assert outcome.status == 2
    assert "disk is full" in outcome.stderr
    assert train(cli, data, "--json").json["epochs"] == 3


def test_audit_writes_its_page_and_prints_a_table_or_json(cli: Cli, data: Path) -> None:
    run = train(cli, data, "--json").json["run_dir"]
    outcome = cli("audit", run)
    assert outcome.status == 0, outcome.stderr
    assert "uniform, random" in outcome.stdout
    assert outcome.stdout.splitlines()[-1] == f"audit: {Path(run) / 'audit.html'}"
    said = cli("audit", run, "--json", "--users", "3").json
    assert said["fhns_rate"][0]["users"] <= 30
    assert "27 more users" in Path(said["page"]).read_text()
    one = cli("audit", run, "--user", "u7", "--json").json
    assert one["user"]["id"] == "u7"
    assert Path(one["page"]).name == "audit-user-u7.html"
    assert "user u7" in cli("audit", run, "--user", "u7").stdout
    unknown = cli("audit", run, "--user", "uu7")
    assert unknown.status == 2
    assert unknown.stdout == ""
    assert "did you mean" in unknown.stderr
