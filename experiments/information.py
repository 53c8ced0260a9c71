"""Mutual information of the vectors in two folders, at least: users with users, items with items, by id.

    python experiments/information.py ARTEFACTS/encode/KEY ARTEFACTS/pretrain/KEY rank=32

Any two folders will do that hold the tables `users` and `items` as `EmbeddingTable.save` writes them. For those of
a fine-tuned LLM before and after its tuning there is `hnlmrec information RUN`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from hnlmrec.config import apply_overrides, build
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.evaluation.mutual_information import InformationConfig, mutual_information_bounds
from hnlmrec.rng import RandomStreams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("left", type=Path)
    parser.add_argument("right", type=Path)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    given = parser.parse_args()
    torch.set_num_threads(1)
    config = build(InformationConfig, apply_overrides({}, given.settings))
    for kind in ("users", "items"):
        left, right = (EmbeddingTable.load(folder, kind) for folder in (given.left, given.right))
        for bound in mutual_information_bounds(left, right, config, RandomStreams(0)):
            figures = {name: value for name, value in asdict(bound).items() if name != "interval"}
            print(json.dumps({"kind": kind, **figures, "interval": bound.interval}))


if __name__ == "__main__":
    main()
