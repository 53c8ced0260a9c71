"""One model in BPR training, and what each method's gradient is at some of its epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from hnlmrec.data.interactions import InteractionDataset, Split
from hnlmrec.evaluation.evaluator import dot_product_scorer, evaluate
from hnlmrec.models import MODELS
from hnlmrec.models.base import CFModel, Embeddings, ModelConfig
from hnlmrec.negative_sampling import SAMPLERS
from hnlmrec.rng import RandomStreams
from hnlmrec.simulation.followers import Follower
from hnlmrec.simulation.gradients import measure_gradients
from hnlmrec.simulation.ideal import risk_gradient
from hnlmrec.simulation.measures import describe
from hnlmrec.simulation.methods import Method, MethodBuilder
from hnlmrec.simulation.world import PlantedWorld
from hnlmrec.training import EpochReport, Trainer, TrainingConfig

Row = dict[str, Any]


class Trajectory:
    """Trains a model on uniform negatives, the same whatever is measured, and measures at its way points.

    All methods are measured on the same parameters, so that they differ in their negatives alone; their samplers
    follow the model (see `Follower`).

    Args:
        world: the planted world.
        model_name: a key of MODELS.
        builder: of the methods.
        methods: name -> method.
        streams: of this world.
    """

    def __init__(
        self,
        world: PlantedWorld,
        model_name: str,
        builder: MethodBuilder,
        methods: Mapping[str, Method],
        streams: RandomStreams,
    ) -> None:
        self.world, self.model_name, self.builder, self.streams = world, model_name, builder, streams
        self.methods, self.size = dict(methods), builder.embedding_size
        self.liked = torch.from_numpy(world.liked)

    def measure(self, training: TrainingConfig, epochs: tuple[int, ...], n_draws: int) -> list[Row]:
        """Return a row for each method and epoch.

        Args:
            training: options; the last of `epochs` is how long is trained.
            epochs: where to measure, ascending.
            n_draws: passes over the positives for each measurement, even.
        """
        model = self._model()
        followers = self._followers(training)
        rows: list[Row] = []

        def after_epoch(report: EpochReport) -> None:
            for follower in followers.values():
                follower.follow(report.done, model)
            if report.done in epochs:
                rows.extend(self._rows(model, followers, report.done, n_draws))

        last = epochs[-1]
        options = training.model_copy(update={"epochs": last, "patience": last, "evaluate_every": last})
        uniform = SAMPLERS["uniform"](self.world.dataset, SAMPLERS["uniform"].Config())
        Trainer(
            model, uniform, options, RandomStreams(self.streams.seed), evaluate=self._recall, progress=after_epoch
        ).fit(self.world.dataset)
        return rows

    def outcome(self, name: str, training: TrainingConfig) -> Row:
        """Train a model of its own on a method, and return how well it finds the liked pairs not observed."""
        method = self.methods[name]
        result = Trainer(
            self._model(),
            self.builder.sampler(method),
            self.builder.training(method, training),
            RandomStreams(self.streams.seed),
            evaluate=self._recall,
            judgements=self.builder.judgement_table(method),
        ).fit(self.world.dataset)
        found = self._recall(result.embeddings, "test", names=("recall", "ndcg"))
        return {"method": name, "best_epoch": result.best_epoch, **found}

    def _model(self) -> CFModel:
        kind = MODELS[self.model_name]
        config: ModelConfig = kind.Config(embedding_size=self.size)
        generator = torch.Generator().manual_seed(self.streams.integer("model"))
        return kind(self.world.dataset, config, generator=generator)

    def _followers(self, training: TrainingConfig) -> dict[str, Follower]:
        # The projector's objective reads no negatives, so that one serves all, and one follower teaches it.
        projector, taught = self.builder.projector(), False
        batch_size = training.resolved(self.world.dataset.train).batch_size
        assert batch_size != "auto"
        followers = {}
        for name, method in self.methods.items():
            followers[name] = Follower(
                self.builder.sampler(method, projector),
                self.builder.positives(method),
                torch.Generator().manual_seed(self.streams.integer("followers")),
                learning_rate=training.learning_rate,
                batch_size=batch_size,
                learns=not (method.projects and taught),
            )
            taught |= method.projects
        return followers

    def _rows(self, model: CFModel, followers: Mapping[str, Follower], epoch: int, n_draws: int) -> list[Row]:
        liked = self.world.liked
        ideals = {
            "ideal": risk_gradient(model, liked, ~liked),
            "ideal_hard": risk_gradient(model, liked, ~liked, n_candidates=self.builder.config.n_candidates),
        }
        rows = []
        for name, follower in followers.items():
            rng = torch.Generator().manual_seed(self.streams.integer(f"draws/{epoch}"))
            halves = measure_gradients(
                model, follower.sampler, follower.positives, self.liked, rng, n_draws=n_draws
            )
            measures = describe(halves, ideals, self.world.dataset.n_users)
            rows.append({"epoch": epoch, "method": name, **measures})
        return rows

    def _recall(
        self, embeddings: Embeddings, split: Split, names: tuple[str, ...] = ("recall",)
    ) -> dict[str, float]:
        scorer = dot_product_scorer(embeddings.users, embeddings.items)
        dataset: InteractionDataset = self.world.dataset
        return evaluate(scorer, dataset, split=split, metrics=names, ks=(20,)).means()
