"""The report from small result files: what it says, what it must not let through, what may be missing."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from tests.result_files import report_inputs

from hnlmrec.errors import DataError, MissingFileError
from hnlmrec.reporting import write_report

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)> $ {{ 7 * 6 }}"


class Elements(HTMLParser):
    """Gathers (tag, attributes) and checks that tags are closed in order."""

    VOID = ("meta", "br", "img", "link", "hr", "input")

    def __init__(self, html):
        super().__init__()
        self.found, self.open = [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        while self.open[-1] in ("p", "li", "dt", "dd") and self.open[-1] != tag:
            self.open.pop()
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def hostile_report(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    inputs = report_inputs(root, hostile=HOSTILE, select_on="test")
    return inputs, write_report(inputs, root / "out" / "report.html").read_text(encoding="utf-8")


def test_hostile_text_is_escaped(hostile_report):
    _, html = hostile_report
    elements = Elements(html).found
    assert not [tag for tag, _ in elements if tag in ("script", "img", "iframe", "object", "link")]
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]
    assert "{{ 7 * 6 }}" in html  # shown as it was given, not worked out
    assert "&lt;script&gt;" in html


def test_nothing_is_fetched_from_elsewhere(hostile_report):
    _, html = hostile_report
    for _, attributes in Elements(html).found:
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert attributes.get(name, "#").startswith("#")
    assert not re.search(r"url\((?!#)", html)
    assert "@import" not in html
    assert "http://" not in html
    assert "https://" not in html


def test_references_in_the_plots_are_unique_and_resolve(hostile_report):
    _, html = hostile_report
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'href="#([^"]+)"', html)) | set(re.findall(r"url\(#([^)]+)\)", html))
    assert used <= set(ids)


def test_every_part_is_there(hostile_report):
    _, html = hostile_report
    parts = ("data", "llm", "accuracy", "curves", "fhns", "hardness", "popularity", "distances", "map", "examples")
    for part in (*parts, "failures", "run"):
        assert f'<section id="{part}">' in html
    assert html.count("<svg") == 1 + 4 + 2 + 4 + 14  # degrees, curves, hardness, maps, the audit's
    assert "620 times" in html
    assert html.count("selected on test</span>") >= 8
    assert "selected on the test split" in html
    assert "held out: a false negative" in html
    assert '<td class="n">–</td>' in html  # noise stands for no item
    assert "4 of 444 rows failed" in html


def test_a_report_made_twice_is_the_same(hostile_report, tmp_path):
    inputs, html = hostile_report
    assert write_report(inputs, tmp_path / "again.html").read_text(encoding="utf-8") == html


def test_parts_that_a_run_has_not_are_left_out(tmp_path):
    inputs = report_inputs(tmp_path)
    few = replace(
        inputs, profiles=None, hard_negatives=None, encode=None, negatives=None, experiments=(), baselines=()
    )
    html = write_report(few, tmp_path / "few.html").read_text(encoding="utf-8")
    Elements(html)
    assert '<section id="data">' in html
    for part in ("accuracy", "curves", "fhns", "hardness", "map", "examples"):
        assert f'<section id="{part}">' not in html
    assert "No row failed." in html


def test_a_training_that_gained_nothing_after_its_first_evaluation_is_told(tmp_path):
    inputs = report_inputs(tmp_path)
    assert "nothing was gained" not in write_report(inputs, tmp_path / "r.html").read_text(encoding="utf-8")
    experiment = inputs.experiments[1]
    path = experiment.train / "training.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "first_is_best": True}))
    again = replace(inputs, experiments=(inputs.experiments[0], replace(experiment)))
    html = write_report(again, tmp_path / "r.html").read_text(encoding="utf-8")
    assert html.count("nothing was gained") == 1
    assert f"{experiment.label}: its first evaluation, epoch {experiment.training['best_epoch']}," in html


def test_missing_and_broken_files_are_named(tmp_path):
    inputs = report_inputs(tmp_path)
    grounding = inputs.hard_negatives / "grounding.json"
    content = grounding.read_text()
    grounding.write_text("{")
    with pytest.raises(DataError, match=r"grounding\.json"):
        write_report(inputs, tmp_path / "r.html")
    grounding.unlink()
    with pytest.raises(MissingFileError, match=r"grounding\.json"):
        write_report(inputs, tmp_path / "r.html")
    grounding.write_text(content)
    with (tmp_path / "profiles/failures.jsonl").open("a") as file:
        file.write("{broken\n")
    with pytest.raises(DataError, match="line 3"):
        write_report(inputs, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_no_torch_is_loaded():
    code = "import sys, hnlmrec.reporting.audit; assert not {'torch', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_an_interrupted_stage_spent_is_told_over_all_its_calls(tmp_path):
    counts = {
        "requests": 3,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "succeeded": 3,
        "failed": 0,
        "resumed": 4,
    }
    whole = {"requests": 8, "prompt_tokens": 30, "completion_tokens": 15, "succeeded": 7, "failed": 1}
    inputs = report_inputs(tmp_path)
    stage = {**inputs.stages[0], "seconds": 2.0, "counts": counts | {"all_calls": whole}}
    inputs = replace(inputs, stages=[stage])
    html = write_report(inputs, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "The LLM was asked 8 times (45 tokens, 2 s in the last call)" in html
    assert "1 of 8 rows failed." in html
