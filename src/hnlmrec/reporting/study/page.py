"""Writes a study's tables (Markdown, LaTeX), tests, pictures and page from its result files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hnlmrec.reporting.pages import write_page
from hnlmrec.reporting.study.claims import claims_frame
from hnlmrec.reporting.study.figures import Parts, part_figures, varied_figures
from hnlmrec.reporting.study.inputs import Outline, StudyFiles
from hnlmrec.reporting.study.statistics import part_statistics, statistics_frame
from hnlmrec.reporting.study.tables import caption, part_table
from hnlmrec.reporting.tables import to_latex, to_markdown

TESTS, CLAIMS, PAGE = "tests.parquet", "claims.parquet", "study.html"


def write_study(
    folder: Path,
    outline: Outline,
    *,
    facts: Sequence[tuple[str, str]] = (),
    failed: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write tables.md, tables.tex, tests and claims, pictures/ and study.html; return the path of the page.

    Args:
        folder: of the study, with its result files.
        outline: what it asks.
        facts: (title, text) of how it was run.
        failed: {"cell": …, "error": …} of what failed.
    """
    files = StudyFiles.read(folder, outline)
    parts: Parts = [(part, part_statistics(part, outline)) for part in files.parts()] if len(files.results) else []
    statistics_frame(parts).write_parquet(folder / TESTS)
    claims_frame([part for part, _ in parts], outline).write_parquet(folder / CLAIMS)
    _write_tables(folder, outline, parts)
    pictures = folder / "pictures"
    sections = [
        {
            "title": part.title,
            "table": part_table(part, found, outline),
            "caption": caption(part, found, outline),
            "figures": part_figures(files, part, found, pictures) if not part.varied else [],
        }
        for part, found in parts
    ]
    content = {
        "name": outline.title,
        "sections": sections,
        "varied": varied_figures(files, parts, pictures),
        "facts": facts,
        "failed": failed,
    }
    return write_page("study.html.j2", content, folder / PAGE)


def _write_tables(folder: Path, outline: Outline, parts: Parts) -> None:
    tables = [(part, part_table(part, found, outline), caption(part, found, outline)) for part, found in parts]
    markdown = [f"## {part.title}\n\n{to_markdown(table)}\n\n{text}\n" for part, table, text in tables]
    (folder / "tables.md").write_text("\n".join([f"# {outline.title}\n", *markdown]), encoding="utf-8")
    latex = [f"% {text}\n{to_latex(table)}\n" for _, table, text in tables]
    (folder / "tables.tex").write_text("\n".join(latex), encoding="utf-8")
