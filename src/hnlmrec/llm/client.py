"""The one protocol by which this package talks to language models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import Field

from hnlmrec.config import Config


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class CompletionConfig(Config):
    """Everything besides the messages that changes an answer; the cache key is made of it."""

    model: str
    """Name of the model, as the provider knows it."""
    temperature: float = Field(0.0, ge=0.0, le=2.0)
    """0 takes the most likely token at each step."""
    frequency_penalty: float = Field(0.0, ge=-2.0, le=2.0)
    """Lowers the chance of tokens that the reply already holds; keeps a small model out of loops."""
    max_tokens: int = Field(256, ge=1)
    """Upper bound of the reply's tokens; a reply that reaches it is truncated, so it is a failure."""
    seed: int | None = None
    """Seed of the provider's sampling, where it has one."""
    json_schema: dict[str, Any] | None = None
    """JSON schema that the reply must fit; the provider constrains decoding to it."""


@dataclass(frozen=True)
class ChatCompletion:
    """A reply, and what it cost.

    Attributes:
        text: the reply's content.
        finish_reason: "stop", or "length" for a truncated reply, or "content_filter" for a refused one.
        prompt_tokens: as the provider counted them.
        completion_tokens: likewise.
        cached: True if no request was made for it.
        retries: how often the request was sent again before it succeeded.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cached: bool = False
    retries: int = 0


class ChatClient(Protocol):
    """A language model behind a provider. `complete` may be called from many threads at once."""

    def complete(self, messages: Sequence[Message], config: CompletionConfig) -> ChatCompletion:
        """Return the reply.

        Raises:
            ProviderError: no request can succeed (nothing listens, credentials refused, unknown model).
            RequestError: this request failed after all retries.
        """
        ...

    def close(self) -> None:
        """Free what the client holds (a loaded model, connections)."""
        ...
