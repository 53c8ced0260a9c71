"""`runtime.engine=ray`: a real cluster of two workers on this machine, one of them killed while it works."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.chat_server import ChatServer, serving
from tests.cli.conftest import Outcome

psutil = pytest.importorskip("psutil")
pytest.importorskip("ray")
CONFIG = """
name = "texts"
[data]
source = "{source}"
[llm]
provider = "openai"
model = "test-model"
base_url = "{url}"
concurrency = 3
[hard_negatives]
granularity = "per_user"
[encoder]
name = "hashing"
[model]
embedding_size = 8
[training]
select_by = "recall@5"
[evaluation]
ks = [5]
"""
CALLS = 24 + 30 + 30  # items, users, a negative for each user
RAY = ("runtime.engine=ray", "runtime.ray_workers=2", "runtime.artifacts=elsewhere", "runtime.runs=ray_runs")


class DeadlyServer(ChatServer):
    """Answers each prompt with words of its own; kills the process that sends the n-th request."""

    def __init__(self, kill_at: int | None = None) -> None:
        super().__init__(seconds=0.1)
        self.kill_at, self.killed = kill_at, 0

    def before_answer(self, number: int, port: int) -> bool:
        if number != self.kill_at:
            return True
        ends = psutil.net_connections(kind="tcp")
        self.killed = next(
            end.pid for end in ends if end.laddr and end.laddr.port == port and end.pid != os.getpid()
        )
        os.kill(self.killed, signal.SIGKILL)
        return False

    def reply(self, prompt: str, schema: dict[str, Any]) -> dict[str, str]:
        code = hashlib.sha256(prompt.encode()).hexdigest()
        return {
            name: rule["enum"][int(code[:6], 16) % len(rule["enum"])] if "enum" in rule else f"About {code[:12]}."
            for name, rule in schema["properties"].items()
        }


def paths(outcome: Outcome) -> dict[str, Path]:
    assert outcome.status == 0, outcome.stderr
    return {stage["label"]: Path(stage["path"]) for stage in outcome.json["stages"]}


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:ray", "ignore::FutureWarning:ray", "ignore::ResourceWarning"
)
def test_with_a_worker_killed_the_tables_are_those_of_one_process(
    cli: Callable[..., Outcome], data: Path, tmp_path: Path
) -> None:
    config = tmp_path / "texts.toml"
    command = ("run", config, "--until", "encode", "--json")
    with serving(DeadlyServer()) as server:
        config.write_text(CONFIG.format(source=data, url=server.url))
        local = paths(cli(*command))
    with serving(DeadlyServer(kill_at=15)) as server:
        config.write_text(CONFIG.format(source=data, url=server.url))
        outcome = cli(*command, *RAY)
        there = paths(outcome)
        asked = Counter(server.prompts)
        assert server.killed, "no worker was killed"
        assert not psutil.pid_exists(server.killed)
        again = cli(*command, *RAY)
        assert asked.total() == len(server.prompts), "a second run asks nothing"
    assert len(asked) == CALLS
    assert 1 <= asked.total() - CALLS <= 2 * 4, "only what the dead worker had in hand is asked again"
    assert {stage["reused"] for stage in again.json["stages"]} == {True}
    assert outcome.json["llm"]["failures"] == 0
    for label, folder in local.items():
        assert there[label].name == folder.name, f"the key of {label} depends on the engine"
        made = {file.name for file in folder.iterdir()} - {"manifest.json"}
        assert made == {file.name for file in there[label].iterdir()} - {"manifest.json"}
        for name in made:
            assert (there[label] / name).read_bytes() == (folder / name).read_bytes(), f"{label}/{name}"
    rows = (there["profiles"] / "user_profiles.jsonl").read_text().splitlines()
    assert len({json.loads(row)["user_id"] for row in rows}) == len(rows) == 30
