"""Reads the artefacts of finished cells into tidy tables: a row a run, the users' values, the curves."""

from __future__ import annotations

import functools
import hashlib
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hnlmrec.artifacts import ArtifactStore, open_artifact
from hnlmrec.config import fingerprint_fields
from hnlmrec.data.tables import read_json
from hnlmrec.reporting.inputs import read_jsonl
from hnlmrec.studies.cells import Cell, Place
from hnlmrec.studies.families import family
from hnlmrec.studies.groups import prepared_groups
from hnlmrec.studies.jobs import Plan

PLACE = ("dataset", "model", "variant", "initialisation", "varied", "value", "seed")
BOUNDS = ("dataset", "varied", "value", "prepared")
_PLACE_TYPES: dict[str, Any] = dict.fromkeys(PLACE, pl.String) | {"seed": pl.Int64}


class Collector:
    """Reads each finished cell once.

    Args:
        plan: where the artefacts of each cell are.
        store: the artefact store.
        metrics: whose values by user are kept.
        groups: how many groups of items are told apart by popularity; 0 for none.
    """

    def __init__(self, plan: Plan, store: ArtifactStore, metrics: Sequence[str], groups: int = 0) -> None:
        self.plan, self.store, self.metrics, self.groups = plan, store, tuple(metrics), groups
        self.rows: dict[Place, dict[str, Any]] = {}
        self._users: dict[Place, pl.DataFrame] = {}
        self._curves: dict[Place, pl.DataFrame] = {}
        self._bounds: dict[tuple[str, str, str, str], pl.DataFrame] = {}

    def collect(self, cell: Cell) -> bool:
        """Read a cell whose artefacts are there; return whether it is new and done.

        Raises:
            CorruptArtifactError: the artefact is damaged.
        """
        target = self.plan.target(cell).path(self.store)
        if cell.place in self.rows or not target.exists():
            return False
        evaluated = open_artifact(target)
        paths = {label: self.store.root / id_ for label, id_ in self.plan.nodes[cell].items()}
        row = asdict(cell.place) | _metrics(target) | _identity(cell, evaluated.key)
        train = next((path for label, path in paths.items() if label.startswith("train/")), None)
        if train is None:
            row["seconds"] = evaluated.manifest["seconds"]
        else:
            row |= _training(train)
            self._curves[cell.place] = _curve(train, cell.place)
        self._users[cell.place] = self._of_users(target, paths["prepare"], cell.place)
        self.rows[cell.place] = row
        return True

    def _of_users(self, folder: Path, prepared: Path, place: Place) -> pl.DataFrame:
        frame = pl.read_parquet(folder / "per_user.parquet").filter(pl.col("split") == "test")
        columns = []
        if self.groups:
            groups = prepared_groups(prepared, self.groups)
            k = int(self.metrics[0].partition("@")[2])
            found = groups.columns(folder, frame["user"].to_numpy().astype(np.int64), k)
            columns = [pl.Series(name, values) for name, values in found.items()]
            self._bounds[place.dataset, place.varied, place.value, prepared.name] = groups.bounds()
        frame = frame.with_columns(columns).join(_user_ids(prepared), on="user", how="left", maintain_order="left")
        return _placed(frame.select("user_id", *self.metrics, *columns), place)

    def item_groups(self) -> pl.DataFrame:
        """Return a row for each prepared data set and group of items: its smallest and largest popularity."""
        frames = [
            frame.select(*(pl.lit(v).alias(n) for n, v in zip(BOUNDS, place, strict=True)), pl.all())
            for place, frame in self._bounds.items()
        ]
        schema = dict.fromkeys(BOUNDS, pl.String) | dict.fromkeys(("group", "low", "high", "items"), pl.Int64)
        return pl.concat(frames) if frames else pl.DataFrame(schema=schema)

    def results(self) -> pl.DataFrame:
        """Return a row a run: its place, metrics by split, FHNS rates, epochs, seconds, hash of its settings."""
        types = {**_PLACE_TYPES, "family": pl.String, "key": pl.String, "config": pl.String}
        places = dict.fromkeys(cell.place for cell in self.plan.nodes)  # a searched cell has two, before and after
        rows = [self.rows[place] for place in places if place in self.rows]
        return pl.DataFrame(rows, schema_overrides=types, infer_schema_length=None, strict=False)

    def users(self) -> pl.DataFrame:
        """Return a row for each run and test user: user_id, the study's metrics, activity, hits by item group."""
        return _joined(self._users, {**_PLACE_TYPES, "user_id": pl.Categorical})

    def curves(self) -> pl.DataFrame:
        """Return a row for each run, evaluated epoch and metric: epoch, seconds of training until then, value.

        An epoch that was not evaluated is taken to have lasted as long as the next that was, and the first
        evaluated one no longer than the median of the others: what is compiled then is not the method's time.
        """
        schema = {
            **_PLACE_TYPES,
            "epoch": pl.Int64,
            "seconds": pl.Float64,
            "split": pl.String,
            "metric": pl.String,
            "value_at": pl.Float64,
        }
        return _joined(self._curves, schema)


