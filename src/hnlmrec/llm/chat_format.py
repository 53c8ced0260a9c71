"""The chat-completions format, as every provider here takes and gives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hnlmrec.errors import RequestError
from hnlmrec.llm.client import ChatCompletion, CompletionConfig, Message


def request_body(messages: Sequence[Message], config: CompletionConfig) -> dict[str, Any]:
    """Return the request as the chat-completions format has it; settings at their default are left out."""
    body: dict[str, Any] = {
        "model": config.model,
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        "temperature": config.temperature,
        "max_tokens": config.max_tokens,
    }
    if config.frequency_penalty:
        body["frequency_penalty"] = config.frequency_penalty
    if config.seed is not None:
        body["seed"] = config.seed
    if config.json_schema is not None:
        schema = {"name": "reply", "schema": config.json_schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def completion_of(answer: Mapping[str, Any], *, retries: int = 0) -> ChatCompletion:
    """Return the reply in an answer of that format.

    Raises:
        RequestError: the answer is not of that format.
    """
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        usage = answer.get("usage") or {}
        refused = bool(message.get("refusal"))
        return ChatCompletion(
            text=str(message.get("content") or ""),
            finish_reason="content_filter" if refused else str(choice.get("finish_reason")),
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=int(usage.get("completion_tokens") or 0),
            retries=retries,
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise RequestError(
            f"the endpoint's answer is not in the chat-completions format ({error!r}): {str(answer)[:200]}"
        ) from error
