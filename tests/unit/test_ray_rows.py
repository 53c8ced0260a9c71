"""Rows and vectors by workers: the parts that need no cluster (that one: tests/cli/test_ray_engine.py)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hnlmrec.encoders import EncoderConfig, HashingEncoder
from hnlmrec.encoders.ray_encoder import RayEncoder
from hnlmrec.errors import ConfigError, MissingDependencyError, ProviderError, RequestError
from hnlmrec.generation.ray_rows import AbsentChatClient, RayRows
from hnlmrec.generation.rows import RowSummary, RowTask, run_rows
from hnlmrec.llm.cache import CachedChatClient
from hnlmrec.llm.client import CompletionConfig, Message
from hnlmrec.llm.prompts import PromptTemplate
from hnlmrec.llm.providers import LLMConfig
from hnlmrec.llm.scripted import ScriptedChatClient
from hnlmrec.llm.vllm_server import VLLMServer
from hnlmrec.pipeline.engine import ray_rows
from hnlmrec.ray_workers import RayWorkers

pa = pytest.importorskip("pyarrow")
TEMPLATE = PromptTemplate.load("item_profile")


class Inline:
    """In place of a cluster: one worker in this process, whose tables come back in reverse order."""

    n_workers = 1

    def __init__(self, *, twice: bool = False, lost: bool = False) -> None:
        self.twice, self.lost = twice, lost
        self.sent = 0

    def map(
        self, rows: Sequence[Mapping[str, Any]], worker: type, arguments: tuple[Any, ...], *, rows_per_task: int
    ) -> Iterator[dict[str, Any]]:
        self.sent += len(rows)
        call = worker(*arguments)
        parts = [rows[start : start + rows_per_task] for start in range(0, len(rows), rows_per_task)]
        for part in reversed(parts[1:] if self.lost else parts):
            made = call(pa.Table.from_pylist(list(part)))
            for _ in range(2 if self.twice else 1):
                yield from pa.table(made).to_pylist()


def script(messages: Sequence[Message], config: CompletionConfig) -> str:
    title = (
        next(m.content for m in reversed(messages) if "title:" in m.content).split("title: ")[1].splitlines()[0]
    )
    if title == "Film 3":
        return "{"
    if title == "Film 4":
        raise RequestError("the server was out of luck.")
    return json.dumps({"summarization": f"{title} is a film.", "reasoning": "It is known."})


def refuse(messages: Sequence[Message], config: CompletionConfig) -> str:
    if "Film 7" in messages[-1].content:
        raise ProviderError("the credentials are refused.")
    return script(messages, config)


def tasks(n: int) -> Iterator[RowTask]:
    for number in range(n):
        yield RowTask({"item_id": f"i{number}"}, {"title": f"Film {number}", "facts": "", "reviews": []})


def run(
    folder: Path,
    workers: Any = None,
    n: int = 12,
    answer: Callable[..., str] = script,
    cache: Path | None = None,
) -> tuple[RowSummary, str, str]:
    folder.mkdir(exist_ok=True)
    engine = None if workers is None else RayRows(workers, partial(ScriptedChatClient, answer), 3, 4)
    client = AbsentChatClient() if workers is not None else ScriptedChatClient(answer)
    summary = run_rows(
        tasks(n),
        n,
        template=TEMPLATE,
        client=CachedChatClient(client, cache),
        completion=CompletionConfig(model="scripted"),
        out=folder / "rows.jsonl",
        failures=folder / "failures.jsonl",
        engine=engine,
    )
    return summary, (folder / "rows.jsonl").read_text(), (folder / "failures.jsonl").read_text()


@pytest.mark.parametrize("options", [{}, {"twice": True}])
def test_rows_failures_and_counts_are_those_of_one_process(tmp_path: Path, options: dict[str, bool]) -> None:
    local = run(tmp_path / "local")
    assert run(tmp_path / "ray", Inline(**options)) == local
    assert (local[0].succeeded, local[0].failed, local[0].repairs) == (10, 2, 1)


def test_the_cache_is_shared_with_runs_in_one_process(tmp_path: Path) -> None:
    cache = tmp_path / "cache.sqlite"
    run(tmp_path / "local", n=6, cache=cache)
    workers = Inline()
    summary, rows, _ = run(tmp_path / "ray", workers, cache=cache)
    assert (summary.cache_hits, workers.sent) == (4, 8)  # two of the first six failed: they are asked for again
    again, same, _ = run(tmp_path / "again", cache=cache)
    assert (again.cache_hits, same) == (10, rows)


def test_a_second_call_asks_for_what_is_missing(tmp_path: Path) -> None:
    run(tmp_path, n=6)
    workers = Inline()
    summary, _, _ = run(tmp_path, workers)
    assert (summary.resumed, workers.sent) == (4, 8)


def test_a_provider_that_refuses_ends_the_run_and_what_was_made_stays(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="credentials are refused"):
        run(tmp_path, Inline(), answer=refuse)
    kept = {json.loads(line)["item_id"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()}
    assert {"i9", "i10", "i11"} <= kept
    assert "i7" not in kept


def test_rows_that_ray_loses_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="lost 3 rows"):
        run(tmp_path, Inline(lost=True))


@pytest.mark.parametrize("n", [0, 1, 1024, 2500])
def test_vectors_are_those_of_one_process(n: int) -> None:
    texts = [f"item {number}" for number in range(n)]
    encoder = RayEncoder(EncoderConfig(name="hashing"), Inline())  # type: ignore[arg-type]
    told: list[tuple[int, int]] = []
    vectors = encoder.encode(texts, progress=lambda *now: told.append(now))
    np.testing.assert_array_equal(vectors, HashingEncoder().encode(texts))
    assert encoder.fingerprint == HashingEncoder().fingerprint
    assert told[-1:] == ([(n, n)] if n else [])


def test_without_ray_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"hnlmrec\[ray\]"):
        RayWorkers()


@pytest.mark.parametrize(("provider", "gpus"), [("embedded", 1.0), ("openai", 0.0), ("openai", 0.5)])
def test_vllm_needs_whole_gpus_and_an_endpoint(provider: Any, gpus: float) -> None:
    with pytest.raises(ConfigError, match="ray_vllm"):
        ray_rows(RayWorkers(gpus=gpus), LLMConfig(provider=provider), vllm=True)


def test_limits_are_shared_out() -> None:
    engine = ray_rows(RayWorkers(n_workers=4), LLMConfig(requests_per_minute=100.0), vllm=False)
    opened: Any = engine.open_client
    assert opened.args[0].requests_per_minute == 25.0
    assert opened.args[0].tokens_per_minute is None


FAKE_VLLM = """#!{python}
import http.server, json, os, sys
if sys.argv[2] == "broken":
    sys.exit("no such model")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps([os.getpid(), sys.argv[1:]]).encode())
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture
def fake_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "vllm"
    program.write_text(FAKE_VLLM.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(program))


