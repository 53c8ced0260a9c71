"""Train one model with one sampler in memory: what the Python API and experiments call."""

from __future__ import annotations

import torch

from hnlmrec.data.interactions import InteractionDataset, Split
from hnlmrec.evaluation.evaluator import dot_product_scorer, evaluate
from hnlmrec.models import MODELS
from hnlmrec.models.base import Embeddings, ModelConfig
from hnlmrec.negative_sampling import SAMPLERS, SamplerConfig, SamplerResources
from hnlmrec.rng import RandomStreams
from hnlmrec.training import Trainer, TrainingConfig
from hnlmrec.training.result import TrainingResult


def fit_vectors(
    dataset: InteractionDataset,
    model: tuple[str, ModelConfig],
    sampler: tuple[str, SamplerConfig],
    training: TrainingConfig,
    *,
    seed: int,
) -> TrainingResult:
    """Train, and return the best epoch on `training.select_on`.

    Args:
        dataset: its train split is learned, its validation split chooses the epoch.
        model: a name out of MODELS, and its configuration.
        sampler: a name out of SAMPLERS, and its configuration.
        training: the trainer's options.
        seed: of initial values, shuffling and drawing.

    Raises:
        ConfigError: the sampler needs more than interactions, or the validation split is empty.
        TrainingDivergedError: a loss is no longer finite.
    """
    streams = RandomStreams(seed)
    metric, _, k = training.select_by.partition("@")
    ks = (int(k),) if k.isdigit() else (20,)

    def measure(embeddings: Embeddings, split: Split) -> dict[str, float]:
        score = dot_product_scorer(embeddings.users, embeddings.items)
        return evaluate(score, dataset, split=split, metrics=(metric,), ks=ks).means()

    generator = torch.Generator().manual_seed(streams.integer("model"))
    network = MODELS[model[0]](dataset, model[1], generator=generator)
    resources = SamplerResources(dataset, embedding_size=model[1].embedding_size)
    drawer = SAMPLERS[sampler[0]].build(resources, sampler[1])
    return Trainer(network, drawer, training, streams, evaluate=measure).fit(dataset)
