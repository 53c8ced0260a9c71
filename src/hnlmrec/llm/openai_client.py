"""Any OpenAI-compatible HTTP endpoint (hosted, vLLM, Ollama, llama.cpp), through the OpenAI SDK."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from hnlmrec.errors import ConfigError, MissingDependencyError, ProviderError, RequestError
from hnlmrec.llm.chat_format import completion_of, request_body
from hnlmrec.llm.client import ChatCompletion, CompletionConfig, Message
from hnlmrec.llm.rate_limit import RateLimiter, estimate_tokens

KEY_VARIABLES = ("HNLMREC_API_KEY", "OPENAI_API_KEY")
_CONNECT_SECONDS = 10.0  # a server that is there takes a connection at once, however slow its model is
_NO_KEY = "none"  # a local server asks for no key, but the SDK insists on one
_LOST_AFTER = 20  # so many requests in a row without a connection, retries not counted: the endpoint is gone
_HOPELESS_CODES = frozenset({"insufficient_quota", "model_not_found", "invalid_api_key"})


class OpenAIChatClient:
    """A chat model behind an OpenAI-compatible endpoint. `complete` may be called from many threads at once.

    The key comes from the environment alone: HNLMREC_API_KEY, else OPENAI_API_KEY. The SDK retries connection
    errors, timeouts and the statuses 408, 409, 429 and 5xx, with growing pauses and jitter, and minds Retry-After.

    Args:
        base_url: the endpoint, with its version, for example http://127.0.0.1:11434/v1; None for OpenAI's own.
        timeout_seconds: how long to wait for each piece of the answer; for the connection 10 s at most.
        max_retries: how often a request is sent again.
        requests_per_minute: limit of the first sendings; retries are paced by their pauses. None for none.
        tokens_per_minute: limit of prompt and reply tokens together: an estimate, corrected by each answer.

    Raises:
        ConfigError: `base_url` is no http or https URL.
        MissingDependencyError: `openai` is not installed.
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
        try:
            import openai  # noqa: PLC0415 - an optional package
        except ImportError:
            raise MissingDependencyError("openai", "llm") from None
        _check_url(base_url)
        self._openai = openai
        self._client = openai.OpenAI(
            api_key=_api_key(),
            base_url=base_url,
            timeout=openai.Timeout(timeout_seconds, connect=min(timeout_seconds, _CONNECT_SECONDS)),
            max_retries=max_retries,
        )
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
        self._client.close()

    def _send(self, body: dict[str, Any]) -> ChatCompletion:
        try:
            raw = self._client.chat.completions.with_raw_response.create(**body)
        except self._openai.APITimeoutError as error:
            what = f"the request to {self._url} timed out"
            raise self._connection.failed(what, "A slow model needs a larger llm.timeout_seconds.") from error
        except self._openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise self._connection.failed(f"no answer from {self._url}: {cause}") from error
        except self._openai.APIStatusError as error:
            self._connection.answered()
            raise self._status_error(error, str(body["model"])) from error
        except self._openai.APIError as error:
            self._connection.answered()
            raise RequestError(f"{self._url} gave an answer that cannot be read: {error}.") from error
        self._connection.answered()
        return completion_of(_json_object(raw.http_response, self._url), retries=raw.retries_taken)

    def _status_error(self, error: Any, model: str) -> ProviderError | RequestError:
        said = f"{self._url} answered {error.status_code}: {error.message}"
        if error.status_code in (401, 403):
            return ProviderError(f"{said}. Put a valid key into the environment variable {KEY_VARIABLES[0]}.")
        if error.status_code == 404:
            return ProviderError(f"{said}. Check the model name {model!r} and the base URL.")
        if error.code in _HOPELESS_CODES:
            return ProviderError(f"{said}.")
        return RequestError(f"{said}.")

    @property
    def _url(self) -> str:
        return str(self._client.base_url)


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


def _check_url(base_url: str | None) -> None:
    variable = os.environ.get("OPENAI_BASE_URL")  # the SDK reads it where no URL is given
    name, url = ("llm.base_url", base_url) if base_url is not None else ("OPENAI_BASE_URL", variable)
    if url is None:
        return
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


def _api_key() -> str:
    return next((value for name in KEY_VARIABLES if (value := os.environ.get(name))), _NO_KEY)


def _json_object(response: Any, url: str) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError as error:
        raise RequestError(f"{url} answered something that is not JSON: {response.text[:200]!r}.") from error
    if not isinstance(answer, dict):
        raise RequestError(f"{url} answered JSON that is not an object: {str(answer)[:200]}.")
    return answer
