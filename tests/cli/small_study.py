"""A study of two samplers and a recommender on the small data set, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import polars as pl

HEAD = """
[study]
name = "small"
seeds = [0, 1]
baseline = "uniform"
metrics = ["recall@5", "ndcg@5"]
[base]
model = { name = "mf", embedding_size = 4 }
training = { epochs = 2, batch_size = 128, select_by = "recall@5" }
evaluation = { ks = [5], metrics = ["recall", "ndcg"] }
encoder = { name = "hashing" }
[[datasets]]
label = "films"
set = ["data.source=SOURCE"]
"""
VARIANTS = """
[[variants]]
label = "uniform"
[[variants]]
label = "dns"
set = ["sampler.n_candidates=4"]
[[variants]]
label = "knn"
recommender = "item_knn"
"""
VARIED = VARIANTS + '[[vary]]\nkey = "sampler.n_negatives"\nlabel = "K"\nvalues = [1, 3]\nvariants = ["dns"]\n'


def results(folder: str = "runs/small") -> pl.DataFrame:
    return pl.read_parquet(Path(folder) / "results.parquet")


def made(stage: str) -> set[str]:
    return (
        {path.name for path in Path("artifacts", stage).iterdir()} if Path("artifacts", stage).exists() else set()
    )
