"""What an LLM with a noisy view of the planted world would generate: hard negatives, as vectors and as items."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from hnlmrec.data.embeddings import EmbeddingTable, HardNegativeTable, unit_rows
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.data.judgements import JudgementTable
from hnlmrec.judging import Evidence, Judge, JudgeConfig, RecommenderEvidence, TextEvidence, hold_out_of_train
from hnlmrec.models.ease import EASE
from hnlmrec.rng import RandomStreams
from hnlmrec.simulation.world import PlantedWorld


def generated_negatives(world: PlantedWorld, *, behaviour_weight: float, per_pair: int) -> HardNegativeTable:
    """Return for each train pair the texts of the items that lie nearest in meaning and farthest in behaviour.

    For (u, i) these are the items j outside train(u) with the highest

        cos(t_i, t_j) + cos(t_u, t_j) - behaviour_weight * behaviour(u, j),

    All that is read are the noisy views, never the truth. A weight of 0 stands for an LLM that was not tuned on
    collaborative signals.

    Args:
        world: the planted world.
        behaviour_weight: what one standard deviation of the preferences' logits costs.
        per_pair: items for each pair.
    """
    train = world.dataset.train
    users, positives = train.users.astype(np.int64), train.indices.astype(np.int64)
    item_texts, user_texts = unit_rows(world.item_texts), unit_rows(world.user_texts)
    of_users = user_texts @ item_texts.T - behaviour_weight * world.behaviour
    of_users[world.train] = -np.inf
    chosen = np.argsort(-(of_users[users] + (item_texts @ item_texts.T)[positives]), axis=1, kind="stable")
    items = chosen[:, :per_pair].ravel()
    users, positives = (np.repeat(numbers, per_pair) for numbers in (users, positives))
    return HardNegativeTable(users, positives, world.item_texts[items], world.dataset.n_items, items)


def write_items(table: HardNegativeTable, dataset: InteractionDataset, path: Path) -> None:
    """Write the items that a table stands for as a file of negatives: user_id, item_id (positive), negative_id."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(
        {
            "user_id": dataset.users.ids(table.users.tolist()),
            "item_id": dataset.items.ids(table.positives.tolist()),
            "negative_id": dataset.items.ids(table.items.tolist()),
        }
    ).write_parquet(path)


@dataclass(frozen=True, eq=False)
class Judgements:
    """What a judge of texts and behaviour says, and what one would say that knows the truth."""

    estimated: JudgementTable
    true: JudgementTable


def judge_world(world: PlantedWorld, streams: RandomStreams, config: JudgeConfig) -> Judgements:
    """Fit the library's simple judge (EASE and texts) on the train split; and write the truth down as a table."""
    dataset = world.dataset
    inner = hold_out_of_train(dataset, config.holdout, streams.generator("judge/holdout"))
    texts = EmbeddingTable(dataset.items, world.item_texts)
    evidence: list[Evidence] = [
        RecommenderEvidence("ease", EASE(config)),
        TextEvidence(texts, config.text_power, config.memory_limit_gib),
    ]
    judge = Judge(config, evidence)
    judge.fit(inner, streams)
    users, items = np.nonzero(world.false_negatives)
    sure = np.ones(len(users), dtype=np.float32)
    return Judgements(
        judge.judge(dataset),
        JudgementTable(users.astype(np.int64), items.astype(np.int64), sure, sure),
    )
