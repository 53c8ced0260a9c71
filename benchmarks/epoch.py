# ruff: noqa: I001 - the order of imports matters
"""Seconds of one training epoch, stage by stage: `python benchmarks/epoch.py FOLDER [--model M] [--sampler S]`.

FOLDER holds train.txt.gz and test.txt.gz in the text format of LightGCN; a number in its place stands for
synthetic data of so many interactions. Prints one JSON object.
"""

from __future__ import annotations

import hnlmrec  # noqa: F401 - before torch: it sets how OpenMP waits

import argparse
import gzip
import json
import os
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numba
import numpy as np
import synthetic
import torch

from hnlmrec.data.interactions import InteractionDataset, Interactions, Split, Vocabulary
from hnlmrec.errors import lookup
from hnlmrec.evaluation.evaluator import dot_product_scorer, evaluate
from hnlmrec.models import MODELS
from hnlmrec.models.base import Batch, Embeddings
from hnlmrec.negative_sampling import SAMPLERS
from hnlmrec.negative_sampling.base import SamplerResources
from hnlmrec.rng import RandomStreams
from hnlmrec.training import Trainer, TrainingConfig
from hnlmrec.training.objective import compute_step


def read_pairs(path: Path) -> tuple[list[int], list[int]]:
    users, items = [], []
    with gzip.open(path, "rt") as file:
        for line in file:
            user, *own = map(int, line.split())
            users += [user] * len(own)
            items += own
    return users, items


def read(folder: Path) -> InteractionDataset:
    if folder.name.isdigit() and not folder.exists():
        pairs = dict(zip(("train", "test"), synthetic.draw(int(folder.name)), strict=True))
    else:
        pairs = {name: read_pairs(folder / f"{name}.txt.gz") for name in ("train", "test")}
    n_users, n_items = (int(max(np.max(p[side]) for p in pairs.values())) + 1 for side in (0, 1))
    splits = {name: Interactions.from_pairs(*p, n_users, n_items) for name, p in pairs.items()}
    nothing = Interactions.from_pairs([], [], n_users, n_items)
    vocabularies = Vocabulary(map(str, range(n_users)), "user"), Vocabulary(map(str, range(n_items)), "item")
    return InteractionDataset(*vocabularies, splits["train"], nothing, splits["test"])


def make_trainer(dataset: InteractionDataset, model: str, sampler: str, epochs: int) -> Trainer:
    def measure(embeddings: Embeddings, split: Split) -> dict[str, float]:
        score = dot_product_scorer(embeddings.users, embeddings.items)
        return evaluate(score, dataset, split=split, metrics=("recall", "ndcg"), ks=(20,)).means()

    streams = RandomStreams(0)
    generator = torch.Generator().manual_seed(streams.integer("model"))
    model_class, sampler_class = lookup(MODELS, model, "model"), lookup(SAMPLERS, sampler, "sampler")
    network = model_class(dataset, model_class.Config(), generator=generator)
    resources = SamplerResources(dataset, embedding_size=network.propagate().users.shape[1])
    config = TrainingConfig(epochs=epochs, select_on="test", drawn_per_epoch=0, device="cpu")
    drawer = sampler_class.build(resources, sampler_class.Config())
    return Trainer(network, drawer, config, streams, evaluate=measure)


class Stages:
    """Seconds by stage, gathered over steps."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name].append(time.perf_counter() - started)


def time_stages(trainer: Trainer, dataset: InteractionDataset, steps: int) -> dict[str, float]:
    """Return milliseconds a step: median over some steps that do one stage after the other."""
    stages, rng = Stages(), np.random.default_rng(0)
    model, sampler, config = trainer.model.train(), trainer.sampler.train(), trainer.config
    for _ in range(steps):
        chosen = rng.integers(0, len(dataset.train), config.batch_size)
        users, positives = (
            torch.from_numpy(a[chosen].astype(np.int64)) for a in (dataset.train.users, dataset.train.indices)
        )
        trainer.optimizer.zero_grad(set_to_none=True)
        seen = model.propagate(layers=sampler.uses_layers) if sampler.uses_embeddings else model.ego_embeddings()
        with stages.time("sampling"):
            sampler.sample(users, positives, seen.detach(), trainer.rng)
        with stages.time("forward with sampling"):
            step = compute_step(model, sampler, config, Batch(users, positives), trainer.rng)
        with stages.time("backward"):
            torch.stack(list(step.losses.values())).sum().backward()
        with stages.time("optimiser"):
            trainer.optimizer.step()
    return {name: round(1e3 * median(values), 3) for name, values in stages.seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="lightgcn")
    parser.add_argument("--sampler", default="uniform")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    imported = peak_mib()
    dataset = read(options.folder)
    trainer = make_trainer(dataset, options.model, options.sampler, 1)
    time_stages(trainer, dataset, 2)  # compiles the kernels
    stages = time_stages(trainer, dataset, options.steps)
    report = {
        "folder": options.folder.name,
        "model": options.model,
        "sampler": options.sampler,
        "dataset": dataset.counts(),
        "threads": {"torch": torch.get_num_threads(), "numba": numba.get_num_threads()},
        "load_average_before": os.getloadavg()[0],
        "milliseconds_per_step": stages,
    }
    if options.epochs:
        report |= time_epochs(dataset, options.model, options.sampler, options.epochs)
    report["memory_mib"] = {"imports": imported, "beyond_imports": peak_mib() - imported}
    print(json.dumps(report, indent=2))


def time_epochs(dataset: InteractionDataset, model: str, sampler: str, epochs: int) -> dict[str, object]:
    """Train with the real trainer; an evaluation of all users follows each epoch."""
    started, cpu = time.perf_counter(), time.process_time()
    result = make_trainer(dataset, model, sampler, epochs).fit(dataset)
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    trained = sum(record["train_seconds"] for record in result.records)
    return {
        "seconds_per_epoch": round(result.seconds["train_per_epoch"], 3),
        "seconds_per_epoch_fastest": round(min(r["train_seconds"] for r in result.records), 3),
        "seconds_per_evaluation": round((wall - trained) / epochs, 3),
        "cpu_seconds_in_all": round(cpu, 3),
        "best": {"epoch": result.best_epoch, "recall@20": result.best_value},
    }


def peak_mib() -> int:
    """Return the largest resident memory so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
