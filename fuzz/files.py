"""What is fuzzed of configurations and files: functions of bytes that raise where the library breaks its word.

What comes in from outside is read, or refused with an error of the library's own tree. Any other exception is a
fault. (Two files, since the data side takes long to import.)
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from hnlmrec.config import apply_overrides, build, read_toml
from hnlmrec.data.readers import read
from hnlmrec.errors import UserInputError
from hnlmrec.pipeline.config import RunConfig

_FOLDERS = ("interactions.csv", "items.jsonl", "users.jsonl", "reviews.jsonl")


def config(data: bytes) -> None:
    """A run's configuration, and overrides: valid, or a ConfigError."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        Path(file.name).write_bytes(data)
        try:
            values = read_toml(Path(file.name))
            build(RunConfig, {"name": "fuzzed", **values})
        except UserInputError:
            pass
    text = data.decode("utf-8", "replace")
    try:
        build(RunConfig, apply_overrides({"name": "fuzzed"}, text.split("\n")[:4]))
    except UserInputError:
        return


def folder(data: bytes) -> None:
    """The files of a data folder, one after the other with zero bytes between: a raw table, or a refusal."""
    parts = data.split(b"\0")
    _read_files(dict(zip(_FOLDERS, parts, strict=False)))


def lightgcn(data: bytes) -> None:
    """train.txt and test.txt, likewise."""
    train, _, test = data.partition(b"\0")
    _read_files({"train.txt": train, "test.txt": test} if test else {"train.txt": train})


def packed(data: bytes) -> None:
    """A .csv.gz that is none, or a damaged one."""
    _read_files({"interactions.csv.gz": data})


def _read_files(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        for file, content in files.items():
            (Path(name) / file).write_bytes(content)
        try:
            raw = read(Path(name))
        except UserInputError:
            return
    assert raw.interactions["user_id"].null_count() == raw.interactions["item_id"].null_count() == 0


TARGETS: dict[str, Callable[[bytes], None]] = {
    "config": config,
    "folder": folder,
    "lightgcn": lightgcn,
    "packed": packed,
}
SEEDS: dict[str, list[bytes]] = {
    "config": [
        b'seed = 1\n[data]\nsource = "x"\n[model]\nname = "mf"\n',
        b'[llm]\nprovider = "openai"\nbase_url = "http://h:1/v1"\n[sampler]\nname = "dns"\nn_candidates = 4\n',
        b"seed=7\nmodel.embedding_size=8\nevaluation.ks=[5]",
    ],
    "folder": [
        b'user_id,item_id,rating,timestamp\nu,i,4,100\nu,j,3,200\n\0{"item_id": "i", "title": "T"}\n'
        b'\0{"user_id": "u"}\n\0{"user_id": "u", "item_id": "i", "text": "x"}\n'
    ],
    "lightgcn": [b"0 1 2\n1 2\n", b"0 1\n\x000 2\n"],
    "packed": [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"],
}
