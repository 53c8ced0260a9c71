"""What can the two tasks of the fine-tuning learn, and from what: maps of the CF vectors, or a head on the texts?

    python experiments/frozen_encoder.py ml1m-hnlmrec [KEY=VALUE ...] [--updates 120] [--batch-size 32]

The language model is not trained: its states are pooled once, and small layers behind it learn from them, so that
many settings are tried in the time of one fine-tuning. A query is the user's CF vector, plus what `maps` make of
the CF vectors of user and chosen item, plus what a `head` makes of the pooled state. Documents are CF vectors. A
line of JSON for each setting: the measures of held-out triplets before and after, as `finetune` has them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hnlmrec.artifacts import ArtifactStore
from hnlmrec.config import read_toml
from hnlmrec.console import SilentProgress
from hnlmrec.finetuning import CFShape, CollaborativeEncoder, Triplets, hard_negative_prompt, preference_prompt
from hnlmrec.finetuning.batches import contrastive_batch
from hnlmrec.finetuning.evaluation import area_under_curve, random_negatives
from hnlmrec.finetuning.inputs import EncoderInputs, Prompt
from hnlmrec.finetuning.layers import begin_at_nearly_zero
from hnlmrec.finetuning.losses import LOSSES, cosines
from hnlmrec.finetuning.triplets.base import joined
from hnlmrec.finetuning.updates import learning_rate_factor
from hnlmrec.pipeline.build import build_graph
from hnlmrec.pipeline.config import RunConfig
from hnlmrec.pipeline.finetuning_stages import read_inputs
from hnlmrec.pipeline.graph import run_graph
from hnlmrec.pipeline.session import LLMSession
from hnlmrec.pipeline.shipped import build_run_config, shipped_configs
from hnlmrec.rng import RandomStreams

SETTINGS = [  # step sizes of maps and head (0: there is none), kind of head, dropout before it
    {"maps": 3e-3, "head": 0.0},
    {"maps": 0.0, "head": 1e-3},
    {"maps": 3e-3, "head": 3e-3},
    {"maps": 3e-3, "head": 1e-3},
    {"maps": 3e-3, "head": 1e-4},
    {"maps": 3e-3, "head": 1e-4, "dropout": 0.5},
    {"maps": 3e-3, "head": 3e-4, "kind": "linear"},
    {"maps": 3e-3, "head": 3e-4, "kind": "linear", "dropout": 0.5},
]


class World(NamedTuple):
    """What is learned from: CF vectors in standard deviations, triplets, pooled states [2n, h] of both tasks."""

    inputs: EncoderInputs
    users: Tensor
    items: Tensor
    triplets: Triplets
    states: Tensor


class Queries(nn.Module):
    """Queries of both tasks, from CF vectors and pooled states."""

    def __init__(self, world: World, *, head: bool, kind: str = "mlp", dropout: float = 0.0) -> None:
        super().__init__()
        self.world, size, hidden = world, world.users.shape[1], world.states.shape[1]
        self.maps = nn.ParameterList(nn.Parameter(torch.zeros(size, size)) for _ in range(3))
        self.heads = nn.ModuleList(_head(kind, hidden, size) for _ in range(2 * head))
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: npt.NDArray[np.int64], prefers: npt.NDArray[np.bool_]) -> Tensor:
        world, triplets = self.world, self.world.triplets
        users, chosen = _rows(world.users, triplets.users[rows]), _rows(world.items, triplets.positives[rows])
        is_preference = torch.from_numpy(prefers)[:, None]
        moved = torch.where(is_preference, users @ self.maps[0], users @ self.maps[1] + chosen @ self.maps[2])
        if not len(self.heads):
            return users + moved
        states = self.dropout(_rows(world.states, np.where(prefers, rows + len(triplets), rows)))
        asked, liked = (head(states) for head in self.heads)
        return users + moved + torch.where(is_preference, liked, asked)


def _rows(table: Tensor, numbers: npt.NDArray[np.integer]) -> Tensor:
    return table[torch.from_numpy(numbers.astype(np.int64))]


def _head(kind: str, hidden: int, size: int) -> nn.Module:
    last = nn.Linear(hidden, size)
    begin_at_nearly_zero(last)
    return last if kind == "linear" else nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), last)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--updates", type=int, default=120)
    parser.add_argument("--batch-size", type=int, default=32)
    given = parser.parse_intermixed_args()
    config = build_run_config(read_toml(shipped_configs()[given.config]), given.settings, given.config)
    world = read_world(config)
    for setting in SETTINGS:
        measures = learn(world, config, setting, given.updates, given.batch_size)
        print(
            json.dumps({**setting, "updates": given.updates, "batch_size": given.batch_size, **measures}),
            flush=True,
        )


def read_world(config: RunConfig) -> World:
    store = ArtifactStore(Path(config.runtime.artifacts))
    with LLMSession(config.llm, store.root / "llm_cache.sqlite", config.runtime) as session:
        nodes = build_graph(config, session, SilentProgress())
        last = next(place for place, node in enumerate(nodes) if node.label == "triplets")
        found = run_graph(nodes[: last + 1], store)
    streams, section = RandomStreams(config.seed), config.finetuning
    paths = {"prepare": found["holdout/judge"].path, "pretrain": found["pretrain"].path}
    inputs = read_inputs(paths, section.texts, streams)
    encoder = CollaborativeEncoder(section.encoder, CFShape.of(inputs), seed=streams.integer("encoder"))
    triplets = Triplets.load(found["triplets"].path)
    pairs = list(zip(triplets.users, triplets.positives, strict=True))
    parts = [
        pooled(encoder, [ask(user, item) for user, item in pairs], inputs)
        for ask in (hard_negative_prompt, lambda user, item: preference_prompt(user, hidden=item))
    ]
    states = np.concatenate([(part - part.mean(axis=0)) / part.std(axis=0) for part in parts])
    users, items = (torch.from_numpy(part / part.std()) for part in (inputs.users, inputs.items))
    return World(inputs, users, items, triplets, torch.from_numpy(states))


def pooled(
    encoder: CollaborativeEncoder, prompts: Sequence[Prompt], inputs: EncoderInputs
) -> npt.NDArray[np.float32]:
    order = np.argsort(encoder.reader.lengths(prompts, inputs))
    parts = np.array_split(order, max(len(order) // 64, 1))
    with torch.no_grad():
        states = [
            encoder.pooled(encoder.reader([prompts[place] for place in part], inputs).to(encoder.device)).cpu()
            for part in parts
        ]
    return np.asarray(torch.cat(states)[np.argsort(np.concatenate(parts))].numpy(), dtype=np.float32)


def learn(
    world: World, config: RunConfig, setting: dict[str, Any], updates: int, batch_size: int
) -> dict[str, dict[str, float]]:
    torch.manual_seed(0)
    rng, training = np.random.default_rng(0), config.finetuning.training
    queries = Queries(
        world,
        head=setting["head"] > 0,
        kind=setting.get("kind", "mlp"),
        dropout=setting.get("dropout", 0.0),
    )
    rates = [(queries.maps, setting["maps"]), (queries.heads, setting["head"])]
    groups = [{"params": list(part.parameters()), "base": rate} for part, rate in rates if rate]
    optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=training.weight_decay)
    triplets = world.triplets
    observed = joined(world.inputs.texts.train, triplets.users, triplets.positives)
    held_out = np.flatnonzero(triplets.held_out)
    before = measure(queries, held_out, config)
    for step, rows in enumerate(_batches(np.flatnonzero(~triplets.held_out), updates, batch_size, rng)):
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * learning_rate_factor(step, updates, training.warmup_share)
        prefers = rng.random(len(rows)) < training.preference_share
        random = rng.integers(0, len(world.items), training.n_random)
        batch = contrastive_batch(triplets.rows(rows), prefers, observed, random, own_weight=training.own_weight)
        similarity = cosines(queries(rows, prefers), _rows(world.items, batch.items))
        targets, weights = torch.from_numpy(batch.targets), torch.from_numpy(batch.weights)
        optimizer.zero_grad()
        LOSSES[training.loss](similarity, targets, weights, training.temperature).mean().backward()
        nn.utils.clip_grad_norm_(queries.parameters(), training.max_gradient_norm)
        optimizer.step()
    return {"before": before, "after": measure(queries, held_out, config)}


def _batches(
    rows: npt.NDArray[np.int64], updates: int, size: int, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    for _ in range(updates):
        yield rng.choice(rows, min(size, len(rows)), replace=False)


def measure(queries: Queries, rows: npt.NDArray[np.int64], config: RunConfig) -> dict[str, float]:
    world = queries.world
    triplets = world.triplets.rows(rows)
    rng = np.random.default_rng(RandomStreams(config.seed).integer("finetuning_evaluation"))
    columns = {
        "interacted": triplets.positives,
        "hard": triplets.hard,
        "random": random_negatives(triplets, world.inputs.texts.train, world.inputs, rng),
    }
    queries.eval()
    with torch.no_grad():
        asked, liked = (queries(rows, np.full(len(rows), prefers)) for prefers in (False, True))
        near = {
            (task, name): torch.cosine_similarity(query, _rows(world.items, items)).numpy()
            for task, query in (("asked", asked), ("liked", liked))
            for name, items in columns.items()
        }
    queries.train()
    figures = {
        "hard_over_interacted": (near["asked", "hard"] > near["asked", "interacted"]).mean(),
        "hard_over_random": (near["asked", "hard"] > near["asked", "random"]).mean(),
        "preference_auc_hard": area_under_curve(near["liked", "interacted"], near["liked", "hard"]),
        "preference_auc_random": area_under_curve(near["liked", "interacted"], near["liked", "random"]),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


if __name__ == "__main__":
    main()
