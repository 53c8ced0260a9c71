"""Where data comes from: an asset by name, or a path; and what identifies its content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hnlmrec.artifacts import MANIFEST, sha256_of
from hnlmrec.assets import ASSETS, asset_fingerprint, fetch
from hnlmrec.errors import MissingFileError, did_you_mean

DATA_SETS = tuple(name for name, asset in ASSETS.items() if asset.kind == "data")
"""The assets that are data sets."""


def source_path(source: str) -> Path:
    """Return where a source lies; an asset is fetched if need be.

    Raises:
        MissingFileError: it is neither a data set's name nor a path.
    """
    path = Path(source).expanduser()
    if source in DATA_SETS and not path.exists():
        return fetch(source)
    if not path.exists():
        raise MissingFileError(
            f"there is no data set {source!r}{did_you_mean(source, DATA_SETS)} Give a folder, a file, or a data "
            f"set by name: {', '.join(DATA_SETS)}."
        )
    return path


def source_fingerprint(source: str) -> str:
    """Return a sha256 of the source's content (names and bytes of its files), for the key of an artefact."""
    path = Path(source).expanduser()
    if source in DATA_SETS and not path.exists():
        return hashlib.sha256(asset_fingerprint(source).encode()).hexdigest()
    path = source_path(source)
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    listed = "\n".join(f"{file.name} {sha256_of(file)}" for file in files)
    return hashlib.sha256(listed.encode()).hexdigest()


def is_prepared(path: Path) -> bool:
    """Tell whether a folder holds a prepared data set, committed to the artefact store."""
    return (path / MANIFEST).is_file() and (path / "interactions.parquet").is_file()
