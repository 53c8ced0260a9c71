"""Where data comes from: an asset by name, or a path; and what identifies its content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hnlmrec.artifacts import MANIFEST, sha256_of
from hnlmrec.assets import ASSETS, asset_fingerprint, fetch
from hnlmrec.data.readers import source_files
from hnlmrec.data.tables import reading
from hnlmrec.errors import MissingFileError, did_you_mean

DATA_SETS = tuple(name for name, asset in ASSETS.items() if asset.kind == "data")
"""The assets that are data sets."""


def source_path(source: str) -> Path:
    """Return where a source lies; an asset is fetched if need be.

    Raises:
        MissingFileError: it is neither a data set's name nor a path.
        StorageError: it lies in a folder that may not be read.
    """
    path = Path(source).expanduser()
    with reading(path):
        exists = path.exists()
    if source in DATA_SETS and not exists:
        return fetch(source)
    if not exists:
        raise MissingFileError(
            f"there is no data set {source!r}{did_you_mean(source, DATA_SETS)} Give a folder, a file, or a data "
            f"set by name: {', '.join(DATA_SETS)}."
        )
    return path


def source_fingerprint(source: str) -> str:
    """Return a sha256 of the source's content (names and bytes of its files), for the key of an artefact.

    Raises:
        MissingFileError: as `source_path`.
        StorageError: the folder or one of its files may not be read.
    """
    if source in DATA_SETS and not Path(source).exists():
        return hashlib.sha256(asset_fingerprint(source).encode()).hexdigest()
    listed = "\n".join(f"{file.name} {_readable_sha256(file)}" for file in source_files(source_path(source)))
    return hashlib.sha256(listed.encode()).hexdigest()


def _readable_sha256(file: Path) -> str:
    with reading(file):
        return sha256_of(file)


def is_prepared(path: Path) -> bool:
    """Tell whether a folder holds a prepared data set, committed to the artefact store."""
    with reading(path):
        return (path / MANIFEST).is_file() and (path / "interactions.parquet").is_file()
