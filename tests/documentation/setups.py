"""What a block takes for granted: the folders that `<!-- run after: NAME -->` names, made once for all blocks.

Each function prepares the current folder. SMALLER says what of the blocks' code is changed, so that it runs in
seconds: it must be there, so that a page that changes is looked at again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

ITEMS = ["50", "172", "181", *map(str, range(200, 257))]  # the pages name the first three
TRAIN = ("training.epochs=2", "training.batch_size=64", "model.embedding_size=8", "training.device=cpu")
TEXT = ("initialisation=semantic", "encoder.name=hashing")


def films() -> None:
    """The reader's own data, in the folder that the pages name: 48 users, 60 items with titles, ratings."""
    folder = Path("path/to/folder")
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = [
        f"{user},{ITEMS[n]},5" for user in range(1, 49) for n in rng.permutation(np.arange(user % 2, 60, 2))[:16]
    ]
    (folder / "interactions.csv").write_text("\n".join(["user_id,item_id,rating", *rows]) + "\n")
    items = [
        {"item_id": id_, "title": f"Film {id_}", "genres": ["Crime", "Drama"][n % 2]}
        for n, id_ in enumerate(ITEMS)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))


def finished_run() -> None:
    """The runs `ml-100k` and `demo`, which read texts, an export, and `new.jsonl` with an item that nobody has."""
    films()
    hnlmrec("train", "path/to/folder", "--sampler", "dns", *TRAIN, *TEXT, "name=ml-100k")
    hnlmrec("export", "runs/ml-100k", "--format", "torch")
    shutil.copytree("runs/ml-100k", "runs/demo")
    Path("new.jsonl").write_text('{"item_id": "new", "title": "Film 99", "genres": "Drama"}\n')


def tables() -> None:
    """The folders prepared, pretrained, texts and tuned, and a tiny language model in `model`."""
    from tests.unit.finetuning_world import tiny_model

    from hnlmrec.data.embeddings import EmbeddingTable
    from hnlmrec.data.interactions import InteractionDataset

    films()
    shutil.copytree(hnlmrec("data", "prepare", "path/to/folder", "core=1").strip(), "prepared")
    dataset = InteractionDataset.load(Path("prepared"))
    rng = np.random.default_rng(0)
    for folder in map(Path, ("pretrained", "texts", "tuned")):
        folder.mkdir()
        for ids in (dataset.users, dataset.items):
            vectors = rng.standard_normal((len(ids), 8)).astype(np.float32)
            if folder.name != "tuned":
                EmbeddingTable(ids, vectors).save(folder, f"{ids.kind}s")
    tiny_model(Path("model"))


def hnlmrec(*arguments: str) -> str:
    """Run the command line in the current folder, and return what it printed."""
    command = [sys.executable, "-m", "hnlmrec", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


SETUPS: dict[str, Callable[[], None]] = {"films": films, "run": finished_run, "tables": tables}
SMALLER: dict[str, Mapping[str, str]] = {
    "finetuning.md-1": {
        "n_layers=6,": 'n_layers=2, base_model="model", lora_rank=4,',
        "preference_share=0.5": "preference_share=0.5, epochs=1",
    },
}


def smaller(name: str, code: str) -> str:
    """Return a block's code with what SMALLER changes."""
    for page, here in SMALLER.get(name, {}).items():
        assert page in code, f"{name} has no {page!r} any more: mend SMALLER"
        code = code.replace(page, here)
    return code
