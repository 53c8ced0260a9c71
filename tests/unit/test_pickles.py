"""Pickles given as data or vectors are refused with an explanation, and nothing in them runs."""

from __future__ import annotations

import ast
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.pickles import refuse_pickle
from hnlmrec.data.readers import read
from hnlmrec.errors import DataError

SOURCES = Path(__file__).parents[2] / "src" / "hnlmrec"


class Trap:
    """Writes a file as it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return spring, (str(self.mark),)


def spring(mark: str) -> None:
    Path(mark).touch()


def objects(mark: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Trap(mark)], dtype=object), allow_pickle=True)
    return file.getvalue()


def torch_file(mark: Path) -> bytes:
    file = io.BytesIO()
    torch.save({"a": Trap(mark)}, file)
    return file.getvalue()


KINDS: dict[str, Callable[[Path], bytes]] = {
    "pickle 2": lambda mark: pickle.dumps(Trap(mark), protocol=2),
    "pickle 5": lambda mark: pickle.dumps(Trap(mark), protocol=5),
    "npy of objects": objects,
    "torch": torch_file,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["data.pkl", "data.pt", "data.npy", "data.csv", "data.parquet", "noname"])
def test_whatever_its_name_a_pickle_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    mark = tmp_path / "sprung"
    (tmp_path / name).write_bytes(KINDS[kind](mark))
    with pytest.raises(DataError, match=r"is not read\. Write its content in a plain format"):
        refuse_pickle(tmp_path / name)
    with pytest.raises(DataError, match="not read"):
        read(tmp_path / name)
    assert not mark.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_that_are_a_pickle_are_refused(tmp_path: Path, kind: str) -> None:
    mark = tmp_path / "sprung"
    (tmp_path / "items.npy").write_bytes(KINDS[kind](mark))
    pl.DataFrame({"id": ["a"]}).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(DataError, match=r"items\.npy is .*numpy\.save with allow_pickle=False"):
        EmbeddingTable.load(tmp_path, "items")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["old.pkl", "model.ckpt", "x.joblib", "v.npz"])
def test_a_pickle_of_protocol_0_is_known_by_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DataError, match="not read"):
        read(tmp_path / name)


def test_plain_files_pass(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    np.save(tmp_path / "b.npy", np.array(["O", "|O"]))
    (tmp_path / "c.csv").write_text("user_id,item_id\n")
    for name in ("a.npy", "b.npy", "c.csv", "missing"):
        refuse_pickle(tmp_path / name)


def test_no_source_file_loads_a_pickle() -> None:
    """Neither the modules that can, nor numpy or torch told to."""
    found = []
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                found += [(path, n) for n in names if n.partition(".")[0] in UNSAFE_MODULES]
            elif isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                if called in ("np.load", "numpy.load") and options.get("allow_pickle") != "False":
                    found.append((path, called))
                if called in ("torch.load", "pl.read_ipc", "pd.read_pickle"):
                    found.append((path, called))
    assert found == []


UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
