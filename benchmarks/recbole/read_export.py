"""RecBole's BPR reads an export of `hnlmrec export --format recbole`, negatives and all, and trains on it.

Runs in RecBole's own environment.

Usage: python read_export.py FOLDER [EPOCHS]   where FOLDER is what the export wrote: NAME.yaml, and a folder NAME.
Prints one JSON object on stdout. Fails where the rows of a split that RecBole holds are not those of its file.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.general_recommender import BPR
from recbole.trainer import Trainer
from recbole.utils import init_logger, init_seed

SETTINGS = {
    "embedding_size": 16,
    "learning_rate": 1e-2,
    "train_batch_size": 256,
    "eval_args": {"group_by": "user", "order": "RO", "split": {"RS": [0.8, 0.1, 0.1]}, "mode": "full"},
    "metrics": ["Recall"],
    "topk": [5],
    "valid_metric": "Recall@5",
    "use_gpu": False,
    "show_progress": False,
    "state": "ERROR",
    "seed": 0,
}


def main(folder: Path, epochs: int) -> None:
    """Compare what RecBole read with the files, split by split; train; evaluate."""
    (settings,) = folder.glob("*.yaml")
    name = settings.stem
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        given = {**SETTINGS, "data_path": str(folder)}
        config = Config("BPR", name, config_file_list=[str(settings)], config_dict=given)
        init_seed(0, True)
        init_logger(config)
        dataset = create_dataset(config)
        train, valid, test = data_preparation(config, dataset)
        counts = {}
        for split, loader in (("train", train), ("valid", valid), ("test", test)):
            seen = [tuple(map(str, row)) for row in _read(loader.dataset)]
            rows = _rows(folder / name / f"{name}.{split}.inter")
            assert sorted(seen) == sorted(rows), f"RecBole's {split} rows are not those of the file"
            counts[split] = len(seen)
        model = BPR(config, train.dataset)
        trainer = Trainer(config, model)
        losses = [trainer._train_epoch(train, epoch, show_progress=False) for epoch in range(epochs)]
        metrics = trainer.evaluate(test, load_best_model=False, show_progress=False)
    result = {"rows": counts, "losses": losses, "metrics": {k: float(v) for k, v in metrics.items()}}
    sys.stdout.write(json.dumps(result) + "\n")


def _rows(path: Path) -> list[tuple[str, ...]]:
    """Return user, item and negative of each row, by id."""
    return [tuple(line.split("\t")) for line in path.read_text(encoding="utf-8").splitlines()[1:]]


def _read(dataset: object) -> zip:
    """Return the same, as RecBole numbered and holds them."""
    fields = ("user_id", "item_id", "neg_item_id")
    return zip(*(dataset.id2token(name, dataset.inter_feat[name].numpy()) for name in fields), strict=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
