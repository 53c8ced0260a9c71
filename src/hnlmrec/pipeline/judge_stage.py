"""The stages of the judge: which unobserved pairs are probably positives, and how well that alone recommends."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from hnlmrec.artifacts import write_json
from hnlmrec.config import Config
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset, Numbers
from hnlmrec.data.judgements import JudgementTable
from hnlmrec.evaluation.evaluator import EvaluationConfig, Scorer
from hnlmrec.evaluation.files import write_evaluation
from hnlmrec.judging import (
    DotEvidence,
    Evidence,
    Judge,
    JudgeConfig,
    PopularityEvidence,
    RecommenderEvidence,
    TextEvidence,
    TunedTextEvidence,
    TunedTexts,
)
from hnlmrec.models.ease import EASE
from hnlmrec.models.item_knn import ItemKNN, ItemKNNConfig
from hnlmrec.models.recommender import squares_gib
from hnlmrec.pipeline.graph import Stage, StageSummary
from hnlmrec.pipeline.training_stages import evaluate_splits
from hnlmrec.rng import RandomStreams

log = logging.getLogger(__name__)


class JudgeStageConfig(Config):
    """What decides the judgements."""

    seed: int
    judge: JudgeConfig


class JudgeStage(Stage[JudgeStageConfig]):
    """Fits a judge; inputs prepare and inner (train with a part held out).

    Where they are used: texts; language (a language model's vectors of the same texts); vectors for "llm";
    pretrain for "behaviour" and "llm", of a CF model that knows nothing of what is held out, and remade, of one
    that does.
    The judges with less evidence are fitted beside it, so that calibration.json always tells what each adds, and
    whether the LLM helps.
    """

    name = "judge"
    version = 2

    def __init__(self, config: JudgeStageConfig) -> None:
        self.config = config

    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        """Write judgements.parquet and calibration.json."""
        config = self.config.judge
        dataset = InteractionDataset.load(inputs["prepare"])
        inner = InteractionDataset.load(inputs["inner"])
        streams = RandomStreams(self.config.seed)
        judge = build_judge(config, inputs, dataset.n_items, streams)
        reports = judge.fit(inner, streams)
        table = judge.judge(dataset, remade_evidence(inputs))
        table.save(out, dataset)
        judges = [asdict(report) for report in reports]
        write_json(out / "calibration.json", {"judges": judges, "weights": judge.weights()})
        areas = {f"auc {report.name}": report.auc_uniform for report in reports}
        areas |= {f"hard auc {report.name}": report.auc_hard for report in reports}
        measured = {name: round(area, 4) for name, area in areas.items() if area is not None}
        return StageSummary({"judgements": len(table), **measured})


def build_judge(config: JudgeConfig, inputs: Mapping[str, Path], n_items: int, streams: RandomStreams) -> Judge:
    """Return a judge of the evidence that the stage's inputs hold, not yet fitted."""
    seed = streams.integer("judge/tuning")
    noise = streams.generator("judge/noise") if config.noise else None
    evidence: list[Evidence] = [_behaviour(config, n_items)]
    if config.popularity:
        evidence.append(PopularityEvidence())
    if config.name == "behaviour":
        return Judge(config, [*evidence, _dot_evidence("cf", inputs["pretrain"])])
    texts = EmbeddingTable.load(inputs["texts"], "items")
    evidence.append(TextEvidence(texts, config.text_power, config.memory_limit_gib))
    smaller = {"ease_text": len(evidence)}
    if config.name == "ease_text":
        return Judge(config, evidence)
    evidence += _tuned_evidence("tuned text", texts, config, seed)
    if config.name == "llm":
        evidence.append(_dot_evidence("cf", inputs["pretrain"]))
    if "language" in inputs:
        smaller["without a language model"] = len(evidence)
        states = _said(inputs["language"], "items", noise)
        evidence += _tuned_evidence("tuned language model", states, config, seed)
    if config.name == "llm":
        smaller["without the fine-tuned LLM"] = len(evidence)
        evidence.append(_dot_evidence("llm", inputs["vectors"], noise))
    return Judge(config, evidence, {name: n for name, n in smaller.items() if n < len(evidence)})


def remade_evidence(inputs: Mapping[str, Path]) -> dict[str, Evidence]:
    """Return what another stage has made anew from all of train, by the name of the evidence it stands for."""
    return {"cf": _dot_evidence("cf", inputs["remade"])} if "remade" in inputs else {}


def _behaviour(config: JudgeConfig, n_items: int) -> Evidence:
    name = config.item_item
    if name == "auto":
        needed = squares_gib(n_items)
        name = "ease" if needed <= config.memory_limit_gib else "item_knn"
        if name == "item_knn":
            log.warning(
                "the judge weighs ItemKNN's score in place of EASE's, which needs %.1f GiB for %d items; "
                "judge.memory_limit_gib is %g.",
                needed,
                n_items,
                config.memory_limit_gib,
            )
    recommender = EASE(config) if name == "ease" else ItemKNN(ItemKNNConfig())
    return RecommenderEvidence(name, recommender)


def _tuned_evidence(name: str, vectors: EmbeddingTable, config: JudgeConfig, seed: int) -> list[Evidence]:
    texts = TunedTexts(vectors, config.tuning, seed)
    return [
        TunedTextEvidence(f"{name}^{power:g}", texts, power, config.memory_limit_gib)
        for power in config.tuned_powers
    ]


def _dot_evidence(name: str, folder: Path, noise: np.random.Generator | None = None) -> DotEvidence:
    users, items = (_said(folder, kind, noise) for kind in ("users", "items"))
    return DotEvidence(name, users, items, cosine=name == "llm")


def _said(folder: Path, kind: str, noise: np.random.Generator | None) -> EmbeddingTable:
    """Read vectors; where there is a source of noise, return as many random ones of that size in their place."""
    table = EmbeddingTable.load(folder, kind)
    if noise is None:
        return table
    return EmbeddingTable(table.ids, noise.standard_normal(table.vectors.shape, dtype=np.float32))


class JudgeAloneConfig(Config):
    """What is measured of a judge as a recommender."""

    evaluation: EvaluationConfig


class JudgeAloneStage(Stage[JudgeAloneConfig]):
    """Recommends each user's likeliest items; inputs prepare and judge.

    A system that is trained with a judge's help counts only if it beats this.
    """

    name = "recommender"
    version = 2

    def __init__(self, config: JudgeAloneConfig) -> None:
        self.config = config

    def external_inputs(self) -> dict[str, str]:
        """Tell this from the other recommenders."""
        return {"recommender": "judge"}

    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        """Write metrics, values by user and hits."""
        dataset = InteractionDataset.load(inputs["prepare"])
        table = JudgementTable.load(inputs["judge"], dataset)
        results = evaluate_splits(_scorer(table, dataset.n_items), dataset, self.config.evaluation)
        write_evaluation(out, results)
        return StageSummary({"evaluate_seconds": round(sum(r.seconds for r in results.values()), 3)})


def _scorer(table: JudgementTable, n_items: int) -> Scorer:
    order = np.argsort(table.users, kind="stable")
    users, items, scores = table.users[order], table.items[order], table.scores[order]
    lowest = float(scores.min(initial=0.0)) - 1.0

    def score(wanted: Numbers) -> torch.Tensor:
        result = torch.full((len(wanted), n_items), lowest)
        starts, ends = np.searchsorted(users, wanted), np.searchsorted(users, wanted, side="right")
        rows = np.repeat(np.arange(len(wanted)), ends - starts)
        places = np.concatenate([np.arange(a, b) for a, b in zip(starts, ends, strict=True)])
        result[rows, items[places]] = torch.from_numpy(scores[places])
        return result

    return score
