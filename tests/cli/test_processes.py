"""Two processes that accelerate launches over gloo come to the numbers of one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("accelerate")
pytest.importorskip("peft")
ROOT = Path(__file__).parents[2]


def launch(
    *arguments: object, n: int, folder: Path = ROOT, config: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a module in n processes, as a configuration of accelerate's has it or over gloo."""
    command = [sys.executable, "-m", *map(str, arguments)]
    if n > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = [f"--config_file={config}"] if config else ["--cpu", "--num_machines=1"]
        options += [f"--num_processes={n}", f"--main_process_port={port}"]
        options += ["--mixed_precision=no", "--dynamo_backend=no"]
        command = [sys.executable, "-m", "accelerate.commands.launch", *options, "-m", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("shard",)], ids=["whole base model", "split base model"])
def test_fine_tuning_in_two_processes_killed_and_resumed_gives_the_losses_of_one(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    check_two_processes(tmp_path, *options)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_fine_tuning_on_deepspeed_killed_and_resumed_gives_the_losses_of_one_process(
    tmp_path: Path, stage: int
) -> None:
    pytest.importorskip("deepspeed")
    zero = {"stage": stage, "stage3_param_persistence_threshold": 0}  # else weights as small as here stay whole
    (tmp_path / "zero.json").write_text(json.dumps({"zero_optimization": zero}))
    shipped = (ROOT / "configs" / "accelerate" / f"zero{stage}.yaml").read_text().splitlines()
    lines = [line for line in shipped if not line.startswith(("  zero_stage", "mixed_precision"))]
    place = lines.index("deepspeed_config:") + 1
    lines.insert(place, f"  deepspeed_config_file: {tmp_path / 'zero.json'}")
    (tmp_path / "zero.yaml").write_text("\n".join(lines))
    check_two_processes(tmp_path, config=tmp_path / "zero.yaml")


def check_two_processes(tmp_path: Path, *options: str, config: Path | None = None) -> None:
    """One process, and two that are killed and started again: the same losses."""
    from tests.unit.finetuning_world import tiny_model

    (tmp_path / "model").mkdir()
    model = tiny_model(tmp_path / "model", n_layers=1)
    module = "tests.distributed_finetuning"
    one = launch(module, model, tmp_path / "one", -1, n=1)
    assert one.returncode == 0, one.stderr
    killed = launch(module, model, tmp_path / "two", 5, *options, n=2, config=config)
    assert killed.returncode != 0
    assert (tmp_path / "two" / "checkpoint.safetensors").exists(), killed.stderr
    assert not (tmp_path / "two" / "result.json").exists()
    two = launch(module, model, tmp_path / "two", -1, *options, n=2, config=config)
    assert two.returncode == 0, two.stderr
    expected, found = (read_lines(tmp_path / name / "losses.jsonl") for name in ("one", "two"))
    assert [row["step"] for row in found] == list(range(1, len(expected) + 1))
    for row, other in zip(found, expected, strict=True):
        assert row == pytest.approx(other, rel=1e-4), f"update {row['step']}"
    assert len({row["loss"] for row in found}) > 4, "it did learn"
    steps, before, after = json.loads((tmp_path / "two" / "result.json").read_text())
    assert steps == len(expected)
    assert [steps, pytest.approx(before), pytest.approx(after)] == json.loads(
        (tmp_path / "one" / "result.json").read_text()
    )


TRAIN = ("train", "films", "--json", "model.embedding_size=8", "training.batch_size=33", "training.epochs=6")
TRAIN += ("training.patience=6", "training.select_by=recall@5", "evaluation.ks=[5]", "training.device=cpu")
TRAIN += ("training.learning_rate=0.05", "runtime.threads=1")


def trained(process: subprocess.CompletedProcess[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what `--json` printed, and the history of the training."""
    assert process.returncode == 0, process.stderr
    result: dict[str, Any] = json.loads(process.stdout)
    return result, read_lines(Path(result["run_dir"]) / "metrics.jsonl")


@pytest.mark.slow
@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(("model", "sampler"), [("lightgcn", "dns"), ("mf", "uniform"), ("simgcl", "in_batch")])
def test_cf_training_in_two_processes_gives_the_losses_and_metrics_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, sampler: str
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("hnlmrec", *TRAIN, "--model", model, "--sampler", sampler)
    one, history = trained(launch(*command, n=1, folder=tmp_path))
    elsewhere = ("runtime.artifacts=other", "runtime.runs=other_runs")
    two, shared = trained(launch(*command, *elsewhere, n=2, folder=tmp_path))
    keys = [[(stage["label"], stage["key"]) for stage in result["stages"]] for result in (one, two)]
    assert keys[0] == keys[1], "the number of processes changes no key"
    assert [row["epoch"] for row in shared] == [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    for row, other in zip(shared, history, strict=True):
        assert row["losses"] == pytest.approx(other["losses"], rel=1e-4)
    assert two["best_epoch"] == one["best_epoch"]
    for split in ("valid", "test"):
        assert two["metrics"][split] == pytest.approx(one["metrics"][split], abs=0.02)
    assert history[-1]["loss"] < history[0]["loss"], "it did learn"
    assert not list(tmp_path.glob("other/**/*.partial*")), "one process alone has written"
