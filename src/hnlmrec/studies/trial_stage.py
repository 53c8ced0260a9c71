"""A search's trial of a recommender: measured on validation alone, so that the test split stays unread."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hnlmrec.artifacts import write_json
from hnlmrec.config import Config
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.errors import DataError
from hnlmrec.evaluation.evaluator import Mask, evaluate
from hnlmrec.models.recommenders import RECOMMENDERS
from hnlmrec.pipeline.config import RecommenderSection
from hnlmrec.pipeline.graph import Stage, StageSummary
from hnlmrec.pipeline.training_stages import RecommenderStageConfig


class RecommenderTrialConfig(Config):
    """A recommender with its settings, and the metric by which they are judged."""

    recommender: RecommenderSection
    select_by: str
    """For example "recall@20"."""
    mask: Mask
    """What is left out of the rankings."""


class RecommenderTrialStage(Stage[RecommenderTrialConfig]):
    """Fits a recommender and measures it on validation; inputs prepare and, where it needs item vectors, texts."""

    name = "trial"

    def __init__(self, stage: RecommenderStageConfig, select_by: str) -> None:
        evaluation = stage.evaluation
        self.config = RecommenderTrialConfig(
            recommender=stage.recommender, select_by=select_by, mask=evaluation.mask
        )

    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        """Write metrics.json with the split "valid" alone.

        Raises:
            DataError: there is no validation split.
        """
        config = self.config
        dataset = InteractionDataset.load(inputs["prepare"])
        if not len(dataset.valid):
            raise DataError("a search needs a validation split: set data.valid_fraction above 0.")
        recommender = RECOMMENDERS[config.recommender.name](config.recommender)
        vectors = EmbeddingTable.load(inputs["texts"], "items") if "texts" in inputs else None
        recommender.fit(dataset, vectors)
        metric, _, k = config.select_by.partition("@")
        result = evaluate(
            recommender.score, dataset, split="valid", metrics=(metric,), ks=(int(k or 1),), mask=config.mask
        )
        write_json(out / "metrics.json", {"valid": result.means()})
        return StageSummary()
