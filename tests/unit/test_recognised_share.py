"""How many recognised positives a judge is good for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hnlmrec.errors import ConfigError
from hnlmrec.judging.share import recognised_share


def calibration(folder: Path, **areas: float | None) -> Path:
    judges = [{"name": name.replace("_", " "), "auc_hard": area} for name, area in areas.items()]
    (folder / "calibration.json").write_text(json.dumps({"judges": judges}))
    return folder


@pytest.mark.parametrize(
    ("judge", "best", "share"), [(0.866, 0.837, 0.5), (0.762, 0.75, 0.216), (0.72, 0.72, 0.0), (0.6, 0.7, 0.0)]
)
def test_it_follows_from_what_the_judge_knows_more(
    tmp_path: Path, judge: float, best: float, share: float
) -> None:
    folder = calibration(tmp_path, ease_text=0.99, llm=judge, ease_alone=best, cf_alone=best - 0.1)
    assert recognised_share(folder) == share


def test_without_a_calibration_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs the calibration"):
        recognised_share(calibration(tmp_path, ease_text=0.8))
    with pytest.raises(ConfigError, match="needs the calibration"):
        recognised_share(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="too few interactions"):
        recognised_share(calibration(tmp_path, llm=None, cf_alone=None))
