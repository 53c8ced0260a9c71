"""`hnlmrec train`, killed with signal 9 at any moment, goes on by the same command to the same numbers."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from hnlmrec.checkpoint import CHECKPOINT

# The model redraws its graph and the sampler keeps a memory: both have to come back as they were.
COMMAND = [
    *(sys.executable, "-m", "hnlmrec", "train", "films", "--model", "sgl", "--sampler", "srns", "--json"),
    *("model.embedding_size=8", "sampler.n_candidates=2", "sampler.memory_size=3", "training.batch_size=16"),
    *("training.epochs=80", "training.patience=80", "training.evaluate_every=10", "training.checkpoint_every=4"),
    *("training.select_by=recall@5", "evaluation.ks=[5]", "training.device=cpu"),
]


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *options], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    result: dict[str, Any] = json.loads(stdout)
    return result


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the process has written one: newer than its own start."""
    started = time.time()
    while not any(p.stat().st_mtime > started for p in folder.glob(f"artifacts/train/*.partial/{CHECKPOINT}")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def history(result: dict[str, Any]) -> list[dict[str, Any]]:
    lines = (Path(result["run_dir"]) / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "train_seconds"} for line in lines]


@pytest.mark.slow
@pytest.mark.usefixtures("data")
def test_killed_twice_and_resumed_it_ends_as_if_undisturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    undisturbed = finish(start(tmp_path, "runtime.artifacts=others", "runtime.runs=other_runs"))
    delays = random.Random()  # a moment that nobody chose: the numbers must not depend on it
    for _ in range(2):
        process = start(tmp_path)
        wait_for_checkpoint(tmp_path, process)
        time.sleep(delays.uniform(0.0, 0.3))
        assert process.poll() is None, "it was done before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.communicate()
    resumed = finish(start(tmp_path))
    assert not next(stage for stage in resumed["stages"] if stage["stage"] == "train")["reused"]
    for name in ("metrics", "fhns_rate", "best_epoch", "epochs"):
        assert resumed[name] == undisturbed[name], name
    assert history(resumed) == history(undisturbed)
    drawn = [
        pl.read_parquet(Path(next(s["path"] for s in r["stages"] if s["stage"] == "train")) / "drawn.parquet")
        for r in (resumed, undisturbed)
    ]
    assert drawn[0].equals(drawn[1])
