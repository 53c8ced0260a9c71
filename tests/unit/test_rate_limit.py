"""Pacing and the estimate of tokens."""

from __future__ import annotations

import threading

import pytest

from hnlmrec.llm.client import Message
from hnlmrec.llm.rate_limit import RateLimiter, estimate_tokens


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.now += seconds


def limiter(per_minute: float | None) -> tuple[RateLimiter, Clock]:
    clock = Clock()
    return RateLimiter(per_minute, clock=lambda: clock.now, sleep=clock.sleep), clock


def test_requests_are_spread_evenly() -> None:
    limit, clock = limiter(60)
    for _ in range(10):
        limit.acquire()
    assert clock.now == pytest.approx(109.0)


def test_no_limit_never_waits() -> None:
    limit, clock = limiter(None)
    for _ in range(1000):
        limit.acquire(1e9)
    assert clock.now == 100.0


def test_unused_tokens_come_back_and_excess_is_paid_for() -> None:
    limit, clock = limiter(600)
    limit.acquire(100)  # ten seconds' worth
    limit.give_back(90)
    limit.acquire(1)
    assert clock.now == pytest.approx(101.0)
    limit.give_back(-50)
    limit.acquire(1)
    assert clock.now == pytest.approx(106.1)


def test_tokens_are_estimated_from_bytes() -> None:
    assert estimate_tokens([]) == 0
    assert estimate_tokens([Message("user", "x" * 400)]) == 104
    assert estimate_tokens([Message("user", "\u6f22" * 4)]) == 3 + 4
