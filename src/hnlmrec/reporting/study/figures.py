"""Which pictures a study has, and what each shows in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from hnlmrec.reporting.sections import Plot
from hnlmrec.reporting.study.inputs import NO_START, Part, StudyFiles, key
from hnlmrec.reporting.study.plots import Bar, bar_plot, choice_plot, curve_plot, scatter_plot
from hnlmrec.reporting.study.reach import watched_metric
from hnlmrec.reporting.study.statistics import PartStatistics
from hnlmrec.reporting.tables import metric_title

Parts = Sequence[tuple[Part, PartStatistics]]


def part_figures(files: StudyFiles, part: Part, found: PartStatistics, folder: Path) -> list[Plot]:
    """Draw a part: bars, hardness against accuracy, convergence under each initialisation.

    Args:
        files: the study's tables.
        part: what is drawn.
        found: its statistics.
        folder: PNG and SVG files are written into it.
    """
    name = file_name(part.title)
    figures = [
        _bars(part, found, metric, folder / f"{name}-{file_name(metric)}") for metric in files.outline.metrics
    ]
    figures += _hardness(files, part, folder / f"{name}-false-negatives")
    for start in dict.fromkeys(start for _, start in part.systems if start != NO_START):
        figures += _convergence(files, part, start, folder / f"{name}-{file_name(start)}")
    return figures


def varied_figures(files: StudyFiles, parts: Parts, folder: Path) -> list[Plot]:
    """Draw the main metric against each varied parameter, for each data set, model and initialisation."""
    groups: dict[tuple[str, str, str], list[Part]] = {}
    for part, _ in parts:
        if part.varied:
            groups.setdefault((part.dataset, part.model, part.varied), []).append(part)
    plain = {(part.dataset, part.model): part for part, _ in parts if not part.varied}
    figures = []
    for (dataset, model, varied), points in groups.items():
        starts = dict.fromkeys(start for part in points for _, start in part.systems if start != NO_START)
        for start in starts or [NO_START]:
            stem = folder / file_name(f"{dataset}, {model}, {start}, {varied}")
            figures.append(_varied(files, points, plain.get((dataset, model)), start, stem))
    return figures


def file_name(text: str) -> str:
    """Return the text as a file's name without its ending."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")


def _bars(part: Part, found: PartStatistics, metric: str, stem: Path) -> Plot:
    bars = []
    for system in part.systems:
        mean = part.means(system)[metric]
        interval = found.intervals.get((key(system), metric), (mean, mean))
        around = (min(interval[0], mean), max(interval[1], mean))
        group = "without training" if system[1] == NO_START else f"{system[1]} initialisation"
        bars.append(Bar(group, system[0], mean, around))
    svg = bar_plot(bars, x_label=metric_title(metric), stem=stem)
    text = (
        f"{part.title}: {metric_title(metric)} on test, mean over the seeds; 95 % bootstrap intervals over users."
    )
    return Plot(svg, text)


def _hardness(files: StudyFiles, part: Part, stem: Path) -> list[Plot]:
    metric = files.outline.metrics[0]
    means = {system: part.means(system) for system in part.systems}
    points = {
        key(system): (values["fhns_ratio"], values[metric])
        for system, values in means.items()
        if "fhns_ratio" in values
    }
    if not points:
        return []
    styles = {label: number for number, label in enumerate(points)}
    x_label = "drawn false negatives, times uniform drawing"
    svg = scatter_plot(points, x_label=x_label, y_label=metric_title(metric), styles=styles, stem=stem)
    return [Plot(svg, f"{part.title}: false hard negatives against {metric_title(metric)} on test.")]


def _convergence(files: StudyFiles, part: Part, start: str, stem: Path) -> list[Plot]:
    place = {"dataset": part.dataset, "model": part.model, "varied": part.varied, "value": part.value}
    is_part = pl.all_horizontal(
        pl.col(name) == value for name, value in (place | {"initialisation": start}).items()
    )
    curves = files.curves.filter(is_part) if len(files.curves) else files.curves
    metric = watched_metric(curves, files.outline.metrics[0])
    if metric is None:
        return []
    variants = [variant for variant, begun in part.systems if begun == start]
    styles = {variant: number for number, variant in enumerate(variants)}
    averaged = {variant: _averaged(curves, variant, metric) for variant in variants}
    y_label = f"{metric_title(metric)} on validation"
    figures = []
    for axis, x_label in (("epoch", "epochs"), ("seconds", "seconds of training")):
        lines = {
            variant: (frame[axis].to_list(), frame["value_at"].to_list()) for variant, frame in averaged.items()
        }
        end = stem.with_name(f"{stem.name}-{axis}")
        svg = curve_plot(lines, x_label=x_label, y_label=y_label, styles=styles, stem=end)
        text = f"{part.title}, {start} initialisation: convergence over {x_label}, mean over the seeds."
        figures.append(Plot(svg, text))
    return figures


def _averaged(curves: pl.DataFrame, variant: str, metric: str) -> pl.DataFrame:
    """Return epoch, seconds and value, averaged over the seeds, as far as all of them went."""
    own = curves.filter(variant=variant, metric=metric, split="valid")
    n = own["seed"].n_unique()
    frame = own.group_by("epoch").agg(pl.col("seconds").mean(), pl.col("value_at").mean(), pl.len().alias("n"))
    return frame.filter(pl.col("n") == n).sort("epoch")


def _varied(files: StudyFiles, points: Sequence[Part], plain: Part | None, start: str, stem: Path) -> Plot:
    metric, varied = files.outline.metrics[0], points[0].varied
    values = {part.value: {s: part.means(s)[metric] for s in part.systems} for part in points}
    systems = dict.fromkeys(s for means in values.values() for s in means if s[1] in (start, NO_START))
    others = plain.systems if plain is not None else []
    still = [s for s in others if s[1] in (start, NO_START) and s not in systems]
    labels = dict.fromkeys([variant for variant, _ in [*systems, *still]])
    styles = {label: number for number, label in enumerate(labels)}
    levels = {s[0]: plain.means(s)[metric] for s in still} if plain is not None else {}
    y_label = metric_title(metric)
    lines = {s[0]: [values[value].get(s) for value in values] for s in systems}
    if all(_is_number(value) for value in values):
        numeric = {
            label: _known(list(zip(map(float, values), line, strict=True))) for label, line in lines.items()
        }
        svg = curve_plot(numeric, x_label=varied, y_label=y_label, styles=styles, stem=stem, levels=levels)
    else:
        svg = choice_plot(
            list(values), lines, x_label=varied, y_label=y_label, styles=styles, stem=stem, levels=levels
        )
    begun = "" if start == NO_START else f", {start} initialisation"
    part = points[0]
    return Plot(svg, f"{part.dataset}, {part.model}{begun}: {y_label} on test against {varied}.")


def _known(points: Sequence[tuple[float, float | None]]) -> tuple[list[float], list[float]]:
    kept = sorted((x, y) for x, y in points if y is not None)
    return [x for x, _ in kept], [y for _, y in kept]


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", text) is not None
