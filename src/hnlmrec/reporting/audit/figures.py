"""The audit's figures as SVG, in colours that people with any colour vision can tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hnlmrec.reporting.audit.calibration import JudgeCalibration
from hnlmrec.reporting.audit.hardness import Hardness
from hnlmrec.reporting.audit.popularity import CATALOGUE, Skew
from hnlmrec.reporting.audit.rates import Rate
from hnlmrec.reporting.plots import INK, MARKERS, finish, look, new_figure, styled


@styled
def ratio_plot(rates: Sequence[Rate], styles: Mapping[str, int]) -> str:
    """Draw the ratio of each series, with its interval, beside the line of uniform sampling."""
    shown = [rate for rate in rates if rate.ratio is not None and rate.ratio_interval is not None][::-1]
    figure, axes = new_figure((5.6, 1.3 + 0.36 * len(shown)))
    for place, rate in enumerate(shown):
        assert rate.ratio is not None
        assert rate.ratio_interval is not None
        low, high = rate.ratio_interval
        number = styles[rate.series]
        colour = look(number)["color"]
        axes.plot([low, high], [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot(rate.ratio, place, marker=MARKERS[number % len(MARKERS)], color=colour, ms=8)
    axes.axvline(1, color=INK, linewidth=1)
    axes.annotate("uniform", (1, 1), xycoords=("data", "axes fraction"), xytext=(3, 2), textcoords="offset points")
    axes.set_yticks(range(len(shown)), [rate.series for rate in shown])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlim(left=0)
    axes.grid(visible=False, axis="y")
    axes.set(xlabel="FHNS rate, in multiples of uniform sampling's")
    return finish(figure, 0)


@styled
def activity_plot(rates: Sequence[Rate], styles: Mapping[str, int]) -> str:
    """Draw the ratio over the quarters of the users, with intervals."""
    figure, axes = new_figure()
    groups = list(dict.fromkeys(rate.group for rate in rates))
    names = list(dict.fromkeys(rate.series for rate in rates))
    for number, name in enumerate(names):
        rows = [r for r in rates if r.series == name and r.ratio is not None and r.ratio_interval is not None]
        x = [groups.index(rate.group) + 0.09 * (number - (len(names) - 1) / 2) for rate in rows]
        y = np.array([rate.ratio for rate in rows], dtype=np.float64)
        limits = np.array([rate.ratio_interval for rate in rows], dtype=np.float64).reshape(-1, 2)
        errors = np.maximum(np.stack([y - limits[:, 0], limits[:, 1] - y]), 0)
        marker = MARKERS[styles[name] % len(MARKERS)]
        axes.errorbar(x, y, errors, label=name, marker=marker, ms=6, elinewidth=1, **look(styles[name]))
    axes.axhline(1, color=INK, linewidth=1)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylim(bottom=0)
    axes.set(xlabel="train items of the user, by quarter of the users", ylabel="FHNS rate / uniform's")
    return finish(figure, len(names))


@styled
def epoch_plot(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    level: float | None,
    y_label: str,
    styles: Mapping[str, int],
) -> str:
    """Draw label -> (epochs, values) on a logarithmic axis of epochs, with bands (low, high) and a level line."""
    figure, axes = new_figure()
    for name, (x, y) in lines.items():
        shape = look(styles[name])
        axes.plot(x, y, label=name, marker=MARKERS[styles[name] % len(MARKERS)], ms=5, **shape)
        if name in bands:
            axes.fill_between(x, *bands[name], color=shape["color"], alpha=0.13, linewidth=0)
    if level is not None:
        axes.axhline(level, color=INK, linewidth=1)
    axes.set_xscale("log")
    ticks = sorted({epoch for x, _ in lines.values() for epoch in x})
    axes.set_xticks(ticks, [f"{epoch:,g}" for epoch in ticks])
    axes.xaxis.set_minor_locator(_no_ticks())
    axes.set(xlabel="epoch (logarithmic)", ylabel=y_label)
    return finish(figure, len(lines))


def hardness_lines(
    rows: Sequence[Hardness],
) -> tuple[dict[str, tuple[list[float], list[float]]], dict[str, tuple[list[float], list[float]]]]:
    """Return, by name, the medians over the epochs, and the bands between the quartiles."""
    names = dict.fromkeys(row.name for row in rows)
    own = {name: [row for row in rows if row.name == name] for name in names}
    lines = {n: ([float(r.epoch) for r in part], [r.quantiles[2] for r in part]) for n, part in own.items()}
    bands = {n: ([r.quantiles[1] for r in part], [r.quantiles[3] for r in part]) for n, part in own.items()}
    return lines, bands


@styled
def decile_plot(rows: Sequence[Skew], styles: Mapping[str, int]) -> str:
    """Draw the share of the draws in each tenth of the catalogue."""
    figure, axes = new_figure()
    tenths = np.arange(1, 11)
    for row in rows:
        values = 100 * np.array(row.deciles)
        if row.label == CATALOGUE:
            axes.plot(tenths, values, label=row.series, color=INK, linewidth=1.2, linestyle=(0, (2, 2)))
        else:
            number = styles[row.series]
            axes.plot(
                tenths, values, label=row.series, marker=MARKERS[number % len(MARKERS)], ms=5, **look(number)
            )
    axes.axhline(10, color=INK, linewidth=1)
    axes.set_xticks(tenths, ["1\nleast", *map(str, range(2, 10)), "10\nmost"])
    axes.set_ylim(bottom=0)
    axes.set(xlabel="tenth of the catalogue, by popularity", ylabel="share of the draws (%)")
    return finish(figure, len(rows))


@styled
def calibration_plot(judges: Sequence[JudgeCalibration]) -> str:
    """Draw what share of the pairs was chosen against what the judges said; larger marks hold more pairs.

    Where most probabilities are small, as those of unobserved pairs are, both axes are in square roots.
    """
    figure, axes = new_figure((4.6, 4.6))
    points = [(p.mean_probability, p.share_positive) for judge in judges for p in judge.bins if p.n]
    values = np.array(points, dtype=np.float64).reshape(-1, 2)
    most = 1.06 * float(values.max(initial=0.01))
    if len(values) and np.median(values[:, 0]) < most / 10:
        axes.set_xscale("function", functions=(_root, np.square))
        axes.set_yscale("function", functions=(_root, np.square))
    axes.plot([0, most], [0, most], color=INK, linewidth=1, label="perfect")
    for number, judge in enumerate(judges):
        bins = [part for part in judge.bins if part.n]
        if not bins:
            continue
        total = max(part.n for part in bins)
        x, y = [part.mean_probability for part in bins], [part.share_positive for part in bins]
        axes.plot(x, y, label=judge.name, **look(number))
        sizes = [12 + 88 * part.n / total for part in bins]
        axes.scatter(x, y, s=sizes, marker=MARKERS[number % len(MARKERS)], color=look(number)["color"], zorder=3)
    axes.set(xlabel="probability that the judge gave", ylabel="share that the user chose")
    axes.set(xlim=(0, most), ylim=(0, most))
    return finish(figure, len(judges) + 1)


def _root(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return square roots; matplotlib asks for those of negative numbers too, beyond the axes."""
    return np.sqrt(np.maximum(np.asarray(values, dtype=np.float64), 0))


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator  # noqa: PLC0415 - `styled` has said if it is missing

    return NullLocator()
