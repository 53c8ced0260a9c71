"""How many recognised positives a judge is good for, from its own calibration."""

from __future__ import annotations

from pathlib import Path

from hnlmrec.data.tables import read_json
from hnlmrec.errors import ConfigError

COMPARED_WITH_CF = ("llm", "behaviour")
"""Judges that read the pre-trained CF model, and are measured against it."""
_PER_AREA = 9.0
_MOST = 0.5
_ALONE = " alone"


def recognised_share(folder: Path) -> float:
    """Return the share of a batch's positives that are worth drawing from a judge, in [0, 0.5].

    min(0.5, 9 (A - A')), with A and A' the areas under the curve, among the hard pairs held out of train, of the
    judge and of the pre-trained CF model alone. What a judge knows that the CF model does not can be taught; the
    rest are the CF model's own mistakes. Our own rule, from what was best on validation on three data sets (gains
    of .057, .131 and .012; docs/false-negatives.md), so a search may well find better. No label of the validation
    or test split is read.

    Args:
        folder: of the stage `judge`.

    Raises:
        ConfigError: the judge was not compared with a CF model.
    """
    path = folder / "calibration.json"
    judges = read_json(path)["judges"] if path.is_file() else []
    areas = {judge["name"]: float(judge["auc_hard"]) for judge in judges}
    combined = [area for name, area in areas.items() if not name.endswith(_ALONE)]
    if f"cf{_ALONE}" not in areas or not combined:
        raise ConfigError(
            "training.recognised_share = auto needs a judge that has been compared with a pre-trained CF model, "
            f"and {folder} tells of none: set judge.name to {' or '.join(COMPARED_WITH_CF)}, or the share to a "
            "number."
        )
    gain = combined[-1] - areas[f"cf{_ALONE}"]  # those with less evidence are listed before the judge
    return round(min(max(_PER_AREA * gain, 0.0), _MOST), 3)
