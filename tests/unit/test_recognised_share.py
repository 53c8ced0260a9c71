"""How many recognised positives a judge is good for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hnlmrec.errors import ConfigError
from hnlmrec.judging.share import recognised_share


def calibration(folder: Path, **areas: float) -> Path:
    judges = [{"name": name.replace("_", " "), "auc_hard": area} for name, area in areas.items()]
    (folder / "calibration.json").write_text(json.dumps({"judges": judges}))
    return folder


@pytest.mark.parametrize(
    ("judge", "cf", "share"), [(0.866, 0.809, 0.5), (0.762, 0.75, 0.108), (0.72, 0.72, 0.0), (0.6, 0.7, 0.0)]
)
def test_it_follows_from_what_the_judge_knows_more(tmp_path: Path, judge: float, cf: float, share: float) -> None:
    folder = calibration(tmp_path, ease_text=0.9, llm=judge, ease_alone=0.99, cf_alone=cf)
    assert recognised_share(folder) == share


def test_a_judge_that_was_not_compared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"auto needs a judge .* llm or behaviour"):
        recognised_share(calibration(tmp_path, ease_text=0.8, ease_alone=0.7))
    with pytest.raises(ConfigError, match="auto needs a judge"):
        recognised_share(tmp_path / "nothing")
