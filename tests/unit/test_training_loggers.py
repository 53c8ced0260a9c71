"""Loggers: what they are told, how they go on after a kill, and what is said where one is missing."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from tests.planted import checkerboard, separation

from hnlmrec.config import fingerprint_fields
from hnlmrec.errors import ConfigError, MissingDependencyError
from hnlmrec.models.mf import MF
from hnlmrec.negative_sampling.uniform import UniformSampler
from hnlmrec.rng import RandomStreams
from hnlmrec.training import EpochReport, Trainer, TrainingConfig

DATASET = checkerboard()


def make(folder: Path | None, *loggers: str, kill_after: int | None = None, epochs: int = 4) -> Trainer:
    def progress(report: EpochReport) -> None:
        if report.done == kill_after:
            raise KeyboardInterrupt

    config = TrainingConfig(
        epochs=epochs, batch_size=300, evaluate_every=2, checkpoint_every=2, device="cpu", loggers=loggers
    )
    model = MF(DATASET, MF.Config(embedding_size=4), generator=torch.Generator().manual_seed(0))
    sampler = UniformSampler(DATASET, UniformSampler.Config())
    return Trainer(
        model,
        sampler,
        config,
        RandomStreams(0),
        evaluate=separation(DATASET),
        folder=folder,
        progress=progress,
        description={"model.embedding_size": 4},
    )


class FakeMlflow:
    """Stands for a tracking server; keeps what it was sent."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.is_down = False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        modules = {name: ModuleType(name) for name in ("mlflow", "mlflow.entities", "mlflow.exceptions")}
        modules["mlflow"].MlflowClient = lambda: self
        modules["mlflow.entities"].Metric = lambda key, value, timestamp, step: (step, key, value)
        modules["mlflow.entities"].Param = lambda key, value: (key, value)
        modules["mlflow.exceptions"].MlflowException = RuntimeError
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)

    def get_experiment_by_name(self, name: str) -> Any:
        if self.is_down:
            raise RuntimeError("connection refused")
        return SimpleNamespace(experiment_id="7") if name == "known" else None

    def create_experiment(self, name: str) -> str:
        return f"new {name}"

    def create_run(self, experiment_id: str, run_name: str) -> Any:
        run_id = str(len(self.runs))
        self.runs[run_id] = {"experiment": experiment_id, "name": run_name, "params": {}, "metrics": []}
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def update_run(self, run_id: str, status: str) -> None:
        self.runs[run_id]["status"] = status

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        self.runs[run_id]["metrics"] += metrics
        self.runs[run_id]["params"] |= dict(params)

    def set_terminated(self, run_id: str, status: str) -> None:
        self.runs[run_id]["status"] = status


def test_mlflow_keeps_one_run_through_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeMlflow()
    server.install(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, "mlflow", kill_after=3).fit(DATASET)
    assert server.runs["0"]["status"] == "KILLED"
    result = make(tmp_path, "mlflow").fit(DATASET)
    (run,) = server.runs.values()
    assert (run["experiment"], run["name"], run["status"]) == ("new hnlmrec", "MF-UniformSampler", "FINISHED")
    assert run["params"]["model.embedding_size"] == "4"
    assert run["params"]["training.batch_size"] == "300"
    assert [step for step, key, _ in run["metrics"] if key == "loss/ranking"] == [1, 2, 3, 3, 4]
    measured = {step: value for step, key, value in run["metrics"] if key == "valid/recall_at_20"}
    assert measured == {record["epoch"]: record["valid"]["recall@20"] for record in result.records}


def test_mlflow_marks_a_failed_run_and_takes_a_known_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = FakeMlflow()
    server.install(monkeypatch)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "known")
    trainer = make(tmp_path, "mlflow")
    trainer.evaluate = lambda embeddings, split: {}
    with pytest.raises(ConfigError, match="not measured"):
        trainer.fit(DATASET)
    assert (server.runs["0"]["experiment"], server.runs["0"]["status"]) == ("7", "FAILED")


def test_a_tracking_server_that_is_down_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeMlflow()
    server.is_down = True
    server.install(monkeypatch)
    with pytest.raises(ConfigError, match=r"connection refused .*MLFLOW_TRACKING_URI"):
        make(tmp_path, "mlflow").fit(DATASET)


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_logger_that_is_not_installed_names_the_extra(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=rf"{name}.*hnlmrec\[tracking\]"):
        make(tmp_path, name).fit(DATASET)


def test_loggers_need_a_folder_and_change_no_key() -> None:
    with pytest.raises(ConfigError, match=r"training\.loggers is mlflow.*folder"):
        make(None, "mlflow")
    assert fingerprint_fields(TrainingConfig(loggers=("mlflow",))) == fingerprint_fields(TrainingConfig())


def test_tensorboard_shows_a_resumed_run_as_one(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, "tensorboard", kill_after=3).fit(DATASET)
    result = make(tmp_path, "tensorboard").fit(DATASET)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"loss/total", "loss/ranking", "loss/l2", "valid/recall@20"} <= set(events.Tags()["scalars"])
    assert [point.step for point in events.Scalars("loss/total")] == [1, 2, 3, 4]
    values = {point.step: point.value for point in events.Scalars("valid/recall@20")}
    assert values == {r["epoch"]: pytest.approx(r["valid"]["recall@20"]) for r in result.records}


@pytest.mark.slow
def test_mlflow_with_its_own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real package, with the store that needs no server; it takes seconds to import."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "run", "mlflow", kill_after=3).fit(DATASET)
    result = make(tmp_path / "run", "mlflow").fit(DATASET)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("hnlmrec")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["seed"] == "0"
    history = client.get_metric_history(run.info.run_id, "valid/recall_at_20")
    assert {m.step: m.value for m in history} == {r["epoch"]: r["valid"]["recall@20"] for r in result.records}
