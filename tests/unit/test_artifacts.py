"""The artefact store: keys, atomic commit, resume, integrity."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hnlmrec import artifacts
from hnlmrec.artifacts import ArtifactStore, artifact_key, open_artifact, write_json
from hnlmrec.config import Config, runtime
from hnlmrec.errors import CorruptArtifactError, StorageError


class StageConfig(Config):
    size: int = 1
    """A number that changes the result."""
    threads: int = runtime(1)
    """A number that does not."""


KEY = artifact_key("prepare", 1, StageConfig(), {})


def _make(store: ArtifactStore, text: str = "payload") -> None:
    with store.create("prepare", KEY) as work:
        (work.path / "data").mkdir(exist_ok=True)
        (work.path / "data/a.txt").write_text(text)
        work.facts["seed"] = 7


def _fail(store: ArtifactStore, text: str, error: Exception) -> None:
    with store.create("prepare", KEY) as work:
        (work.path / "rows.jsonl").write_text(text)
        raise error


def test_commit_and_find(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "artifacts")
    assert store.find("prepare", KEY) is None
    _make(store)
    found = store.find("prepare", KEY)
    assert found is not None
    assert found.key == KEY
    assert found.manifest["seed"] == 7
    assert list(found.manifest["sha256"]) == ["data/a.txt"]
    assert [path.name for path in found.path.parent.iterdir()] == [KEY]


def test_an_exception_keeps_what_was_made_for_the_next_run(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    with pytest.raises(ZeroDivisionError):
        _fail(store, "1\n2\n", ZeroDivisionError())
    assert store.find("prepare", KEY) is None
    with store.create("prepare", KEY) as work:
        assert (work.path / "rows.jsonl").read_text() == "1\n2\n"
    assert store.find("prepare", KEY) is not None


def test_a_kill_keeps_what_was_made_for_the_next_run(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom hnlmrec.artifacts import ArtifactStore\n"
        f"with ArtifactStore(Path(sys.argv[1])).create('prepare', '{KEY}') as work:\n"
        "    (work.path / 'rows.jsonl').write_text('1\\n')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    store = ArtifactStore(tmp_path)
    assert store.find("prepare", KEY) is None
    with store.create("prepare", KEY) as work:
        assert (work.path / "rows.jsonl").read_text() == "1\n"
    assert store.find("prepare", KEY) is not None


def test_a_kill_between_manifest_and_rename_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ArtifactStore(tmp_path)

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            _make(store)
    assert store.find("prepare", KEY) is None
    assert (tmp_path / "prepare" / f"{KEY}.partial/manifest.json").exists()
    _make(store, "second")
    found = store.find("prepare", KEY)
    assert found is not None
    assert (found.path / "data/a.txt").read_text() == "second"


def _race(root: str, barrier: multiprocessing.synchronize.Barrier, text: str, pause: float) -> None:
    import time

    with ArtifactStore(Path(root)).create("prepare", KEY) as work:
        barrier.wait(60)  # both are inside: each must have a folder of its own
        (work.path / "a.txt").write_text(text)
        time.sleep(pause)


def test_two_processes_that_make_one_key_keep_the_first(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")  # the parent has threads
    barrier = context.Barrier(2)
    racers = [("first", 0.0), ("second", 0.5)]
    processes = [context.Process(target=_race, args=(str(tmp_path), barrier, *racer)) for racer in racers]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    found = ArtifactStore(tmp_path).find("prepare", KEY)
    assert found is not None
    assert (found.path / "a.txt").read_text() == "first"
    assert [path.name for path in (tmp_path / "prepare").iterdir()] == [KEY]


@pytest.mark.parametrize("damage", ["changed", "missing", "extra", "no manifest", "half a manifest"])
def test_a_damaged_artefact_is_detected(tmp_path: Path, damage: str) -> None:
    store = ArtifactStore(tmp_path)
    _make(store)
    path = store.path("prepare", KEY)
    if damage == "changed":
        (path / "data/a.txt").write_text("Payload")
    elif damage == "missing":
        (path / "data/a.txt").unlink()
    elif damage == "extra":
        (path / "data/b.txt").write_text("")
    elif damage == "no manifest":
        (path / "manifest.json").unlink()
    else:
        (path / "manifest.json").write_text((path / "manifest.json").read_text()[:40])
    with pytest.raises(CorruptArtifactError, match="Remove the folder") as caught:
        store.find("prepare", KEY)
    assert caught.value.exit_status == 2
    assert str(path) in str(caught.value)


def test_the_first_is_not_kept_when_it_is_damaged(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    other = store.path("prepare", KEY)
    other.mkdir(parents=True)
    (other / "a.txt").write_text("no manifest")
    with pytest.raises(CorruptArtifactError):
        _make(store, "mine")
    assert (tmp_path / "prepare" / f"{KEY}.partial/data/a.txt").read_text() == "mine"


@pytest.mark.parametrize(("number", "words"), [(28, "the disk is full"), (13, "may not be written")])
def test_a_full_disk_loses_nothing(tmp_path: Path, number: int, words: str) -> None:
    store = ArtifactStore(tmp_path)
    with pytest.raises(StorageError, match=f"{words}.*goes on from there") as caught:
        _fail(store, "1\n", OSError(number, "simulated"))
    assert caught.value.exit_status == 2
    with store.create("prepare", KEY) as work:
        assert (work.path / "rows.jsonl").read_text() == "1\n"


def test_a_full_disk_while_the_manifest_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ArtifactStore(tmp_path)

    def full(path: Path, *args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "write_json", full)
        with pytest.raises(StorageError):
            _make(store, "mine")
    assert store.find("prepare", KEY) is None
    assert (tmp_path / "prepare" / f"{KEY}.partial/data/a.txt").read_text() == "mine"


def test_other_errors_of_a_stage_pass_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), ArtifactStore(tmp_path).create("prepare", KEY):
        (tmp_path / "nowhere.txt").read_text()


def test_keys() -> None:
    assert len(KEY) == 16
    assert artifact_key("prepare", 1, StageConfig(threads=8), {}) == KEY
    different = {
        artifact_key("prepare", 1, StageConfig(size=2), {}),
        artifact_key("prepare", 2, StageConfig(), {}),
        artifact_key("encode", 1, StageConfig(), {}),
        artifact_key("prepare", 1, StageConfig(), {"source": "x"}),
        KEY,
    }
    assert len(different) == 5
    forwards = artifact_key("prepare", 1, StageConfig(), {"a": "1", "b": "2"})
    assert artifact_key("prepare", 1, StageConfig(), {"b": "2", "a": "1"}) == forwards


def test_write_json_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"ä": 1})
    with pytest.raises(TypeError):
        write_json(path, {"b": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"ä": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_opening_a_folder_that_is_no_artefact(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtifactError, match="manifest"):
        open_artifact(tmp_path)
