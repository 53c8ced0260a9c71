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
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hnlmrec.config import Config, fingerprint_fields
from hnlmrec.errors import CorruptArtifactError, StorageError

MANIFEST = "manifest.json"
_LOCK = ".lock"


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
    """The folder in which a stage makes its payload, and the facts that its manifest will hold."""

    path: Path
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
        works in it at this moment, a private one is given; who commits first is kept.

        Raises:
            StorageError: the disk is full or the folder cannot be written. What was made so far stays.
        """
        final = self.path(stage, key)
        with storage_errors(final), _claim(final) as partial:
            work = WorkingFolder(partial)
            yield work
            facts = {"stage": stage, "key": key, **work.facts, "sha256": _payload_digests(partial)}
            write_json(partial / MANIFEST, facts)
            _commit(partial, final)


def open_artifact(path: Path) -> Artifact:
    """Read an artefact's manifest and check every file of its payload.

    Raises:
        CorruptArtifactError: the manifest is unreadable, or a file is missing or changed.
    """
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
        lock = stack.enter_context((folder / _LOCK).open("w"))
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
    (partial / _LOCK).unlink(missing_ok=True)
    try:
        os.rename(partial, final)  # noqa: PTH104 - Path.rename says nothing of a folder that is not empty
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        open_artifact(final)  # another process was first: keep its work, if it is whole
        shutil.rmtree(partial)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the errors of a full disk, or of a folder that may not be written, into StorageError."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the disk quota is used up",
            errno.EACCES: "the folder may not be written",
            errno.EROFS: "the file system is read-only",
        }
        if error.errno not in reasons or isinstance(error, StorageError):
            raise
        raise StorageError(
            f"{reasons[error.errno]} while writing {path}: {error}. Make room or choose another folder; "
            "what was made so far is kept, and the same command goes on from there."
        ) from error
