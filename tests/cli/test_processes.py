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


def launch(*arguments: object, n: int, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a module in n processes."""
    command = [sys.executable, "-m", *map(str, arguments)]
    if n > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = ["--cpu", f"--num_processes={n}", "--num_machines=1", f"--main_process_port={port}"]
        options += ["--mixed_precision=no", "--dynamo_backend=no"]
        command = [sys.executable, "-m", "accelerate.commands.launch", *options, "-m", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_fine_tuning_in_two_processes_killed_and_resumed_gives_the_losses_of_one(tmp_path: Path) -> None:
    from tests.unit.finetuning_world import tiny_model

    (tmp_path / "model").mkdir()
    model = tiny_model(tmp_path / "model", n_layers=1)
    module = "tests.distributed_finetuning"
    one = launch(module, model, tmp_path / "one", -1, n=1)
    assert one.returncode == 0, one.stderr
    killed = launch(module, model, tmp_path / "two", 5, n=2)
    assert killed.returncode != 0
    assert (tmp_path / "two" / "checkpoint.safetensors").exists()
    assert not (tmp_path / "two" / "result.json").exists()
    two = launch(module, model, tmp_path / "two", -1, n=2)
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

