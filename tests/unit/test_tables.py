"""Tables: places, marks and their three renderings; the words of the summary."""

import numpy as np
import pytest
from tests.result_files import report_inputs

from hnlmrec.evaluation.files import UserValues
from hnlmrec.evaluation.significance import compare
from hnlmrec.reporting.comparisons import describe_test
from hnlmrec.reporting.summary import summarise
from hnlmrec.reporting.tables import System, metrics_table, to_latex, to_markdown, to_text


@pytest.fixture
def table():
    systems = [
        System("u", "random", "uniform"),
        System("d", "random", "dns_8 & co|", "selected on test"),
        System("e", "", "ease"),
    ]
    values = {
        "u": {"recall@20": 0.1, "gini@20": 0.5, "arp@20": 10.0},
        "d": {"recall@20": 0.2, "gini@20": 0.9, "arp@20": 12.25},
        "e": {"recall@20": 0.200004, "gini@20": 0.7},
    }
    rng = np.random.default_rng(0)
    base = rng.random(100)
    results = {
        label: UserValues(np.arange(100), {"recall@20": base + shift * rng.random(100)}, {})
        for label, shift in (("u", 0), ("d", 0.2))
    }
    return metrics_table(systems, values, ["recall@20", "gini@20", "arp@20"], compare(results, baseline="u"))


def test_places_and_marks(table):
    assert table.columns == ("Recall@20", "Gini@20", "ARP@20")
    recall, gini, arp = ([row.cells[n] for row in table.rows] for n in range(3))
    assert [cell.place for cell in recall] == [2, 1, 1]  # 0.2 and 0.200004 look the same
    assert [cell.place for cell in gini] == [1, 0, 2]  # lower is better
    assert [cell.place for cell in arp] == [0, 0, 0]  # neither is better
    assert [cell.text for cell in arp] == ["10.0", "12.2", "–"]
    assert [cell.mark for cell in recall] == ["", "▲", ""]


def test_text(table):
    lines = to_text(table).splitlines()
    assert lines[0].split() == ["Recall@20", "Gini@20", "ARP@20"]
    assert "0.2000**▲" in lines[2]
    assert "(selected on test)" in lines[2]
    assert len({line.index("0.") for line in lines[1:]}) == 1  # digits stand below one another


def test_markdown(table):
    lines = to_markdown(table).splitlines()
    assert "**0.2000**▲" in lines[3]
    assert "<u>0.1000</u>" in lines[2]
    assert r"dns_8 & co\|" in lines[3]


def test_latex(table):
    text = to_latex(table)
    assert r"\textbf{0.2000}$^{\uparrow}$" in text
    assert r"dns\_8 \& co|" in text
    assert text.count(r"\\") == 4


def test_a_difference_that_is_not_significant_is_said_to_be_so():
    rng = np.random.default_rng(0)
    results = {label: UserValues(np.arange(40), {"recall@20": rng.random(40)}, {}) for label in ("a", "b")}
    (test,) = compare(results).tests
    assert describe_test(test).endswith("not significant: the data do not show a difference.")


def test_the_summary_admits_what_beats_us(tmp_path):
    inputs = report_inputs(tmp_path)
    text = " ".join(summarise(inputs, {"density": 0.1}, ["recall@20"], None, None))
    assert "ease_text reaches" in text
    assert "which no trained system beats" in text
    assert "The noise ablation was not run" in text
    assert "optimistic" not in text
