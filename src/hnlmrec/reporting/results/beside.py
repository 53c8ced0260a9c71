"""What a study shows of HNLMRec beside accuracy: false negatives, convergence, rare items, inactive users."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from hnlmrec.errors import MissingFileError
from hnlmrec.reporting.study.claims import OURS
from hnlmrec.reporting.study.groups import ITEMS, USERS
from hnlmrec.reporting.study.inputs import RESULTS
from hnlmrec.reporting.study.page import GROUPS, REACH

YES, NO, OPEN = "**yes**", "**no**", "not shown"
_PLACE = ("dataset", "model", "initialisation")
_DASH = "–"


@dataclass(frozen=True)
class BesideAccuracy:
    """The tables of a published study that are looked at.

    Attributes:
        results: means of each run.
        groups: of users and items.
        reach: when each training converges.
        baseline: label of the variant that all is compared with.
    """

    results: pl.DataFrame
    groups: pl.DataFrame
    reach: pl.DataFrame
    baseline: str

    @classmethod
    def read(cls, folder: Path, baseline: str) -> BesideAccuracy:
        """Read the folder of `publish_study`.

        Raises:
            MissingFileError: a table is not there.
        """
        missing = [name for name in (RESULTS, GROUPS, REACH) if not (folder / name).is_file()]
        if missing:
            raise MissingFileError(f"{folder} is not whole: {missing[0]} is missing. Publish it again.")
        tables = (pl.read_parquet(folder / name) for name in (RESULTS, GROUPS, REACH))
        results, groups, reach = (frame.filter(varied="") for frame in tables)
        return cls(results, groups, reach, baseline)

    def lines(self) -> list[str]:
        """Return the rows of a Markdown table, without its head; none where no variant is ours."""
        ours = self.results.filter(family=OURS).select(*_PLACE, "variant").unique(maintain_order=True)
        return [
            f"| {', '.join(place)} | {variant} | " + " | ".join(self._cells(place, variant)) + " |"
            for *place, variant in ours.iter_rows()
            if variant != self.baseline
        ]

    def _cells(self, place: list[str], variant: str) -> Iterator[str]:
        here = dict(zip(_PLACE, place, strict=True))
        yield self._false_negatives(here, variant)
        yield self._converges(here, variant)
        for kind in (ITEMS, USERS):
            yield self._lowest_group(here, variant, kind)

    def _false_negatives(self, here: dict[str, str], variant: str) -> str:
        own = self.results.filter(**here)
        if "fhns_ratio" not in own.columns:
            return _DASH
        mine, theirs = (own.filter(variant=name)["fhns_ratio"].mean() for name in (variant, self.baseline))
        if not isinstance(mine, float) or not isinstance(theirs, float):
            return _DASH
        return f"{YES if mine < theirs else NO}: {mine:.2f} against {theirs:.2f}"

    def _converges(self, here: dict[str, str], variant: str) -> str:
        own = self.reach.filter(**here)
        found = []
        for name in (variant, self.baseline):
            epochs = own.filter(variant=name)["epoch"]
            if not len(epochs):
                return _DASH
            found.append(epochs.mean() if not epochs.null_count() else None)
        mine, theirs = found
        texts = ["never in some seed" if not isinstance(n, float) else f"epoch {n:.1f}" for n in found]
        sooner = isinstance(mine, float) and (not isinstance(theirs, float) or mine < theirs)
        return f"{YES if sooner else NO}: {texts[0]} against {texts[1]}"

    def _lowest_group(self, here: dict[str, str], variant: str, kind: str) -> str:
        own = self.groups.filter(variant=variant, kind=kind, **here).sort("group")
        if not len(own) or own["difference_low"][0] is None:
            return _DASH
        row = own.row(0, named=True)
        verdict = YES if row["difference_low"] > 0 else NO if row["difference_high"] < 0 else OPEN
        interval = f"{row['difference_low']:+.4f} … {row['difference_high']:+.4f}"
        return f"{verdict}: {row['mean']:.4f}, {row['difference']:+.4f} ({interval})"


def beside_accuracy(folder: Path, baseline: str) -> str:
    """Return the section of the page; "" where the study has no variant of ours beside the baseline.

    Args:
        folder: of `publish_study`.
        baseline: label of the variant that all is compared with.

    Raises:
        MissingFileError: a table is not there.
    """
    lines = BesideAccuracy.read(folder, baseline).lines()
    if not lines:
        return ""
    head = (
        f"## Beside accuracy, against {baseline}\n\n"
        "Fewer false negatives: the FHNS ratio (drawn ones, times uniform drawing; of a mixed negative both "
        "parts, each by its share), mean over the seeds. Sooner: 95 % of the baseline's best on validation, in "
        "epochs. Both are by value, without a test. Least popular items, least active users: higher in that "
        "group, 95 % bootstrap interval of the difference.\n\n"
        "| where | variant | fewer false negatives | converges sooner | least popular items | least active users |"
        "\n|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(lines)
