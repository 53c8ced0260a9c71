"""Could any vector, mixed into the negatives, beat noise? Trains `hnlmrec` on vectors that are made from answers.

    python experiments/ideal_vectors.py ml1m-hnlmrec [KEY=VALUE ...] --kinds llm noise judged oracle liked

Kinds of vectors: `llm`, as the run has them, and `noise` in their place; `judged`, hard items (the first
unobserved ones by the pre-trained CF model) that the judge does not list as likely false; `oracle`, hard items
that are true negatives, which only who has read validation and test can know; `liked`, the user's held-out
positives, the worst that a hard negative can be. `oracle` and `liked` bound what a better LLM could bring: they
are no methods. A line of JSON for each training; what is done is found again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hnlmrec.artifacts import ArtifactStore
from hnlmrec.config import Config, read_toml
from hnlmrec.console import SilentProgress
from hnlmrec.data.embeddings import EmbeddingTable, HardNegativeTable
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.data.judgements import JudgementTable
from hnlmrec.data.tables import read_json
from hnlmrec.pipeline.build import build_graph
from hnlmrec.pipeline.graph import Node, Stage, StageSummary, run_graph
from hnlmrec.pipeline.session import LLMSession
from hnlmrec.pipeline.shipped import build_run_config, shipped_configs

Kind = Literal["judged", "oracle", "liked"]
HARDEST = 100  # unobserved items of a user that count as hard


class IdealVectorsConfig(Config):
    kind: Kind
    k: int = 10


class IdealVectorsStage(Stage[IdealVectorsConfig]):
    """Up to k vectors a user, those of items in the pre-trained CF space; inputs prepare, pretrain and judge."""

    name = "ideal_vectors"

    def __init__(self, config: IdealVectorsConfig) -> None:
        self.config = config

    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        dataset = InteractionDataset.load(inputs["prepare"])
        users, items = (
            EmbeddingTable.load(inputs["pretrain"], name).rows(vocabulary.all_ids)[0]
            for name, vocabulary in (("users", dataset.users), ("items", dataset.items))
        )
        judged = JudgementTable.load(inputs["judge"], dataset)
        chosen = []
        for user in range(dataset.n_users):
            liked = np.concatenate([dataset.valid.of(user), dataset.test.of(user)])
            false = judged.items[judged.users == user] if self.config.kind == "judged" else liked
            scores = items @ users[user]
            scores[dataset.train.of(user)] = -np.inf
            hardest = np.argsort(-scores)[:HARDEST]
            best = liked if self.config.kind == "liked" else hardest[~np.isin(hardest, false)]
            chosen.append(best[: self.config.k])
        who, what = np.repeat(np.arange(len(chosen)), [len(best) for best in chosen]), np.concatenate(chosen)
        none = np.full(len(who), -1, dtype=np.int64)  # free vectors: none is left out for its item
        HardNegativeTable(who, none, items[what], dataset.n_items, none).save(out, dataset)
        EmbeddingTable(dataset.items, items).save(out, "items")
        return StageSummary({"vectors": len(who)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--kinds", nargs="+", default=["llm", "noise", "judged", "oracle", "liked"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    given = parser.parse_intermixed_args()
    for seed in given.seeds:
        for kind in given.kinds:
            figures = train(given.config, given.settings, kind, seed)
            print(json.dumps({"kind": kind, "seed": seed, "settings": given.settings, **figures}), flush=True)


def train(name: str, settings: list[str], kind: str, seed: int) -> dict[str, Any]:
    chosen = [*settings, f"training_seed={seed}", "compare.recommenders=[]"]
    if kind == "noise":
        chosen.append("sampler.name=noise")
    config = build_run_config(read_toml(shipped_configs()[name]), chosen, name)
    store = ArtifactStore(Path(config.runtime.artifacts))
    with LLMSession(config.llm, store.root / "llm_cache.sqlite", config.runtime) as session:
        nodes = [
            node
            for node in build_graph(config, session, SilentProgress())
            if not node.label.startswith("recommender")
        ]
        if kind in {"judged", "oracle", "liked"}:
            nodes = _with_ideal(nodes, kind)
        results = run_graph(nodes, store)
    label = nodes[-1].label
    best_epoch = results[label.replace("evaluate", "train")].counts["best_epoch"]
    return {"best_epoch": best_epoch, **read_json(results[label].path / "metrics.json")}


def _with_ideal(nodes: list[Node], kind: Kind) -> list[Node]:
    """Put the ideal vectors in the place of the LLM's."""
    roles = {name: name for name in ("prepare", "pretrain", "judge")}
    ideal = Node("ideal", IdealVectorsStage(IdealVectorsConfig(kind=kind)), roles)
    *before, train, evaluate = nodes
    swapped = {**train.inputs, "hard_negatives": ideal.label, "projected": ideal.label}
    return [*before, ideal, Node(train.label, train.stage, swapped), evaluate]


if __name__ == "__main__":
    main()
