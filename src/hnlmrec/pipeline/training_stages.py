"""The stages of the collaborative side: train, evaluate, and the recommenders that need no training loop."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hnlmrec.alignment import AlignmentConfig, SemanticProjector, semantic_initialisation
from hnlmrec.artifacts import sha256_of
from hnlmrec.config import Config, runtime
from hnlmrec.console import ProgressReporter
from hnlmrec.data.embeddings import EmbeddingTable, HardNegativeTable
from hnlmrec.data.interactions import InteractionDataset, Split
from hnlmrec.data.judgements import JudgementTable
from hnlmrec.data.tables import read_json
from hnlmrec.errors import MissingFileError
from hnlmrec.evaluation.evaluator import (
    EvaluationConfig,
    EvaluationResult,
    Mask,
    Scorer,
    dot_product_scorer,
    evaluate,
)
from hnlmrec.evaluation.false_negatives import fhns_rate
from hnlmrec.evaluation.files import drawn_frame, write_evaluation
from hnlmrec.models import MODELS
from hnlmrec.models.base import Embeddings, TrainableModel
from hnlmrec.models.initial_table import initial_embeddings, initial_table_digests
from hnlmrec.models.recommender import Recommender
from hnlmrec.models.recommenders import RECOMMENDERS
from hnlmrec.negative_sampling import SAMPLERS
from hnlmrec.negative_sampling.base import SamplerResources
from hnlmrec.pipeline.config import ModelSection, RecommenderSection, SamplerSection
from hnlmrec.pipeline.graph import Stage, StageSummary
from hnlmrec.rng import RandomStreams
from hnlmrec.training import EpochReport, Trainer, TrainingConfig

log = logging.getLogger(__name__)


class TrainStageConfig(Config):
    """What decides a trained model."""

    seed: int
    """Seed of initial values, shuffling and drawing."""
    initialisation: str
    """Where the embeddings start: "random", "semantic", "finetuned" or "table"."""
    initial_table: str = runtime("")
    """Folder of that table; what it holds is part of the key, not where it lies."""
    model: ModelSection
    sampler: SamplerSection
    alignment: AlignmentConfig | None
    """None where nothing is projected."""
    training: TrainingConfig
    mask: Mask
    """What is left out of the rankings by which the best epoch is chosen."""


class TrainStage(Stage[TrainStageConfig]):
    """Trains one model with one sampler; inputs prepare and, where they are needed, tables of the other side.

    These are texts (text vectors of items, for a semantic start), hard_negatives, projected (the items' vectors in
    the space of the hard negatives, for their projector), encoded (text vectors of items, for a sampler that
    weighs texts) and judge.
    """

    name = "train"
    version = 2
    shared = True

    def __init__(self, config: TrainStageConfig, evaluation: EvaluationConfig, progress: ProgressReporter) -> None:
        self.config, self.evaluation, self.progress = config, evaluation, progress

    def external_inputs(self) -> dict[str, str]:
        """Return the sha256 of files that are read, and what a guard and `auto` mean."""
        config = self.config
        digests = initial_table_digests(Path(config.initial_table)) if config.initial_table else {}
        if getattr(config.sampler, "risk_penalty", 0.0):
            digests["risk_penalty"] = "in spreads of scores"  # it was in scores: those models are not these
        if config.training.recognised_share == "auto":
            digests["recognised_share"] = "by the mean number of items"  # it was by the judge: those are not these
        if config.sampler.name != "file":
            return digests
        path = Path(config.sampler.path)
        if not path.is_file():
            raise MissingFileError(
                f"there is no file of negatives {path}: set sampler.path to a CSV or Parquet file."
            )
        return {**digests, "negatives": sha256_of(path)}

    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        """Write the best epoch's embeddings and the history of the training."""
        config, streams = self.config, RandomStreams(self.config.seed)
        dataset = InteractionDataset.load(inputs["prepare"])
        resources = self.resources(dataset, inputs, streams)
        initial, counts = self._initial(resources, inputs, streams)
        model, model_counts = self._model(dataset, inputs, streams, initial)
        sampler = SAMPLERS[config.sampler.name].build(resources, config.sampler)
        training = self.training(inputs)
        with self.progress.task(f"train {config.model.name} · {config.sampler.name}") as advance:
            trainer = Trainer(
                model,
                sampler,
                training,
                streams,
                evaluate=self._measure(dataset),
                judgements=resources.judgements,
                folder=out,
                progress=lambda report: _tell(report, advance),
                description=self._description(),
            )
            result = trainer.fit(dataset)
        if result.first_is_best:
            log.warning(
                "train %s, %s: the first evaluation (epoch %d) was the best, so nothing was gained from there on. "
                "Negatives may be too hard (fewer sampler.n_candidates) or steps too large "
                "(training.learning_rate, now %g); training.evaluate_every=1 shows the epochs before too.",
                config.model.name,
                config.sampler.name,
                result.best_epoch,
                training.learning_rate,
            )
        counts |= {
            **model_counts,
            "epochs": result.epochs,
            "best_epoch": result.best_epoch,
            **result.sampler_counts,
        }
        automatic = {
            name: getattr(trainer.config, name)
            for name in ("batch_size", "recognised_share")
            if getattr(training, name) == "auto"
        }
        return StageSummary({**automatic, **counts})

    def training(self, inputs: Mapping[str, Path]) -> TrainingConfig:
        """Return the settings of the training; others read `inputs` for them."""
        del inputs
        return self.config.training

    def _model(
        self,
        dataset: InteractionDataset,
        inputs: Mapping[str, Path],
        streams: RandomStreams,
        initial: tuple[torch.Tensor, torch.Tensor] | None,
    ) -> tuple[TrainableModel, dict[str, int]]:
        """Return what is trained, and what is to be counted of it; `inputs` are for the stages that enhance it."""
        del inputs
        section, generator = self.config.model, _generator(streams, "model")
        return MODELS[section.name](dataset, section, generator=generator, initial=initial), {}

    def resources(
        self, dataset: InteractionDataset, inputs: Mapping[str, Path], streams: RandomStreams
    ) -> SamplerResources:
        """Return what the sampler is built from; a projector as it is before it learns."""
        size = self.config.model.embedding_size
        judgements = JudgementTable.load(inputs["judge"], dataset) if "judge" in inputs else None
        if "hard_negatives" not in inputs:
            vectors = None
            if "encoded" in inputs:
                vectors, _ = EmbeddingTable.load(inputs["encoded"], "items").rows(dataset.items.all_ids)
            return SamplerResources(dataset, item_vectors=vectors, embedding_size=size, judgements=judgements)
        table = HardNegativeTable.load(inputs["hard_negatives"], dataset)
        item_vectors, projector = self._projector(inputs["projected"], dataset, streams)
        return SamplerResources(dataset, table, projector, item_vectors, size, judgements)

    def _projector(
        self, folder: Path, dataset: InteractionDataset, streams: RandomStreams
    ) -> tuple[npt.NDArray[np.float32], SemanticProjector]:
        """Return the items' vectors of a folder, and a projector from their space into that of the model."""
        assert self.config.alignment is not None
        item_vectors, _ = EmbeddingTable.load(folder, "items").rows(dataset.items.all_ids)
        generator = _generator(streams, "projector")
        size = self.config.model.embedding_size
        return item_vectors, SemanticProjector(item_vectors, size, self.config.alignment, generator=generator)

    def _initial(
        self, resources: SamplerResources, inputs: Mapping[str, Path], streams: RandomStreams
    ) -> tuple[tuple[torch.Tensor, torch.Tensor] | None, dict[str, int]]:
        """Return (users, items) to start from, None for random values, and what is to be counted of them."""
        config, dataset = self.config, resources.dataset
        if config.initialisation == "table":
            generator = _generator(streams, "model")
            start = initial_embeddings(
                Path(config.initial_table), dataset, config.model.embedding_size, generator=generator
            )
            for name, missing in start.counts.items():
                if missing:
                    log.warning("%d %s: they start from random values", missing, name.replace("_", " "))
            return (start.users, start.items), start.counts
        if config.initialisation in ("semantic", "finetuned"):
            item_vectors, projector = resources.item_vectors, resources.projector
            if inputs.get("projected") != inputs["texts"] or item_vectors is None or projector is None:
                item_vectors, projector = self._projector(inputs["texts"], dataset, streams)
            generator = _generator(streams, "model")
            free = projector.size - projector.rank
            if free:
                log.warning(
                    "the item texts span %d dimensions; %d more start from random values", projector.rank, free
                )
            counts = {"dimensions_without_text": free} if free else {}
            return semantic_initialisation(item_vectors, projector, dataset.train, generator=generator), counts
        return None, {}

    def _description(self) -> dict[str, Any]:
        """Return the settings of model and sampler as the command line would set them."""
        config = self.config
        sections = {"model": config.model, "sampler": config.sampler}
        fields = {f"{name}.{k}": v for name, section in sections.items() for k, v in section.model_dump().items()}
        return {"initialisation": config.initialisation, **fields}

    def _measure(self, dataset: InteractionDataset) -> Any:
        metric, _, k = self.config.training.select_by.partition("@")
        ks = (int(k),) if k.isdigit() else self.evaluation.ks
        names = tuple(dict.fromkeys((metric, "ndcg")))

        def measure(embeddings: Embeddings, split: Split) -> dict[str, float]:
            score = dot_product_scorer(embeddings.users, embeddings.items)
            mask, memory = self.config.mask, self.evaluation.memory_mib
            return evaluate(
                score, dataset, split=split, metrics=names, ks=ks, mask=mask, memory_mib=memory
            ).means()

        return measure


