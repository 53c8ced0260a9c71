"""Connections to one HTTP endpoint, kept open and shared by threads, through urllib3.

The SDKs of hosted APIs spend several milliseconds of CPU on a request, most of it on what one JSON call does not
need. Threads in Python share one core, so at 64 requests in flight that time would set the speed, not the network.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

import urllib3
from urllib3 import exceptions

from hnlmrec.errors import ConfigError

MAX_ANSWER_BYTES = 16 * 2**20
"""A longer answer is refused: no reply of a chat model comes near."""
_KEPT_OPEN = 1_024  # idle connections


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: its status, its headers (names in lower case) and its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpPool:
    """POSTs JSON to one host. Safe for threads: a connection serves one request at a time.

    Proxies come from the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY). Redirects are not followed, so that the
    credentials go nowhere else, and nothing is sent again here: that is for the caller to decide.

    Args:
        url: http or https, with the path that every request's path is appended to.
        headers: sent with every request.
        connect_seconds: how long to wait for a connection.
        read_seconds: how long to wait for each piece of an answer.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], *, connect_seconds: float, read_seconds: float
    ) -> None:
        self._url = url.rstrip("/")
        every = {"Content-Type": "application/json", **headers}
        self._headers = {name: _header_value(name, value) for name, value in every.items()}
        self.timeout = urllib3.Timeout(connect=connect_seconds, read=read_seconds)
        proxy = _proxy(urlsplit(self._url))
        if proxy is None:
            self._pool = urllib3.PoolManager(num_pools=1, maxsize=_KEPT_OPEN, timeout=self.timeout)
        else:
            bare = proxy._replace(netloc=proxy.netloc.rpartition("@")[2]).geturl()
            self._pool = urllib3.ProxyManager(
                bare, maxsize=_KEPT_OPEN, timeout=self.timeout, proxy_headers=_proxy_credentials(proxy)
            )

    def post(self, path: str, body: bytes) -> Answer:
        """Send the body, and return the whole answer.

        Raises:
            TimeoutError: no connection, or no further piece of the answer, in time.
            ConnectionError: no connection, it was cut, or the answer is no HTTP or longer than MAX_ANSWER_BYTES.
        """
        try:
            response = self._pool.request(
                "POST",
                self._url + path,
                body=body,
                headers=self._headers,
                redirect=False,
                retries=False,
                preload_content=False,
            )
            content = _read(response)
        except exceptions.NewConnectionError as error:
            raise ConnectionError(str(error)) from error
        except exceptions.TimeoutError as error:
            raise TimeoutError(str(error)) from error
        except exceptions.HTTPError as error:
            raise ConnectionError(str(error)) from error
        return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, content)

    def close(self) -> None:
        """Close the idle connections; those at work close when their answer is there."""
        self._pool.clear()


def _read(response: urllib3.BaseHTTPResponse) -> bytes:
    try:
        content = response.read(MAX_ANSWER_BYTES + 1)
    except BaseException:  # also an interruption: half an answer would be taken for the next one
        response.close()
        raise
    if len(content) > MAX_ANSWER_BYTES:
        response.close()
        raise ConnectionError(f"the answer is longer than {MAX_ANSWER_BYTES:,} bytes")
    response.drain_conn()
    response.release_conn()
    return content


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
    return dict(
        urllib3.make_headers(proxy_basic_auth=f"{unquote(proxy.username)}:{unquote(proxy.password or '')}")
    )
