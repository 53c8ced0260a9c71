"""Tables and pictures of the groups of users and items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.reporting.sections import Plot
from hnlmrec.reporting.study.figures import file_name
from hnlmrec.reporting.study.groups import ITEMS, USERS
from hnlmrec.reporting.study.inputs import NO_START, Outline, Part
from hnlmrec.reporting.study.plots import grid_plot, interval_plot
from hnlmrec.reporting.tables import Cell, Mark, Row, Table, metric_title

_MOST_LINES = 10  # more of them hide one another: they become a table of changes
_FULL_COLOUR = 30.0  # percent
_X = {USERS: "users by their train interactions", ITEMS: "items by their train interactions"}


@dataclass(frozen=True)
class View:
    """A table with its title and caption."""

    title: str
    table: Table
    caption: str


def group_tables(frame: pl.DataFrame, outline: Outline) -> Iterator[View]:
    """Go through the tables of one part: of the groups of users, and of the groups of items.

    Args:
        frame: the part's rows of `groups_frame`.
        outline: of the study.
    """
    for kind in (USERS, ITEMS):
        own = _main(frame, kind, outline)
        if len(own):
            yield View(f"Groups of {kind}", _table(own), _caption(own, kind, outline))


def group_figures(part: Part, frame: pl.DataFrame, outline: Outline, stem: Path) -> list[Plot]:
    """Draw the groups of a part, a picture for each kind and initialisation.

    Args:
        part: what is drawn.
        frame: its rows of `groups_frame`.
        outline: of the study.
        stem: beginning of the files' paths.
    """
    figures = []
    starts = dict.fromkeys(start for _, start in part.systems if start != NO_START)
    for kind in (USERS, ITEMS):
        for start in starts or [NO_START]:
            shown = pl.col("initialisation").is_in([start, NO_START])
            own = _main(frame, kind, outline).filter(shown)
            if len(own):
                place = stem.with_name(f"{stem.name}-{file_name(start)}-{kind}")
                figures.append(_figure(part, own, outline, kind, start, stem=place))
    return figures


def _main(frame: pl.DataFrame, kind: str, outline: Outline) -> pl.DataFrame:
    """Return the rows of the main metric, which of items is recall."""
    own = frame.filter(kind=kind)
    return own if kind == ITEMS else own.filter(metric=outline.metrics[0])


def _figure(part: Part, own: pl.DataFrame, outline: Outline, kind: str, start: str, *, stem: Path) -> Plot:
    names = _names(own)
    found = {
        variant: {row["group"]: row for row in own.filter(variant=variant).iter_rows(named=True)}
        for variant in dict.fromkeys(own["variant"])
    }
    title = _title(own, kind)
    begun = "" if start == NO_START else f", {start} initialisation"
    text = f"{part.title}{begun}: {title} on test by groups of {kind}"
    if len(found) > _MOST_LINES and outline.baseline in found:
        base = found[outline.baseline]
        rows = {
            variant: [_change(mine[group], base[group]) for group in names]
            for variant, mine in found.items()
            if variant != outline.baseline
        }
        svg = grid_plot(list(names.values()), rows, x_label=_X[kind], most=_FULL_COLOUR, stem=stem)
        return Plot(svg, f"{text}; against {outline.baseline}.")
    lines = {variant: [_point(mine[group]) for group in names] for variant, mine in found.items()}
    svg = interval_plot(list(names.values()), lines, x_label=_X[kind], y_label=title, stem=stem)
    return Plot(svg, f"{text}; 95 % bootstrap intervals over users.")


def _change(row: dict[str, Any], base: dict[str, Any]) -> float | None:
    """Return by how many percent a group's mean is above that of the baseline; None where that is zero."""
    return 100 * (row["mean"] / base["mean"] - 1) if base["mean"] else None


def _point(row: dict[str, Any]) -> tuple[float, float, float]:
    low, high = row["interval_low"], row["interval_high"]
    return row["mean"], row["mean"] if low is None else low, row["mean"] if high is None else high


def _names(own: pl.DataFrame) -> dict[int, str]:
    """Return group -> what it is called: the range of train interactions."""
    groups = own.unique("group").sort("group")
    return {
        row["group"]: str(row["low"]) if row["low"] == row["high"] else f"{row['low']}-{row['high']}"
        for row in groups.iter_rows(named=True)
    }


def _table(own: pl.DataFrame) -> Table:
    names = _names(own)
    texts = own.with_columns(shown=pl.col("mean").round(4))
    ranks = {group: texts.filter(group=group)["shown"].unique().sort(descending=True).to_list() for group in names}
    rows = []
    for (variant, start), mine in own.group_by("variant", "initialisation", maintain_order=True):
        found = {row["group"]: row for row in mine.iter_rows(named=True)}
        cells = tuple(_cell(found[group], ranks[group]) for group in names)
        group_name = "without training" if start == NO_START else f"{start} initialisation"
        rows.append(Row(group_name, str(variant), "", cells))
    return Table(tuple(names.values()), tuple(rows))


def _cell(row: dict[str, Any], ranks: list[float]) -> Cell:
    place = ranks.index(round(row["mean"], 4)) + 1
    mark: Mark = ""
    if row["difference_low"] is not None:
        mark = "▲" if row["difference_low"] > 0 else "▼" if row["difference_high"] < 0 else ""
    return Cell(f"{row['mean']:.4f}", place if place <= 2 and len(ranks) > 1 else 0, mark)


def _caption(own: pl.DataFrame, kind: str, outline: Outline) -> str:
    sizes = {row["group"]: row["n"] for row in own.unique("group").sort("group").iter_rows(named=True)}
    counted = "users" if kind == USERS else "test items"
    what = (
        f"{_title(own, kind)} of users with so many train interactions"
        if kind == USERS
        else f"{_title(own, kind)}: hits over test items, of the items with so many train interactions"
    )
    return (
        f"{what}; means over the seeds. {counted.capitalize()} of the groups: "
        f"{', '.join(f'{n:,}' for n in sizes.values())}. ▲ ▼: the 95 % bootstrap interval of the difference to "
        f"{outline.baseline} (over users, not corrected) lies above or below zero."
    )


def _title(own: pl.DataFrame, kind: str) -> str:
    title = metric_title(own["metric"][0])
    return title if kind == USERS else f"{title} of the group's items"
