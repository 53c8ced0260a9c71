"""The table of formats that a run can be exported to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hnlmrec.errors import ConfigError, lookup
from hnlmrec.exporting.embeddings import export_faiss, export_parquet, export_safetensors
from hnlmrec.exporting.triplets import (
    export_negatives,
    export_recbole,
    export_sentence_transformers,
    export_torch,
)
from hnlmrec.pipeline.results import Run

Export = Callable[[Run, Path], dict[str, Any]]
"""Writes into a folder, and returns what it counted."""

EXPORTS: dict[str, Export] = {
    "parquet": export_parquet,
    "safetensors": export_safetensors,
    "faiss": export_faiss,
    "negatives": export_negatives,
    "recbole": export_recbole,
    "sentence-transformers": export_sentence_transformers,
    "torch": export_torch,
}


def export_run(run: Run, name: str, out: Path | None = None) -> dict[str, Any]:
    """Write a run in a format of another tool; return {"format", "path", "counts"}.

    Args:
        run: a finished run.
        name: a key of `EXPORTS`.
        out: the folder to write into; by default `export/<format>` in the run's folder.

    Raises:
        UnknownChoiceError: there is no such format.
        ConfigError: `out` is a file.
        DataError: the run lacks what the format needs.
        MissingDependencyError: the format needs a package that is not installed.
    """
    export = lookup(EXPORTS, name, "format")
    folder = out if out is not None else run.folder / "export" / name
    if folder.is_file():
        raise ConfigError(f"{folder} is a file, and an export is a folder: give the name of a folder.")
    counts = export(run, folder)
    return {"format": name, "path": str(folder), "counts": counts}
