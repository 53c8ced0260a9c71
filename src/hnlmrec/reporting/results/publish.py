"""Copies what matters of a study into a folder that can be committed: facts, means, tests, claims, pictures."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.artifacts import storage_errors, write_json
from hnlmrec.data.tables import read_json
from hnlmrec.errors import MissingFileError
from hnlmrec.reporting.study.inputs import RESULTS
from hnlmrec.reporting.study.page import CLAIMS, GROUPS, REACH, TESTS

SUMMARY, FACTS, TABLES = "study.json", "study.json", "tables.md"
_COPIED = (TESTS, CLAIMS, GROUPS, REACH, TABLES)
_PLACE = ("dataset", "model", "variant", "initialisation", "varied", "value", "seed", "family")
_TRAINING = ("fhns_ratio", "best_epoch", "epochs", "seconds", "seconds_per_epoch", "config", "key")
_BESIDE = ("coverage", "arp", "gini")
_PATH = re.compile(r"(?:[\w.~+-]*/)+(?=[\w.+-])")
_OF_A_MACHINE = ("runtime.", "resources.", "llm.base_url")


def publish_study(folder: Path, results: Path, pictures: Path) -> Path:
    """Copy a finished study, in place of an earlier copy of the same name; return the copy's folder.

    Paths of the machine are left out of it: of a data source only its last part is kept.

    Args:
        folder: of `hnlmrec compare`, runs/NAME.
        results: the copy becomes its sub-folder NAME.
        pictures: the SVG pictures are copied into its sub-folder NAME.

    Raises:
        MissingFileError: the folder holds no finished study.
    """
    missing = [file for file in (SUMMARY, RESULTS, *_COPIED) if not (folder / file).is_file()]
    if missing:
        raise MissingFileError(
            f"{folder} holds no finished study: {', '.join(missing)} is missing. Run `hnlmrec compare STUDY.toml` "
            "(again: what was made is found), and give the folder that it names."
        )
    summary = read_json(folder / SUMMARY)
    name = str(summary["study"])
    target, drawn = results / name, pictures / name
    with storage_errors(target):
        for place in (target, drawn):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        for file in _COPIED:
            shutil.copyfile(folder / file, target / file)
        for picture in sorted((folder / "pictures").glob("*.svg")):
            shutil.copyfile(picture, drawn / picture.name)
        frame = pl.read_parquet(folder / RESULTS)
        _compact(frame, summary["config"]["study"]["metrics"]).write_parquet(target / RESULTS)
        write_json(target / FACTS, study_facts(summary, frame))
    return target


def study_facts(summary: Mapping[str, Any], results: pl.DataFrame) -> dict[str, Any]:
    """Return what the page says of how a study was run, without what tells of one machine's folders.

    Args:
        summary: content of the study's study.json.
        results: its results.parquet.
    """
    config, environment = summary["config"], summary["environment"]
    section, chosen = config["study"], config["select"]["datasets"]
    trained = results.unique("key")  # equal runs are made once
    return {
        **{name: summary[name] for name in ("study", "shipped", "baseline", "cells", "done", "machine")},
        **{name: section[name] for name in ("title", "seeds", "vary", "test", "metrics", "reductions")},
        "failed": [{"cell": row["cell"], "error": without_paths(row["error"])} for row in summary["failed"]],
        "changed": without_machine(summary["overrides"]),
        "datasets": [
            {"label": entry["label"], "set": without_machine(entry["set"])}
            for entry in config["datasets"]
            if not chosen or entry["label"] in chosen
        ],
        "variants": [{**variant, "set": without_machine(variant["set"])} for variant in config["variants"]],
        "vary_values": {entry["label"] or entry["key"]: entry["values"] for entry in config["vary"]},
        "trials": config["search"]["trials"],
        "measured": summary.get("finished", ""),  # studies did not say it at first
        "run_seconds": round(float(trained["seconds"].sum()), 1),
        "version": environment["hnlmrec"],
        "commit": environment["commit"],
        "packages": environment["packages"],
    }


def without_machine(settings: Iterable[str]) -> list[str]:
    """Return the settings that may be published: none of one machine's places, and paths by their last part."""
    return [without_paths(text) for text in settings if not text.startswith(_OF_A_MACHINE)]


def without_paths(text: str) -> str:
    """Return the text with the last part of each path in place of the path."""
    return _PATH.sub("", text)


def _compact(frame: pl.DataFrame, metrics: list[str]) -> pl.DataFrame:
    """Return the rows with the study's metrics, and those of the catalogue at the same K, alone."""
    ks = dict.fromkeys(name.partition("@")[2] for name in metrics)
    measured = [f"{split}/{name}" for split in ("valid", "test") for name in metrics]
    measured += [f"test/{name}@{k}" for name in _BESIDE for k in ks]
    kept = [name for name in (*_PLACE, *measured, *_TRAINING) if name in frame.columns]
    return frame.select(kept)
