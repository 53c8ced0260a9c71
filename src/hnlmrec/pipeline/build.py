"""Turns a run's configuration into the graph of its stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hnlmrec.console import ProgressReporter
from hnlmrec.models.recommenders import RECOMMENDERS
from hnlmrec.negative_sampling import SAMPLERS
from hnlmrec.pipeline.config import RunConfig
from hnlmrec.pipeline.graph import Node
from hnlmrec.pipeline.session import LLMSession
from hnlmrec.pipeline.text_stages import (
    EncodeConfig,
    EncodeNegativesStage,
    EncodeTextsStage,
    HardNegativesStage,
    HardNegativesStageConfig,
    PrepareConfig,
    PrepareStage,
    ProfilesStage,
    ProfilesStageConfig,
)
from hnlmrec.pipeline.training_stages import (
    EvaluateStage,
    EvaluateStageConfig,
    RecommenderStage,
    RecommenderStageConfig,
    TrainStage,
    TrainStageConfig,
)


@dataclass(frozen=True)
class Experiment:
    """One sampler under one initialisation.

    Attributes:
        label: unique in a run.
        sampler: its section of the configuration.
        initialisation: "random", "semantic" or "table"; "table-1", "table-2" where a run has several tables.
        initial_table: the folder of that table.
    """

    label: str
    sampler: Any
    initialisation: str
    initial_table: str = ""

    @property
    def needs_hard_negatives(self) -> bool:
        """Whether the sampler reads generated negatives."""
        return "hard_negatives" in SAMPLERS[self.sampler.name].requires

    @property
    def needs_texts(self) -> bool:
        """Whether item texts have to be encoded."""
        return self.needs_hard_negatives or self.initialisation == "semantic"


def experiments(config: RunConfig) -> list[Experiment]:
    """Return what is trained: first the run's own sampler and initialisation, then every other combination."""
    chosen = dict.fromkeys((config.initialisation, *config.compare.initialisations))
    kinds, _, tables = zip(*(initialisation.partition(":") for initialisation in chosen), strict=True)
    samplers = [config.sampler]
    samplers += [sampler for sampler in config.compare.samplers if sampler not in samplers]
    names = [sampler.name for sampler in samplers]
    labels = _numbered(names)
    return [
        Experiment(f"{label}+{initialisation}", sampler, initialisation, table)
        for initialisation, table in zip(_numbered(list(kinds)), tables, strict=True)
        for label, sampler in zip(labels, samplers, strict=True)
    ]


def _numbered(names: list[str]) -> list[str]:
    """Return the names, a number behind those that occur more than once."""
    return [
        name if names.count(name) == 1 else f"{name}-{names[: place + 1].count(name)}"
        for place, name in enumerate(names)
    ]


def build_graph(config: RunConfig, session: LLMSession, progress: ProgressReporter) -> list[Node]:
    """Return the nodes in an order in which inputs come first."""
    trained = experiments(config)
    nodes = [Node("prepare", PrepareStage(PrepareConfig(seed=config.seed, data=config.data)))]
    nodes += _text_nodes(config, trained, session, progress)
    roles = {node.label.removeprefix("encode/"): node.label for node in nodes}
    for experiment in trained:
        nodes += _experiment_nodes(config, experiment, roles, progress)
    names = _numbered([section.name for section in config.compare.recommenders])
    for name, section in zip(names, config.compare.recommenders, strict=True):
        inputs = {"prepare": "prepare"}
        if RECOMMENDERS[section.name].needs_item_vectors:
            inputs["texts"] = roles["texts"]
        stage = RecommenderStage(RecommenderStageConfig(recommender=section, evaluation=config.evaluation))
        nodes.append(Node(f"recommender/{name}", stage, inputs))
    return nodes


def _text_nodes(
    config: RunConfig, trained: list[Experiment], session: LLMSession, progress: ProgressReporter
) -> list[Node]:
    generates = any(experiment.needs_hard_negatives for experiment in trained)
    needs_texts = any(experiment.needs_texts for experiment in trained) or any(
        RECOMMENDERS[section.name].needs_item_vectors for section in config.compare.recommenders
    )
    inputs = {"prepare": "prepare"}
    nodes = []
    if generates:
        profiles = ProfilesStageConfig(seed=config.seed, llm=config.llm, profiles=config.profiles)
        nodes.append(Node("profiles", ProfilesStage(profiles, session, progress), inputs))
        inputs = {**inputs, "profiles": "profiles"}
    if needs_texts:
        texts = EncodeConfig(encoder=config.encoder)
        nodes.append(Node("encode/texts", EncodeTextsStage(texts, progress), inputs))
    if generates:
        inputs = {**inputs, "texts": "encode/texts"}
        negatives = HardNegativesStageConfig(
            seed=config.seed, llm=config.llm, hard_negatives=config.hard_negatives, encoder=config.encoder
        )
        nodes.append(Node("hard_negatives", HardNegativesStage(negatives, session, progress), inputs))
        inputs = {**inputs, "generated": "hard_negatives"}
        encode = EncodeConfig(encoder=config.encoder)
        nodes.append(
            Node("encode/hard_negatives", EncodeNegativesStage(encode, config.hard_negatives, progress), inputs)
        )
    return nodes


def _experiment_nodes(
    config: RunConfig, experiment: Experiment, roles: Mapping[str, str], progress: ProgressReporter
) -> list[Node]:
    inputs = {"prepare": "prepare"}
    if experiment.needs_texts:
        inputs["texts"] = roles["texts"]
    if experiment.needs_hard_negatives:
        inputs["hard_negatives"] = "encode/hard_negatives"
    train = TrainStageConfig(
        seed=config.seed,
        initialisation="table" if experiment.initial_table else experiment.initialisation,
        initial_table=experiment.initial_table,
        model=config.model,
        sampler=experiment.sampler,
        alignment=config.alignment if experiment.needs_texts else None,
        training=config.training,
        mask=config.evaluation.mask,
    )
    label = experiment.label
    evaluation = EvaluateStageConfig(evaluation=config.evaluation)
    return [
        Node(f"train/{label}", TrainStage(train, config.evaluation, progress), inputs),
        Node(f"evaluate/{label}", EvaluateStage(evaluation), {"prepare": "prepare", "train": f"train/{label}"}),
    ]
