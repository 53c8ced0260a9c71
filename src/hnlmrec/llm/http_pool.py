"""Connections to one HTTP endpoint, kept open and shared by threads, on the standard library alone.

A general HTTP library spends several milliseconds of CPU on a request, most of it on what a JSON call does not
need. Threads in Python share one core, so at 64 requests in flight that time would set the speed, not the network.
"""

from __future__ import annotations

import base64
import http.client
import ssl
import threading
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import SplitResult, unquote, urlsplit

from hnlmrec.errors import ConfigError

MAX_ANSWER_BYTES = 16 * 2**20
"""A longer answer is refused: no reply of a chat model comes near."""
# What a connection raises that the server has closed while it lay idle.
_CLOSED_WHILE_IDLE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: its status, its headers (names in lower case) and its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpPool:
    """POSTs JSON to one host. Safe for threads: a connection serves one request at a time.

    Proxies come from the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), certificates from the system's store or
    SSL_CERT_FILE. Redirects are not followed, so that the credentials go nowhere else.

    Args:
        url: http or https, with the path that every request's path is appended to.
        headers: sent with every request.
        connect_seconds: how long to wait for a connection.
        read_seconds: how long to wait for each piece of an answer.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], *, connect_seconds: float, read_seconds: float
    ) -> None:
        self._url = urlsplit(url.rstrip("/"))
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._proxy = _proxy(self._url)
        self._head = self._head_of({"Host": self._url.netloc, "Content-Type": "application/json", **headers})
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._closed = False

    def post(self, path: str, body: bytes) -> Answer:
        """Send the body, and return the whole answer.

        Raises:
            TimeoutError: no connection, or no further piece of the answer, in time.
            OSError: no connection, or it was cut.
            http.client.HTTPException: the answer is no HTTP, was cut off, or is longer than MAX_ANSWER_BYTES.
        """
        connection, is_new = self._take()
        try:
            return self._exchange(connection, path, body)
        except _CLOSED_WHILE_IDLE:
            if is_new:
                raise
        return self._exchange(self._connect(), path, body)

    def close(self) -> None:
        """Close the idle connections; those at work close when their answer is there."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _exchange(self, connection: http.client.HTTPConnection, path: str, body: bytes) -> Answer:
        try:
            if connection.sock is None:
                self._open(connection)
            # One piece: http.client would send the head and the body apart, and build the head anew each time.
            connection.sock.sendall(self._head % (path.encode(), len(body)) + body)
            response = http.client.HTTPResponse(connection.sock, method="POST")
            response.begin()
            headers = {name.lower(): value for name, value in response.headers.items()}
            answer = Answer(response.status, headers, _read(response))
            keep = not response.will_close
        except BaseException:  # also an interruption: half an answer would be taken for the next one
            connection.close()
            raise
        with self._lock:
            keep = keep and not self._closed
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()
        return answer

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if self._idle:
                return self._idle.pop(), False
        return self._connect(), True

    def _connect(self) -> http.client.HTTPConnection:
        """Return a new connection, which is opened by the first request on it."""
        place, timeout = self._proxy or self._url, self._connect_seconds
        assert place.hostname is not None
        if self._url.scheme == "http":
            return http.client.HTTPConnection(place.hostname, place.port, timeout=timeout)
        connection = http.client.HTTPSConnection(
            place.hostname, place.port, timeout=timeout, context=self._certificates
        )
        if self._proxy is not None:
            assert self._url.hostname is not None
            connection.set_tunnel(self._url.hostname, self._url.port or 443, _proxy_credentials(self._proxy))
        return connection

    def _open(self, connection: http.client.HTTPConnection) -> None:
        connection.connect()
        connection.sock.settimeout(self._read_seconds)

    def _head_of(self, headers: Mapping[str, str]) -> bytes:
        """Return what opens a request, with places for the path and the body's length."""
        target = self._url.path
        if self._proxy is not None and self._url.scheme == "http":
            target, headers = self._url.geturl(), {**headers, **_proxy_credentials(self._proxy)}
        lines = "".join(f"{name}: {_header_value(name, value)}\r\n" for name, value in headers.items())
        escaped = f"{target}|{lines}".encode("ascii").replace(b"%", b"%%").partition(b"|")
        return b"POST %b%%b HTTP/1.1\r\n%bContent-Length: %%d\r\n\r\n" % (escaped[0], escaped[2])

    @cached_property
    def _certificates(self) -> ssl.SSLContext:
        return ssl.create_default_context()


def _read(response: http.client.HTTPResponse) -> bytes:
    if response.length is not None and response.length <= MAX_ANSWER_BYTES:
        return response.read()
    body = response.read(MAX_ANSWER_BYTES + 1)
    if len(body) > MAX_ANSWER_BYTES:
        raise http.client.HTTPException(f"the answer is longer than {MAX_ANSWER_BYTES:,} bytes")
    return body


def _header_value(name: str, value: str) -> str:
    """Return the value, which must not be able to add a header of its own."""
    if not (value.isascii() and value.isprintable()):
        raise ConfigError(
            f"the value of the request's header {name} holds a line break or a character that is not ASCII. "
            "Check the API key in the environment and the base URL."
        )
    return value


def _proxy(url: SplitResult) -> SplitResult | None:
    proxy = urllib.request.getproxies().get(url.scheme)
    if proxy is None or urllib.request.proxy_bypass(url.hostname or ""):
        return None
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def _proxy_credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
