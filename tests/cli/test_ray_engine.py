"""`runtime.engine=ray`: a real cluster of two workers on this machine, one of them killed while it works."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
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


class Server(ThreadingHTTPServer):
    """Answers each prompt with words of its own; kills the process that sends the n-th request."""

    daemon_threads = True

    def __init__(self, kill_at: int | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.kill_at, self.killed = kill_at, 0
        self.lock = threading.Lock()
        self.prompts: list[str] = []
        self.askers: set[int] = set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass

    def asker(self, port: int) -> int:
        """Return the process at the other end of a connection."""
        ends = psutil.net_connections(kind="tcp")
        return next(end.pid for end in ends if end.laddr and end.laddr.port == port and end.pid != os.getpid())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = json.dumps(body["messages"])
        with self.server.lock:
            self.server.prompts.append(prompt)
            kills = len(self.server.prompts) == self.server.kill_at
        if kills:
            self.server.killed = self.server.asker(self.client_address[1])
            os.kill(self.server.killed, signal.SIGKILL)
            return
        time.sleep(0.1)
        code = hashlib.sha256(prompt.encode()).hexdigest()
        properties = body["response_format"]["json_schema"]["schema"]["properties"]
        words = {
            name: rule["enum"][int(code[:6], 16) % len(rule["enum"])] if "enum" in rule else f"About {code[:12]}."
            for name, rule in properties.items()
        }
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": json.dumps(words)},
        }
        data = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving(kill_at: int | None = None) -> Iterator[Server]:
    server = Server(kill_at)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


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
    with serving() as server:
        config.write_text(CONFIG.format(source=data, url=f"http://127.0.0.1:{server.server_address[1]}/v1"))
        local = paths(cli(*command))
    with serving(kill_at=15) as server:
        config.write_text(CONFIG.format(source=data, url=f"http://127.0.0.1:{server.server_address[1]}/v1"))
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
