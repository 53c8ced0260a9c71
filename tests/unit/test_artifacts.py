"""The artefact store: keys, atomic commit, resume, integrity."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from safetensors import SafetensorError, deserialize

from hnlmrec import artifacts
from hnlmrec.artifacts import ArtifactStore, artifact_key, open_artifact, write_json
from hnlmrec.config import Config, runtime
from hnlmrec.errors import CorruptArtifactError, MissingFileError, StorageError


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

    def overtaken() -> None:
        with store.create("prepare", KEY) as work:
            (work.path / "a.txt").write_text("mine")
            other.mkdir()
            (other / "a.txt").write_text("no manifest")

    with pytest.raises(CorruptArtifactError):
        overtaken()
    assert (tmp_path / "prepare" / f"{KEY}.partial/a.txt").read_text() == "mine"


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


def test_what_was_committed_meanwhile_is_not_made_again(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    with pytest.raises(ZeroDivisionError):
        _fail(store, "1\n", ZeroDivisionError())
    shutil.copytree(tmp_path / "prepare" / f"{KEY}.partial", tmp_path / "rest")
    _make(store, "first")
    (tmp_path / "rest").rename(tmp_path / "prepare" / f"{KEY}.partial")  # as a run has it that looked too early
    with store.create("prepare", KEY) as work:
        assert work.found is not None
        assert (work.found.path / "data/a.txt").read_text() == "first"
        (work.path / "ignored.txt").write_text("second")
    assert [path.name for path in (tmp_path / "prepare").iterdir()] == [KEY]
    found = store.find("prepare", KEY)
    assert found is not None
    assert "data/a.txt" in found.manifest["sha256"]
    assert not (found.path / "ignored.txt").exists()


def test_damage_that_was_committed_meanwhile_is_told_before_any_work(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    store.path("prepare", KEY).mkdir(parents=True)
    with pytest.raises(CorruptArtifactError, match="Remove the folder"):
        _make(store)


def test_the_lock_is_held_until_the_folder_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, rename, seen = ArtifactStore(tmp_path), os.rename, []

    def watched(source: Path, target: Path) -> None:
        seen.append((source / ".lock").exists())
        rename(source, target)

    monkeypatch.setattr(os, "rename", watched)
    _make(store)
    assert seen == [True]
    assert not (store.path("prepare", KEY) / ".lock").exists()


def test_the_folder_may_vanish_before_its_lock_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir, calls = Path.mkdir, []

    def vanishing(path: Path, *args: object, **kwargs: object) -> None:
        mkdir(path, *args, **kwargs)  # type: ignore[arg-type]
        if path.name.endswith(".partial"):
            calls.append(path)
            if len(calls) == 1:
                path.rmdir()

    (tmp_path / "prepare").mkdir()
    monkeypatch.setattr(Path, "mkdir", vanishing)
    store = ArtifactStore(tmp_path)
    _make(store)
    assert len(calls) == 2
    assert store.find("prepare", KEY) is not None


def test_half_files_of_a_killed_process_are_not_committed(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    with store.create("prepare", KEY) as work:
        (work.path / "data").mkdir()
        for name in (".a.json.123.tmp", "data/.checkpoint.safetensors.tmp", "kept.tmp", ".kept"):
            (work.path / name).write_text("x")
    found = store.find("prepare", KEY)
    assert found is not None
    assert sorted(found.manifest["sha256"]) == [".kept", "kept.tmp"]
    assert not list(found.path.rglob(".*.tmp"))


WRITERS = {
    "text": "(folder / 'a').write_text('a' * 2_000_000)",
    "numpy": "np.save(folder / 'a.npy', numbers)",
    "polars": "pl.DataFrame({'a': numbers}).write_parquet(folder / 'a.parquet')",
    "polars csv": "pl.DataFrame({'a': numbers}).write_csv(folder / 'a.csv')",
    "safetensors": "save_file({'a': numbers}, folder / 'a.safetensors')",
}
_FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np, polars as pl
from safetensors.numpy import save_file
from hnlmrec.artifacts import storage_errors
from hnlmrec.errors import StorageError
folder, limit = Path(sys.argv[1]), int(sys.argv[2])
numbers = np.random.default_rng(0).random(250_000)
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for statement in sys.argv[3:]:
    try:
        with storage_errors(folder):
            exec(statement)
        print("written")
    except StorageError as error:
        print(str(error).split(" while writing")[0])
    for file in folder.iterdir():
        file.unlink()
"""


def test_a_real_limit_on_file_sizes_is_told_whatever_library_writes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _FULL, str(tmp_path), "100000", *WRITERS.values()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    large = "a file would be larger than the system allows"
    expected = {name: "the disk is full" if name == "numpy" else large for name in WRITERS}  # numpy hides why
    assert dict(zip(WRITERS, done.stdout.splitlines(), strict=True)) == expected


def test_a_really_full_disk_is_told_whatever_library_writes(tmp_path: Path) -> None:
    own = ["unshare", "--mount", "--map-root-user", "sh", "-c"]  # mounts of its own, gone with the process
    mount = f"mount -t tmpfs -o size=256k tmpfs {tmp_path}"
    if not shutil.which("unshare") or subprocess.run([*own, mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    command = [*own, f'{mount} && exec "$@"', "sh", sys.executable, "-c", _FULL, str(tmp_path), "0"]
    done = subprocess.run([*command, *WRITERS.values()], capture_output=True, text=True, check=True)
    found = dict(zip(WRITERS, done.stdout.splitlines(), strict=True))
    assert found == dict.fromkeys(WRITERS, "the disk is full")


def test_other_errors_of_the_libraries_pass_through(tmp_path: Path) -> None:
    with pytest.raises(pl.exceptions.ColumnNotFoundError), artifacts.storage_errors(tmp_path):
        pl.DataFrame({"a": [1]}).select("b")
    with pytest.raises(SafetensorError), artifacts.storage_errors(tmp_path):
        deserialize(b"x" * 20)


def test_opening_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"there is no artefact .*gone.*Run again"):
        open_artifact(tmp_path / "gone")


def test_opening_a_folder_that_is_no_artefact(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtifactError, match="manifest"):
        open_artifact(tmp_path)
