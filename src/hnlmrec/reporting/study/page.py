"""Writes a study's tables (Markdown, LaTeX), tests, pictures and page from its result files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.reporting.pages import write_page
from hnlmrec.reporting.sections import Plot
from hnlmrec.reporting.study.claims import claims_frame
from hnlmrec.reporting.study.figures import Parts, file_name, part_figures, varied_figures
from hnlmrec.reporting.study.group_views import View, group_figures, group_tables
from hnlmrec.reporting.study.groups import groups_frame
from hnlmrec.reporting.study.inputs import PART, Outline, Part, StudyFiles
from hnlmrec.reporting.study.reach import reach_caption, reach_frame, reach_table
from hnlmrec.reporting.study.statistics import PartStatistics, part_statistics, statistics_frame
from hnlmrec.reporting.study.tables import caption, part_table
from hnlmrec.reporting.tables import to_latex, to_markdown

TESTS, CLAIMS, GROUPS, REACH = (f"{name}.parquet" for name in ("tests", "claims", "groups", "reach"))
PAGE = "study.html"


def write_study(
    folder: Path,
    outline: Outline,
    *,
    facts: Sequence[tuple[str, str]] = (),
    failed: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write tables.md, tables.tex, tests, claims, groups, convergence, pictures/ and study.html; return its path.

    Args:
        folder: of the study, with its result files.
        outline: what it asks.
        facts: (title, text) of how it was run.
        failed: {"cell": …, "error": …} of what failed.
    """
    files = StudyFiles.read(folder, outline)
    parts: Parts = [(part, part_statistics(part, outline)) for part in files.parts()] if len(files.results) else []
    plain = [part for part, _ in parts if not part.varied]
    groups, reach = groups_frame(files, plain), reach_frame(files, plain)
    groups.write_parquet(folder / GROUPS)
    reach.write_parquet(folder / REACH)
    statistics_frame(parts).write_parquet(folder / TESTS)
    claims_frame([part for part, _ in parts], outline).write_parquet(folder / CLAIMS)
    views = {part: [*_views(part, found, outline, groups, reach)] for part, found in parts}
    _write_tables(folder, outline, parts, views)
    pictures = folder / "pictures"
    for old in pictures.glob("*.*"):  # of cells that are no longer selected
        old.unlink()
    sections = [
        {
            "title": part.title,
            "views": views[part],
            "figures": _figures(files, part, found, groups, pictures) if not part.varied else [],
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


def _views(
    part: Part, found: PartStatistics, outline: Outline, groups: pl.DataFrame, reach: pl.DataFrame
) -> Iterator[View]:
    """Go through the tables of a part: its metrics, and what there is of groups and convergence."""
    yield View("", part_table(part, found, outline), caption(part, found, outline))
    yield from group_tables(_of(groups, part), outline)
    reached = _of(reach, part)
    table = reach_table(reached, outline)
    if table is not None:
        yield View("Convergence", table, reach_caption(reached, outline))


def _figures(
    files: StudyFiles, part: Part, found: PartStatistics, groups: pl.DataFrame, folder: Path
) -> list[Plot]:
    stem = folder / f"{file_name(part.title)}-groups"
    figures = part_figures(files, part, found, folder)
    return [*figures, *group_figures(part, _of(groups, part), files.outline, stem)]


def _of(frame: pl.DataFrame, part: Part) -> pl.DataFrame:
    return frame.filter(*(pl.col(name) == getattr(part, name) for name in PART))


def _write_tables(folder: Path, outline: Outline, parts: Parts, views: Mapping[Part, Sequence[View]]) -> None:
    markdown, latex = [f"# {outline.title}\n"], []
    for part, _ in parts:
        markdown.append(f"## {part.title}\n")
        for view in views[part]:
            title = f"**{view.title}**\n\n" if view.title else ""
            markdown.append(f"{title}{to_markdown(view.table)}\n\n{view.caption}\n")
            latex.append(f"% {part.title}. {view.caption}\n{to_latex(view.table)}\n")
    (folder / "tables.md").write_text("\n".join(markdown), encoding="utf-8")
    (folder / "tables.tex").write_text("\n".join(latex), encoding="utf-8")