class PretrainStage(TrainStage):
    """Trains the CF model whose vectors are the collaborative signals; input prepare, an inner train split."""

    name = "pretrain"


class RetrainStage(PretrainStage):
    """Trains the model of another stage anew, on all of train; inputs prepare, that stage (like) and texts.

    It stops at the epoch that was best there, on pairs held out of train, so that whoever learns from it has seen
    nothing of the validation split.
    """

    def training(self, inputs: Mapping[str, Path]) -> TrainingConfig:
        """Return the settings with that number of epochs, and one evaluation, which chooses nothing."""
        epochs = read_json(inputs["like"] / "training.json")["best_epoch"]
        return super().training(inputs).model_copy(update={"epochs": epochs, "evaluate_every": epochs})


class EvaluateStageConfig(Config):
    """What is measured of a trained model."""

    evaluation: EvaluationConfig


class EvaluateStage(Stage[EvaluateStageConfig]):
    """Measures a trained model on validation and, once, on test; inputs prepare and train."""

    name = "evaluate"
    version = 3

    def __init__(self, config: EvaluateStageConfig) -> None:
        self.config = config

    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        """Write metrics, values by user, hits, and the FHNS rate of the drawn negatives."""
        dataset = InteractionDataset.load(inputs["prepare"])
        users, vectors = (
            torch.from_numpy(np.array(EmbeddingTable.load(inputs["train"], name).vectors, dtype=np.float32))
            for name in ("users", "items")
        )
        results = evaluate_splits(dot_product_scorer(users, vectors), dataset, self.config.evaluation)
        columns = ("user", "negative", "generated", "share")
        drawn = drawn_frame(inputs["train"], columns)
        owners, items, generated, shares = (drawn[name].to_numpy() for name in columns)
        rate = fhns_rate(owners, items, dataset, generated=generated, shares=shares)
        write_evaluation(out, results, rate)
        return StageSummary({"evaluate_seconds": round(sum(r.seconds for r in results.values()), 3)})


