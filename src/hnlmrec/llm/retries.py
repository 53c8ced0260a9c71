"""When a request is sent again, and after which pause."""

from __future__ import annotations

import email.utils
import math
import random
import time
from collections.abc import Mapping

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 8.0
LONGEST_RETRY_AFTER_SECONDS = 120.0
_PASSING = frozenset({408, 409, 429})  # and all of 500 and above
_JITTER = 0.25


def may_pass(status: int, headers: Mapping[str, str]) -> bool:
    """Tell whether the same request may succeed after a pause; not one that the server wants to be very long."""
    asked = retry_after(headers)
    if asked is not None and asked > LONGEST_RETRY_AFTER_SECONDS:
        return False
    told = headers.get("x-should-retry")
    if told in ("true", "false"):
        return told == "true"
    return status in _PASSING or status >= 500


def pause_seconds(retries: int, headers: Mapping[str, str] | None = None) -> float:
    """Return how long to wait before the next sending.

    Args:
        retries: how often the request has been sent again already.
        headers: of the answer, if there was one; its Retry-After counts, up to LONGEST_RETRY_AFTER_SECONDS.
    """
    asked = retry_after(headers) if headers is not None else None
    if asked is not None and 0 < asked <= LONGEST_RETRY_AFTER_SECONDS:
        return asked
    pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(retries, 30), LONGEST_PAUSE_SECONDS)
    # Requests that failed together do not come back together. No result depends on it.
    return pause * (1.0 - _JITTER * random.random())  # noqa: S311


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that Retry-After-Ms or Retry-After (seconds or a date) asks for; None for none."""
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * factor
        except ValueError:
            seconds = _seconds_until(value)
        if not math.isnan(seconds):
            return seconds
    return None


def _seconds_until(date: str) -> float:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError):
        return math.nan
