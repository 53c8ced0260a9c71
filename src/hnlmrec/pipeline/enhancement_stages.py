"""The stages of the LLM-enhanced baselines: an enhanced model is trained, and an LLM picks preferences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from hnlmrec.config import Config
from hnlmrec.console import ProgressReporter
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset, Numbers
from hnlmrec.data.node_texts import NodeTexts
from hnlmrec.data.preferences import PreferenceTable
from hnlmrec.generation.catalogue import TextCatalogue
from hnlmrec.generation.preferences import PreferencesConfig, generate_preferences, read_preferences
from hnlmrec.generation.shortlists import CandidateScores, Scores
from hnlmrec.llm.providers import LLMConfig
from hnlmrec.models.base import CFModel, TrainableModel
from hnlmrec.models.enhancements import ENHANCEMENTS, EnhancementResources
from hnlmrec.pipeline.config import EnhancementSection
from hnlmrec.pipeline.graph import Stage, StageSummary
from hnlmrec.pipeline.session import LLMSession, model_content
from hnlmrec.pipeline.text_stages import require_texts
from hnlmrec.pipeline.training_stages import TrainStage, TrainStageConfig
from hnlmrec.rng import RandomStreams


class EnhancedTrainStageConfig(TrainStageConfig):
    """What decides an enhanced model; a class of its own, so that the keys of plain models stay as they are."""

    enhancement: EnhancementSection


class EnhancedTrainStage(TrainStage):
    """Trains an enhanced model; inputs as for `TrainStage`, encoded (with user vectors) and preferences."""

    config: EnhancedTrainStageConfig

    def _model(
        self,
        dataset: InteractionDataset,
        inputs: Mapping[str, Path],
        streams: RandomStreams,
        initial: tuple[torch.Tensor, torch.Tensor] | None,
    ) -> tuple[TrainableModel, dict[str, int]]:
        backbone, counts = super()._model(dataset, inputs, streams, initial)
        assert isinstance(backbone, CFModel)
        section = self.config.enhancement
        kind = ENHANCEMENTS[section.name]
        texts = NodeTexts.load(inputs["encoded"], dataset) if "texts" in kind.requires else None
        preferences = (
            PreferenceTable.load(inputs["preferences"], dataset) if "preferences" in kind.requires else None
        )
        generator = torch.Generator().manual_seed(streams.integer("enhancement"))
        model = kind.build(backbone, section, EnhancementResources(texts, preferences), generator=generator)
        counts |= {} if texts is None else texts.counts()
        counts |= {} if preferences is None else {"preferences": len(preferences)}
        return model, counts

    def _description(self) -> dict[str, object]:
        fields = self.config.enhancement.model_dump().items()
        return {**super()._description(), **{f"enhancement.{name}": value for name, value in fields}}


class PreferencesStageConfig(Config):
    """What decides the preferences."""

    seed: int
    """Draws histories and shortlists."""
    llm: LLMConfig
    preferences: PreferencesConfig


class PreferencesStage(Stage[PreferencesStageConfig]):
    """Lets the LLM pick a liked and a disliked item for each user; input prepare, and what its shortlist needs.

    That is candidates (a trained CF model) for the shortlist "scores", texts for "text_neighbours".
    """

    name = "preferences"

    def __init__(self, config: PreferencesStageConfig, session: LLMSession, progress: ProgressReporter) -> None:
        self.config, self.session, self.progress = config, session, progress

    def external_inputs(self) -> dict[str, str]:
        """Return the fingerprint of the prompt."""
        return {"prompt": self.config.preferences.template().fingerprint, **model_content(self.config.llm)}

    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        """Write preferences.jsonl, failures.jsonl and preferences.parquet."""
        require_texts(inputs["prepare"])
        catalogue = TextCatalogue.load(inputs["prepare"])
        dataset = InteractionDataset.load(inputs["prepare"])
        with self.progress.task("preferences") as advance:
            summary = generate_preferences(
                catalogue,
                self.config.preferences,
                client=self.session.client,
                completion=self.config.llm.completion(),
                streams=RandomStreams(self.config.seed),
                out=out,
                item_vectors=_item_vectors(inputs["texts"], dataset) if "texts" in inputs else None,
                scores=_scores(inputs["candidates"], dataset) if "candidates" in inputs else None,
                concurrency=self.config.llm.concurrency,
                engine=self.session.engine,
                progress=advance,
            )
        rows = read_preferences(out, catalogue)
        PreferenceTable(rows.users, rows.liked, rows.disliked).save(out, dataset)
        return StageSummary(summary.counts())


def _item_vectors(folder: Path, dataset: InteractionDataset) -> Scores:
    return EmbeddingTable.load(folder, "items").rows(dataset.items.all_ids)[0]


def _scores(folder: Path, dataset: InteractionDataset) -> CandidateScores:
    """Return the scores of a trained CF model."""
    user_vectors, _ = EmbeddingTable.load(folder, "users").rows(dataset.users.all_ids)
    item_vectors, _ = EmbeddingTable.load(folder, "items").rows(dataset.items.all_ids)

    def score(users: Numbers, positives: Numbers) -> Scores:
        del positives
        return np.asarray(user_vectors[users] @ item_vectors.T, dtype=np.float32)

    return score
