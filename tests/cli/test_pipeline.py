"""The whole pipeline on a small data set, with a real HTTP chat endpoint that the test runs itself."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from tests.cli.chat_server import chat_server
from tests.cli.conftest import Outcome

Cli = Callable[..., Outcome]
CONFIG = """
name = "whole"
[data]
source = "{source}"
[llm]
provider = "openai"
model = "test-model"
concurrency = 4
max_retries = 0
[hard_negatives]
k = 2
granularity = "per_user"
[encoder]
name = "hashing"
[model]
name = "lightgcn"
embedding_size = 8
[sampler]
name = "semantic"
[training]
epochs = 3
batch_size = 64
select_by = "recall@5"
[evaluation]
ks = [5, 10]
[compare]
initialisations = ["random", "semantic"]
samplers = [{{ name = "uniform" }}, {{ name = "noise" }}]
recommenders = [{{ name = "popularity" }}, {{ name = "ease_text" }}]
"""
CALLS = 24 + 30 + 2 * 30  # items, users, two negatives a user
ALONE = ("compare.initialisations=[]", "compare.samplers=[]", "compare.recommenders=[]")


@pytest.fixture
def config(data: Path, tmp_path: Path) -> Path:
    path = tmp_path / "whole.toml"
    path.write_text(CONFIG.format(source=data))
    return path


def test_from_raw_files_to_a_report_and_a_second_run_asks_nothing(cli: Cli, config: Path) -> None:
    with chat_server() as server:
        first = cli("run", config, f"llm.base_url={server.url}", "--json")
        assert first.status == 0, first.stderr
        assert len(server.prompts) == CALLS
        second = cli("run", config, f"llm.base_url={server.url}", "--json").json
        assert len(server.prompts) == CALLS
    result = first.json
    assert result["llm"]["requests"] == CALLS
    assert result["llm"]["completion_tokens"] == 5 * CALLS
    assert second["llm"]["requests"] == 0
    assert second["metrics"] == result["metrics"]
    assert all(stage["reused"] for stage in second["stages"])
    labels = {row["label"] for row in result["experiments"]}
    assert labels == {f"{s}+{i}" for s in ("semantic", "uniform", "noise") for i in ("random", "semantic")}
    assert [row["name"] for row in result["recommenders"]] == ["popularity", "ease_text"]
    main = result["experiments"][0]
    assert main["sampler_counts"]["lookups"] == main["sampler_counts"]["found"]  # every user has negatives
    report = Path(result["report"]).read_text()
    assert "Film 3" in report
    assert "<script" not in report


def test_the_vectors_that_are_trained_on_are_those_of_the_generated_items(cli: Cli, config: Path) -> None:
    with chat_server() as server:
        result = cli("run", config, f"llm.base_url={server.url}", "--json", "--until", "encode").json
    paths = {stage["label"]: Path(stage["path"]) for stage in result["stages"]}
    from hnlmrec.data.embeddings import EmbeddingTable, HardNegativeTable
    from hnlmrec.data.interactions import InteractionDataset

    dataset = InteractionDataset.load(paths["prepare"])
    table = HardNegativeTable.load(paths["encode/hard_negatives"], dataset)
    items = EmbeddingTable.load(paths["encode/texts"], "items")
    assert (table.items >= 0).all()
    assert table.vectors == pytest.approx(items.vectors[table.items], abs=1e-3)
    assert not dataset.train.contains(table.users, table.items).any()


def test_no_prompt_changes_with_what_is_held_out(cli: Cli, config: Path, data: Path) -> None:
    """The splits are given; another test split must leave every prompt as it was."""
    frame = pl.read_csv(data / "interactions.csv").with_row_index()
    prompts = []
    for swap in (False, True):
        held_out = pl.col("index") % 9
        split = pl.when(held_out == 8).then(pl.lit("test")).when(held_out == 7).then(pl.lit("valid"))
        given = frame.with_columns(split=split.otherwise(pl.lit("train"))).drop("index")
        if swap:  # every held-out item becomes another one of the catalogue
            moved = pl.col("item_id").shift(9).fill_null(pl.col("item_id").last())
            given = given.with_columns(
                item_id=pl.when(pl.col("split") == "train").then(pl.col("item_id")).otherwise(moved)
            ).unique(["user_id", "item_id"], keep="first", maintain_order=True)
        given.write_csv(data / "interactions.csv")
        with chat_server() as server:
            options = (f"llm.base_url={server.url}", f"runtime.artifacts=store-{swap}", "--until", "profiles")
            assert cli("run", config, *options).status == 0
            prompts.append(sorted(server.prompts))
    assert prompts[0] == prompts[1]


def test_broken_replies_are_recorded_and_cost_their_rows_only(cli: Cli, config: Path) -> None:
    with chat_server(broken=frozenset(range(1, 7))) as server:
        options = ("llm.concurrency=1", *ALONE, "--json")
        outcome = cli("run", config, f"llm.base_url={server.url}", *options)
    assert outcome.status == 0, outcome.stderr
    result = outcome.json
    assert result["llm"]["failures"] == 3  # three rows, each with one attempt at a repair
    profiles = Path(next(s["path"] for s in result["stages"] if s["label"] == "profiles"))
    failures = [json.loads(line) for line in (profiles / "failures.jsonl").read_text().splitlines()]
    assert len(failures) == 3
    assert {row["error"] for row in failures} == {"ReplyError"}


def test_an_endpoint_that_is_not_there_is_the_users_to_mend(cli: Cli, config: Path) -> None:
    outcome = cli("run", config, "llm.base_url=http://127.0.0.1:9/v1")
    assert outcome.status == 2
    assert "127.0.0.1:9" in outcome.stderr


def test_the_plan_makes_no_call(cli: Cli, config: Path) -> None:
    with chat_server() as server:
        plan = cli("run", config, "--plan", "--json", f"llm.base_url={server.url}", "llm.prompt_price=2.0").json
        assert not server.prompts
    assert plan["total"]["calls"] == CALLS
    assert plan["total"]["max_cost"] == pytest.approx(plan["total"]["prompt_tokens"] * 2e-6)


def test_after_kill_9_only_the_requests_in_flight_are_made_again(cli: Cli, config: Path) -> None:
    with chat_server(seconds=0.05) as server:
        arguments = ["run", str(config), f"llm.base_url={server.url}", "--json", "--until", "profiles"]
        first = subprocess.Popen([sys.executable, "-m", "hnlmrec", *arguments], stderr=subprocess.DEVNULL)
        while len(server.prompts) < 20:
            time.sleep(0.01)
            assert first.poll() is None
        first.send_signal(signal.SIGKILL)
        first.wait()
        time.sleep(0.2)
        before = len(server.prompts)
        second = cli(*arguments)
        repeated = len(server.prompts) - (24 + 30)
    assert 20 <= before < 24 + 30
    assert 0 <= repeated <= 4, "no more than were in flight"
    assert second.json["stages"][1]["counts"]["resumed"] >= before - 4
