"""The sizing page: its tables are those of the script, and follow from the rates."""

import pytest
from benchmarks.sizing import BLOCK, PAGE, Size, limits, number, rates, sizing, tables, time


def test_the_page_holds_what_the_script_says():
    found = BLOCK.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found[0] == tables(Size(), rates()), "run: python benchmarks/sizing.py --docs"


def test_a_rate_of_ones_own_takes_the_place_of_ours():
    ours, slower = ({row[0]: row for row in sizing(Size(), rates(given))} for given in ({}, {"cpu_texts": 57.0}))
    assert (ours["encode texts"][2], slower["encode texts"][2]) == ("11.2 days", "22.3 days")
    assert ours["profiles"] == slower["profiles"]
    with pytest.raises(SystemExit, match="cpu_texts"):
        rates({"cpu_text": 1.0})


def test_the_stages_of_a_known_size():
    rows = {row[0]: row for row in sizing(Size(1000, 500, 20_000), rates({"step_seconds": 1e-6}))}
    assert rows["train, LightGCN, an epoch"][1:3] == ["10 steps of 2048", "0.2 s"]
    assert rows["train, LightGCN, an epoch"][4] == "384 thousand bytes"
    assert rows["hard_negatives, one a user"][1].startswith("1 thousand calls, 437 thousand + 29 thousand tokens")


def test_what_breaks_first_comes_first():
    order = [what for what, _ in limits(Size(), rates())]
    assert order[0].startswith("an epoch of LightGCN")
    faster = [what for what, _ in limits(Size(), rates({"step_seconds": 1e-12}))]
    assert not faster[0].startswith("an epoch of LightGCN")


@pytest.mark.parametrize(("n", "text"), [(999, "999"), (12_345, "12.3 thousand"), (1e10, "10 billion")])
def test_numbers_in_words(n, text):
    assert number(n) == text
    assert time(n).split()[-1] in ("s", "minutes", "hours", "days", "years")
