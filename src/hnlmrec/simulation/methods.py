"""The methods that are measured: samplers with their settings, a guard, recognised positives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from hnlmrec.alignment import AlignmentConfig, SemanticProjector
from hnlmrec.config import Config, build
from hnlmrec.data.embeddings import HardNegativeTable
from hnlmrec.data.interactions import Interactions
from hnlmrec.data.judgements import JudgementTable
from hnlmrec.errors import UnknownChoiceError
from hnlmrec.judging import JudgeConfig
from hnlmrec.negative_sampling import SAMPLERS, NegativeSampler, SamplerResources
from hnlmrec.rng import RandomStreams
from hnlmrec.simulation.generated import Judgements, generated_negatives, judge_world, write_items
from hnlmrec.simulation.gradients import Positives
from hnlmrec.simulation.world import PlantedWorld
from hnlmrec.training import TrainingConfig
from hnlmrec.training.recognised import RecognisedPositives

LLM = Literal["tuned", "untuned"]


class MethodsConfig(Config):
    """Settings that the methods share, so that they differ in their rules alone."""

    n_candidates: int = Field(16, ge=1)
    """Candidates of each sampler that chooses from some."""
    alpha: float = Field(0.2, ge=0, le=1)
    """Share of the generated vector in mixed negatives."""
    generated_per_pair: int = Field(3, ge=1)
    """Items that the planted LLM generates for each train pair."""
    behaviour_weight: float = Field(0.3, gt=0)
    """What a standard deviation of its view of behaviour costs an item with a tuned LLM, in cosines of texts; an
    untuned one does not look at behaviour."""
    risk_penalty: float = Field(0.5, gt=0)
    """Of the guard, in standard deviations of the scores."""
    recognised_share: float = Field(0.3, gt=0, lt=1)
    """Share of the positives that are recognised ones."""
    recognised_per_user: int = Field(5, ge=1)
    """The judge's best items of each user that become positives."""
    judge: JudgeConfig = JudgeConfig(regularization=20.0, hard_candidates=50, uniform_candidates=50)
    """The judge of texts and behaviour."""


@dataclass(frozen=True)
class Method:
    """One row of the comparison.

    Attributes:
        sampler: a key of SAMPLERS.
        llm: whose generated negatives it reads; None for none.
        judge: whose judgements guard it; None for no guard.
        recognised: whether the judge's best items are positives too.
        settings: of the sampler, beside those that all share.
    """

    sampler: str
    llm: LLM | None = None
    judge: Literal["estimated", "true"] | None = None
    recognised: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def projects(self) -> bool:
        """Whether the sampler projects text vectors into the model's space."""
        return "projector" in SAMPLERS[self.sampler].requires


METHODS: dict[str, Method] = {
    **{
        name: Method(name)
        for name in (
            "uniform",
            "popularity",
            "in_batch",
            "softmax_v",
            "warp",
            "dns",
            "dns_mn",
            "srns",
            "adasir",
            "mixgcf",
            "dens",
            "ahns",
            "llmhni",
        )
    },
    "file (untuned LLM's items)": Method("file", llm="untuned"),
    "file (tuned LLM's items)": Method("file", llm="tuned"),
    "semantic (untuned)": Method("semantic", llm="untuned"),
    "semantic": Method("semantic", llm="tuned"),
    "noise": Method("noise", llm="tuned"),
    "shuffled": Method("shuffled", llm="tuned"),
    "hnlmrec": Method("hnlmrec", llm="tuned"),
    "hnlmrec + guard": Method("hnlmrec", llm="tuned", judge="estimated"),
    "hnlmrec + guard + recognised": Method("hnlmrec", llm="tuned", judge="estimated", recognised=True),
    "dns + guard": Method("dns", judge="estimated"),
    "dns + recognised": Method("dns", recognised=True),
    "dns + true guard": Method("dns", judge="true", settings={"risk_penalty": 1e6}),
}


