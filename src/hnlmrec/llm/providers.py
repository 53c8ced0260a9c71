"""Where chat models come from: one table of providers, and the settings that they share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hnlmrec.config import Config, Endpoint, runtime
from hnlmrec.errors import ConfigError, lookup
from hnlmrec.llm.client import ChatClient, CompletionConfig
from hnlmrec.llm.embedded import EmbeddedChatClient
from hnlmrec.llm.openai_client import OpenAIChatClient
from hnlmrec.llm.scripted import ScriptedChatClient

__all__ = [
    "PROVIDERS",
    "EmbeddedChatClient",
    "LLMConfig",
    "OpenAIChatClient",
    "ScriptedChatClient",
    "open_client",
]


class LLMConfig(Config):
    """Which chat model writes, how it decodes, and how fast it may be asked."""

    provider: Literal["embedded", "openai"] = "embedded"
    """"embedded" runs llama.cpp in this process; "openai" is any OpenAI-compatible endpoint."""
    model: str = "smollm2-135m-instruct"
    """Embedded: the name of an asset, or a path of a GGUF file. Else the name that the endpoint knows."""
    temperature: float = Field(0.0, ge=0.0, le=2.0)
    """0 takes the most likely token at each step."""
    frequency_penalty: float = Field(0.3, ge=-2.0, le=2.0)
    """Above 0, tokens that the reply already holds become less likely; keeps small models out of loops."""
    seed: int | None = 0
    """Seed of the provider's sampling, where it has one."""
    max_tokens: int = Field(256, ge=1)
    """Upper bound of a reply's tokens; a reply that reaches it counts as failed."""
    base_url: Endpoint | None = runtime(None)
    """The endpoint, with its version, for example http://127.0.0.1:11434/v1; None for OpenAI's own."""
    concurrency: int = runtime(8, ge=1)
    """How many requests are in flight at once. Embedded: each slot reads the prompts' fixed part for itself."""
    context_tokens: int = runtime(2048, ge=256)
    """Embedded: room for one request's prompt and reply."""
    n_threads: int | None = runtime(None, ge=1)
    """Embedded: CPU threads; None for all cores that the process may use. They spin while they wait,
    so fewer are faster on a busy machine."""
    timeout_seconds: float = runtime(120.0, gt=0.0)
    """HTTP: how long to wait for an answer."""
    max_retries: int = runtime(5, ge=0)
    """HTTP: how often a failed request is sent again."""
    requests_per_minute: float | None = runtime(None, gt=0.0)
    """HTTP: limit of requests; None for none."""
    tokens_per_minute: float | None = runtime(None, gt=0.0)
    """HTTP: limit of prompt and reply tokens together; None for none."""
    prompt_price: float = runtime(0.0, ge=0.0)
    """Price of a million prompt tokens, for the plan; any currency."""
    completion_price: float = runtime(0.0, ge=0.0)
    """Price of a million reply tokens, for the plan."""

    def completion(self, json_schema: dict[str, Any] | None = None) -> CompletionConfig:
        """Return the settings of one request."""
        return CompletionConfig(
            model=self.model,
            temperature=self.temperature,
            frequency_penalty=self.frequency_penalty,
            max_tokens=self.max_tokens,
            seed=self.seed,
            json_schema=json_schema,
        )


def open_client(config: LLMConfig, *, model_path: Path | None = None) -> ChatClient:
    """Return the client of the configured provider.

    Args:
        config: the settings.
        model_path: the GGUF file; the embedded provider needs it.

    Raises:
        UnknownChoiceError: no such provider.
        MissingDependencyError: the provider's package is not installed.
        ProviderError: the embedded model cannot be loaded.
    """
    return lookup(PROVIDERS, config.provider, "LLM provider")(config, model_path)


def _open_embedded(config: LLMConfig, model_path: Path | None) -> ChatClient:
    if model_path is None:
        raise ConfigError(
            f"the embedded provider needs the GGUF file of the model {config.model!r}: give model_path, "
            "for example assets.fetch(config.model)."
        )
    return EmbeddedChatClient(
        model_path,
        n_parallel=config.concurrency,
        context_tokens=config.context_tokens,
        n_threads=config.n_threads,
    )


def _open_openai(config: LLMConfig, model_path: Path | None) -> ChatClient:
    del model_path  # the endpoint has its own
    return OpenAIChatClient(
        base_url=config.base_url,
        timeout_seconds=config.timeout_seconds,
        max_retries=config.max_retries,
        requests_per_minute=config.requests_per_minute,
        tokens_per_minute=config.tokens_per_minute,
    )


PROVIDERS: dict[str, Callable[[LLMConfig, Path | None], ChatClient]] = {
    "embedded": _open_embedded,
    "openai": _open_openai,
}
