"""A generation that is ended by SIGINT and by `kill -9`, and goes on: see experiments/ten_kills.py."""

from __future__ import annotations

import pytest
from experiments.ten_kills import measure


@pytest.mark.slow
def test_the_table_is_that_of_an_undisturbed_run() -> None:
    result = measure(kills=2)
    assert result["same_table"]
    assert result["finished_rows_asked_again"] == 0
    assert result["answers_paid_for_twice"] == sum(end["answers_lost"] for end in result["ends"])
    for end in result["ends"]:
        assert end["answers_lost"] <= (0 if end["signal"] == "SIGINT" else result["concurrency"])
    assert [end["rows_before"] for end in result["ends"]] == sorted(end["rows_before"] for end in result["ends"])
