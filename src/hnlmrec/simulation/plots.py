"""The picture of a simulation: bias against hardness, a point a method, with its way over the epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.reporting.plots import COLOURS, INK, MARKERS, styled
from hnlmrec.simulation.methods import METHODS

PICTURE = "bias_hardness"


def draw_pictures(measures: pl.DataFrame, out: Path) -> None:
    """Write bias_hardness.svg and .png: means over the seeds, a panel a model.

    Args:
        measures: see `SimulationResult.measures`.
        out: folder.
    """
    means = measures.group_by("model", "method", "epoch", maintain_order=True).agg(
        pl.col("hardness").mean(), pl.col("bias").mean()
    )
    _draw(means.sort("epoch", maintain_order=True), out / PICTURE)


def family(name: str) -> int:
    """Return the number of a method's family: no scores, scores, generated negatives, with a judge."""
    method = METHODS[name]
    if method.judge is not None or method.recognised:
        return 3
    if method.llm is not None:
        return 2
    return 0 if method.sampler in ("uniform", "popularity", "in_batch") else 1


@styled
def _draw(means: pl.DataFrame, stem: Path) -> str:
    from matplotlib.figure import Figure  # noqa: PLC0415 - `styled` has said if it is missing

    models = means["model"].unique(maintain_order=True).to_list()
    figure = Figure(figsize=(1.2 + 4.3 * len(models), 6.4), layout="constrained")
    panels = figure.subplots(1, len(models), squeeze=False, sharey=True)[0]
    last = max(means["epoch"].to_list())
    numbers = {name: n for n, name in enumerate(means["method"].unique(maintain_order=True).to_list(), 1)}
    for axes, model in zip(panels, models, strict=True):
        for name, number in numbers.items():
            part = means.filter((pl.col("model") == model) & (pl.col("method") == name))
            _trail(axes, number, family(name), part)
        axes.set(xlabel="hardness: mean of σ(s(u, j) − s(u, i))", title=f"{model}, epoch {last}")
        axes.set_ylim(bottom=-0.02)
    panels[0].set_ylabel("bias: |G − G*| / |G*|")
    names = [f"{number} {name}" for name, number in numbers.items()]
    handles = [_handle(family(name)) for name in numbers]
    figure.legend(handles, names, loc="outside lower center", ncols=min(2 * len(models), 4), fontsize=8.5)
    stem.parent.mkdir(parents=True, exist_ok=True)
    for suffix in ("svg", "png"):
        path = stem.with_suffix(f".{suffix}")
        extra: dict[str, Any] = {"metadata": {"Date": None}} if suffix == "svg" else {"dpi": 130}
        figure.savefig(path, format=suffix, facecolor="white", **extra)
    return str(stem)


def _trail(axes: Any, number: int, kind: int, part: pl.DataFrame) -> None:
    x, y = part["hardness"].to_list(), part["bias"].to_list()
    colour = COLOURS[kind]
    axes.plot(x, y, color=colour, linewidth=0.7, alpha=0.45)
    axes.scatter(
        x[-1:], y[-1:], s=42, color=colour, marker=MARKERS[kind], edgecolors=INK, linewidths=0.5, zorder=3
    )
    axes.annotate(str(number), (x[-1], y[-1]), xytext=(4, 3), textcoords="offset points", fontsize=8.5, zorder=4)


def _handle(kind: int) -> Any:
    from matplotlib.lines import Line2D  # noqa: PLC0415 - as above

    return Line2D([], [], linestyle="", marker=MARKERS[kind], color=COLOURS[kind], markersize=5)
