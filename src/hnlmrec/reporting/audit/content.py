"""Everything that an audit says of a run, as values: what the page, the report, the terminal and JSON show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from hnlmrec.reporting.audit.calibration import FILE, JudgeCalibration, read_calibration
from hnlmrec.reporting.audit.distance import DistanceMap, distance_maps
from hnlmrec.reporting.audit.drawn import JUDGED, Drawn, read_drawn, style_numbers
from hnlmrec.reporting.audit.hardness import Hardness, hardness_by_epoch
from hnlmrec.reporting.audit.popularity import Skew, popularity_skew
from hnlmrec.reporting.audit.rates import (
    JudgedDraws,
    Rate,
    judged_draws,
    rates,
    rates_by_activity,
    rates_by_epoch,
)
from hnlmrec.reporting.examples import OUTCOMES
from hnlmrec.reporting.inputs import ReportInputs, read_json, read_jsonl


@dataclass(frozen=True, eq=False)
class Audit:
    """The audit of a run; each part is worked out when it is first asked for."""

    inputs: ReportInputs

    @cached_property
    def drawn(self) -> tuple[Drawn, ...]:
        """What the experiments drew."""
        return read_drawn(self.inputs)

    @cached_property
    def styles(self) -> dict[str, int]:
        """The number of each series in the palette."""
        return style_numbers(self.drawn)

    @cached_property
    def rates(self) -> list[Rate]:
        """FHNS rates over all users."""
        return rates(self.drawn, self.inputs.dataset)

    @cached_property
    def rates_by_activity(self) -> list[Rate]:
        """FHNS rates by quarter of the users."""
        return rates_by_activity(self.drawn, self.inputs.dataset)

    @cached_property
    def rates_by_epoch(self) -> list[tuple[int, Rate]]:
        """FHNS rates over the epochs."""
        return rates_by_epoch(self.drawn, self.inputs.dataset)

    @cached_property
    def hardness(self) -> list[Hardness]:
        """Hardness over the epochs."""
        return hardness_by_epoch(self.drawn)

    @cached_property
    def popularity(self) -> list[Skew]:
        """Popularity of the draws; the first row is that of the train interactions."""
        return popularity_skew(self.drawn, self.inputs.dataset)

    @cached_property
    def distances(self) -> list[DistanceMap]:
        """Maps of semantic against behavioural distance."""
        return distance_maps(self.inputs, self.drawn)

    @cached_property
    def judges(self) -> tuple[JudgeCalibration, ...]:
        """Judges of false negatives, measured on held-out train interactions."""
        return read_calibration(self.inputs.judge)

    @cached_property
    def judged(self) -> list[JudgedDraws]:
        """What judges said of drawn negatives."""
        return judged_draws(self.drawn, self.inputs.dataset)

    @cached_property
    def grounding(self) -> dict[str, int]:
        """Outcome of the generated negatives -> count; "failures" are requests without a usable reply."""
        folder = self.inputs.hard_negatives
        if folder is None:
            return {}
        counts = read_json(folder / "grounding.json")
        return {name: int(counts.get(name, 0)) for name in OUTCOMES} | {
            "failures": len(read_jsonl(folder / "failures.jsonl"))
        }

    @cached_property
    def accuracy(self) -> dict[str, dict[str, float]]:
        """Test metrics of each experiment: a rate without them says nothing."""
        return {e.label: self.inputs.results[e.label].means() for e in self.inputs.experiments}

    def left_out(self) -> list[str]:
        """Say which parts this run does not have, and why."""
        without = {part.experiment.label for part in self.drawn if not part.series}
        reasons = {
            f"FHNS rates and popularity of {', '.join(sorted(without))}: these negatives are vectors that stand "
            "for no catalogue item.": bool(without),
            "Grounding and generated negatives: no language model wrote any in this run.": not self.grounding,
            "The map of distances: this run has no text vectors of its items.": not self.distances,
            f"Calibration: this run has no judge (no judge/{FILE}).": not self.judges,
            f"What a judge said of drawn negatives: no experiment kept it (column {JUDGED!r} of drawn.parquet).": (
                not self.judged
            ),
        }
        return [reason for reason, holds in reasons.items() if holds]

    def as_json(self) -> dict[str, Any]:
        """Return the figures, as `hnlmrec audit --json` prints them."""
        return {
            "run": self.inputs.name,
            "fhns_rate": [_plain(rate) for rate in self.rates],
            "fhns_rate_by_activity": [_plain(rate) for rate in self.rates_by_activity],
            "fhns_rate_by_epoch": [{"epoch": epoch, **_plain(rate)} for epoch, rate in self.rates_by_epoch],
            "metrics": self.accuracy,
            "grounding": self.grounding,
            "hardness": [_plain(row) for row in self.hardness],
            "popularity": [_plain(row) for row in self.popularity],
            "distances": [
                {
                    "initialisation": part.initialisation,
                    "judge": part.judge,
                    "group": group.name,
                    "pairs": len(group.points),
                    "mean_text_cosine": group.means[0],
                    "mean_cf_score": group.means[1],
                }
                for part in self.distances
                for group in part.groups
            ],
            "judges": [judge.model_dump(mode="json") for judge in self.judges],
            "judged_draws": [_plain(row) for row in self.judged],
            "left_out": self.left_out(),
        }


def _plain(row: Any) -> Mapping[str, Any]:
    return asdict(row)
