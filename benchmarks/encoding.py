"""Vectors per second of the collaborative encoder: `python benchmarks/encoding.py [--model M] [--n-layers N]`.

Encodes hard-negative queries of users and items with texts of different lengths, one at a time and in batches that
are sorted by length, and checks that the vectors are the same. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch

from hnlmrec.data.interactions import Interactions
from hnlmrec.finetuning import (
    CFShape,
    CollaborativeEncoder,
    EncoderInputs,
    EncoderSettings,
    FinetuningTexts,
    TextsConfig,
    hard_negative_prompt,
)

WORDS = [
    "wooden",
    "plastic",
    "puzzle",
    "train",
    "doll",
    "board game",
    "car",
    "castle",
    "card set",
    "blue",
    "large",
]
N_USERS, N_ITEMS, SIZE, HISTORY = 200, 300, 64, 8


def world() -> EncoderInputs:
    rng = np.random.default_rng(0)
    names = [" ".join(rng.choice(WORDS, rng.integers(2, 12))) for _ in range(N_ITEMS)]
    items = np.concatenate([rng.choice(N_ITEMS, HISTORY, replace=False) for _ in range(N_USERS)])
    train = Interactions.from_pairs(np.repeat(np.arange(N_USERS), HISTORY), items, N_USERS, N_ITEMS)
    texts = FinetuningTexts(names, names, [""] * N_USERS, train, TextsConfig(), 0)
    users, vectors = (rng.normal(size=(n, SIZE)).astype(np.float32) for n in (N_USERS, N_ITEMS))
    return EncoderInputs(texts, users, vectors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--n-layers", type=int, default=6, help="0 for all")
    parser.add_argument("--n", type=int, default=256, help="vectors made in batches; a quarter of them one by one")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32, 64])
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    options = parser.parse_args()
    inputs = world()
    settings = EncoderSettings(base_model=options.model, n_layers=options.n_layers or None)
    encoder = CollaborativeEncoder(settings, CFShape.of(inputs), seed=0, precision=options.precision)
    train = inputs.texts.train
    rows = np.linspace(0, len(train) - 1, options.n).astype(int)
    prompts = [hard_negative_prompt(train.users[row], train.indices[row]) for row in rows]
    encoder.encode(prompts[:8], inputs)  # the first call is slower
    speeds, vectors = {}, {}
    for size in (1, *options.batch_sizes):
        part = prompts[::4] if size == 1 else prompts
        start = time.perf_counter()
        vectors[size] = encoder.encode(part, inputs, batch_size=size)
        speeds[size] = round(len(part) / (time.perf_counter() - start), 1)
    gap = max(float(np.abs(vectors[size][::4] - vectors[1]).max()) for size in options.batch_sizes)
    tokens = float(encoder.reader(prompts, inputs).mask.sum()) / len(prompts)
    facts = {
        "device": str(encoder.device),
        "threads": torch.get_num_threads(),
        "layers": len(encoder.language_model.layers),
        "precision": str(encoder.precision).removeprefix("torch."),
        "tokens_per_prompt": round(tokens, 1),
        "vectors_per_second": speeds,
        "times_batch_size_1": {size: round(speeds[size] / speeds[1], 2) for size in options.batch_sizes},
        "largest_difference": gap,
    }
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
