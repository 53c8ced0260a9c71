"""The pictures of a study: bars with intervals, convergence, hardness against accuracy, a varied parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hnlmrec.reporting.plots import COLOURS, INK, MARKERS, finish, look, new_figure, styled

_WIDTH = 6.4  # inches
_TICKS = 8  # of a curve: with no more values than these, each has its own
_ON_COLOUR = "#101010"  # letters on a cell's colour, which a dark page leaves as it is


@dataclass(frozen=True)
class Bar:
    """A bar: its group and label, its length, and the interval around it."""

    group: str
    label: str
    value: float
    interval: tuple[float, float]


@styled
def bar_plot(bars: Sequence[Bar], *, x_label: str, stem: Path) -> str:
    """Draw horizontal bars by group, the first at the top."""
    figure, axes = new_figure((_WIDTH, 1.1 + 0.27 * len(bars)))
    groups = list(dict.fromkeys(bar.group for bar in bars))
    places = [n + 0.7 * groups.index(bar.group) for n, bar in enumerate(bars)]
    for number, group in enumerate(groups):
        own = [(place, bar) for place, bar in zip(places, bars, strict=True) if bar.group == group]
        ends = [bar.value for _, bar in own]
        errors = [[bar.value - bar.interval[0] for _, bar in own], [bar.interval[1] - bar.value for _, bar in own]]
        shape = {"color": COLOURS[number % len(COLOURS)], "alpha": 0.85, "height": 0.72, "label": group}
        axes.barh([place for place, _ in own], ends, **shape)
        axes.errorbar(
            ends, [place for place, _ in own], xerr=errors, fmt="none", ecolor=INK, elinewidth=1, capsize=2
        )
    axes.set_yticks(places, [bar.label for bar in bars])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set(xlim=(0, None), xlabel=x_label)
    return _save(figure, len(groups), stem)


@styled
def curve_plot(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x_label: str,
    y_label: str,
    styles: Mapping[str, int],
    stem: Path,
    levels: Mapping[str, float] | None = None,
) -> str:
    """Draw label -> (x, y), and label -> level as horizontal lines."""
    figure, axes = new_figure((_WIDTH, 4.2))
    for label, (x, y) in lines.items():
        every = max(len(x) // 8, 1)
        marker = MARKERS[styles[label] % len(MARKERS)]
        axes.plot(x, y, label=label, marker=marker, markevery=every, ms=5, **look(styles[label]))
    for label, level in (levels or {}).items():
        axes.axhline(level, label=label, linewidth=1.2, **{**look(styles[label]), "linestyle": (0, (1, 3))})
    measured = sorted({value for x, _ in lines.values() for value in x})
    if len(measured) <= _TICKS:  # a few values of a setting, between which there may be none
        axes.set_xticks(measured, [f"{value:,g}" for value in measured])
    axes.set(xlabel=x_label, ylabel=y_label)
    return _save(figure, len(lines) + len(levels or {}), stem)


@styled
def choice_plot(
    names: Sequence[str],
    lines: Mapping[str, Sequence[float | None]],
    *,
    x_label: str,
    y_label: str,
    styles: Mapping[str, int],
    stem: Path,
    levels: Mapping[str, float] | None = None,
) -> str:
    """Draw label -> a value for each of the names, which have no distances; None leaves a gap."""
    figure, axes = new_figure((_WIDTH, 4.2))
    for label, values in lines.items():
        shown = [float("nan") if value is None else value for value in values]
        marker = MARKERS[styles[label] % len(MARKERS)]
        axes.plot(range(len(names)), shown, label=label, marker=marker, ms=6, **look(styles[label]))
    for label, level in (levels or {}).items():
        axes.axhline(level, label=label, linewidth=1.2, **{**look(styles[label]), "linestyle": (0, (1, 3))})
    axes.set_xticks(range(len(names)), names)
    axes.set(xlabel=x_label, ylabel=y_label)
    return _save(figure, len(lines) + len(levels or {}), stem)


@styled
def interval_plot(
    names: Sequence[str],
    lines: Mapping[str, Sequence[tuple[float, float, float]]],
    *,
    x_label: str,
    y_label: str,
    stem: Path,
) -> str:
    """Draw label -> (value, low, high) for each of the names; labels stand a little apart, so that bars show."""
    figure, axes = new_figure((_WIDTH, 4.2))
    for number, (label, points) in enumerate(lines.items()):
        shift = 0.5 * ((number + 0.5) / len(lines) - 0.5)
        values = [value for value, _, _ in points]
        errors = [[value - low for value, low, _ in points], [high - value for value, _, high in points]]
        places = [place + shift for place in range(len(names))]
        shape = look(number) | {"linewidth": 1.0}
        axes.errorbar(
            places,
            values,
            yerr=errors,
            label=label,
            marker=MARKERS[number % len(MARKERS)],
            ms=5,
            capsize=2,
            **shape,
        )
    axes.set_xticks(range(len(names)), names)
    axes.set(xlabel=x_label, ylabel=y_label)
    return _save(figure, len(lines), stem)


@styled
def grid_plot(
    names: Sequence[str], rows: Mapping[str, Sequence[float | None]], *, x_label: str, most: float, stem: Path
) -> str:
    """Draw label -> a change in percent for each of the names, as a table of coloured cells.

    Args:
        names: of the columns.
        rows: in the order from top to bottom; None for a cell without a value.
        x_label: below the names.
        most: percent from which on a colour is at its fullest.
        stem: beginning of the files' paths.
    """
    figure, axes = new_figure((_WIDTH, 0.9 + 0.24 * len(rows)))
    changes = [[math.nan if value is None else value for value in values] for values in rows.values()]
    axes.pcolormesh(changes, cmap="PuOr", vmin=-most, vmax=most, edgecolors="white", linewidth=1, alpha=0.5)
    for row, values in enumerate(rows.values()):
        for column, value in enumerate(values):
            text = "–" if value is None else f"{round(value):+d} %"
            place = (column + 0.5, row + 0.5)
            axes.text(*place, text, ha="center", va="center", fontsize=8, color=_ON_COLOUR)
    axes.set_xticks([place + 0.5 for place in range(len(names))], names)
    axes.set_yticks([place + 0.5 for place in range(len(rows))], list(rows))
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.invert_yaxis()
    axes.set(xlabel=x_label)
    return _save(figure, 0, stem)


@styled
def scatter_plot(
    points: Mapping[str, tuple[float, float]], *, x_label: str, y_label: str, styles: Mapping[str, int], stem: Path
) -> str:
    """Draw a point for each label."""
    figure, axes = new_figure((_WIDTH, 4.2))
    for label, (x, y) in points.items():
        number = styles[label]
        colour = COLOURS[number % len(COLOURS)]
        marker = MARKERS[number // len(COLOURS) % len(MARKERS)]
        axes.scatter([x], [y], s=60, marker=marker, color=colour, edgecolors=INK, linewidths=0.5, label=label)
    axes.set(xlabel=x_label, ylabel=y_label)
    return _save(figure, len(points), stem)


def _save(figure: Any, n_labels: int, stem: Path) -> str:
    """Write STEM.png and STEM.svg on white; return the picture for a page, whose letters take its colour."""
    inline = finish(figure, n_labels)
    stem.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(stem.with_suffix(".svg"), format="svg", facecolor="white", metadata={"Date": None})
    figure.savefig(stem.with_suffix(".png"), format="png", dpi=150, facecolor="white")
    return inline
