"""Which answers are tried again, and how long is waited."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from hnlmrec.llm.retries import may_pass, pause_seconds, retry_after


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 599])
def test_faults_that_pass(status: int) -> None:
    assert may_pass(status, {})
    assert not may_pass(status, {"x-should-retry": "false"})
    assert not may_pass(status, {"retry-after": "121"})


@pytest.mark.parametrize("status", [201, 302, 400, 401, 404, 422])
def test_faults_that_stay(status: int) -> None:
    assert not may_pass(status, {})
    assert may_pass(status, {"x-should-retry": "true"})


def test_pauses_grow_and_stay_bounded() -> None:
    for retries, longest in ((0, 0.5), (1, 1.0), (3, 4.0), (9, 8.0), (10_000, 8.0)):
        drawn = [pause_seconds(retries) for _ in range(50)]
        assert 0.75 * longest <= min(drawn) <= max(drawn) <= longest
        assert len(set(drawn)) > 1  # requests that failed together come back apart


def test_the_server_may_say_how_long() -> None:
    assert pause_seconds(5, {"retry-after": "3"}) == 3
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30))
    assert 25 < (retry_after({"retry-after": soon}) or 0) <= 30


@pytest.mark.parametrize("value", ["soon", "", "nan", "Thu, 99 Foo 2026", "1e999", "-5"])
def test_a_wait_that_makes_no_sense_is_not_waited_for(value: str) -> None:
    assert pause_seconds(0, {"retry-after": value}) <= 0.5
