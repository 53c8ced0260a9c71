"""A client without a model, for tests and dry runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from hnlmrec.llm.client import ChatCompletion, CompletionConfig, Message
from hnlmrec.llm.rate_limit import estimate_tokens

Script = Callable[[Sequence[Message], CompletionConfig], "str | ChatCompletion"]


class ScriptedChatClient:
    """Replies with what a function returns, and keeps every request.

    Args:
        script: (messages, config) -> the reply's text, or a whole completion. What it raises is raised.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._lock = threading.Lock()
        self.requests: list[tuple[tuple[Message, ...], CompletionConfig]] = []
        self.closed = False

    def complete(self, messages: Sequence[Message], config: CompletionConfig) -> ChatCompletion:
        """Return the scripted reply."""
        with self._lock:
            self.requests.append((tuple(messages), config))
        reply = self._script(messages, config)
        if isinstance(reply, ChatCompletion):
            return reply
        tokens = estimate_tokens([Message("assistant", reply)])
        return ChatCompletion(reply, "stop", estimate_tokens(messages), tokens)

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True
