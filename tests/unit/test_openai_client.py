"""The HTTP client against a small real server that behaves badly on purpose."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hnlmrec.errors import ConfigError, ProviderError, RequestError
from hnlmrec.llm.client import CompletionConfig, Message
from hnlmrec.llm.openai_client import OpenAIChatClient

CONFIG = CompletionConfig(model="m", max_tokens=5, seed=3, json_schema={"type": "object"})
HELLO = [Message("system", "be brief"), Message("user", "hello")]

Behaviour = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Does what its server's next behaviour says; the last one stays."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append((time.monotonic(), self.headers, body))
            behaviours = self.server.behaviours
            behaviour = behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]
        behaviour(self)

    def send(self, status: int, content: Any, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.behaviours: list[Behaviour] = [good]
        self.requests: list[tuple[float, Any, dict[str, Any]]] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


def reply(text: str = "hi", reason: str = "stop", **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text, **message}}
    return {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}


def good(handler: Handler) -> None:
    handler.send(200, reply())


def status(code: int, error_code: str | None = None, **headers: str) -> Behaviour:
    error = {"error": {"message": f"status {code}", "code": error_code}}
    return lambda handler: handler.send(code, error, **headers)


def hang(handler: Handler) -> None:
    handler.server.released.wait(10)


def cut(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def cut_in_the_body(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)


def half_a_json(handler: Handler) -> None:
    handler.send(200, b'{"choices": [{"mess')


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_waiting_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hnlmrec.llm.retries.FIRST_PAUSE_SECONDS", 0.01)
    for name in ("HNLMREC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[..., OpenAIChatClient]]:
    clients: list[OpenAIChatClient] = []

    def open_one(**settings: Any) -> OpenAIChatClient:
        defaults = {"base_url": server.url, "max_retries": 2, "timeout_seconds": 5.0}
        clients.append(OpenAIChatClient(**{**defaults, **settings}))
        return clients[-1]

    yield open_one
    for client in clients:
        client.close()


Connect = Callable[..., OpenAIChatClient]


def test_a_request_and_its_reply(server: Server, connect: Connect) -> None:
    completion = connect().complete(HELLO, CONFIG)
    assert (completion.text, completion.finish_reason, completion.retries) == ("hi", "stop", 0)
    assert (completion.prompt_tokens, completion.completion_tokens) == (7, 2)
    assert server.requests[0][2] == {
        "model": "m",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}],
        "temperature": 0.0,
        "max_tokens": 5,
        "seed": 3,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "reply", "schema": {"type": "object"}, "strict": True},
        },
    }


def test_the_key_comes_from_the_environment(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect().complete(HELLO, CONFIG)
    monkeypatch.setenv("OPENAI_API_KEY", "second")
    connect().complete(HELLO, CONFIG)
    monkeypatch.setenv("HNLMREC_API_KEY", "first")
    connect().complete(HELLO, CONFIG)
    assert [headers["Authorization"] for _, headers, _ in server.requests] == [
        "Bearer none",
        "Bearer second",
        "Bearer first",
    ]


@pytest.mark.parametrize("fault", [status(429), status(500), status(503), cut, cut_in_the_body, half_a_json])
def test_passing_faults_are_retried_and_counted(server: Server, connect: Connect, fault: Behaviour) -> None:
    server.behaviours = [fault, fault, good]
    completion = connect().complete(HELLO, CONFIG)
    assert (completion.text, completion.retries) == ("hi", 2)
    assert len(server.requests) == 3


def test_retry_after_is_minded(server: Server, connect: Connect) -> None:
    server.behaviours = [status(429, Retry_After="1"), good]
    connect().complete(HELLO, CONFIG)
    assert server.requests[1][0] - server.requests[0][0] >= 0.95


@pytest.mark.parametrize("fault", [status(429), status(500), status(400)])
def test_lasting_faults_fail_the_request_alone(server: Server, connect: Connect, fault: Behaviour) -> None:
    client = connect()
    server.behaviours = [fault]
    with pytest.raises(RequestError, match="status"):
        client.complete(HELLO, CONFIG)
    server.behaviours = [good]
    assert client.complete(HELLO, CONFIG).text == "hi"


def test_retries_are_capped(server: Server, connect: Connect) -> None:
    server.behaviours = [status(500)]
    with pytest.raises(RequestError):
        connect(max_retries=3).complete(HELLO, CONFIG)
    assert len(server.requests) == 4


def test_a_hanging_server_times_out(server: Server, connect: Connect) -> None:
    server.behaviours = [good, hang]
    client = connect(timeout_seconds=0.3, max_retries=1)
    client.complete(HELLO, CONFIG)
    start = time.monotonic()
    with pytest.raises(RequestError, match="timed out"):
        client.complete(HELLO, CONFIG)
    assert time.monotonic() - start < 5
    assert len(server.requests) == 3


def test_a_server_that_never_answers_ends_the_run(server: Server, connect: Connect) -> None:
    server.behaviours = [hang]
    with pytest.raises(ProviderError, match=r"nothing was ever answered.*larger llm\.timeout_seconds"):
        connect(timeout_seconds=0.1, max_retries=1).complete(HELLO, CONFIG)
    assert len(server.requests) == 2


def test_a_server_that_falls_silent_ends_the_run(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hnlmrec.llm.openai_client._LOST_AFTER", 3)
    server.behaviours = [good, hang]
    client = connect(timeout_seconds=0.3, max_retries=0)
    client.complete(HELLO, CONFIG)
    for _ in range(2):
        with pytest.raises(RequestError):
            client.complete(HELLO, CONFIG)
    with pytest.raises(ProviderError, match="the last 3 requests"):
        client.complete(HELLO, CONFIG)


@pytest.mark.parametrize(("seconds", "connect_seconds"), [(120.0, 10.0), (2.0, 2.0)])
def test_a_connection_is_awaited_for_a_short_time_only(
    connect: Connect, seconds: float, connect_seconds: float
) -> None:
    timeout = connect(timeout_seconds=seconds)._pool.timeout
    assert (timeout.connect_timeout, timeout.read_timeout) == (connect_seconds, seconds)


def test_a_host_that_takes_no_connection_ends_the_run_soon() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):  # fills the queue: later ones are left waiting
            client = OpenAIChatClient(base_url=f"http://127.0.0.1:{port}/v1", max_retries=0, timeout_seconds=0.3)
            with pytest.raises(ProviderError, match="timed out"):
                client.complete(HELLO, CONFIG)
            client.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:abc/v1",
        "http://[::1/v1",
        "localhost:8000/v1",
        "",
        "http://",
        "ftp://h/v1",
        "http://a b/v1",
    ],
)
def test_a_base_url_that_is_no_url_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"llm\.base_url is .* no http or https URL"):
        OpenAIChatClient(base_url=url)
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(ConfigError, match="OPENAI_BASE_URL is"):
        OpenAIChatClient()


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (status(401), "HNLMREC_API_KEY"),
        (status(403), "HNLMREC_API_KEY"),
        (status(404), "model name 'm'"),
        (status(400, "model_not_found"), "status 400"),
        (status(429, "insufficient_quota"), "status 429"),
    ],
)
def test_hopeless_answers_end_the_run(server: Server, connect: Connect, fault: Behaviour, advice: str) -> None:
    server.behaviours = [fault]
    with pytest.raises(ProviderError, match=advice):
        connect().complete(HELLO, CONFIG)


@pytest.mark.parametrize(
    "content",
    [
        b"{broken",
        b"",
        b"<html>gateway</html>",
        [1],
        {},
        {"choices": []},
        {"choices": [{"message": None}]},
        {"choices": 3},
    ],
)
def test_answers_that_are_no_completions_fail_the_request(server: Server, connect: Connect, content: Any) -> None:
    server.behaviours = [lambda handler: handler.send(200, content)]
    with pytest.raises(RequestError):
        connect().complete(HELLO, CONFIG)


def test_truncated_refused_and_uncounted_replies(server: Server, connect: Connect) -> None:
    uncounted = {**reply(), "usage": None}
    server.behaviours = [
        lambda handler: handler.send(200, reply(reason="length")),
        lambda handler: handler.send(200, reply(refusal="I may not.")),
        lambda handler: handler.send(200, uncounted),
    ]
    client = connect()
    assert client.complete(HELLO, CONFIG).finish_reason == "length"
    assert client.complete(HELLO, CONFIG).finish_reason == "content_filter"
    assert client.complete(HELLO, CONFIG).prompt_tokens == 0


def test_an_endpoint_that_is_not_there_ends_the_run() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = OpenAIChatClient(base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)
    with pytest.raises(ProviderError, match="Is the server running"):
        client.complete(HELLO, CONFIG)
    client.close()


def test_a_server_that_dies_fails_requests_and_then_the_run() -> None:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        client = OpenAIChatClient(base_url=server.url, max_retries=0, timeout_seconds=5)
        assert client.complete(HELLO, CONFIG).text == "hi"
        server.behaviours = [cut]
        server.shutdown()
        thread.join()
    errors: list[Exception] = []
    while not errors or not isinstance(errors[-1], ProviderError):
        with pytest.raises((RequestError, ProviderError)) as caught:
            client.complete(HELLO, CONFIG)
        errors.append(caught.value)
        assert len(errors) <= 20
    assert isinstance(errors[0], RequestError)
    client.close()


def test_a_limit_paces_requests(server: Server, connect: Connect) -> None:
    client = connect(requests_per_minute=60 / 0.05)
    for _ in range(4):
        client.complete(HELLO, CONFIG)
    assert (
        server.requests[-1][0] - server.requests[0][0] >= 0.1
    )  # three pauses of 0.05 s, less what the first connection took


def test_a_retry_after_of_hours_is_not_waited_for(server: Server, connect: Connect) -> None:
    server.behaviours = [status(429, Retry_After="7200"), good]
    with pytest.raises(RequestError, match="status 429"):
        connect().complete(HELLO, CONFIG)
    assert len(server.requests) == 1


def test_a_redirect_is_not_followed(server: Server, connect: Connect) -> None:
    server.behaviours = [lambda handler: handler.send(302, {}, Location=server.url), good]
    with pytest.raises(RequestError, match="302"):
        connect().complete(HELLO, CONFIG)
    assert len(server.requests) == 1


def test_an_endless_answer_is_refused(connect: Connect, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hnlmrec.llm.http_pool.MAX_ANSWER_BYTES", 1000)

    def endless(handler: Handler) -> None:
        handler.send_response(200)  # no length: the body ends with the connection
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"x" * 100)

    server.behaviours = [good, endless]
    client = connect(max_retries=0)
    client.complete(HELLO, CONFIG)
    with pytest.raises(RequestError, match="longer than 1,000 bytes"):
        client.complete(HELLO, CONFIG)


KEY = "sk-planted-key-of-this-test"


def test_an_answer_that_holds_the_key_has_it_blotted_out(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HNLMREC_API_KEY", KEY)
    client = connect(max_retries=0)
    server.behaviours = [lambda handler: handler.send(200, reply(f"your key is {KEY}"))]
    assert client.complete(HELLO, CONFIG).text == "your key is [key]"
    for code, body in ((401, {"error": {"message": f"bad key {KEY}"}}), (500, f"oh {KEY}"), (200, f"no {KEY}")):
        content = body if isinstance(body, dict) else body.encode()
        server.behaviours = [lambda handler, code=code, content=content: handler.send(code, content)]
        with pytest.raises((ProviderError, RequestError), match=r"\[key\]") as told:
            client.complete(HELLO, CONFIG)
        assert KEY not in str(told.value)


@pytest.mark.parametrize("key", ["a\r\nX-Other: b", "schlüssel"])
def test_a_key_that_is_no_header_is_told_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HNLMREC_API_KEY", key)
    with pytest.raises(ConfigError, match="Authorization") as told:
        OpenAIChatClient(base_url="http://127.0.0.1:1/v1")
    assert key not in str(told.value)
