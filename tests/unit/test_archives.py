"""Archives of assets: names that lead outside, links, bombs, and headers that lie."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from hnlmrec.asset_sources import SourceError, extract_member

LIMIT = 1000


def archive_with(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        for name, goal in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3  # Unix: the mode says that it is a link
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, goal)
    return path


@pytest.mark.parametrize("name", ["../e", "a/../../e", "/e", "C:/e", "C:\\e", "..\\e", "\\\\host\\e", "a/.."])
def test_a_name_that_leads_outside_refuses_the_whole_archive(tmp_path: Path, name: str) -> None:
    archive = archive_with(tmp_path / "a.zip", {"good": b"good", name: b"evil"})
    with pytest.raises(SourceError, match="lead out of its folder"):
        extract_member(archive, "good", tmp_path / "out", LIMIT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]


def test_a_link_becomes_a_plain_file_and_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    archive = archive_with(tmp_path / "a.zip", {}, {"link": str(tmp_path / "secret")})
    extract_member(archive, "link", tmp_path / "out", LIMIT)
    assert not (tmp_path / "out").is_symlink()
    assert (tmp_path / "out").read_text() == str(tmp_path / "secret")  # the goal's name, not its content


def test_a_bomb_stops_at_the_limit_whatever_its_header_says(tmp_path: Path) -> None:
    archive = archive_with(tmp_path / "a.zip", {"bomb": b"0" * 50_000_000})
    content = bytearray(archive.read_bytes())
    place = content.rfind(b"PK\x01\x02")
    content[place + 24 : place + 28] = (10).to_bytes(4, "little")  # "10 bytes unpacked"
    lying = tmp_path / "lying.zip"
    lying.write_bytes(content)
    for path in (archive, lying):
        with pytest.raises(SourceError):
            extract_member(path, "bomb", tmp_path / "out", LIMIT)
        assert (tmp_path / "out").stat().st_size <= LIMIT


def test_other_members_are_not_unpacked(tmp_path: Path) -> None:
    archive = archive_with(tmp_path / "a.zip", {"good": b"good", "bomb": b"0" * 50_000_000})
    extract_member(archive, "good", tmp_path / "out", LIMIT)
    assert (tmp_path / "out").read_bytes() == b"good"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out"]
