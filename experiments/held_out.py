"""What the experiments on new users and cold items share: data, training, and the hits of a list."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch

from hnlmrec.data.interactions import InteractionDataset, Interactions
from hnlmrec.data.preparation import PreparationConfig, Prepared, prepare_source
from hnlmrec.models import MODELS
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling import SAMPLERS
from hnlmrec.rng import RandomStreams
from hnlmrec.serving.fitting import fit_vectors
from hnlmrec.training import TrainingConfig

N_CANDIDATES = 4
K = 20


def arguments(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", help="data folder or asset")
    parser.add_argument("--model", default="lightgcn")
    parser.add_argument("--core", type=int, default=5)
    parser.add_argument("--min-rating", type=float)
    parser.add_argument("--max-items", type=int)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def load(given: argparse.Namespace) -> Prepared:
    torch.set_num_threads(1)
    config = PreparationConfig(
        source=given.source, core=given.core, min_rating=given.min_rating, max_items=given.max_items
    )
    return prepare_source(config, RandomStreams(given.seed))


def held_out(n: int, share: float, seed: int) -> Any:
    """Return which of n rows are held out, bool [n]."""
    chosen = RandomStreams(seed).generator("experiment/held_out").permutation(n)[: int(n * share)]
    return np.isin(np.arange(n), chosen)


def without(part: Interactions, left_out: Any) -> Interactions:
    """Return a split without some of its pairs, bool [n_pairs]."""
    return Interactions.from_pairs(part.users[~left_out], part.indices[~left_out], part.n_users, part.n_items)


def train(dataset: InteractionDataset, given: argparse.Namespace) -> Embeddings:
    training = TrainingConfig(
        epochs=given.epochs, patience=6, evaluate_every=2, device="cpu", learning_rate=5e-3, drawn_per_epoch=0
    )
    model = (given.model, MODELS[given.model].Config())
    sampler = ("dns", SAMPLERS["dns"].Config(n_candidates=N_CANDIDATES))
    return fit_vectors(dataset, model, sampler, training, seed=given.seed).embeddings


def recall(relevant: Interactions, users: Any, items: Any) -> float:
    """Return the mean Recall@K of lists int [U, K] (-1 for none) of these users."""
    hits = relevant.contains(users[:, None], np.maximum(items, 0)) & (items >= 0)
    return float((hits.sum(axis=1) / relevant.degrees[users]).mean())