def config_hash(cell: Cell) -> str:
    """Return 16 hex digits of all settings that decide the cell's result."""
    values = {name: value for name, value in fingerprint_fields(cell.config).items() if name != "name"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _identity(cell: Cell, artefact: str) -> dict[str, str]:
    return {"family": family(cell), "key": artefact, "config": config_hash(cell)}


def _metrics(folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {
        f"{split}/{name}": value
        for split, values in read_json(folder / "metrics.json").items()
        for name, value in values.items()
    }
    if (folder / "fhns.json").exists():
        rates = read_json(folder / "fhns.json")
        row |= {f"fhns_{name}": rates.get(name) for name in ("drawn", "uniform", "ratio")}
    return row


def _training(folder: Path) -> dict[str, Any]:
    training = read_json(folder / "training.json")
    row = {name: training[name] for name in ("best_epoch", "epochs", "select_on")}
    return row | {
        "seconds": training["seconds"]["total"],
        "seconds_per_epoch": training["seconds"]["train_per_epoch"],
    }


def _curve(folder: Path, place: Place) -> pl.DataFrame:
    rows, epoch, seconds = [], 0, 0.0
    records = read_jsonl(folder / "metrics.jsonl")
    for record, lasted in zip(records, _steady([record["train_seconds"] for record in records]), strict=True):
        seconds += lasted * (record["epoch"] - epoch)
        epoch = record["epoch"]
        rows += [
            {"epoch": epoch, "seconds": seconds, "split": split, "metric": name, "value_at": value}
            for split in ("valid", "test")
            for name, value in record.get(split, {}).items()
        ]
    return _placed(pl.DataFrame(rows), place)


@functools.lru_cache(maxsize=16)
def _user_ids(prepared: Path) -> pl.DataFrame:
    ids = pl.read_parquet(prepared / "users.parquet", columns=["user_id"])
    number = pl.col("user").cast(pl.Int32)
    return ids.with_row_index("user").with_columns(number, pl.col("user_id").cast(pl.Categorical))


def _steady(seconds: Sequence[float]) -> list[float]:
    """Return the seconds of each epoch, the first, which may pay for compiling, at most the others' median."""
    first, *others = seconds
    return [min(first, statistics.median(others)) if others else first, *others]


def _placed(frame: pl.DataFrame, place: Place) -> pl.DataFrame:
    columns = [pl.lit(value, _PLACE_TYPES[name]).alias(name) for name, value in asdict(place).items()]
    return frame.select(*columns, pl.all())


def _joined(frames: dict[Place, pl.DataFrame], schema: dict[str, Any]) -> pl.DataFrame:
    if not frames:
        return pl.DataFrame(schema=schema)
    return pl.concat(list(frames.values()), how="diagonal_relaxed")
