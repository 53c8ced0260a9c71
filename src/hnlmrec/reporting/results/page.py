"""Writes the pages of results from committed files: what was run, on what, with which reductions, what held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.artifacts import storage_errors
from hnlmrec.data.tables import read_json
from hnlmrec.errors import MissingFileError
from hnlmrec.reporting.comparisons import format_p
from hnlmrec.reporting.results.beside import beside_accuracy
from hnlmrec.reporting.results.publish import FACTS, TABLES
from hnlmrec.reporting.study.claims import RIVALS
from hnlmrec.reporting.study.page import CLAIMS
from hnlmrec.reporting.tables import metric_title

_WORDS = {"above": "**yes**", "below": "**no, below**", "open": "not shown"}
_MARK = "<!-- Written by `hnlmrec results`: change nothing here. -->"
_HEAD = f"""# Results

{_MARK}

Written by `hnlmrec results` from the files in `{{results}}`, which [studies](studies.md) left; each has a page of
its own. Every claim is decided by a rule, from the tests: HNLMRec is compared with the *best* method of each
family on test (which favours that method), under the same initialisation; **yes** or **no** needs p < 0.05 in a
paired t-test over users, Holm's correction over the claims of a table. These tests see the trained systems of
these seeds; in how many seeds the mean is higher stands beside them. A study has the settings that HNLMRec had
when it was measured; how these have changed is in `experiments/LOG.md`.
"""


def write_results_page(results: Path, page: Path) -> Path:
    """Write anew an overview of all studies in `results`, and the page of each, and return the overview's path.

    Pages of studies that are no longer there are removed.

    Args:
        results: folder of `publish_study`.
        page: a Markdown file; beside it a folder of its name holds the studies' pages and pictures.

    Raises:
        MissingFileError: a file of a study is not there.
    """
    folder = page.with_suffix("")
    studies = [_Study(path.parent, folder) for path in sorted(results.glob(f"*/{FACTS}"))]
    texts = {page: "\n".join([_HEAD.format(results=results.as_posix()), _overview(studies, folder)])}
    texts |= {folder / f"{study.name}.md": _page(study, page) for study in studies}
    with storage_errors(page):
        for old in set(folder.glob("*.md")) - set(texts):
            if _MARK in old.read_text(encoding="utf-8"):
                old.unlink()
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.rstrip() + "\n", encoding="utf-8")
    return page


class _Study:
    """The files of one study.

    Args:
        folder: where they are.
        pages: folder of its page and its pictures.
    """

    def __init__(self, folder: Path, pages: Path) -> None:
        self.name = folder.name
        try:
            self.facts: dict[str, Any] = read_json(folder / FACTS)
            self.claims = pl.read_parquet(folder / CLAIMS)
            self.tables = (folder / TABLES).read_text(encoding="utf-8")
            self.beside = beside_accuracy(folder, self.facts["baseline"])
        except FileNotFoundError as error:
            raise MissingFileError(
                f"{folder} is not whole: {error.filename} is missing. Publish it again: hnlmrec results runs/NAME."
            ) from None
        self.pictures = [path.relative_to(pages).as_posix() for path in sorted((pages / self.name).glob("*.svg"))]

    @property
    def title(self) -> str:
        return str(self.facts["title"] or self.facts["study"])


def _overview(studies: Sequence[_Study], folder: Path) -> str:
    if not studies:
        return "No study has been published yet.\n"
    lines = [
        "| study | measured | data sets | seeds | runs | claims | hold | contradicted | not shown |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for study in studies:
        counts = dict(study.claims["verdict"].value_counts().iter_rows())
        told = [
            study.facts["measured"] or "–",
            _data_sets(study.facts),
            len(study.facts["seeds"]),
            f"{study.facts['done']} of {study.facts['cells']}",
            len(study.claims),
            *(counts.get(name, 0) for name in _WORDS),
        ]
        lines.append(f"| [{study.title}]({folder.name}/{study.name}.md) | " + " | ".join(map(str, told)) + " |")
    return "\n".join(lines) + "\n"


def _page(study: _Study, overview: Path) -> str:
    head = f"Rules of the claims, and other studies: [{overview.stem}](../{overview.name})."
    blocks = [f"# {study.title}", _MARK, head, _facts(study.facts), _claims(study), study.beside]
    blocks += [_tables(study.tables), _pictures(study)]
    return "\n\n".join(block for block in blocks if block)


def _data_sets(facts: Mapping[str, Any]) -> str:
    return ", ".join(entry["label"] for entry in facts["datasets"]) or "the base's own"


def _facts(facts: Mapping[str, Any]) -> str:
    machine, seconds = facts["machine"], facts["run_seconds"]
    time = f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
    memory = "" if machine["memory_gib"] is None else f", {machine['memory_gib']:g} GiB"
    commit = f", commit `{facts['commit'][:10]}`" if facts["commit"] else ""
    torch = facts["packages"].get("torch")
    rows = [
        ("study", f"shipped, `{facts['shipped']}`" if facts["shipped"] else f"`{facts['study']}`"),
        ("measured", facts["measured"] or "–"),
        ("data sets", _data_sets(facts)),
        ("runs", f"{facts['done']} of {facts['cells']}"),
        ("seeds", f"{', '.join(map(str, facts['seeds']))} ({_varied(facts['vary'])})"),
        (
            "search",
            f"{facts['trials']} trials for each method" if facts["trials"] else "none: settings of the file",
        ),
        (
            "machine",
            f"{machine['system']}, {machine['cores']} cores{memory}, {machine['accelerator'] or 'no GPU'}",
        ),
        ("time", f"{time} for trainings and fits together, without the text stages"),
        ("version", f"hnlmrec {facts['version']}{commit}" + (f", torch {torch}" if torch else "")),
        ("reductions", _list(facts["reductions"]) or "none is named"),
        ("changed on the command line", _list(f"`{text}`" for text in facts["changed"]) or "nothing"),
    ]
    if facts["failed"]:
        rows.append(("failed", _list(f"{row['cell']}: {row['error']}" for row in facts["failed"])))
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {_one_line(text)} |" for name, text in rows)])


def _varied(vary: str) -> str:
    return "of the training alone" if vary == "training" else "of the split and all after it"


def _claims(study: _Study) -> str:
    claims = study.claims
    if not len(claims):
        return "No claim of HNLMRec is tested here: the study has no such variant, or nothing beside it."
    metrics = list(dict.fromkeys(claims["metric"]))
    parts = list(dict.fromkeys(claims.select("dataset", "model", "varied", "value", "initialisation").iter_rows()))
    lines = ["## What held and what did not", ""]
    lines += [
        "| where | claim | " + " | ".join(map(metric_title, metrics)) + " |",
        "|---|---|" + "---|" * len(metrics),
    ]
    for place in parts:
        dataset, model, varied, value, start = place
        named = zip(("dataset", "model", "varied", "value", "initialisation"), place, strict=True)
        own = claims.filter(*(pl.col(name) == text for name, text in named))
        where = f"{dataset}, {model}, {start}" + (f", {varied} = {value}" if varied else "")
        for variant, family in dict.fromkeys(own.select("variant", "family").iter_rows()):
            rows = {row["metric"]: row for row in own.filter(variant=variant, family=family).iter_rows(named=True)}
            cells = [_verdict(rows[metric]) for metric in metrics]
            lines.append(f"| {where} | {variant} above {RIVALS[family]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _verdict(row: Mapping[str, Any]) -> str:
    relative = "" if row["relative_percent"] is None else f", {row['relative_percent']:+.1f} %"
    return (
        f"{_WORDS[row['verdict']]}: {row['mean']:.4f} against {row['rival_mean']:.4f} ({row['rival']}){relative}, "
        f"{format_p(row['p_adjusted'])}, higher in {row['seeds_above']} of {row['seeds']} seeds"
    )


def _tables(text: str) -> str:
    """Return the study's tables without their title."""
    _, mark, rest = text.partition("\n## ")
    return (mark.lstrip() + rest).rstrip()


def _pictures(study: _Study) -> str:
    if not study.pictures:
        return ""
    images = [
        f'<img src="{escape(path)}" alt="{escape(Path(path).stem)}" loading="lazy">' for path in study.pictures
    ]
    return "\n".join([f"<details><summary>Pictures ({len(images)})</summary>", *images, "</details>"])


def _list(texts: Any) -> str:
    return "; ".join(texts)


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
