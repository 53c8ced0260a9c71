"""Pickles are refused: to load one runs whatever code its author put in. Name and first bytes tell them."""

from __future__ import annotations

import zipfile
from pathlib import Path

from hnlmrec.errors import DataError

_SUFFIXES = frozenset({".pkl", ".pickle", ".p", ".pt", ".pth", ".ckpt", ".joblib", ".dill", ".npz"})
_PICKLE = tuple(b"\x80" + bytes([version]) for version in range(2, 6))
_ZIP = b"PK\x03\x04"
_NPY = b"\x93NUMPY"
_HEAD_BYTES = 4096


def refuse_pickle(path: Path) -> None:
    """Raise DataError where a file given as data or vectors is a Python pickle, or may hold one.

    That is: files of pickle, joblib and torch (zip files with a pickle in them too), `.npz`, and `.npy` files of
    Python objects. Nothing of the file is loaded. What cannot be read is passed over: its reader tells why.
    """
    if not path.is_file():
        return
    if what := _pickled(path):
        raise DataError(
            f"{path} is {what}, which may run any code as it is loaded, so it is not read. Write its content in a "
            "plain format with the program that made it: vectors as .npy of numbers (numpy.save with "
            "allow_pickle=False) or .safetensors, interactions as CSV or parquet."
        )


def _pickled(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    if head.startswith(_NPY):
        return "a .npy file of Python objects (a pickle)" if _holds_objects(head) else None
    if head.startswith(_PICKLE):
        return "a Python pickle"
    if head.startswith(_ZIP) and _names_a_pickle(path):
        return "a torch file (a pickle in a zip file)"
    if path.suffix.lower() in _SUFFIXES:
        return f"a {path.suffix} file (a pickle, or an archive that may hold one)"
    return None


def _holds_objects(head: bytes) -> bool:
    """Tell whether the type in a .npy header has objects; the header is a Python literal in Latin-1."""
    header = head.partition(b"\n")[0]
    return b"|O" in header or b"'O" in header


def _names_a_pickle(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith((".pkl", ".pickle", ".npy")) for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError):
        return False
