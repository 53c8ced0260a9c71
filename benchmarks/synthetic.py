"""Writes a synthetic data set in LightGCN text format: `python benchmarks/synthetic.py FOLDER [--pairs N]`.

Users and items have power-law degrees; a fifth of the pairs are held out. It shows speed only: there is nothing to
be learned from it.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt

Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def draw(n_pairs: int, seed: int = 0) -> tuple[Pairs, Pairs]:
    """Return the users and items of the train pairs, and of the held-out ones; about n_pairs in all, none twice.

    There are n_pairs / 50 users and n_pairs / 100 items; the r-th user has a share of the pairs that is
    proportional to (r + 10)^-0.6, the r-th item to (r + 10)^-0.8. Every user has at least two pairs.
    """
    rng = np.random.default_rng(seed)
    n_users, n_items = max(n_pairs // 50, 20), max(n_pairs // 100, 40)
    everyone = np.repeat(np.arange(n_users), 3)
    keys = np.zeros(0, dtype=np.int64)
    while len(keys) < n_pairs:
        n = int(1.2 * (n_pairs - len(keys))) + 100
        users = np.concatenate([everyone, ranks(n_users, 0.6, n, rng)])
        items = ranks(n_items, 0.8, len(users), rng)
        keys = np.unique(np.concatenate([keys, users * n_items + items]))
        everyone = everyone[:0]
    keys = np.sort(rng.permutation(keys)[:n_pairs])
    users, items = keys // n_items, keys % n_items
    held_out = rng.random(len(keys)) < 0.2
    held_out[np.unique(users, return_index=True)[1]] = False  # one pair of each user stays in train
    return (users[~held_out], items[~held_out]), (users[held_out], items[held_out])


def ranks(n: int, exponent: float, size: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    shares = np.cumsum((np.arange(n) + 10.0) ** -exponent)
    return np.searchsorted(shares, rng.random(size) * shares[-1]).astype(np.int64)


def write(folder: Path, pairs: tuple[Pairs, Pairs]) -> None:
    """Write train.txt.gz and test.txt.gz; the folder appears when both are whole."""
    partial = folder.with_name(f"{folder.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    for name, (users, items) in zip(("train", "test"), pairs, strict=True):
        starts = np.flatnonzero(np.diff(users, prepend=-1))
        with gzip.open(partial / f"{name}.txt.gz", "wt") as file:
            for user, own in zip(users[starts], np.split(items, starts[1:]), strict=True):
                file.write(" ".join(map(str, [user, *own.tolist()])) + "\n")
    partial.rename(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write(options.folder, draw(options.pairs, options.seed))


if __name__ == "__main__":
    main()
