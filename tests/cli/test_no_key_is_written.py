"""A key in the environment appears in no file, no log line and no output of a run, whatever the server says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.chat_server import chat_server
from tests.cli.conftest import Outcome

KEY = "sk-planted-0123456789-of-this-test"
CONFIG = """
name = "keys"
[data]
source = "{source}"
[llm]
provider = "openai"
model = "test-model"
concurrency = 2
[hard_negatives]
granularity = "per_user"
[encoder]
name = "hashing"
[model]
name = "mf"
embedding_size = 8
[sampler]
name = "semantic"
[training]
epochs = 1
batch_size = 64
[evaluation]
ks = [5]
"""
ECHOED = frozenset({1, 2, 3, 4, 60, 61, 62, 63})
"""Requests whose replies are nonsense that holds the key; some rows fail by it."""


def files_with(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_a_planted_key_is_in_no_file(
    cli: Callable[..., Outcome], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HNLMREC_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (tmp_path / "keys.toml").write_text(CONFIG.format(source=data))
    with chat_server(broken=ECHOED) as server:
        outcome = cli("run", tmp_path / "keys.toml", f"llm.base_url={server.url}", "--json")
        assert len(server.prompts) > max(ECHOED)
    assert outcome.status == 0, outcome.stderr
    written = tmp_path / "work"
    assert files_with("Bearer [key]", written), "no reply held the key, so the test shows nothing"
    assert len({path.name for path in written.rglob("*") if path.is_file()} & EXPECTED) == len(EXPECTED)
    assert files_with(KEY, tmp_path) == []
    assert KEY not in outcome.stdout + outcome.stderr


EXPECTED = {"manifest.json", "config.toml", "stages.json", "report.html", "failures.jsonl", "llm_cache.sqlite"}


def test_a_key_in_a_url_stops_the_run_before_anything_is_written(
    cli: Callable[..., Outcome], data: Path, tmp_path: Path
) -> None:
    (tmp_path / "keys.toml").write_text(CONFIG.format(source=data))
    url = f"http://me:{KEY}@127.0.0.1:9/v1"
    outcome = cli("run", tmp_path / "keys.toml", f"llm.base_url={url}", f"encoder.base_url={url}")
    assert outcome.status == 2
    assert "HNLMREC_API_KEY" in outcome.stderr.replace("\n", "")
    assert KEY not in outcome.stdout + outcome.stderr
    assert files_with(KEY, tmp_path) == []
