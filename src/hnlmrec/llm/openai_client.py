"""Any OpenAI-compatible HTTP endpoint: hosted, vLLM, Ollama, llama.cpp."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from hnlmrec.config import without_credentials
from hnlmrec.errors import ConfigError, ProviderError, RequestError
from hnlmrec.llm.chat_format import completion_of, request_body
from hnlmrec.llm.client import ChatCompletion, CompletionConfig, Message
from hnlmrec.llm.http_pool import Answer, HttpPool
from hnlmrec.llm.rate_limit import RateLimiter, estimate_tokens
from hnlmrec.llm.retries import may_pass, pause_seconds

KEY_VARIABLES = ("HNLMREC_API_KEY", "OPENAI_API_KEY")
OPENAI_URL = "https://api.openai.com/v1"
_CONNECT_SECONDS = 10.0  # a server that is there takes a connection at once, however slow its model is
_NO_KEY = "none"  # a local server asks for no key, but some insist on the header
_LOST_AFTER = 20  # so many requests in a row without a connection, retries not counted: the endpoint is gone
_HOPELESS_CODES = frozenset({"insufficient_quota", "model_not_found", "invalid_api_key"})
_SHOWN_CHARACTERS = 200


class OpenAIChatClient:
    """A chat model behind an OpenAI-compatible endpoint. `complete` may be called from many threads at once.

    The key comes from the environment alone: HNLMREC_API_KEY, else OPENAI_API_KEY. It goes into the request's
    header and nowhere else: an answer that holds it has it blotted out before anything reads it. A request is sent
    again after connection errors, timeouts, answers that are no JSON, and the statuses 408, 409, 429 and 5xx, with
    growing pauses and jitter; Retry-After is minded.

    Args:
        base_url: the endpoint, with its version, for example http://127.0.0.1:11434/v1; None for OPENAI_BASE_URL
            of the environment, and OpenAI's own without that.
        timeout_seconds: how long to wait for each piece of the answer; for the connection 10 s at most.
        max_retries: how often a request is sent again.
        requests_per_minute: limit of the first sendings; retries are paced by their pauses. None for none.
        tokens_per_minute: limit of prompt and reply tokens together: an estimate, corrected by each answer.

    Raises:
        ConfigError: `base_url` is no http or https URL.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        timeout_seconds: float = 120.0,
        max_retries: int = 5,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        self._url = checked_url(base_url)
        self._key = _api_key()
        self._pool = HttpPool(
            self._url,
            {"Authorization": f"Bearer {self._key}", "Accept": "application/json", "User-Agent": "hnlmrec"},
            connect_seconds=min(timeout_seconds, _CONNECT_SECONDS),
            read_seconds=timeout_seconds,
        )
        self._max_retries = max_retries
        self._requests = RateLimiter(requests_per_minute)
        self._tokens = RateLimiter(tokens_per_minute)
        self._connection = _Connection()

    def complete(self, messages: Sequence[Message], config: CompletionConfig) -> ChatCompletion:
        """Return the reply. Raises ProviderError or RequestError, as the protocol says."""
        estimate = estimate_tokens(messages) + config.max_tokens
        self._requests.acquire()
        self._tokens.acquire(estimate)
        completion = self._send(request_body(messages, config))
        used = completion.prompt_tokens + completion.completion_tokens
        if used:  # some endpoints do not count
            self._tokens.give_back(estimate - used)
        return completion

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _send(self, body: dict[str, Any]) -> ChatCompletion:
        # A surrogate that a title may hold has no UTF-8; as an escape it has a JSON.
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace")
        for retries in count():
            last = retries >= self._max_retries
            answer: Answer | None = None
            try:
                answer = self._pool.post("/chat/completions", data)
            except OSError as error:
                if last:
                    raise self._connection_error(error) from error
            else:
                completion = self._completion(answer, str(body["model"]), retries, last=last)
                if completion is not None:
                    return completion
            time.sleep(pause_seconds(retries, answer.headers if answer else None))
        raise AssertionError  # the count has no end

    def _completion(self, answer: Answer, model: str, retries: int, *, last: bool) -> ChatCompletion | None:
        """Return the reply; None where the request should be sent again."""
        if answer.status != 200 and not last and may_pass(answer.status, answer.headers):
            return None
        self._connection.answered()
        if answer.status != 200:
            raise self._status_error(answer, model)
        try:
            return completion_of(self._json_object(answer), retries=retries)
        except _NoJSONError as error:
            if last:
                raise RequestError(str(error)) from error
            return None

    def _json_object(self, answer: Answer) -> dict[str, Any]:
        text = self._text(answer)
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            said = f"{self._url} answered something that is not JSON: {text[:_SHOWN_CHARACTERS]!r}."
            raise _NoJSONError(said) from error
        if not isinstance(content, dict):
            said = f"{self._url} answered JSON that is not an object: {str(content)[:_SHOWN_CHARACTERS]}."
            raise RequestError(said)
        return content

    def _status_error(self, answer: Answer, model: str) -> ProviderError | RequestError:
        code, message = _told(self._text(answer))
        said = f"{self._url} answered {answer.status}: {message}"
        if answer.status in (401, 403):
            return ProviderError(f"{said}. Put a valid key into the environment variable {KEY_VARIABLES[0]}.")
        if answer.status == 404:
            return ProviderError(f"{said}. Check the model name {model!r} and the base URL.")
        if code in _HOPELESS_CODES:
            return ProviderError(f"{said}.")
        return RequestError(f"{said}.")

    def _connection_error(self, error: Exception) -> ProviderError | RequestError:
        if isinstance(error, TimeoutError):
            what = f"the request to {self._url} timed out"
            return self._connection.failed(what, "A slow model needs a larger llm.timeout_seconds.")
        return self._connection.failed(f"no answer from {self._url}: {error or type(error).__name__}")

    def _text(self, answer: Answer) -> str:
        text = answer.body.decode("utf-8", "replace")
        return text if self._key == _NO_KEY else text.replace(self._key, "[key]")


