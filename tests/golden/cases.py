"""The trainings whose losses are kept: every model with uniform negatives, LightGCN with every sampler.

And LightGCN with uniform negatives within every enhancement.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from tests.planted import checkerboard, separation

from hnlmrec.alignment import AlignmentConfig, SemanticProjector
from hnlmrec.data.embeddings import HardNegativeTable
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.data.node_texts import NodeTexts
from hnlmrec.data.preferences import PreferenceTable
from hnlmrec.models import MODELS
from hnlmrec.models.base import CFModel
from hnlmrec.models.enhancements import ENHANCEMENTS, Enhancement, EnhancementResources
from hnlmrec.negative_sampling import SAMPLERS, SamplerResources, build_sampler
from hnlmrec.rng import RandomStreams
from hnlmrec.training import Trainer, TrainingConfig

DATASET = checkerboard()
SIZE, TEXT_SIZE = 8, 12
STEPS = 5
OPTIONS: dict[str, dict[str, Any]] = {
    "dns": {"n_candidates": 32},
    "mixgcf": {"n_candidates": 32},
    "ahns": {"beta": 0.001},  # of the scores' size at the start: with 0.1, its choice would be that of DNS
}


def names() -> list[str]:
    """Return "model+sampler" or "model+sampler+enhancement" of every case; a new entry makes a new one."""
    plain = [*(f"{model}+uniform" for model in MODELS), *(f"lightgcn+{sampler}" for sampler in SAMPLERS)]
    return list(dict.fromkeys([*plain, *(f"lightgcn+uniform+{name}" for name in ENHANCEMENTS)]))


def loss_sequence(name: str) -> dict[str, Any]:
    """Train five steps, each on all pairs; return each step's losses, and the share of pairs ranked right."""
    model_name, sampler_name, *enhancement = name.split("+")
    kind, resources = MODELS[model_name], _resources()
    model = kind(DATASET, kind.Config(embedding_size=SIZE), generator=torch.Generator().manual_seed(1))
    trained = _enhanced(model, *enhancement) if enhancement else model
    with tempfile.TemporaryDirectory() as folder:
        fields: dict[str, Any] = {"n_negatives": 2, **OPTIONS.get(sampler_name, {})}
        if sampler_name == "file":
            fields["path"] = str(_negatives_file(Path(folder)))
        sampler = build_sampler(sampler_name, SAMPLERS[sampler_name].Config(**fields), resources)
    config = TrainingConfig(
        epochs=STEPS, batch_size=len(DATASET.train), learning_rate=0.02, device="cpu", contrastive_weight=0.1
    )
    trainer = Trainer(trained, sampler, config, RandomStreams(2), evaluate=separation(DATASET))
    records = trainer.fit(DATASET).records
    return {
        "losses": [record["losses"] for record in records],
        "best": max(r["valid"]["recall@20"] for r in records),
    }


def _resources() -> SamplerResources:
    """Return made-up texts and hard negatives for three of four pairs."""
    rng, train = np.random.default_rng(3), DATASET.train
    texts = rng.standard_normal((DATASET.n_items, TEXT_SIZE)).astype(np.float32)
    pairs = np.flatnonzero(np.arange(len(train)) % 4)
    vectors = rng.standard_normal((len(pairs), TEXT_SIZE)).astype(np.float32)
    generated = np.full(len(pairs), -1)
    table = HardNegativeTable(train.users[pairs], train.indices[pairs], vectors, DATASET.n_items, generated)
    projector = SemanticProjector(texts, SIZE, AlignmentConfig(), generator=torch.Generator().manual_seed(4))
    return SamplerResources(DATASET, table, projector, texts, SIZE)


def _enhanced(model: CFModel, name: str) -> Enhancement:
    """Put made-up texts and preferences around a model."""
    rng, users = np.random.default_rng(6), np.arange(DATASET.n_users)
    texts = NodeTexts.of(rng.standard_normal((DATASET.n_items, TEXT_SIZE)), None, DATASET.train)
    free_users, free_items = (np.array(numbers) for numbers in _free(DATASET))
    liked, disliked = (np.array([free_items[free_users == user][place] for user in users]) for place in (0, -1))
    resources = EnhancementResources(texts, PreferenceTable(users, liked, disliked))
    kind = ENHANCEMENTS[name]
    return kind.build(model, kind.Config(), resources, generator=torch.Generator().manual_seed(7))


def _negatives_file(folder: Path) -> Path:
    users, items = _free(DATASET)
    path = folder / "negatives.csv"
    pl.DataFrame({"user_id": DATASET.users.ids(users), "item_id": DATASET.items.ids(items)}).write_csv(path)
    return path


def _free(dataset: InteractionDataset) -> tuple[list[int], list[int]]:
    users, items = np.nonzero(dataset.train.to_scipy().toarray() == 0)
    return users.tolist(), items.tolist()
