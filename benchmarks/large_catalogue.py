"""The judge of the configuration `hnlmrec` on a catalogue that EASE does not fit.

`python benchmarks/large_catalogue.py`: users, items and pairs are as many as the paper's Electronics has; texts,
CF vectors and LLM vectors are random, so it shows seconds and memory only. `--limit 100` makes the square matrices
all the same, where the machine has the memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from synthetic import ranks

from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.judging import JudgeConfig, hold_out_of_train
from hnlmrec.pipeline.judge_stage import JudgeStage, JudgeStageConfig

RESULTS = Path(__file__).parent / "results" / "large_catalogue.json"
SIZES = {"texts": 384, "language": 576, "pretrain": 128, "vectors": 128}  # of the vectors, by input of the stage


def write_inputs(folder: Path, n_users: int, n_items: int, n_pairs: int) -> dict[str, Path]:
    """Write what the stage reads; every user has two pairs at least."""
    rng = np.random.default_rng(0)
    users = np.concatenate(
        [np.repeat(np.arange(n_users), 2), rng.integers(0, n_users, max(n_pairs - 2 * n_users, 0))]
    )
    keys = np.unique(users * n_items + ranks(n_items, 0.8, len(users), rng))
    nothing = Interactions.from_pairs([], [], n_users, n_items)
    dataset = InteractionDataset(
        Vocabulary((f"u{n}" for n in range(n_users)), "user"),
        Vocabulary((f"i{n}" for n in range(n_items)), "item"),
        Interactions.from_pairs(keys // n_items, keys % n_items, n_users, n_items),
        nothing,
        nothing,
    )
    inputs = {name: folder / name for name in ("prepare", "inner", *SIZES)}
    for name in ("prepare", "inner"):
        inputs[name].mkdir()
    dataset.save(inputs["prepare"])
    hold_out_of_train(dataset, 0.1, rng).save(inputs["inner"])
    for name, size in SIZES.items():
        tables = {"items": dataset.items} | ({"users": dataset.users} if name in ("pretrain", "vectors") else {})
        for kind, ids in tables.items():
            vectors = rng.standard_normal((len(ids), size), dtype=np.float32)
            EmbeddingTable(ids, vectors).save(inputs[name], kind)
    return inputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=97_570)
    parser.add_argument("--items", type=int, default=44_669)
    parser.add_argument("--pairs", type=int, default=178_259)
    parser.add_argument("--limit", type=float, default=8.0, help="judge.memory_limit_gib")
    parser.add_argument("--save", action="store_true", help=f"add the figures to {RESULTS.name}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hnlmrec-large-") as folder:
        inputs = write_inputs(Path(folder), options.users, options.items, options.pairs)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        config = JudgeConfig(name="llm", regularization=100.0, memory_limit_gib=options.limit)
        started = time.perf_counter()
        summary = JudgeStage(JudgeStageConfig(seed=0, judge=config)).run(inputs, Path(folder) / "judge")
        seconds = time.perf_counter() - started
    result = {
        "users": options.users,
        "items": options.items,
        "pairs": options.pairs,
        "memory_limit_gib": options.limit,
        "seconds": round(seconds, 1),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "peak_memory_before_mib": round(before / 1024),
        "judgements": summary.counts["judgements"],
        "load": [round(load, 1) for load in os.getloadavg()],
        "system": {
            "python": platform.python_version(),
            "cpus": len(os.sched_getaffinity(0)),
            "threads": torch.get_num_threads(),
        },
    }
    print(json.dumps(result, indent=2))
    if options.save:
        earlier = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
        RESULTS.write_text(json.dumps([*earlier, result], indent=2) + "\n")


if __name__ == "__main__":
    main()
