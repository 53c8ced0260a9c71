"""What a report is made of: the folders that the stages wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.errors import DataError, MissingFileError
from hnlmrec.evaluation.files import UserValues, read_evaluation


@dataclass(frozen=True)
class Experiment:
    """One trained system.

    Attributes:
        label: unique in the report.
        sampler: name of the sampler; "uniform" is what others with the same initialisation are tested against, and
            "noise" what the generated negatives have to beat.
        initialisation: "random" or "semantic".
        train: folder of the train stage.
        evaluate: folder of the evaluate stage.
    """

    label: str
    sampler: str
    initialisation: str
    train: Path
    evaluate: Path

    @cached_property
    def training(self) -> dict[str, Any]:
        """Content of training.json."""
        training: dict[str, Any] = read_json(self.train / "training.json")
        return training

    @property
    def selected_on_test(self) -> bool:
        """Whether the best epoch was picked on the test split, as some publications do."""
        return bool(self.training.get("select_on") == "test")


@dataclass(frozen=True)
class ReportInputs:
    """Everything that a report shows. A part whose folder is None, or empty, is left out.

    Attributes:
        name: of the run.
        config: the run's configuration.
        stages: lines of stages.json: stage, key, seconds, reused, counts, and label where there is one.
        prepare: folder of the prepared data set.
        profiles: folder of the profiles.
        hard_negatives: folder of the generated negatives.
        encode: folder of the embedding table "items".
        experiments: trained systems.
        baselines: (label, evaluate folder) of recommenders that need no training loop.
        negatives: folder of the table of hard negatives, where it is not `encode`.
        judge: folder of calibration.json: how well judges of false negatives are calibrated.
        left_out: what the run could not make, each with the reason.
    """

    name: str
    config: Mapping[str, Any]
    stages: Sequence[Mapping[str, Any]]
    prepare: Path
    profiles: Path | None = None
    hard_negatives: Path | None = None
    encode: Path | None = None
    experiments: tuple[Experiment, ...] = ()
    baselines: tuple[tuple[str, Path], ...] = ()
    negatives: Path | None = None
    judge: Path | None = None
    left_out: tuple[str, ...] = ()

    @cached_property
    def dataset(self) -> InteractionDataset:
        """The prepared data set."""
        return InteractionDataset.load(self.prepare)

    @cached_property
    def titles(self) -> list[str]:
        """What each item is called, by its number: its title, else its id."""
        frame = pl.read_parquet(self.prepare / "items.parquet")
        titles = frame["title"].to_list() if "title" in frame.columns else [None] * len(frame)
        return [title or f"item {id_}" for title, id_ in zip(titles, frame["item_id"], strict=True)]

    @cached_property
    def results(self) -> dict[str, UserValues]:
        """Test results by label, experiments first."""
        folders = [(e.label, e.evaluate) for e in self.experiments] + list(self.baselines)
        results = {label: _test_result(folder) for label, folder in folders}
        if len(results) < len(folders):
            raise DataError(f"labels of a report must differ: {', '.join(label for label, _ in folders)}.")
        return results

    @property
    def hard_negative_table(self) -> Path | None:
        """Folder of the table of hard negatives, if it was written."""
        folder = self.negatives or self.encode
        return folder if folder is not None and (folder / "hard_negatives.parquet").exists() else None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        MissingFileError: it is not there.
        DataError: it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingFileError(f"there is no result file {path}: run the stage that writes it.") from None
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}. Run the stage that writes it again.") from None


def read_jsonl(path: Path | None) -> list[dict[str, Any]]:
    """Read JSON lines; nothing where there is no such file (a stage without failures writes none).

    Raises:
        DataError: a line is not JSON.
    """
    if path is None or not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise DataError(f"{path}, line {number}, is not valid JSON: {error}.") from None
    return rows


def _test_result(folder: Path) -> UserValues:
    splits = read_evaluation(folder)
    if "test" not in splits:
        raise DataError(f"{folder} holds no results of the test split, only of: {', '.join(splits) or 'none'}.")
    return splits["test"]
