"""The negatives that training drew, as it kept them in drawn.parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.errors import DataError
from hnlmrec.evaluation.false_negatives import falseness, held_out
from hnlmrec.evaluation.files import drawn_frame
from hnlmrec.reporting.inputs import Experiment, ReportInputs
from hnlmrec.reporting.plots import COLOURS

Numbers = npt.NDArray[np.int64]
Kind = Literal["drawn", "generated", "mixed"]
JUDGED = "judged_false"  # optional column: bool, whether a judge called the draw a false negative; null: not asked
_COLUMNS = ["epoch", "user", "positive", "negative", "generated", "share", "positive_score", "negative_score"]


@dataclass(frozen=True, eq=False)
class Drawn:
    """What one experiment drew: the first draws of the epochs 1, 2, 5, 10, 20, 50 and so on.

    Attributes:
        experiment: it.
        frame: the columns of drawn.parquet; a row is a draw.
    """

    experiment: Experiment
    frame: pl.DataFrame

    @property
    def name(self) -> str:
        """The label without the initialisation: the sampler, numbered where it occurs more than once."""
        return self.experiment.label.removesuffix(f"+{self.experiment.initialisation}")

    @cached_property
    def series(self) -> tuple[Series, ...]:
        """The negatives that stand for catalogue items: drawn ones, generated ones, or both."""
        columns: dict[Kind, str] = {"drawn": "negative", "generated": "generated"}
        given = [kind for kind, column in columns.items() if (self.frame[column] >= 0).any()]
        notes = {"drawn": " (mixed-in item)", "generated": " (generated)"} if "generated" in given else {}
        return tuple(self._series(kind, columns[kind], notes.get(kind, "")) for kind in given)

    @cached_property
    def rated(self) -> tuple[Series, ...]:
        """What has an FHNS rate: the series and, where vectors are mixed with items, the mixed negatives first."""
        whole = (self._series("mixed", "negative", ""),) if len(self.series) > 1 else ()
        return whole + self.series

    def _series(self, kind: Kind, column: str, note: str) -> Series:
        frame = self.frame.filter(pl.col(column) >= 0).with_columns(item=column)
        return Series(self.name + note, self.experiment.label + note, kind, self.experiment, frame)


@dataclass(frozen=True, eq=False)
class Series:
    """Negatives of one kind out of one experiment.

    Attributes:
        name: the sampler, and the kind where there are both; unique within an initialisation.
        title: the same with the initialisation; unique in a run.
        kind: "drawn" is an item that was drawn, or that a vector was mixed with; "generated" is the catalogue item
            that a generated vector stands for; "mixed" is both, each with its part in the negative.
        experiment: it.
        frame: as in `Drawn`, with the item (of "mixed", the one mixed in) in column "item".
    """

    name: str
    title: str
    kind: Kind
    experiment: Experiment
    frame: pl.DataFrame

    @property
    def users(self) -> Numbers:
        """User number of each draw, int64 [n]."""
        return self.frame["user"].to_numpy().astype(np.int64)

    @property
    def items(self) -> Numbers:
        """Item number of each draw, int64 [n]."""
        return self.frame["item"].to_numpy().astype(np.int64)

    def falseness(self, dataset: InteractionDataset) -> npt.NDArray[np.float64]:
        """How much of each draw is a held-out positive of its user, float64 [n] in [0, 1]."""
        if self.kind != "mixed":
            return held_out(dataset, self.users, self.items).astype(np.float64)
        generated, shares = self.frame["generated"].to_numpy(), self.frame["share"].to_numpy()
        return falseness(self.users, self.items, generated.astype(np.int64), shares.astype(np.float64), dataset)

    @property
    def last_epoch(self) -> pl.DataFrame:
        """The draws of the last epoch of which any were kept."""
        return self.frame.filter(pl.col("epoch") == pl.col("epoch").max())


def read_drawn(inputs: ReportInputs) -> tuple[Drawn, ...]:
    """Read what every experiment drew, in the order of the run.

    Raises:
        MissingFileError: an experiment has no drawn.parquet.
        DataError: it lacks a column, or holds a user or item that the data set has not.
    """
    return tuple(_read(experiment, inputs.dataset) for experiment in inputs.experiments)


def all_series(drawn: Sequence[Drawn]) -> list[Series]:
    """Return the series of all experiments."""
    return [series for part in drawn for series in part.series]


def main_series(drawn: Sequence[Drawn]) -> list[Series]:
    """Return one series of each experiment: the generated negatives where there are any, else the drawn ones."""
    return [part.series[-1] for part in drawn if part.series]


def style_numbers(drawn: Sequence[Drawn]) -> dict[str, int]:
    """Give each sampler a number in the palette, for all figures; its mixed-in items have its colour too."""
    names = {name: number for number, name in enumerate(dict.fromkeys(part.name for part in drawn))}
    styles = dict(names)
    for part in drawn:
        for series in part.series:
            is_second = series.kind == "drawn" and len(part.series) > 1
            styles[series.name] = names[part.name] + (2 * len(COLOURS) if is_second else 0)
    return styles


def _read(experiment: Experiment, dataset: InteractionDataset) -> Drawn:
    path = experiment.train / "drawn.parquet"
    frame = drawn_frame(experiment.train, _COLUMNS)
    limits = {
        "user": (0, dataset.n_users),
        "positive": (0, dataset.n_items),
        "negative": (-1, dataset.n_items),
        "generated": (-1, dataset.n_items),
    }
    for column, (low, end) in limits.items():
        if not frame[column].is_between(low, end - 1).all():
            raise DataError(
                f"{path}: column {column!r} must hold numbers from {low} to {end - 1}, those of this run's data "
                f"set; it holds {frame[column].min()!r} to {frame[column].max()!r}. Train that experiment again."
            )
    if JUDGED in frame.columns and frame.schema[JUDGED] != pl.Boolean:
        raise DataError(f"{path}: column {JUDGED!r} must hold true, false or null, not {frame.schema[JUDGED]}.")
    return Drawn(experiment, frame)
