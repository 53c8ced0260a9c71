"""Seconds per epoch and per full evaluation of RecBole's LightGCN; runs in RecBole's own environment.

Usage: python measure.py FOLDER EPOCHS   where FOLDER holds train.txt.gz and test.txt.gz in LightGCN's text format.
Prints one JSON object on stdout.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.general_recommender import LightGCN
from recbole.trainer import Trainer
from recbole.utils import init_logger, init_seed

SETTINGS = {
    "embedding_size": 64,
    "n_layers": 3,
    "reg_weight": 1e-4,
    "learning_rate": 1e-3,
    "train_batch_size": 2048,
    "eval_batch_size": 1_000_000,
    "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1, "dynamic": False},
    "eval_args": {"group_by": "user", "order": "RO", "split": {"RS": [0.8, 0.1, 0.1]}, "mode": "full"},
    "metrics": ["Recall", "NDCG"],
    "topk": [20],
    "valid_metric": "Recall@20",
    "benchmark_filename": ["train", "valid", "test"],
    "load_col": {"inter": ["user_id", "item_id"]},
    "use_gpu": False,
    "show_progress": False,
    "state": "ERROR",
    "seed": 0,
}


def main(folder: Path, epochs: int) -> None:
    """Train for some epochs and evaluate once after them."""
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        _write_atomic_files(folder, Path(scratch) / "bench")
        config = Config("LightGCN", "bench", config_dict={**SETTINGS, "data_path": scratch})
        init_seed(0, True)
        init_logger(config)
        train, _, test = data_preparation(config, create_dataset(config))
        model = LightGCN(config, train.dataset)
        trainer = Trainer(config, model)
        seconds = []
        for epoch in range(epochs):
            started = time.perf_counter()
            trainer._train_epoch(train, epoch, show_progress=False)
            seconds.append(time.perf_counter() - started)
        model.eval()
        started = time.perf_counter()
        metrics = trainer.evaluate(test, load_best_model=False, show_progress=False)
        evaluation = time.perf_counter() - started
    result = {
        "library": "recbole 1.2.1",
        "threads": torch.get_num_threads(),
        "train_seconds": seconds,
        "evaluate_seconds": evaluation,
        "metrics": {key: float(value) for key, value in metrics.items()},
    }
    sys.stdout.write(json.dumps(result) + "\n")


def _write_atomic_files(folder: Path, target: Path) -> None:
    target.mkdir()
    for split, source in (("train", "train"), ("valid", "test"), ("test", "test")):
        with (
            gzip.open(folder / f"{source}.txt.gz", "rt") as lines,
            (target / f"bench.{split}.inter").open("w") as out,
        ):
            out.write("user_id:token\titem_id:token\n")
            for line in lines:
                user, *items = line.split()
                out.writelines(f"{user}\t{item}\n" for item in items)


if __name__ == "__main__":
    arguments, sys.argv = sys.argv, sys.argv[:1]  # RecBole reads the command line, too
    main(Path(arguments[1]).resolve(), int(arguments[2]))
