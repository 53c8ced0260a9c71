"""Plots as SVG to be put into the page. Letters have the page's own colour, so that both themes show them."""

from __future__ import annotations

import functools
import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec

import numpy as np
import numpy.typing as npt

from hnlmrec.errors import MissingDependencyError

# Okabe and Ito's palette, which people with any colour vision can tell apart; black and yellow are left out, since
# one of them is lost on each theme. Lines differ in dashes and markers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK = "#010203"  # stands for the page's text colour until the SVG is written
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11,
    "svg.fonttype": "none",
    "svg.hashsalt": "hnlmrec",  # else ids are random, and a report made twice differs
    "text.parse_math": False,  # a "$" in a name is a dollar sign
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#888888",
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 1.8,
}
_SIZE = (5.6, 3.7)  # inches; narrow, so that letters stay readable on a phone
_LEGEND = 0.5  # inches of a figure's height that its legend may take; a higher one makes the figure higher
_WIDEST = 0.95  # part of a figure's width for its legend: letters of a browser can be wider than matplotlib's

Points = npt.NDArray[np.floating[Any]]
P = ParamSpec("P")


def styled(draw: Callable[P, str]) -> Callable[P, str]:
    """Run a drawing function with our style, and leave matplotlib's settings as they were."""

    @functools.wraps(draw)
    def with_style(*args: P.args, **kwargs: P.kwargs) -> str:
        try:
            from matplotlib import rc_context  # noqa: PLC0415 - plots are an extra, and it is slow to import
        except ImportError:
            raise MissingDependencyError("matplotlib", "report") from None
        with rc_context(_STYLE):
            return draw(*args, **kwargs)

    return with_style


@styled
def line_plot(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
    styles: Mapping[str, int],
) -> str:
    """Draw label -> (x, y); `styles` gives each label its number in the palette, the same in every plot."""
    figure, axes = new_figure()
    for label, (x, y) in lines.items():
        shape = look(styles[label])
        every = max(len(x) // 8, 1)
        axes.plot(x, y, label=label, marker=MARKERS[styles[label] % len(MARKERS)], markevery=every, ms=5, **shape)
    if y_range is not None:
        margin = 0.05 * (y_range[1] - y_range[0]) or 0.01
        axes.set_ylim(y_range[0] - margin, y_range[1] + margin)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.locator_params(axis="x", integer=True)
    return finish(figure, len(lines))


@styled
def degree_plot(degrees: Mapping[str, npt.NDArray[np.integer[Any]]]) -> str:
    """Draw, for users and items, the number of interactions by rank, both axes logarithmic."""
    figure, axes = new_figure()
    for number, (label, counts) in enumerate(degrees.items()):
        ordered = np.sort(counts[counts > 0])[::-1]
        ranks = np.arange(1, len(ordered) + 1)
        # Some hundred points draw the same line as all of them do.
        shown = np.unique(np.geomspace(1, max(len(ordered), 1), 300).astype(int)) - 1
        axes.plot(ranks[shown], ordered[shown], label=label, **look(number))
    axes.set(xscale="log", yscale="log", xlabel="rank (1 = most interactions)", ylabel="interactions")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,g}")
        axis.set_minor_formatter(lambda *_: "")
    return finish(figure, len(degrees))


@styled
def histogram(values: Mapping[str, Points], *, x_label: str, styles: Mapping[str, int]) -> str:
    """Draw the densities of label -> values over one another, on common bins between the outermost percentiles."""
    figure, axes = new_figure()
    together = np.concatenate(list(values.values()))
    low, high = np.percentile(together, [0.5, 99.5])
    bins = np.linspace(low, high if high > low else low + 1, 36)
    for label, sample in values.items():
        counts, _ = np.histogram(sample, bins)
        shape = {"color": COLOURS[styles[label] % len(COLOURS)], "linestyle": DASHES[styles[label] % len(DASHES)]}
        axes.stairs(counts / (len(sample) * (bins[1] - bins[0])), bins, label=label, linewidth=1.8, **shape)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set(xlabel=x_label, ylabel="density")
    return finish(figure, len(values))


@styled
def map_plot(background: Points, groups: Mapping[str, Points], *, axis_labels: tuple[str, str]) -> str:
    """Draw points [n, 2] of some groups, each with a colour and marker of its own, over a grey background."""
    figure, axes = new_figure((4.6, 4.4))
    axes.scatter(*background.T, s=9, color="#888888", alpha=0.45, linewidths=0, label="catalogue")
    for number, (label, points) in enumerate(groups.items()):
        axes.scatter(
            *points.T,
            s=90 if len(points) == 1 else 38,
            marker="*" if len(points) == 1 else MARKERS[number],
            color=COLOURS[number % len(COLOURS)],
            edgecolors=INK,
            linewidths=0.5,
            alpha=0.9,
            label=label,
        )
    axes.set(xlabel=axis_labels[0], ylabel=axis_labels[1], xticks=[], yticks=[])
    return finish(figure, len(groups) + 1)


def look(number: int) -> dict[str, Any]:
    """Return colour and dashes of a number in the palette."""
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number // len(COLOURS) % len(DASHES)]}


def new_figure(size: tuple[float, float] = _SIZE) -> tuple[Any, Any]:
    """Return a figure of that size in inches, and its axes."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - `styled` has said if it is missing

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()


def finish(figure: Any, n_labels: int) -> str:
    """Put the legend of that many labels below (none for 0), and return the SVG."""
    if n_labels:
        _put_legend(figure, 2 if n_labels > 1 else 1)
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return _inline(text.getvalue())


def _put_legend(figure: Any, columns: int) -> None:
    """Put the legend below, in one column where the names are too long for more, and make room for its lines."""
    legend = figure.legend(loc="outside lower center", ncols=columns)
    figure.draw_without_rendering()
    extent = legend.get_window_extent()
    if columns > 1 and extent.width > _WIDEST * figure.bbox.width:
        legend.remove()
        _put_legend(figure, 1)
        return
    figure.set_figheight(figure.get_figheight() + max(extent.height / figure.dpi - _LEGEND, 0))


def _inline(svg: str) -> str:
    """Make a file of SVG fit to stand in HTML: no prologue, no metadata, ids that no other plot has."""
    own = "p" + hashlib.sha256(svg.encode()).hexdigest()[:8] + "-"
    view = re.search(r'viewBox="[^"]*"', svg)
    assert view is not None
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<svg [^>]*>", f'<svg {view.group()} aria-hidden="true">', svg, count=1)
    svg = re.sub(r'( id="|xlink:href="#|url\(#)', rf"\g<1>{own}", svg)
    return svg.replace("xlink:href", "href").replace(INK, "currentColor")