class MethodBuilder:
    """Builds methods in one world; tables and judgements are made once and shared.

    Args:
        world: the planted world.
        config: see `MethodsConfig`.
        streams: of the judge, and of the projectors' initial values.
        embedding_size: of the model.
        folder: where the files of negatives are written.
    """

    def __init__(
        self, world: PlantedWorld, config: MethodsConfig, streams: RandomStreams, embedding_size: int, folder: Path
    ) -> None:
        self.world, self.config, self.streams = world, config, streams
        self.embedding_size, self.folder = embedding_size, folder
        self.judgements: Judgements = judge_world(world, streams, config.judge)
        weights: dict[LLM, float] = {"tuned": config.behaviour_weight, "untuned": 0.0}
        self.tables: dict[LLM, HardNegativeTable] = {
            llm: generated_negatives(world, behaviour_weight=weight, per_pair=config.generated_per_pair)
            for llm, weight in weights.items()
        }

    def projector(self) -> SemanticProjector:
        """Make a projector from text vectors to the model's space, as it is before it learns."""
        generator = torch.Generator().manual_seed(self.streams.integer("projector"))
        return SemanticProjector(
            self.world.item_texts, self.embedding_size, AlignmentConfig(), generator=generator
        )

    def sampler(self, method: Method, projector: SemanticProjector | None = None) -> NegativeSampler:
        """Make the sampler of a method.

        Args:
            method: the method.
            projector: to share with others, where the method has one; None for one of its own.
        """
        kind = SAMPLERS[method.sampler]
        settings = build(kind.Config, self._settings(method), where=f"the settings of {method.sampler}")
        table = None if method.llm is None else self.tables[method.llm]
        projector = (projector or self.projector()) if method.projects else None
        judgements = None if method.judge is None else getattr(self.judgements, method.judge)
        return kind.build(
            SamplerResources(
                self.world.dataset, table, projector, self.world.item_texts, self.embedding_size, judgements
            ),
            settings,
        )

    def positives(self, method: Method) -> Positives:
        """Return what a method trains on: the train pairs, and recognised ones where it has them."""
        train = self.world.dataset.train
        return positives_of(train, self._recognised() if method.recognised else None)

    def training(self, method: Method, training: TrainingConfig) -> TrainingConfig:
        """Return the options of a training with this method."""
        if not method.recognised:
            return training
        return training.model_copy(
            update={
                "recognised_share": self.config.recognised_share,
                "recognised_per_user": self.config.recognised_per_user,
            }
        )

    def judgement_table(self, method: Method) -> JudgementTable | None:
        """Return the judgements that recognised positives are drawn from."""
        return self.judgements.estimated if method.recognised else None

    def _recognised(self) -> RecognisedPositives:
        config = self.config
        options = TrainingConfig(
            recognised_share=config.recognised_share, recognised_per_user=config.recognised_per_user
        )
        return RecognisedPositives(self.judgements.estimated, options, torch.device("cpu"))

    def _settings(self, method: Method) -> dict[str, Any]:
        config, fields = self.config, SAMPLERS[method.sampler].Config.model_fields
        shared: dict[str, Any] = {"alpha": config.alpha}
        if method.sampler not in ("semantic", "noise", "shuffled"):  # the paper's form: e_j is a random item
            shared["n_candidates"] = config.n_candidates
        settings = {name: value for name, value in shared.items() if name in fields}
        if method.judge is not None:
            settings["risk_penalty"] = config.risk_penalty
        if method.sampler == "file":
            assert method.llm is not None
            path = self.folder / f"{method.llm}.parquet"
            write_items(self.tables[method.llm], self.world.dataset, path)
            settings["path"] = str(path)
        return settings | dict(method.settings)


def positives_of(train: Interactions, recognised: RecognisedPositives | None) -> Positives:
    """Return the train pairs and the recognised ones, equal within each; the latter have `share` of the weight."""
    users, items = (torch.from_numpy(part).long() for part in (train.users, train.indices))
    weights = torch.full((len(users),), 1 / len(users))
    if recognised is None:
        return Positives(users, items, weights)
    n = len(recognised.users)
    both = torch.cat([weights * (1 - recognised.share), torch.full((n,), recognised.share / n)])
    return Positives(torch.cat([users, recognised.users]), torch.cat([items, recognised.items]), both)


def choose_methods(names: tuple[str, ...]) -> dict[str, Method]:
    """Return the methods of these names, in their order; all for none.

    Raises:
        UnknownChoiceError: there is no method of such a name.
    """
    for name in names:
        if name not in METHODS:
            raise UnknownChoiceError("method", name, METHODS)
    return {name: METHODS[name] for name in names} if names else dict(METHODS)
