"""Watching the folder that pip downloads into, while pip makes and removes folders there."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from hnlmrec.asset_sources import _bytes_in


def test_what_vanishes_while_it_is_watched_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "wheel").write_bytes(b"12345")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "part").write_bytes(b"123")
    assert _bytes_in(tmp_path) == 8
    done = threading.Event()

    def churn() -> None:
        while not done.is_set():
            for number in range(20):
                (tmp_path / f"pip-unpack-{number}" / "inner").mkdir(parents=True)
                (tmp_path / f"pip-unpack-{number}" / "inner" / "part").touch()
            for number in range(20):
                shutil.rmtree(tmp_path / f"pip-unpack-{number}")

    other = threading.Thread(target=churn)
    other.start()
    try:
        assert {_bytes_in(tmp_path) for _ in range(60)} == {8}
    finally:
        done.set()
        other.join()
