"""The doctor finds what is missing, and says what to do."""

import json
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from hnlmrec import assets, diagnostics
from hnlmrec.diagnostics import run_checks


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HNLMREC_HOME", str(tmp_path / "home"))
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "HNLMREC_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def checks(**arguments):
    return {check.name: check for check in run_checks(**arguments)}


def test_a_sound_machine():
    found = checks()
    assert {"python", "packages", "torch", "cores", "memory", "disk", "extra llm"} <= found.keys()
    assert not [check for check in found.values() if check.status == "fail"]
    assert "torch 2." in found["packages"].detail
    assert "llm endpoint" not in found  # none is configured
    assert all(check.advice for check in found.values() if check.status != "ok")
    json.dumps([check.as_dict() for check in found.values()])


def test_assets_that_are_not_cached_name_the_command(monkeypatch):
    monkeypatch.setattr(assets, "is_present", lambda name: name == "ml-100k")
    found = checks()
    assert found["asset ml-100k"].status == "ok"
    for name in assets.ASSETS.keys() - {"ml-100k"}:
        assert found[f"asset {name}"].status == "warn"
        assert found[f"asset {name}"].advice == f"hnlmrec data fetch {name}"


def test_a_missing_package(monkeypatch):
    real = diagnostics._version
    monkeypatch.setattr(diagnostics, "_version", lambda name: None if name in ("openai", "numpy") else real(name))
    found = checks()
    assert found["packages"].status == "fail"
    assert "numpy" in found["packages"].detail
    assert found["extra llm"].status == "warn"
    assert found["extra llm"].detail == "missing: openai, for vectors from an OpenAI-compatible API"
    assert found["extra llm"].advice == "pip install 'hnlmrec[llm]'"


def test_every_extra_of_a_user_is_looked_at_and_documented():
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].keys() - {"all", "dev", "docs", "parity"}
    assert diagnostics.EXTRAS.keys() == extras
    page = (root / "docs/quickstart.md").read_text(encoding="utf-8")
    assert [name for name, use in diagnostics.EXTRAS.items() if f"| `{name}` | {use} |" not in page] == []


def test_torch_that_does_not_load(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert checks()["torch"].status == "fail"


def test_little_memory_and_a_folder_that_cannot_be_written(monkeypatch):
    monkeypatch.setattr(diagnostics, "_memory_bytes", lambda: (8 * 2**30, 2**30))
    monkeypatch.setattr("os.access", lambda path, mode: False)
    found = checks()
    assert found["memory"].status == "warn"
    assert found["disk"].status == "fail"
    assert "HNLMREC_HOME" in found["disk"].advice


class Endpoint(BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = self.server.reply
        self.server.seen = (self.path, self.headers["authorization"])
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Stay quiet."""


@pytest.fixture
def endpoint():
    with HTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ("reply", "expected", "advice"),
    [
        ((200, b'{"data": [{"id": "qwen"}]}'), "ok", ""),
        ((401, b"{}"), "fail", "OPENAI_API_KEY"),
        ((404, b""), "fail", "/v1"),
        ((200, b"<html>"), "fail", "Start the server"),
        ((200, b"[]"), "fail", "Start the server"),
    ],
)
def test_the_endpoint(endpoint, monkeypatch, reply, expected, advice):
    endpoint.reply = reply
    monkeypatch.setenv("OPENAI_API_KEY", "abc")
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{endpoint.server_port}/v1/")
    check = checks()["llm endpoint"]
    assert (check.status, advice in check.advice) == (expected, True)
    assert endpoint.seen == ("/v1/models", "Bearer abc")
    assert expected == "fail" or "qwen" in check.detail


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/v1", "localhost:11434", "file:///etc/hostname"])
def test_an_endpoint_that_is_not_there(address):
    assert checks(base_url=address)["llm endpoint"].status == "fail"


def test_the_module_needs_no_torch():
    code = "import sys, hnlmrec.diagnostics; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
