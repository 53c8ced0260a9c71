"""Negatives per second of every sampler: `python benchmarks/sampling.py FOLDER [--batch-size N] [--threads N]`.

FOLDER holds train.txt.gz and test.txt.gz in the text format of LightGCN. The embeddings are random, of LightGCN's
shape (64 numbers, 4 layers); hard negatives are random vectors of 384 numbers, one for each train pair of the
batches. The first batch of each sampler is checked to hold no train item.
Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
import torch
from epoch import read

from hnlmrec.alignment import AlignmentConfig, SemanticProjector
from hnlmrec.data.embeddings import HardNegativeTable
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling import SAMPLERS, NegativeSampler, SamplerResources, build_sampler

SIZE, N_LAYERS, TEXT_SIZE, N_BATCHES = 64, 4, 384, 20
Pairs = tuple[torch.Tensor, torch.Tensor]


def make_batches(dataset: InteractionDataset, batch_size: int) -> list[Pairs]:
    places = torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(0))
    users, items = (
        torch.from_numpy(part.astype(np.int64)) for part in (dataset.train.users, dataset.train.indices)
    )
    return [(users[part], items[part]) for part in places.split(batch_size)[:N_BATCHES]]


def make_embeddings(dataset: InteractionDataset) -> Embeddings:
    generator = torch.Generator().manual_seed(0)
    users, items = (
        tuple(0.1 * torch.randn(n, SIZE, generator=generator) for _ in range(N_LAYERS))
        for n in (dataset.n_users, dataset.n_items)
    )
    return Embeddings(torch.stack(users).mean(0), torch.stack(items).mean(0), users, items)


def make_resources(dataset: InteractionDataset, batches: list[Pairs]) -> SamplerResources:
    rng = np.random.default_rng(0)
    users, items = (torch.cat([pair[side] for pair in batches]).numpy() for side in (0, 1))
    vectors = rng.standard_normal((len(users), TEXT_SIZE), dtype=np.float32).astype(np.float16)
    table = HardNegativeTable(users, items, vectors, dataset.n_items, np.full(len(users), -1))
    texts = rng.standard_normal((dataset.n_items, TEXT_SIZE), dtype=np.float32)
    projector = SemanticProjector(texts, SIZE, AlignmentConfig(), generator=torch.Generator().manual_seed(0))
    return SamplerResources(dataset, table, projector, texts, SIZE)


def write_file(dataset: InteractionDataset, folder: Path) -> str:
    """Give each user ten negatives of its own."""
    users = torch.arange(dataset.n_users)
    uniform = build_sampler("uniform", SAMPLERS["uniform"].Config(n_negatives=10), SamplerResources(dataset))
    nothing = Embeddings(torch.zeros(1, 1), torch.zeros(1, 1))
    drawn = uniform.sample(users, users, nothing, torch.Generator().manual_seed(0)).items
    rows = {
        "user_id": np.repeat(dataset.users.all_ids, 10).astype(str),
        "item_id": dataset.items.ids(drawn.flatten().tolist()),
    }
    pl.DataFrame(rows).write_parquet(folder / "negatives.parquet")
    return str(folder / "negatives.parquet")


def measure(
    sampler: NegativeSampler, dataset: InteractionDataset, batches: list[Pairs], embeddings: Embeddings
) -> dict:
    rng = torch.Generator().manual_seed(1)
    started = time.perf_counter()
    sampler.start_epoch(0, embeddings)
    users, positives = batches[0]
    first = sampler.sample(users, positives, embeddings, rng)
    first_seconds = time.perf_counter() - started
    if dataset.train.contains(users[:, None], first.items).any():
        raise AssertionError(f"{type(sampler).__name__} drew a train item")
    seconds = []
    for users, positives in batches:
        started = time.perf_counter()
        sampler.sample(users, positives, embeddings, rng)
        seconds.append(time.perf_counter() - started)
    n = len(batches[0][0]) * sampler.n_negatives
    return {
        "negatives_per_pair": sampler.n_negatives,
        "pairs_per_second": round(n / median(seconds)),
        "best_pairs_per_second": round(n / min(seconds)),
        "milliseconds_per_batch": round(1e3 * median(seconds), 3),
        "first_batch_of_an_epoch_milliseconds": round(1e3 * first_seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--samplers", nargs="*", default=list(SAMPLERS), choices=list(SAMPLERS))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dataset = read(arguments.folder)
    batches, embeddings = make_batches(dataset, arguments.batch_size), make_embeddings(dataset)
    resources = make_resources(dataset, batches)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.samplers:
            fields = {"path": write_file(dataset, Path(folder))} if name == "file" else {}
            sampler = build_sampler(name, SAMPLERS[name].Config(**fields), resources)
            results[name] = measure(sampler, dataset, batches, embeddings)
    about = {"folder": arguments.folder.name, **dataset.counts(), "batch_size": len(batches[0][0])}
    load = [round(value, 2) for value in os.getloadavg()]
    print(json.dumps({**about, "threads": arguments.threads, "load_average": load, "samplers": results}, indent=2))


if __name__ == "__main__":
    main()
