"""The metrics table, and its rendering as plain text, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hnlmrec.evaluation.metrics import METRICS
from hnlmrec.evaluation.significance import Comparison

LEVEL = 0.05
_LATEX = {
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "\\": r"\textbackslash{}",
}
_LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}

Mark = Literal["", "▲", "▼"]


@dataclass(frozen=True)
class Cell:
    """One value: as shown, its place in its column (1 best, 2 second, 0 other), and what the test says.

    `mark` is ▲ or ▼ where the value is significantly above or below that of uniform negatives.
    """

    text: str
    place: int = 0
    mark: Mark = ""


@dataclass(frozen=True)
class Row:
    """One system: its group (the initialisation, say), name, note ("selected on test") and values."""

    group: str
    label: str
    note: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table of systems by metrics."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class System:
    """What the table says of a system besides its values."""

    key: str
    group: str
    label: str
    note: str = ""


def metrics_table(
    systems: Sequence[System],
    values: Mapping[str, Mapping[str, float]],
    columns: Sequence[str],
    comparison: Comparison | None = None,
) -> Table:
    """Build the table; the best and second-best value of each column are placed over all rows together.

    Args:
        systems: the rows.
        values: by system key, "recall@20" -> value; one that is missing is shown as a dash.
        columns: "recall@20", …
        comparison: tests by system key, for the marks.
    """
    texts = {
        (system.key, column): format_value(column, values[system.key].get(column))
        for system in systems
        for column in columns
    }
    places = {column: _places([texts[system.key, column] for system in systems], column) for column in columns}
    rows = tuple(
        Row(
            system.group,
            system.label,
            system.note,
            tuple(
                Cell(
                    texts[system.key, column],
                    places[column].get(texts[system.key, column], 0),
                    _mark(comparison, system.key, column),
                )
                for column in columns
            ),
        )
        for system in systems
    )
    return Table(tuple(metric_title(column) for column in columns), rows)


def metric_title(column: str) -> str:
    """Return "Recall@20" for "recall@20"."""
    name, _, k = column.partition("@")
    title = METRICS[name].title if name in METRICS else name
    return f"{title}@{k}" if k else title


def format_value(column: str, value: float | None) -> str:
    """Return the value as tables show it: four decimals, one for popularity counts."""
    if value is None:
        return "–"
    return f"{value:.1f}" if column.startswith("arp@") else f"{value:.4f}"


def to_text(table: Table) -> str:
    """Return the table for a terminal: the best value has **, the second *."""
    stars = {1: "**", 2: "*", 0: ""}
    lines = [["", "", *(f"{column:<{len(column) + 3}}" for column in table.columns)]]
    for row in table.rows:
        cells = [f"{cell.text}{stars[cell.place] + cell.mark:<3}" for cell in row.cells]  # digits stay aligned
        lines.append([row.group, _named(row), *cells])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def to_markdown(table: Table) -> str:
    """Return a Markdown table: the best value bold, the second underlined."""
    forms = {1: "**{}**", 2: "<u>{}</u>", 0: "{}"}
    lines = [
        "| | | " + " | ".join(_markdown(column) for column in table.columns) + " |",
        "|---|---|" + "---:|" * len(table.columns),
    ]
    for row in table.rows:
        cells = [forms[cell.place].format(cell.text) + cell.mark for cell in row.cells]
        lines.append("| " + " | ".join([_markdown(row.group), _markdown(_named(row)), *cells]) + " |")
    return "\n".join(lines)


def to_latex(table: Table) -> str:
    """Return a LaTeX tabular (needs booktabs): the best value bold, the second underlined."""
    forms = {1: r"\textbf{{{}}}", 2: r"\underline{{{}}}", 0: "{}"}
    marks = {"▲": r"$^{\uparrow}$", "▼": r"$^{\downarrow}$", "": ""}
    lines = [
        rf"\begin{{tabular}}{{ll{'r' * len(table.columns)}}}",
        r"\toprule",
        " &  & " + " & ".join(_latex(column) for column in table.columns) + r" \\",
        r"\midrule",
    ]
    for row in table.rows:
        cells = [forms[cell.place].format(_latex(cell.text)) + marks[cell.mark] for cell in row.cells]
        lines.append(" & ".join([_latex(row.group), _latex(_named(row)), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _places(texts: Sequence[str], column: str) -> dict[str, int]:
    """Rank what is shown: values that look the same share a place."""
    metric = METRICS.get(column.partition("@")[0])
    distinct = sorted({text for text in texts if text != "–"}, key=float)
    if metric is None or metric.higher_is_better is None or len(distinct) < 2:
        return {}
    ordered = distinct[::-1] if metric.higher_is_better else distinct
    return {ordered[0]: 1, ordered[1]: 2}


def _mark(comparison: Comparison | None, key: str, column: str) -> Mark:
    test = comparison.find(key, column) if comparison is not None else None
    if test is None or test.p_adjusted >= LEVEL or test.difference == 0:
        return ""
    return "▲" if test.difference > 0 else "▼"


def _named(row: Row) -> str:
    return f"{row.label} ({row.note})" if row.note else row.label


def _markdown(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
