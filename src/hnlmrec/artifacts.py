"""The artefact store: what a stage has made, under a key of all that decides its content.

`<root>/<stage>/<key>/` holds the payload and `manifest.json`. A stage works in `<key>.partial` beside it, which a
kill leaves behind for the next run to go on from; the manifest is written last and the folder then renamed, so a
folder without the suffix is always whole.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from safetensors import SafetensorError

from hnlmrec.config import Config, fingerprint_fields
from hnlmrec.errors import BusyFolderError, CorruptArtifactError, HnlmrecError, MissingFileError, StorageError

MANIFEST = "manifest.json"
_LOCK = ".lock"
_TEMPORARY = ".*.tmp"  # half a file, which a killed process left
_STORAGE_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would be larger than the system allows",
    errno.EACCES: "the folder may not be written",
    errno.EROFS: "the file system is read-only",
}


@dataclass(frozen=True)
class Artifact:
    """A committed artefact: its folder and what its manifest says."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The 16 hex digits under which it is stored."""
        return str(self.manifest["key"])


@dataclass
class WorkingFolder:
    """The folder in which a stage makes its payload, and the facts that its manifest will hold.

    Attributes:
        path: the folder.
        found: the artefact, where another process has committed it meanwhile. Then there is nothing to make: what
            is written into `path` is thrown away.
        facts: go into the manifest.
    """

    path: Path
    found: Artifact | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def artifact_key(stage: str, version: int, config: Config, inputs: Mapping[str, str]) -> str:
    """Return sha256(stage, stage version, config without runtime fields, input keys), 16 hex digits."""
    content = [stage, version, fingerprint_fields(config), dict(inputs)]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class ArtifactStore:
    """Artefacts below one folder.

    Args:
        root: made when the first artefact is.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, stage: str, key: str) -> Path:
        """Return where that artefact is, or would be."""
        return self.root / stage / key

    def find(self, stage: str, key: str) -> Artifact | None:
        """Return the artefact, its payload checked against the manifest; None where it was never committed.

        Raises:
            CorruptArtifactError: a file is missing or differs from what was committed.
        """
        path = self.path(stage, key)
        return open_artifact(path) if path.exists() else None

    @contextmanager
    def create(self, stage: str, key: str) -> Iterator[WorkingFolder]:
        """Give a folder to work in, and commit it when the block ends without an exception.

        The folder is the one that an earlier, interrupted run left, with what it had made. Where another process
        works in it at this moment, a private one is given; who commits first is kept. Where another process has
        committed the artefact since the caller looked for it, `found` of the working folder is that artefact, and
        nothing is committed.

        Raises:
            CorruptArtifactError: another process has committed it, and it is damaged.
            StorageError: the disk is full or the folder cannot be written. What was made so far stays.
        """
        final = self.path(stage, key)
        with storage_errors(final), _claim(final) as partial:
            work = WorkingFolder(partial, self.find(stage, key))
            yield work
            if work.found is not None:
                _discard(partial)
                return
            _remove_temporaries(partial)
            facts = {"stage": stage, "key": key, **work.facts, "sha256": _payload_digests(partial)}
            write_json(partial / MANIFEST, facts)
            _commit(partial, final)


def open_artifact(path: Path) -> Artifact:
    """Read an artefact's manifest and check every file of its payload.

    Raises:
        MissingFileError: there is no such folder.
        CorruptArtifactError: the manifest is unreadable, or a file is missing or changed.
    """
    if not path.exists():
        raise MissingFileError(
            f"there is no artefact {path}: it was removed, or moved. Run again to make it anew."
        )
    advice = f"Remove the folder {path} and run again to make it anew."
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        expected = dict(manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtifactError(f"the manifest of {path} cannot be read ({error}). {advice}") from None
    found = _payload_digests(path)
    changed = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if changed:
        raise CorruptArtifactError(f"{path} differs from what was committed, in: {', '.join(changed)}. {advice}")
    return Artifact(path, manifest)


@contextmanager
def alone_in(folder: Path, activity: str) -> Iterator[None]:
    """Keep other processes that ask for the same folder out of it for the length of the block.

    The lock goes with the process that holds it, however that ends.

    Args:
        folder: made where it is missing.
        activity: what is done there, for the message.

    Raises:
        BusyFolderError: another process is in it.
        StorageError: the folder cannot be written.
    """
    with ExitStack() as stack:
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / _LOCK).open("a"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyFolderError(
                f"{activity} is under way in {folder} by another process. Wait for it, or end it; or give this "
                "one another name."
            ) from None
        yield


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees either the old file or the new one, never half of one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def _payload_digests(path: Path) -> dict[str, str]:
    files = (file for file in path.rglob("*") if file.is_file() and file.name not in (MANIFEST, _LOCK))
    return {file.relative_to(path).as_posix(): sha256_of(file) for file in sorted(files)}


@contextmanager
def _claim(final: Path) -> Iterator[Path]:
    shared = final.with_name(f"{final.name}.partial")
    with ExitStack() as stack:
        if _lock(shared, stack):
            yield shared
        else:  # another process is making the same artefact at this moment
            private = Path(tempfile.mkdtemp(prefix=f"{final.name}.partial-", dir=final.parent))
            private.chmod(0o755)  # mkdtemp makes private folders
            stack.callback(shutil.rmtree, private, ignore_errors=True)
            yield private


def _lock(folder: Path, stack: ExitStack) -> bool:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = stack.enter_context((folder / _LOCK).open("w"))
        except FileNotFoundError:
            continue  # the folder was committed just after our mkdir
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            if os.path.samestat(os.fstat(lock.fileno()), (folder / _LOCK).stat()):
                return True
        except FileNotFoundError:
            pass  # the folder was committed between our opening of the lock and our taking it


def _commit(partial: Path, final: Path) -> None:
    try:
        os.rename(partial, final)  # noqa: PTH104 - Path.rename says nothing of a folder that is not empty
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        open_artifact(final)  # another process was first: keep its work, if it is whole
        _discard(partial)
    else:  # only now: while the folder has its old name, nobody else may lock it
        (final / _LOCK).unlink(missing_ok=True)


def _discard(partial: Path) -> None:
    """Remove a working folder; the rename keeps others from putting a lock into it meanwhile."""
    trash = Path(tempfile.mkdtemp(prefix=f"{partial.name}-", dir=partial.parent))
    os.rename(partial, trash)  # noqa: PTH104 - onto an empty folder
    shutil.rmtree(trash)


def _remove_temporaries(folder: Path) -> None:
    for file in list(folder.rglob(_TEMPORARY)):
        if file.is_file():
            file.unlink()


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the errors of a full disk, or of a folder that may not be written, into StorageError.

    polars, safetensors and numpy raise these as errors of their own, without the system's number.
    """
    try:
        yield
    except HnlmrecError:
        raise
    except (OSError, pl.exceptions.PolarsError, SafetensorError) as error:
        reason = _STORAGE_REASONS.get(_system_number(error))
        if reason is None:
            raise
        raise StorageError(
            f"{reason} while writing {path}: {error}. Make room or choose another folder; "
            "what was made so far is kept, and the same command goes on from there."
        ) from error


def _system_number(error: Exception) -> int:
    """Return the errno that an exception holds or that its text tells; 0 for none."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    text = str(error)
    if number := re.search(r"\(os error (\d+)\)", text):
        return int(number[1])
    # how numpy says that the disk took only a part of an array
    short = isinstance(error, OSError) and re.fullmatch(r"\d+ requested and \d+ written", text)
    return errno.ENOSPC if short or "No space left" in text else 0
