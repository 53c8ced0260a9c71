"""Asking for one row: the request, the check of the reply, and one attempt to repair it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from hnlmrec.errors import ReplyError, RequestError
from hnlmrec.generation.row_task import RowKey, RowSummary, RowTask
from hnlmrec.llm.cache import cache_key
from hnlmrec.llm.client import ChatCompletion, CompletionConfig, Message
from hnlmrec.llm.prompts import PromptTemplate, Reply

_SHOWN_CHARACTERS = 500


class KeyedClient(Protocol):
    """A chat client that is given the key under which it may know the reply: a `CachedChatClient`."""

    def complete(
        self, messages: Sequence[Message], config: CompletionConfig, key: str | None = None
    ) -> ChatCompletion:
        """Return the reply; see `ChatClient`."""
        ...


@dataclass
class Attempt:
    """One row's way from task to result; worked on by one thread. In the end it has a row or a failure.

    `accepted` is the reply that the row was read from, and `request` the `cache_key` of what it answers: the cache
    may keep it once the row is written down.
    """

    key: RowKey
    row: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    completions: list[ChatCompletion] = field(default_factory=list)
    requests_failed: int = 0
    repairs: int = 0
    request: str = ""
    accepted: ChatCompletion | None = None

    def summary(self) -> RowSummary:
        """Return what it cost."""
        paid = [completion for completion in self.completions if not completion.cached]
        return RowSummary(
            requested=1,
            succeeded=int(self.row is not None),
            failed=int(self.row is None),
            cache_hits=len(self.completions) - len(paid),
            requests=len(paid) + self.requests_failed,
            prompt_tokens=sum(completion.prompt_tokens for completion in paid),
            completion_tokens=sum(completion.completion_tokens for completion in paid),
            retries=sum(completion.retries for completion in paid),
            repairs=self.repairs,
        )

    def fail(self, error: Exception) -> None:
        """Note down why there is no row, with the start of the last reply."""
        reply = self.completions[-1].text[:_SHOWN_CHARACTERS] if self.completions else ""
        message = str(error)[:_SHOWN_CHARACTERS]
        self.failure = {**self.key, "error": type(error).__name__, "message": message, "reply": reply}


class Asker:
    """Asks a language model for rows. Safe for threads.

    Args:
        template: the prompt, and the reply that it asks for.
        client: where replies come from.
        completion: the settings of a request; its schema is replaced by the template's.
        stopping: once set, no reply is repaired any more.
    """

    def __init__(
        self,
        template: PromptTemplate,
        client: KeyedClient,
        completion: CompletionConfig,
        stopping: threading.Event,
    ) -> None:
        self.template = template
        self.completion = completion
        self._client = client
        self._stopping = stopping

    def attempt(self, task: RowTask) -> Attempt:
        """Ask for one row. Raises ProviderError alone: other failures are in what it returns."""
        attempt = Attempt(task.key)
        try:
            reply = self._reply(attempt, task)
        except RequestError as error:
            attempt.requests_failed += 1
            attempt.fail(error)
        except ReplyError as error:
            attempt.fail(error)
        else:
            attempt.row = {**task.key, **reply.model_dump()}
        return attempt

    def _request(self, task: RowTask) -> tuple[list[Message], CompletionConfig]:
        schema = self.template.json_schema(task.choices)
        return self.template.render(**task.fields), self.completion.model_copy(update={"json_schema": schema})

    def _reply(self, attempt: Attempt, task: RowTask) -> Reply:
        messages, config = self._request(task)
        attempt.request = cache_key(messages, config)
        accepted = self._ask(attempt, messages, config, attempt.request)
        try:
            reply = self._read(accepted, task.choices)
        except ReplyError as error:
            if accepted.finish_reason == "content_filter" or self._stopping.is_set():
                raise
            attempt.repairs += 1
            schema = self.template.repair_schema(accepted.text, task.choices)
            mending = config.model_copy(update={"json_schema": schema})
            accepted = self._ask(attempt, _repair_messages(messages, accepted, error), mending)
            reply = self._read(accepted, task.choices)
        # A repaired reply answers the first request, so that a later run needs neither of the two.
        attempt.accepted = accepted
        return reply

    def _ask(
        self, attempt: Attempt, messages: Sequence[Message], config: CompletionConfig, key: str | None = None
    ) -> ChatCompletion:
        completion = self._client.complete(messages, config, key)
        attempt.completions.append(completion)
        return completion

    def _read(self, completion: ChatCompletion, choices: tuple[str, ...] | None) -> Reply:
        if completion.finish_reason == "content_filter":
            raise ReplyError("the model refused to answer.")
        if completion.finish_reason != "stop":
            raise ReplyError(f"the reply was cut off after {completion.completion_tokens} tokens.")
        return self.template.parse(completion.text, choices)


def _repair_messages(messages: Sequence[Message], reply: ChatCompletion, error: ReplyError) -> list[Message]:
    return [
        *messages,
        Message("assistant", reply.text[:_SHOWN_CHARACTERS]),
        Message(
            "user",
            f"That reply cannot be used: {error} Reply again: one JSON object of the same form, short, "
            "and in other words.",
        ),
    ]
