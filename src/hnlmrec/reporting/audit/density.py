"""The audit's map of distances: a panel of density for each kind of pair."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from hnlmrec.reporting.audit.distance import HELD_OUT, RANDOM, DistanceMap, Group
from hnlmrec.reporting.plots import COLOURS, INK, finish, new_figure, styled

_WIDE = 9.6  # inches
_CELLS = 70  # of the density's grid, each way
_LEAST_SMOOTHING = 1.0  # standard deviation of the kernel, in cells
_MASS = (0.9, 0.7, 0.5, 0.25)  # shares of the pairs within each level, outermost first
_OPACITY = (0.16, 0.34, 0.56, 0.85)
_LINES: dict[str, tuple[str, Any]] = {HELD_OUT: (COLOURS[1], "-"), RANDOM: (INK, (0, (4, 2)))}
Grid = npt.NDArray[np.float64]


@styled
def density_plot(distances: DistanceMap) -> str:
    """Draw the density of each group, with the middle of held-out positives and of random items as lines."""
    groups = distances.groups
    columns = min(3, len(groups))
    rows = math.ceil(len(groups) / columns)
    figure, axes = new_figure((_WIDE, 0.9 + 2.7 * rows))
    axes.remove()
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    edges = _edges(groups)
    middles = {group.name: _levels(group, edges) for group in groups if group.name in (HELD_OUT, RANDOM)}
    for number, (panel, group) in enumerate(zip(panels, groups, strict=False)):
        _draw_density(panel, group, edges, middles)
        panel.set_title(f"{group.name} ({len(group.points):,})", fontsize=11)
        if number % columns == 0:
            panel.set_ylabel("CF score (SD of the user's)")
    for panel in panels[len(groups) :]:
        panel.set_axis_off()
    for place in range(max(0, len(groups) - columns), len(groups)):
        panels[place].set_xlabel("text cosine with the user's taste")
        panels[place].tick_params(labelbottom=True)
    _explain_lines(figure, middles)
    return finish(figure, len(middles))


def _edges(groups: Sequence[Group]) -> tuple[Grid, Grid]:
    """Return the grid's edges: all groups together, without the outermost points."""
    together = np.concatenate([group.points for group in groups])
    found = []
    for column in together.T:
        low, high = np.percentile(column, [0.3, 99.7])
        margin = 0.06 * (high - low) or 0.5
        found.append(np.linspace(low - margin, high + margin, _CELLS + 1))
    return found[0], found[1]


def _levels(group: Group, edges: tuple[Grid, Grid]) -> tuple[Grid, list[float]]:
    """Return the smoothed density [cells, cells], and its levels that hold the shares `_MASS` of the pairs.

    The kernel's width is Scott's rule, of the number of different pairs: a pair that was drawn again is no news.
    """
    counts, _, _ = np.histogram2d(group.points[:, 0], group.points[:, 1], bins=list(edges))
    factor = len(np.unique(group.points, axis=0)) ** (-1 / 6)
    cells = [edge[1] - edge[0] for edge in edges]
    widths = [max(factor * s / c, _LEAST_SMOOTHING) for s, c in zip(group.points.std(axis=0), cells, strict=True)]
    density = gaussian_filter(counts.T, widths[::-1])
    ordered = np.sort(density, axis=None)[::-1]
    held = np.cumsum(ordered) / max(float(ordered.sum()), np.finfo(np.float64).tiny)
    places = np.minimum(np.searchsorted(held, np.array(_MASS)), len(ordered) - 1)
    return density, [float(level) for level in ordered[places]]


def _draw_density(
    panel: Any, group: Group, edges: tuple[Grid, Grid], middles: Mapping[str, tuple[Grid, list[float]]]
) -> None:
    x, y = ((edge[1:] + edge[:-1]) / 2 for edge in edges)
    density, levels = _levels(group, edges)
    distinct = sorted({level for level in levels if level > 0})
    bounds = [*distinct, max(float(density.max()), 0.0) * 1.01]
    if distinct and bounds[-1] > bounds[-2]:
        shades = [(*_rgb(COLOURS[0]), alpha) for alpha in _OPACITY[-len(distinct) :]]
        panel.contourf(x, y, density, levels=bounds, colors=shades)
    for name, (other, other_levels) in middles.items():
        if 0 < other_levels[2] < other.max():
            colour, line = _LINES[name]
            panel.contour(
                x, y, other, levels=[other_levels[2]], colors=[colour], linestyles=[line], linewidths=1.6
            )


def _explain_lines(figure: Any, names: Mapping[str, Any]) -> None:
    """Give the figure empty lines that its legend can name."""
    axes = figure.axes[0]
    for name in names:
        colour, line = _LINES[name]
        axes.plot([], [], color=colour, linestyle=line, linewidth=1.6, label=f"middle half of {name}")


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue
