"""The embedding API encoder against a real HTTP server on loopback."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from hnlmrec.encoders import EmbeddingAPIEncoder, HashingEncoder
from hnlmrec.errors import ProviderError, ReplyError, RequestError

pytest.importorskip("openai")


class Server(ThreadingHTTPServer):
    """Answers /v1/embeddings with hashed vectors, in reverse order; `statuses` go out first, one a request."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses, self.requests, self.broken = [], [], False
        self.base_url = f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append((body, self.headers.get("authorization")))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        vectors = HashingEncoder(8).encode(body["input"]).tolist()
        data = [{"object": "embedding", "index": n, "embedding": v} for n, v in enumerate(vectors)]
        if self.server.broken:
            data.pop()
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        reply = {"object": "list", "data": data[::-1], "model": body["model"], "usage": usage}
        content = json.dumps(reply if status == 200 else {"error": {"message": "refused"}}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        """Stay quiet."""


@pytest.fixture
def server(monkeypatch):
    for name in ("HNLMREC_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_vectors_come_back_in_the_order_of_the_texts(server):
    encoder = EmbeddingAPIEncoder("small", server.base_url)
    texts = ["a", "bb", "", "ccc", "a"]
    np.testing.assert_allclose(encoder.encode(texts, batch_size=2), HashingEncoder(8).encode(texts), rtol=1e-6)
    assert [body["input"] for body, _ in server.requests] == [["ccc", "bb"], ["a"]]
    assert encoder.size == 8


@pytest.mark.parametrize("variable", ["HNLMREC_API_KEY", "OPENAI_API_KEY"])
def test_the_key_comes_from_the_environment(server, monkeypatch, variable):
    monkeypatch.setenv(variable, "of the environment")
    encoder = EmbeddingAPIEncoder("small", server.base_url)
    encoder.encode(["a"])
    assert server.requests[0][1] == "Bearer of the environment"
    assert "of the environment" not in repr(vars(encoder))


def test_a_fault_of_the_server_is_tried_again(server):
    server.statuses = [500, 429]
    assert EmbeddingAPIEncoder("small", server.base_url).encode(["a"]).shape == (1, 8)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (401, ProviderError, "OPENAI_API_KEY"),
        (404, ProviderError, "no embedding model 'small'"),
        (500, RequestError, "HTTP 500"),
    ],
)
def test_a_refusal_is_clear(server, status, error, message):
    server.statuses = [status] * 9
    with pytest.raises(error, match=message):
        EmbeddingAPIEncoder("small", server.base_url, max_retries=0).encode(["a"])


def test_a_reply_that_lacks_a_vector_is_an_error(server):
    server.broken = True
    with pytest.raises(ReplyError, match="1 vectors"):
        EmbeddingAPIEncoder("small", server.base_url).encode(["a", "b"])


def test_a_server_that_is_not_there(server):
    address = server.base_url
    server.server_close()
    with pytest.raises(ProviderError, match="Start the server"):
        EmbeddingAPIEncoder("small", address, max_retries=0).encode(["a"])


def test_neither_address_nor_key(server):
    with pytest.raises(ProviderError, match="needs an address or a key"):
        EmbeddingAPIEncoder("small")
