"""The audit's tables and figures, as the audit page and the report both show them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hnlmrec.reporting import sections
from hnlmrec.reporting.audit import figures
from hnlmrec.reporting.audit.content import Audit
from hnlmrec.reporting.audit.density import density_plot
from hnlmrec.reporting.audit.drawn import main_series
from hnlmrec.reporting.audit.popularity import CATALOGUE
from hnlmrec.reporting.audit.rates import Rate
from hnlmrec.reporting.comparisons import headline, main_k
from hnlmrec.reporting.inputs import Experiment
from hnlmrec.reporting.sections import Plot

_UNIFORM_LINE = "The line at 1 is uniform sampling."


@dataclass(frozen=True)
class _Initialisation:
    """The part of an audit that belongs to one initialisation; figures compare within it."""

    audit: Audit
    name: str

    def ratios(self) -> Iterator[Plot]:
        rates = [rate for rate in self._own(self.audit.rates) if rate.ratio is not None]
        if rates:
            svg = figures.ratio_plot(rates, self.audit.styles)
            yield Plot(svg, f"FHNS rate against uniform sampling's, {self.name} initialisation, 95 % intervals.")

    def activity(self) -> Iterator[Plot]:
        rates = [rate for rate in self._main(self.audit.rates_by_activity) if rate.ratio is not None]
        if rates:
            svg = figures.activity_plot(rates, self.audit.styles)
            caption = f"FHNS rate by activity of the users, {self.name} initialisation. {_UNIFORM_LINE}"
            yield Plot(svg, caption)

    def rate_epochs(self) -> Iterator[Plot]:
        lines: dict[str, tuple[list[float], list[float]]] = {}
        main = set(self._main([rate for _, rate in self.audit.rates_by_epoch]))
        for epoch, rate in self.audit.rates_by_epoch:
            if rate in main and rate.ratio is not None:
                x, y = lines.setdefault(rate.series, ([], []))
                x.append(epoch)
                y.append(rate.ratio)
        if lines:
            svg = figures.epoch_plot(
                lines, bands={}, level=1, y_label="FHNS rate / uniform's", styles=self.audit.styles
            )
            yield Plot(svg, f"FHNS rate over the epochs, {self.name} initialisation. {_UNIFORM_LINE}")

    def hardness(self) -> Iterator[Plot]:
        rows = [row for row in self.audit.hardness if row.initialisation == self.name]
        lines, bands = figures.hardness_lines(rows)
        if rows:
            svg = figures.epoch_plot(
                lines,
                bands=bands,
                level=0,
                y_label="score of positive − negative",
                styles=self.audit.styles,
            )
            caption = "Medians over the epochs, with the middle half of the draws; below 0 the negative is ahead"
            yield Plot(svg, f"{caption}, {self.name} initialisation.")

    def above(self) -> Iterator[Plot]:
        rows = [row for row in self.audit.hardness if row.initialisation == self.name]
        lines: dict[str, tuple[list[float], list[float]]] = {}
        for row in rows:
            x, y = lines.setdefault(row.name, ([], []))
            x.append(row.epoch)
            y.append(100 * row.share_above)
        if rows:
            svg = figures.epoch_plot(
                lines, bands={}, level=None, y_label="above the positive (%)", styles=self.audit.styles
            )
            caption = "Share of the negatives that the model in training scores above their positive"
            yield Plot(svg, f"{caption}, {self.name} initialisation.")

    def deciles(self) -> Iterator[Plot]:
        names = {series.name for series in main_series(self.audit.drawn)} | {CATALOGUE}
        rows = [r for r in self.audit.popularity if r.initialisation in (self.name, "") and r.series in names]
        if len(rows) > 1:
            svg = figures.decile_plot(rows, self.audit.styles)
            caption = f"Where the negatives lie in the catalogue, {self.name} initialisation."
            yield Plot(svg, f"{caption} Level line: an even spread; dotted: the {CATALOGUE}.")

    def maps(self) -> Iterator[Plot]:
        for distances in self.audit.distances:
            if distances.initialisation == self.name:
                caption = (
                    f"Negatives of the last sampled epoch, {self.name} initialisation; scores by the model "
                    f"{distances.judge}."
                )
                yield Plot(density_plot(distances), caption, whole=True)

    def _main(self, rates: Sequence[Rate]) -> list[Rate]:
        names = {part.rated[0].name for part in self.audit.drawn if part.rated}
        return [rate for rate in self._own(rates) if rate.series in names]

    def _own(self, rates: Sequence[Rate]) -> list[Rate]:
        return [rate for rate in rates if rate.initialisation == self.name]


def audit_parts(audit: Audit) -> dict[str, Any]:
    """Return what the template audit_sections.html.j2 shows."""
    names = dict.fromkeys(experiment.initialisation for experiment in audit.inputs.experiments)
    each = [_Initialisation(audit, name) for name in names]
    results = audit.inputs.results
    calibration = []
    if audit.judges:
        caption = (
            "What the judges said against what came true. On the line, probabilities can be taken at their word."
        )
        calibration.append(Plot(figures.calibration_plot(audit.judges), caption))
    return {
        "rows": list(_rows(audit)),
        "tested": headline(results, main_k(results)) if results else [],
        "ratios": [plot for part in each for plot in part.ratios()],
        "activity": [plot for part in each for plot in part.activity()],
        "rate_epochs": [plot for part in each for plot in part.rate_epochs()],
        "hardness": sections.hardness(audit.inputs),
        "hardness_epochs": [plot for part in each for plot in part.hardness()],
        "above_epochs": [plot for part in each for plot in part.above()],
        "popularity": audit.popularity if audit.drawn else [],
        "deciles": [plot for part in each for plot in part.deciles()],
        "maps": [plot for part in each for plot in part.maps()],
        "distances": audit.distances,
        "judges": audit.judges,
        "judged": audit.judged,
        "calibration": calibration,
    }


def _rows(audit: Audit) -> Iterator[tuple[Experiment, Rate | None, dict[str, float]]]:
    """Give the table's rows by initialisation; None for an experiment whose negatives stand for no item."""
    order = list(dict.fromkeys(experiment.initialisation for experiment in audit.inputs.experiments))
    for experiment in sorted(audit.inputs.experiments, key=lambda e: order.index(e.initialisation)):
        own: list[Rate | None] = [rate for rate in audit.rates if rate.label == experiment.label]
        for rate in own or [None]:
            yield experiment, rate, audit.accuracy[experiment.label]