def told(server_url: str) -> list[Any]:
    with urllib.request.urlopen(f"{server_url.removesuffix('/v1')}/health") as reply:
        found: list[Any] = json.load(reply)
        return found


def is_gone(pid: int) -> bool:
    for _ in range(200):
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):  # the second where it ends between opening and reading
            return True
        if status.split()[2] == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.usefixtures("fake_vllm")
def test_a_vllm_server_is_started_and_ended() -> None:
    server = VLLMServer("owner/model", n_gpus=2, start_seconds=20)
    pid, command = told(server.base_url)
    assert command[:2] == ["serve", "owner/model"]
    assert command[command.index("--tensor-parallel-size") + 1] == "2"
    server.close()
    assert is_gone(pid)


@pytest.mark.usefixtures("fake_vllm")
def test_what_vllm_said_is_shown_where_it_does_not_start() -> None:
    with pytest.raises(ProviderError, match="no such model"):
        VLLMServer("broken", start_seconds=20)


def test_no_vllm_on_a_worker_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ProviderError, match="pip install vllm"):
        VLLMServer("owner/model")


@pytest.mark.usefixtures("fake_vllm")
def test_the_server_goes_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import shutil, sys, time; shutil.which = lambda name: sys.argv[1]\n"
        "from hnlmrec.llm.vllm_server import VLLMServer\n"
        "print(VLLMServer('owner/model', start_seconds=20).base_url, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "vllm")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        pid, _ = told(worker.stdout.readline().strip())
        os.kill(worker.pid, signal.SIGKILL)
    assert is_gone(pid)
