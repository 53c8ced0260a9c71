"""The audit's page in a real browser: hostile texts stay texts, no request leaves, users can be found."""

import json
from dataclasses import replace

import pytest
from tests.result_files import report_inputs

from hnlmrec.reporting.audit import write_audit

SCRIPT = "<script>window.hit = 1</script>"
HOSTILE = (
    f"{SCRIPT}</script>{SCRIPT}\"'><img src=http://127.0.0.1:9/x onerror='window.hit=1'>"
    f"<!--\u2028\u202eשלום 👩‍🚀 {{{{ 7 * 6 }}}} {'long ' * 2000}"
)
USER = f'u"{SCRIPT}'
CALIBRATION = {
    "judges": [
        {
            "name": f"judge {SCRIPT}",
            "auc_uniform": 0.91,
            "auc_hard": None,
            "brier": 0.1,
            "bins": [
                {"low": 0, "high": 0.5, "mean_probability": 0.2, "share_positive": 0.3, "n": 90},
                {"low": 0.5, "high": 1, "mean_probability": 0.8, "share_positive": 0.7, "n": 10},
            ],
        }
    ]
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    inputs = report_inputs(root, hostile=HOSTILE, first_user=USER)
    (root / "judge").mkdir()
    (root / "judge/calibration.json").write_text(json.dumps(CALIBRATION))
    inputs = replace(inputs, experiments=inputs.experiments[1:4], judge=root / "judge")
    write_audit(inputs, root / "audit.html", users=40)
    return root / "audit.html"


@pytest.fixture(scope="module")
def browser(chromium, page):
    chromium.open(page)
    return chromium


def test_the_page_has_one_script_and_a_policy_that_names_it(page):
    html = page.read_text(encoding="utf-8")
    assert html.count("<script") == 2  # the data and the browser of users
    assert html.count("</script") == 2
    assert "script-src 'sha256-" in html
    assert "<img" not in html
    for part in ("fhns", "hardness", "popularity", "distances", "judges", "grounding", "users", "left-out"):
        assert f'<section id="{part}">' in html
    assert "20 more users are not in this page" in html
    assert len(html) < 3_000_000  # though each of 150 titles has 10,000 characters


def test_no_text_runs_and_no_request_leaves(browser, page):
    for name in browser.run("[...document.querySelectorAll('#list button')].map(b => b.dataset.user)"):
        browser.run(
            f"document.querySelector('#list button[data-user=' + CSS.escape({json.dumps(name)}) + ']').click()"
        )
    assert browser.run("typeof window.hit") == "undefined"
    assert browser.run("document.images.length") == 0
    asked = [event["request"]["url"] for event in browser.told("Network.requestWillBeSent")]
    assert asked == [page.resolve().as_uri()]
    assert browser.told("Log.entryAdded") == []  # a blocked script or request would be told here
    assert browser.told("Runtime.exceptionThrown") == []


def test_the_policy_stops_scripts_that_were_smuggled_in(browser):
    browser.run("(() => { const s = document.createElement('script'); s.textContent = 'window.smuggled = 1';"
                "document.body.append(s); s.remove(); })()")  # fmt: skip
    assert browser.run("typeof window.smuggled") == "undefined"
    browser.events.clear()


def search(browser, text):
    browser.run(
        f"(() => {{ const s = document.getElementById('search'); s.value = {json.dumps(text)};"
        "s.dispatchEvent(new Event('input')); })()"
    )
    return browser.run("[...document.querySelectorAll('#list button')].map(b => b.textContent)")


def test_users_are_found_by_id(browser):
    assert len(search(browser, "")) == 40
    assert search(browser, "59") == ["59"]
    assert browser.run("document.querySelector('#user h3').textContent") == "User 59"
    assert set(search(browser, "5")) > {"5", "51", "53", "59"}
    assert browser.run("document.querySelector('#user h3').textContent") == "User 5"  # the exact id, not the first
    assert search(browser, "no such user") == []
    assert "No user" in browser.run("document.getElementById('user').textContent")
    assert browser.run("document.getElementById('found').textContent") == "0 of 40 users"


def test_a_user_is_shown_with_all_parts(browser):
    assert search(browser, SCRIPT) == [USER]
    text = browser.run("document.getElementById('user').innerText")
    for words in (
        "Likes dramas",
        "History",
        "Held out",
        "Near in theme",
        "dns+random",
        "draws kept",
        "cosine",
        SCRIPT,
    ):
        assert words in text
    assert browser.run("document.querySelectorAll('#user bdi').length") > 10
    longest = "Math.max(...[...document.querySelectorAll('#user bdi')].map(b => b.textContent.length))"
    assert browser.run(longest) <= 1600  # emoji count twice here
    assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")  # long titles break the line


def test_a_page_made_twice_is_the_same(tmp_path):
    inputs = report_inputs(tmp_path)
    inputs = replace(inputs, experiments=())  # the figures are compared with the report
    write_audit(inputs, tmp_path / "a.html")
    write_audit(inputs, tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
