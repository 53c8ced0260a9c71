"""The connection pool against raw sockets: what is sent, what is kept open, proxies."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from hnlmrec.llm import http_pool
from hnlmrec.llm.http_pool import HttpPool

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nhi"


class RawServer:
    """Plays a list of answers, one connection after the other; b"" closes the connection."""

    def __init__(self, connections: list[list[bytes]]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.requests: list[list[bytes]] = []
        self.closed = threading.Semaphore(0)  # released for each connection that is closed
        self._connections = connections
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        for answers in self._connections:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # a test that failed closes the listener before all connections were made
                return
            self.requests.append([])
            with connection:
                for answer in answers:
                    if answer:
                        self.requests[-1].append(read_request(connection))
                        connection.sendall(answer)
            self.closed.release()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(timeout=5)


def read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += receive(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += receive(connection)
    return head + b"\r\n\r\n" + body


def receive(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 16)
    if not data:  # else a client that went away would keep the server's thread in its loop
        raise ConnectionAbortedError("the client closed the connection in the middle of a request")
    return data


Open = Callable[..., tuple[RawServer, HttpPool]]


@pytest.fixture
def open_both() -> Iterator[Open]:
    opened: list[RawServer | HttpPool] = []

    def start(*connections: list[bytes], url: str = "http://127.0.0.1:{port}/v1/") -> tuple[RawServer, HttpPool]:
        server = RawServer(list(connections))
        pool = HttpPool(
            url.format(port=server.port), {"Authorization": "Bearer 100%"}, connect_seconds=5, read_seconds=5
        )
        opened.extend((pool, server))
        return server, pool

    yield start
    for one in opened:
        one.close()


def test_one_connection_serves_many_requests(open_both: Open) -> None:
    server, pool = open_both([OK, OK, OK])
    for body in (b"{}", b'{"a": "%s"}', "ü".encode()):
        answer = pool.post("/chat", body)
        assert (answer.status, answer.headers["x-a"], answer.body) == (200, "b", b"hi")
    assert len(server.requests) == 1
    head, _, body = server.requests[0][1].decode().partition("\r\n\r\n")
    assert body == '{"a": "%s"}'
    assert head.startswith("POST /v1/chat HTTP/1.1\r\n")
    assert {
        f"Host: 127.0.0.1:{server.port}",
        "Content-Type: application/json",
        "Authorization: Bearer 100%",
    } <= set(head.split("\r\n"))


def test_a_connection_that_closed_while_idle_is_opened_anew(open_both: Open) -> None:
    server, pool = open_both([OK, b""], [OK])
    pool.post("/chat", b"{}")
    assert server.closed.acquire(timeout=5)
    assert pool.post("/chat", b"{}").body == b"hi"
    assert [len(requests) for requests in server.requests] == [1, 1]


def test_a_new_connection_that_is_cut_is_told(open_both: Open) -> None:
    _, pool = open_both([b""])
    with pytest.raises(OSError, match=r"(?i)closed|reset|aborted"):
        pool.post("/chat", b"{}")


def test_an_answer_that_ends_the_connection_is_not_followed_by_another_request(open_both: Open) -> None:
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it"
    server, pool = open_both([closing], [OK])
    assert pool.post("/chat", b"{}").body == b"all of it"
    assert pool.post("/chat", b"{}").body == b"hi"
    assert len(server.requests) == 2


def test_chunks_are_joined(open_both: Open) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n1\r\n \r\n0\r\n\r\n"
    _, pool = open_both([chunked, OK])
    assert pool.post("/chat", b"{}").body == b"{} "
    assert pool.post("/chat", b"{}").body == b"hi"


def test_a_proxy_of_the_environment_is_used_with_its_credentials(
    open_both: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _ = open_both([OK])
    monkeypatch.setenv("http_proxy", f"http://me:se%63ret@127.0.0.1:{server.port}")  # pragma: allowlist secret
    monkeypatch.delenv("no_proxy", raising=False)
    pool = HttpPool("http://llm.example/v1", {}, connect_seconds=5, read_seconds=5)
    assert pool.post("/chat", b"{}").body == b"hi"
    pool.close()
    head = server.requests[0][0].decode()
    assert head.startswith("POST http://llm.example/v1/chat HTTP/1.1\r\n")
    assert "\r\nHost: llm.example\r\n" in head
    assert "proxy-authorization: basic bwu6c2vjcmv0" in head.lower()


def test_a_closed_pool_keeps_no_connection(open_both: Open) -> None:
    server, pool = open_both([OK], [OK])
    pool.post("/chat", b"{}")
    pool.close()
    assert pool.post("/chat", b"{}").body == b"hi"
    assert len(server.requests) == 2


def test_an_endless_answer_is_refused(open_both: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_pool, "MAX_ANSWER_BYTES", 10)
    server, pool = open_both([b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world"], [OK])
    with pytest.raises(ConnectionError, match="longer than 10 bytes"):
        pool.post("/chat", b"{}")
    assert server.closed.acquire(timeout=5)  # else the next request may meet a closing connection
    assert pool.post("/chat", b"{}").body == b"hi"
    assert len(server.requests) == 2