class RecommenderStageConfig(Config):
    """A recommender that is fitted in one step, and what is measured of it."""

    recommender: RecommenderSection
    evaluation: EvaluationConfig


class RecommenderStage(Stage[RecommenderStageConfig]):
    """Fits and measures a recommender; inputs prepare and, where it needs item vectors, texts."""

    name = "recommender"
    version = 2

    def __init__(self, config: RecommenderStageConfig) -> None:
        self.config = config

    def recommender(self) -> Recommender:
        """Return the recommender, not yet fitted."""
        return RECOMMENDERS[self.config.recommender.name](self.config.recommender)

    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        """Write metrics, values by user and hits."""
        dataset = InteractionDataset.load(inputs["prepare"])
        recommender = self.recommender()
        vectors = EmbeddingTable.load(inputs["texts"], "items") if "texts" in inputs else None
        recommender.fit(dataset, vectors)
        results = evaluate_splits(recommender.score, dataset, self.config.evaluation)
        write_evaluation(out, results)
        return StageSummary({"evaluate_seconds": round(sum(r.seconds for r in results.values()), 3)})


def evaluate_splits(
    score: Scorer, dataset: InteractionDataset, config: EvaluationConfig
) -> dict[str, EvaluationResult]:
    """Measure a scorer on validation and on test, as far as these have pairs."""
    splits: tuple[Split, ...] = ("valid", "test")
    return {
        split: evaluate(
            score,
            dataset,
            split=split,
            metrics=config.metrics,
            ks=config.ks,
            mask=config.mask,
            memory_mib=config.memory_mib,
        )
        for split in splits
        if len(dataset.split(split))
    }


def _generator(streams: RandomStreams, name: str) -> torch.Generator:
    return torch.Generator().manual_seed(streams.integer(name))


def _tell(report: EpochReport, advance: Any) -> None:
    advance(report.done, report.total)
