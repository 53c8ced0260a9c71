"""The report in a real browser: hostile titles and profiles stay texts, stay in their place, and fetch nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.browser import Browser
from tests.result_files import report_inputs

from hnlmrec.reporting import write_report

HOSTILE = (
    "<script>window.hit = 1</script>\"><img src=x onerror='window.hit=1'></style><style>body{display:none}</style>"
    "</title></textarea><svg onload=window.hit=1>\u202eשלום עולם\u202d 👩‍🚀 {{ 7 * 6 }} javascript:alert(1) "
    f"{'W' * 300} {'long ' * 60}"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    inputs = report_inputs(root, hostile=HOSTILE)
    return write_report(replace(inputs, experiments=inputs.experiments[:2]), root / "report.html")


@pytest.fixture(scope="module")
def browser(chromium: Browser, page: Path) -> Browser:
    chromium.open(page)
    return chromium


def test_nothing_runs_and_nothing_is_fetched(browser: Browser, page: Path) -> None:
    assert browser.run("typeof window.hit") == "undefined"
    assert browser.run("document.images.length") == 0
    assert browser.run("document.scripts.length") == 0
    asked = [event["request"]["url"] for event in browser.told("Network.requestWillBeSent")]
    assert asked == [page.resolve().as_uri()]
    assert browser.told("Log.entryAdded") == []
    assert browser.told("Runtime.exceptionThrown") == []


def test_the_page_is_shown_whole_and_no_text_widens_it(browser: Browser) -> None:
    assert browser.run("getComputedStyle(document.body).display") != "none"
    assert browser.run("document.body.innerText.includes('onerror')")
    assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_text_that_runs_to_the_left_turns_nothing_else_around(browser: Browser) -> None:
    """Each text from outside is isolated, so that the words after it stay in their order."""
    unisolated = """[...document.querySelectorAll('body *')].filter(e =>
        [...e.childNodes].some(n => n.nodeType === 3 && n.data.includes('\\u202e'))
        && !['isolate', 'plaintext', 'isolate-override'].includes(getComputedStyle(e).unicodeBidi)
        && !e.closest('svg')).map(e => e.outerHTML.slice(0, 120))"""
    assert browser.run(unisolated) == []
