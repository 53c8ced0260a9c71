"""The commands that test the theory: `simulate`, and `information` on a run with a fine-tuned LLM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import Outcome
from tests.cli.test_finetuned_run import CONFIG
from tests.unit.finetuning_world import tiny_model

Cli = Callable[..., Outcome]
BOUND = ["ks=[4,8]", "steps=20", "rounds=2", "rank=4"]


@pytest.fixture
def tuned(cli: Cli, data: Path, tmp_path: Path) -> Callable[..., Path]:
    def run(*settings: str) -> Path:
        path = tmp_path / "tuned.toml"
        path.write_text(CONFIG.format(source=data, model=tiny_model(tmp_path / "model")))
        outcome = cli("run", path, *settings, "--until", "vectors", "--json")
        assert outcome.status == 0, outcome.stderr
        return Path(outcome.json["run_dir"])

    return run


def test_before_and_after_of_a_tuning(cli: Cli, tuned: Callable[..., Path]) -> None:
    folder = tuned("finetuning.training.learning_rate=0.01", "finetuning.training.head_learning_rate=0.05")
    said = cli("information", folder, *BOUND, "--json").json
    assert [(row["kind"], row["vectors"], row["k"]) for row in said["rows"]] == [
        (kind, state, k) for kind in ("users", "items") for state in ("before", "after") for k in (4, 8)
    ]
    for row in said["rows"]:
        assert row["cap"] == pytest.approx(np.log(row["k"]))
        assert row["bound"] <= row["cap"]
    assert said["rows"][0]["bound"] != said["rows"][2]["bound"]
    text = cli("information", folder, *BOUND)
    assert "cf_signal" in text.stdout  # this encoder is given the CF vectors, and that is said
    assert (folder / "information/information.json").exists()


def test_a_tuning_that_changes_nothing_is_seen_as_such(cli: Cli, tuned: Callable[..., Path]) -> None:
    """So the encoder that is called "before" is the one that the tuning began with."""
    folder = tuned("finetuning.training.learning_rate=1e-15", "finetuning.training.head_learning_rate=1e-15")
    cli("information", folder, *BOUND)
    vectors = next(Path(folder).parents[1].glob("artifacts/vectors/*/users.npy"))
    before = np.load(folder / "information/before/users.npy")
    np.testing.assert_allclose(before, np.load(vectors), atol=2e-3)


def test_a_run_without_a_tuned_llm_is_refused(cli: Cli, data: Path) -> None:
    small = ("training.epochs=1", "training.select_by=recall@5", "evaluation.ks=[5]")
    trained = cli("train", data, "--model", "mf", *small, "--json")
    outcome = cli("information", trained.json["run_dir"])
    assert outcome.status == 2
    assert "no stage holdout/judge, pretrain, triplets, finetune, vectors" in outcome.stderr


def test_simulate_prints_a_table_and_writes_its_files(cli: Cli, tmp_path: Path) -> None:
    small = ["world.n_users=30", "world.n_items=40", "world.liked_share=0.15", "embedding_size=4", "seeds=[0]"]
    chosen = ['models=["mf"]', 'methods=["uniform","dns + guard"]', "epochs=[2]", "n_draws=4"]
    said = cli("simulate", *small, *chosen, "--out", tmp_path / "out", "--json").json
    assert [row["method"] for row in said["means"]] == ["uniform", "dns + guard"]
    assert said["worlds"][0]["users"] == 30
    assert (tmp_path / "out/bias_hardness.png").exists()
    wrong = cli("simulate", "world.n_user=30")
    assert wrong.status == 2
    assert "did you mean 'n_users'" in wrong.stderr
