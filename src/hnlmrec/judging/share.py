"""How many recognised positives a judge is good for, from its own calibration."""

from __future__ import annotations

from pathlib import Path

from hnlmrec.data.tables import read_json
from hnlmrec.errors import ConfigError
from hnlmrec.judging.judge import ALONE

PER_AREA = 18.0
MOST = 0.5


def recognised_share(folder: Path) -> float:
    """Return the share of a batch's positives that are worth drawing from a judge, in [0, 0.5].

    min(0.5, 18 (A - A')), with A and A' the areas under the curve, among the hard pairs held out of train, of the
    judge and of the best of its evidence alone. A judge that knows no more than one of its sources would only
    repeat that source's mistakes. Our own rule, from the shares that were best on validation on four data sets
    (docs/false-negatives.md), so a search may well find better. No label of the validation or test split is read.

    Args:
        folder: of the stage `judge`.

    Raises:
        ConfigError: there is no calibration, or too little was held out to measure it.
    """
    path = folder / "calibration.json"
    judges = read_json(path)["judges"] if path.is_file() else []
    areas = {judge["name"]: float(judge["auc_hard"]) for judge in judges if judge["auc_hard"] is not None}
    combined = [area for name, area in areas.items() if not name.endswith(ALONE)]
    alone = [area for name, area in areas.items() if name.endswith(ALONE)]
    if not combined or not alone:
        raise ConfigError(
            f"training.recognised_share = auto needs the calibration of a judge, and {folder} holds none, or had "
            "too few interactions held out for one. Set it to a number."
        )
    gain = combined[-1] - max(alone)
    return round(min(max(PER_AREA * gain, 0.0), MOST), 3)
