"""Pacing of requests: no window of a minute holds more than the given amount."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from hnlmrec.llm.client import Message

_BYTES_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4


class RateLimiter:
    """Spreads an allowance evenly over time; callers wait their turn. Safe for threads.

    Args:
        per_minute: the allowance, or None for no limit.
        clock: monotonic seconds.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        per_minute: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seconds_each = 60.0 / per_minute if per_minute else 0.0
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = clock()

    def acquire(self, amount: float = 1.0) -> None:
        """Wait until `amount` fits, and take it."""
        if not self._seconds_each:
            return
        with self._lock:
            now = self._clock()
            start = max(now, self._free_at)
            self._free_at = start + amount * self._seconds_each
        if start > now:
            self._sleep(start - now)

    def give_back(self, amount: float) -> None:
        """Return what was taken but not used; a negative amount takes more."""
        with self._lock:
            self._free_at -= amount * self._seconds_each


def estimate_tokens(messages: Sequence[Message]) -> int:
    """Estimate the tokens of a prompt: a token for 4 bytes of UTF-8, rounded up, and 4 for each message.

    Right to about a quarter for English text and the usual tokenizers; other scripts cost more tokens.
    """
    return sum(-(-len(message.content.encode()) // _BYTES_PER_TOKEN) + _TOKENS_PER_MESSAGE for message in messages)
