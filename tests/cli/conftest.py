"""A small data set with texts, and the command line run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cli.small_study import HEAD, VARIANTS

from hnlmrec.cli import main


@dataclass(frozen=True)
class Outcome:
    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.stdout)
        return value


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """30 users, 24 items with titles; even users like even items."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "films"
    folder.mkdir()
    rows = ["user_id,item_id,rating,timestamp"]
    for user in range(30):
        items = rng.permutation(np.arange(user % 2, 24, 2))[:9]
        rows += [f"u{user},i{item},5,{1000 + place}" for place, item in enumerate(items)]
    (folder / "interactions.csv").write_text("\n".join(rows) + "\n")
    kinds = ("Crime", "Drama")
    items = [{"item_id": f"i{n}", "title": f"Film {n}", "categories": [kinds[n % 2]]} for n in range(24)]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return folder


@pytest.fixture
def write(tmp_path: Path, data: Path) -> Callable[..., Path]:
    """Write a study of the small data set to a file, and return its path."""

    def write_study(body: str = VARIANTS, head: str = HEAD) -> Path:
        path = tmp_path / "small.toml"
        path.write_text(head.replace("SOURCE", str(data)) + body)
        return path

    return write_study


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let figures be put together, and their files be empty pictures: for tests that are about something else."""
    figure = pytest.importorskip("matplotlib.figure").Figure

    def save(self: Any, file: Any, **_: Any) -> None:
        empty = '<svg viewBox="0 0 1 1"></svg>'
        file.write_text(empty) if isinstance(file, Path) else file.write(empty)

    monkeypatch.setattr(figure, "savefig", save)


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run `hnlmrec` with these arguments, in a folder of its own."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["hnlmrec", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    return run
