"""How well the probabilities of a judge of false negatives are calibrated: the file, and its reader."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import pydantic
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hnlmrec.errors import DataError
from hnlmrec.reporting.inputs import read_json

FILE = "calibration.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class CalibrationBin(_Part):
    """The judged pairs whose probability lies in one interval."""

    low: float = Field(ge=0, le=1)
    """Where the interval begins."""
    high: float = Field(ge=0, le=1)
    """Where it ends."""
    mean_probability: float | None = Field(ge=0, le=1)
    """Mean of what the judge said; null where the bin is empty."""
    share_positive: float | None = Field(ge=0, le=1)
    """Share of the pairs that the user did choose; null where the bin is empty."""
    n: int = Field(ge=0)
    """Number of pairs."""

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        if self.n and (self.mean_probability is None or self.share_positive is None):
            raise ValueError("a bin with pairs needs mean_probability and share_positive")
        return self


class JudgeCalibration(_Part):
    """One judge on interactions that were held out of train."""

    name: str
    """What it is called."""
    auc_uniform: float | None = Field(ge=0, le=1)
    """Area under the ROC curve, positives against uniformly drawn items; null where it was not measured."""
    auc_hard: float | None = Field(ge=0, le=1)
    """The same against hard negatives."""
    recall: float | None = Field(None, ge=0, le=1)
    """Recall@20 of the positives, of all items that were not in what the judge was fitted on."""
    brier: float | None = Field(ge=0)
    """Mean squared error of the probabilities."""
    bins: tuple[CalibrationBin, ...]
    """Ascending."""


class Calibration(_Part):
    """The content of calibration.json."""

    judges: tuple[JudgeCalibration, ...]
    """All judges that were measured on the same pairs."""


def read_calibration(folder: Path | None) -> tuple[JudgeCalibration, ...]:
    """Read the judges of `folder`/calibration.json; none where there is no such folder.

    Raises:
        MissingFileError: the folder holds no such file.
        DataError: the file is not what it should be.
    """
    if folder is None:
        return ()
    path = folder / FILE
    try:
        return Calibration.model_validate(read_json(path)).judges
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "top level"
        raise DataError(f"{path}, {place}: {first['msg']}. Run the stage that writes it again.") from None
