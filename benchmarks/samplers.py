# ruff: noqa: I001 - the order of imports matters
"""What a step with each sampler costs against uniform's: `python benchmarks/samplers.py FOLDER`.

Steps of LightGCN with uniform negatives and with the other samplers, in turns, so that whatever else the machine
does falls on all of them. FOLDER as in epoch.py. Prints one JSON object: for each sampler the fastest and the
median turn, in milliseconds of wall time a step and of CPU time of all threads, and their ratios to uniform's.
"""

from __future__ import annotations

import epoch

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.models.base import Batch
from hnlmrec.training import Trainer
from hnlmrec.training.objective import compute_step

SAMPLERS = ("dns", "mixgcf", "dens", "ahns")


def draw_batches(dataset: InteractionDataset, n: int, size: int) -> list[Batch]:
    """Return n batches of random train pairs."""
    rng, train = np.random.default_rng(0), dataset.train
    chosen = (rng.integers(0, len(train), size) for _ in range(n))
    return [
        Batch(*(torch.from_numpy(a[c].astype(np.int64)) for a in (train.users, train.indices))) for c in chosen
    ]


def take_steps(trainer: Trainer, batches: list[Batch]) -> None:
    """Train on each batch, as an epoch does."""
    for batch in batches:
        trainer.optimizer.zero_grad(set_to_none=True)
        step = compute_step(trainer.model, trainer.sampler, trainer.config, batch, trainer.rng)
        torch.stack(list(step.losses.values())).sum().backward()
        trainer.optimizer.step()


def measure(trainers: dict[str, Trainer], batches: list[Batch], rounds: int) -> dict[str, np.ndarray]:
    """Return for each sampler milliseconds a step, [rounds, 2]: wall time, and CPU time of all threads."""
    found = {name: np.empty((rounds, 2)) for name in trainers}
    for trainer in trainers.values():
        take_steps(trainer, batches)  # compiles the kernels
    for turn in range(rounds):
        for name, trainer in trainers.items():
            wall, cpu = time.perf_counter(), time.process_time()
            take_steps(trainer, batches)
            found[name][turn] = time.perf_counter() - wall, time.process_time() - cpu
    return {name: own * 1e3 / len(batches) for name, own in found.items()}


def summarise(found: dict[str, np.ndarray]) -> dict[str, dict[str, dict[str, float]]]:
    """Return fastest and median of wall and CPU time, and what these are of uniform's."""
    figures = {
        name: {
            kind: {"fastest": own[:, column].min(), "median": float(np.median(own[:, column]))}
            for column, kind in enumerate(("wall", "cpu"))
        }
        for name, own in found.items()
    }
    uniform = figures["uniform"]
    for own in figures.values():
        for kind in ("wall", "cpu"):
            for which, value in list(own[kind].items()):
                own[kind][f"{which} of uniform"] = value / uniform[kind][which]
    return {
        name: {kind: {key: round(float(value), 2) for key, value in own[kind].items()} for kind in own}
        for name, own in figures.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=3, help="steps of a turn")
    options = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    dataset = epoch.read(options.folder)
    names = ["uniform", *options.samplers]
    trainers = {name: epoch.make_trainer(dataset, "lightgcn", name, 1) for name in names}
    for trainer in trainers.values():
        trainer.model.train()
        trainer.sampler.train()
    batches = draw_batches(dataset, options.steps, trainers["uniform"].config.batch_size)
    samplers = summarise(measure(trainers, batches, options.rounds))
    report = {"folder": options.folder.name, "load_average_before": load, "rounds": options.rounds}
    print(json.dumps(report | {"milliseconds_per_step": samplers}, indent=2))


if __name__ == "__main__":
    main()