class _NoJSONError(ValueError):
    """The answer was cut off, or a gateway's page: it may pass."""


class _Connection:
    """Tells an endpoint that is not there, or has gone, from a request that was unlucky."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ever_answered = False
        self._failures_in_a_row = 0

    def answered(self) -> None:
        with self._lock:
            self._ever_answered = True
            self._failures_in_a_row = 0

    def failed(self, what: str, hint: str = "") -> ProviderError | RequestError:
        with self._lock:
            self._failures_in_a_row += 1
            if not self._ever_answered:
                advice = f"Is the server running, and is the base URL right? {hint}".rstrip()
                return ProviderError(f"{what}, and nothing was ever answered. {advice}")
            if self._failures_in_a_row >= _LOST_AFTER:
                said = f"{what}. It answered before, but not to the last {_LOST_AFTER} requests. {hint}"
                return ProviderError(said.rstrip())
            return RequestError(f"{what}, after all retries.")


def checked_url(base_url: str | None) -> str:
    """Return the endpoint: the given one, else OPENAI_BASE_URL of the environment, else OpenAI's own.

    Raises:
        ConfigError: it is no http or https URL, or holds credentials; the message does not show these.
    """
    variable = os.environ.get("OPENAI_BASE_URL")
    name, url = ("llm.base_url", base_url) if base_url is not None else ("OPENAI_BASE_URL", variable)
    if url is None:
        return OPENAI_URL
    try:
        without_credentials(url)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}.") from None
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        valid = False
    if not valid or any(character.isspace() for character in url):
        raise ConfigError(
            f"{name} is {url!r}, which is no http or https URL. Give the endpoint with its port and version, "
            "for example http://127.0.0.1:11434/v1."
        )
    return url


def _told(text: str) -> tuple[str | None, str]:
    """Return the code and the message of an error's body."""
    try:
        error = json.loads(text)["error"]
        return error.get("code"), str(error["message"])[:_SHOWN_CHARACTERS]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None, text[:_SHOWN_CHARACTERS]


def _api_key() -> str:
    return next((value for name in KEY_VARIABLES if (value := os.environ.get(name))), _NO_KEY)
