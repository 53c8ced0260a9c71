"""Writes a synthetic data set in LightGCN text format: `python benchmarks/synthetic.py FOLDER [--pairs N]`.

Users and items have power-law degrees; a fifth of each user's items are held out. It shows speed only: there is
nothing to be learned from it.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np


def draw(n_users: int, n_items: int, n_pairs: int, seed: int) -> list[list[int]]:
    """Return the items of each user, in random order; at least five each."""
    rng = np.random.default_rng(seed)
    weights = (np.arange(n_users) + 10.0) ** -0.6
    counts = np.clip((n_pairs * weights / weights.sum()).astype(int), 5, n_items // 4)
    popularity = (np.arange(n_items) + 10.0) ** -0.8
    chosen = [np.unique(rng.choice(n_items, 2 * n, p=popularity / popularity.sum())) for n in counts]
    return [rng.permutation(own)[:n].tolist() for own, n in zip(chosen, counts, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    users = draw(max(options.pairs // 50, 20), max(options.pairs // 100, 40), options.pairs, options.seed)
    partial = options.folder.with_name(f"{options.folder.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    for name in ("train", "test"):
        with gzip.open(partial / f"{name}.txt.gz", "wt") as file:
            for user, items in enumerate(users):
                held_out = max(len(items) // 5, 1)
                own = items[held_out:] if name == "train" else items[:held_out]
                file.write(" ".join(map(str, [user, *own])) + "\n")
    partial.rename(options.folder)


if __name__ == "__main__":
    main()
