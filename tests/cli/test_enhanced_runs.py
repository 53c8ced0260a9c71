"""The LLM-enhanced baselines as runs: hashing encoder, and an HTTP chat endpoint where one is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from tests.cli.chat_server import chat_server
from tests.cli.conftest import Outcome

Cli = Callable[..., Outcome]
CONFIG = """
name = "enhanced"
[data]
source = "{source}"
[llm]
provider = "openai"
model = "test-model"
max_retries = 0
base_url = "http://127.0.0.1:9/v1"
[encoder]
name = "hashing"
[model]
name = "lightgcn"
embedding_size = 8
[sampler]
name = "uniform"
[training]
epochs = 2
batch_size = 64
select_by = "recall@5"
[pretrain.model]
name = "mf"
embedding_size = 8
[pretrain.training]
epochs = 1
select_by = "recall@5"
[preferences]
shortlist_size = 4
[evaluation]
ks = [5]
"""


@pytest.fixture
def config(data: Path, tmp_path: Path) -> Path:
    path = tmp_path / "enhanced.toml"
    path.write_text(CONFIG.format(source=data))
    return path


@pytest.fixture
def run(cli: Cli, config: Path) -> Callable[..., Outcome]:
    return lambda *options: cli("run", config, *options, "--until", "evaluate", "--json")


def test_methods_that_read_texts_ask_no_llm_and_share_the_vectors(run: Cli) -> None:
    plain = run().json
    assert plain["enhancement"] is None
    metrics = {}
    for name in ("rlmrec_con", "rlmrec_gen", "kar"):
        starts = "['random', 'semantic']" if name == "kar" else "[]"
        outcome = run(f"enhancement.name={name}", f"compare.initialisations={starts}")
        assert outcome.status == 0, outcome.stderr
        result = outcome.json
        stages = {stage["label"]: stage for stage in result["stages"]}
        assert result["enhancement"] == name
        assert len(result["experiments"]) == (2 if name == "kar" else 1)
        assert stages["train/uniform+random"]["counts"]["users_at_mean_of_items"] == 30
        assert stages["encode/texts"]["reused"] == (name != "rlmrec_con")
        assert "profiles" not in stages
        metrics[name] = stages["train/uniform+random"]["key"]
    assert len({*metrics.values(), plain["stages"][1]["key"]}) == 4
    again = run().json
    assert all(stage["reused"] for stage in again["stages"])


def test_an_enhancement_may_have_profiles_written(run: Cli) -> None:
    with chat_server() as server:
        options = ("enhancement.name=kar", "enhancement.profiles=true", f"llm.base_url={server.url}")
        result = run(*options).json
        assert len(server.prompts) == 24 + 30
    stages = {stage["label"]: stage for stage in result["stages"]}
    assert stages["train/uniform+random"]["counts"]["users_at_mean_of_items"] == 0  # each has a profile


def test_llmrec_ranks_what_the_llm_has_picked_and_pays_for_it_once(run: Cli) -> None:
    with chat_server() as server:
        result = run("enhancement.name=llmrec", f"llm.base_url={server.url}").json
        again = run("enhancement.name=llmrec", "enhancement.share=0.5", f"llm.base_url={server.url}").json
        assert len(server.prompts) == 30
    assert result["llm"]["requests"] == 30
    assert again["llm"]["requests"] == 0
    stages = {stage["label"]: stage for stage in result["stages"]}
    assert "pretrain/candidates" in stages
    assert stages["train/uniform+random"]["counts"]["preferences"] == 30
    picked = pl.read_parquet(Path(stages["preferences"]["path"]) / "preferences.parquet")
    assert picked.columns == ["user_id", "liked_id", "disliked_id"]
    assert picked["user_id"].n_unique() == 30


def test_the_picks_are_planned(cli: Cli, config: Path) -> None:
    plan = cli("run", config, "enhancement.name=llmrec", "--plan", "--json").json
    assert plan["total"]["calls"] == plan["stages"]["preferences"]["calls"] == 30


def test_the_rule_of_llmhni_reads_the_items_texts(run: Cli) -> None:
    result = run("sampler={name='llmhni', n_candidates=3}", "initialisation=semantic").json
    labels = {stage["label"] for stage in result["stages"]}
    assert labels == {
        "prepare",
        "encode/texts",
        "train/llmhni+semantic",
        "evaluate/llmhni+semantic",
    }


def test_masks_without_a_graph_are_the_users_to_mend(run: Cli) -> None:
    outcome = run("enhancement.name=rlmrec_gen", "model={name='mf', embedding_size=8}")
    assert outcome.status == 2
    assert "choose a graph model" in outcome.stderr
