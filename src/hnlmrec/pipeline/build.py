"""Turns a run's configuration into the graph of its stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hnlmrec.console import ProgressReporter
from hnlmrec.data.preparation import PreparationConfig
from hnlmrec.encoders import EncoderConfig
from hnlmrec.generation.profiles import KINDS, Kind
from hnlmrec.models.enhancements import ENHANCEMENTS
from hnlmrec.models.recommenders import RECOMMENDERS
from hnlmrec.negative_sampling import SAMPLERS
from hnlmrec.pipeline.config import RunConfig
from hnlmrec.pipeline.enhancement_stages import (
    EnhancedTrainStage,
    EnhancedTrainStageConfig,
    PreferencesStage,
    PreferencesStageConfig,
)
from hnlmrec.pipeline.finetuning_stages import (
    FinetuneStage,
    FinetuneStageConfig,
    TripletsStage,
    TripletsStageConfig,
    VectorsStage,
    VectorsStageConfig,
)
from hnlmrec.pipeline.graph import Node, Stage
from hnlmrec.pipeline.holdout_stage import HoldOutConfig, HoldOutStage
from hnlmrec.pipeline.judge_stage import JudgeAloneConfig, JudgeAloneStage, JudgeStage, JudgeStageConfig
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
    PretrainStage,
    RecommenderStage,
    RecommenderStageConfig,
    RetrainStage,
    TrainStage,
    TrainStageConfig,
)
from hnlmrec.pipeline.transfer_stage import AdoptStage, AdoptStageConfig

SOURCE = "source/"
"""Begins the labels of stages on the data set from which an encoder is transferred."""


@dataclass(frozen=True)
class Experiment:
    """One sampler under one initialisation.

    Attributes:
        label: unique in a run.
        sampler: its section of the configuration.
        initialisation: "random", "semantic", "finetuned" or "table"; "table-1", "table-2" where a run has several.
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
    def needs_item_vectors(self) -> bool:
        """Whether the sampler weighs the texts of items."""
        return "item_vectors" in SAMPLERS[self.sampler.name].requires


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
    return _Builder(config, session, progress).graph()


class _Builder:
    """Adds a node the first time that somebody asks for its label, after the nodes that it reads."""

    def __init__(self, config: RunConfig, session: LLMSession, progress: ProgressReporter) -> None:
        self.config, self.session, self.progress = config, session, progress
        self.nodes: dict[str, Node] = {}

    def graph(self) -> list[Node]:
        config, trained = self.config, experiments(self.config)
        self.prepare()
        inputs = [self.train_inputs(experiment) for experiment in trained]  # texts first, then all training
        for experiment, experiment_inputs in zip(trained, inputs, strict=True):
            self.experiment(experiment, experiment_inputs)
        names = _numbered([section.name for section in config.compare.recommenders])
        for name, section in zip(names, config.compare.recommenders, strict=True):
            needs_texts = RECOMMENDERS[section.name].needs_item_vectors
            stage = RecommenderStage(RecommenderStageConfig(recommender=section, evaluation=config.evaluation))
            roles = {"prepare": self.prepare()} | ({"texts": self.texts()} if needs_texts else {})
            self.add(f"recommender/{name}", stage, roles)
        if "judge" in self.nodes:
            alone = JudgeAloneStage(JudgeAloneConfig(evaluation=config.evaluation))
            self.add("recommender/judge", alone, {"prepare": self.prepare(), "judge": self.judge()})
        return list(self.nodes.values())

    def add(self, label: str, stage: Stage[Any], inputs: Mapping[str, str]) -> str:
        self.nodes.setdefault(label, Node(label, stage, inputs))
        return label

    def prepare(self) -> str:
        stage = PrepareStage(PrepareConfig(seed=self.config.seed, data=self.config.data))
        return self.add("prepare", stage, {})

    def profiles(self) -> str:
        return self._profiles("profiles", self.prepare())

    def _profiles(self, label: str, source: str) -> str:
        config = self.config
        stage = ProfilesStageConfig(seed=config.seed, llm=config.llm, profiles=config.profiles)
        return self.add(label, ProfilesStage(stage, self.session, self.progress), {"prepare": source})

    def inner_profiles(self) -> dict[str, str]:
        """The profiles that the fine-tuning reads: of the inner train, or the judge would know the answers."""
        if not self.config.finetuning.profiles:
            return {}
        return {"profiles": self._profiles("profiles/inner", self.inner())}

    def texts(self) -> str:
        """The encoder's vectors of the item and user texts; of profiles too, where a run has them."""
        return self._encode("encode/texts", self.config.encoder)

    def _encode(self, label: str, encoder: EncoderConfig, kinds: tuple[Kind, ...] = KINDS) -> str:
        inputs = {"prepare": self.prepare()}
        if self.writes_profiles:
            inputs["profiles"] = self.profiles()
        stage = EncodeTextsStage(EncodeConfig(encoder=encoder, kinds=kinds), self.session, self.progress)
        return self.add(label, stage, inputs)

    def text_negatives(self) -> str:
        """The text variant: names that the LLM writes, grounded and encoded."""
        config = self.config
        inputs = {"prepare": self.prepare(), "profiles": self.profiles(), "texts": self.texts()}
        stage_config = HardNegativesStageConfig(
            seed=config.seed, llm=config.llm, hard_negatives=config.hard_negatives, encoder=config.encoder
        )
        stage = HardNegativesStage(stage_config, self.session, self.progress)
        generated = self.add("hard_negatives", stage, inputs)
        encoding = EncodeConfig(encoder=config.encoder)
        encode = EncodeNegativesStage(encoding, config.hard_negatives, self.session, self.progress)
        return self.add("encode/hard_negatives", encode, {**inputs, "generated": generated})

    def held_out(self, part: str, fraction: float, source: str) -> str:
        stage = HoldOutStage(HoldOutConfig(seed=self.config.seed, part=part, fraction=fraction))
        return self.add(f"holdout/{part}", stage, {"prepare": source})

    def inner(self) -> str:
        """Train without what the judge is calibrated on."""
        return self.held_out("judge", self.config.judge.holdout, self.prepare())

    def pretrain(self) -> str:
        """The collaborative signals: of the inner train, without the pairs that become triplets."""
        source = self.held_out("triplets", self.config.finetuning.holdout, self.inner())
        return self._pretrain("pretrain", source)

    def _pretrain(self, label: str, source: str, *, texts: str = "", like: str = "") -> str:
        """Train the CF model of [pretrain] on a train split, from random values or from the items' texts.

        It stops where the stage `like` was best, or where it is best itself.
        """
        config = self.config
        stage = TrainStageConfig(
            seed=config.seed,
            initialisation="semantic" if texts else "random",
            model=config.pretrain.model,
            sampler=config.pretrain.sampler,
            alignment=config.alignment if texts else None,
            training=config.pretrain.training,
            mask=config.evaluation.mask,
        )
        inputs = {"prepare": source} | ({"texts": texts} if texts else {}) | ({"like": like} if like else {})
        kind = RetrainStage if like else PretrainStage
        return self.add(label, kind(stage, config.evaluation, self.progress), inputs)

    def preferences(self) -> str:
        """What the LLM picks of candidates for each user: extra pairs for the enhancement `llmrec`."""
        config, inputs = self.config, {"prepare": self.prepare()}
        if config.preferences.shortlist == "scores":
            inputs["candidates"] = self._pretrain("pretrain/candidates", self.prepare())
        if config.preferences.shortlist == "text_neighbours":
            inputs["texts"] = self.texts()
        stage = PreferencesStageConfig(seed=config.seed, llm=config.llm, preferences=config.preferences)
        return self.add("preferences", PreferencesStage(stage, self.session, self.progress), inputs)

    def finetune(self) -> str:
        config, section = self.config, self.config.finetuning
        inputs = {"prepare": self.inner(), "pretrain": self.pretrain()}
        triplets_inputs = {**inputs, "pairs": "holdout/triplets"}
        if section.triplets.strategy in ("combined", "semantic_close_behaviour_far"):
            triplets_inputs["texts"] = self.texts()
        if section.triplets.strategy == "llm_text":
            triplets_inputs["hard_negatives"] = self.text_negatives()
        triplets = TripletsStage(TripletsStageConfig(seed=config.seed, triplets=section.triplets))
        inputs["triplets"] = self.add("triplets", triplets, triplets_inputs)
        inputs |= self.inner_profiles()
        stage_config = FinetuneStageConfig(
            seed=config.seed,
            texts=section.texts,
            encoder=section.encoder,
            training=section.training,
            precision=section.precision,
            device=section.device,
        )
        return self.add("finetune", FinetuneStage(stage_config, self.progress), inputs)

    def encoder(self) -> str:
        """The encoder that writes the vectors: fine-tuned on this data, or taken over from elsewhere."""
        section = self.config.finetuning
        if not section.adapter and section.transfer_from is None:
            return self.finetune()
        inputs = {"pretrain": self.pretrain()}
        if section.transfer_from is not None:
            inputs["encoder"] = self._tuned_on(section.transfer_from)
        stage_config = AdoptStageConfig(
            size=self.config.pretrain.model.embedding_size,
            precision=section.precision,
            folder=section.adapter,
            device=section.device,
        )
        return self.add("adopt", AdoptStage(stage_config), inputs)

    def _tuned_on(self, data: PreparationConfig) -> str:
        """Add the stages that fine-tune on another data set: those of a run on it, whose artefacts they share."""
        section = self.config.finetuning.model_copy(update={"transfer_from": None})
        config = self.config.model_copy(update={"data": data, "finetuning": section})
        other = _Builder(config, self.session, self.progress)
        tuned = other.finetune()
        for node in other.nodes.values():
            inputs = {role: f"{SOURCE}{label}" for role, label in node.inputs.items()}
            self.add(f"{SOURCE}{node.label}", node.stage, inputs)
        return f"{SOURCE}{tuned}"

    def vectors(self) -> str:
        """What the fine-tuned LLM emits for items, users and pairs."""
        config, section = self.config, self.config.finetuning
        inputs = {"finetune": self.encoder(), "pretrain": self.pretrain()}
        inputs |= {"prepare": self.prepare(), "inner": self.inner()}
        inputs |= self.inner_profiles()
        stage_config = VectorsStageConfig(
            seed=config.seed,
            texts=section.texts,
            vectors=section.vectors,
            precision=section.precision,
            device=section.device,
        )
        return self.add("vectors", VectorsStage(stage_config, self.progress), inputs)

    def judge(self) -> str:
        config, name = self.config, self.config.judge.name
        inputs = {"prepare": self.prepare(), "inner": self.inner()}
        if name != "behaviour":
            inputs["texts"] = self.texts()
        if name in {"tuned_text", "llm"} and config.judge_encoder is not None:
            inputs["language"] = self._encode("encode/judge", config.judge_encoder, ("item",))
        if name == "llm":
            inputs["vectors"] = self.vectors()
        judge = config.judge
        if name in {"behaviour", "llm"}:
            inputs |= self.judged_signals()
        else:  # then it decides nothing, and the judge is the same
            judge = judge.model_copy(update={"cf": "signals"})
        return self.add("judge", JudgeStage(JudgeStageConfig(seed=config.seed, judge=judge)), inputs)

    def judged_signals(self) -> dict[str, str]:
        """The CF model that the judge weighs and, where it has one of its own, the one that it judges with."""
        if self.config.judge.cf == "signals":
            return {"pretrain": self.pretrain()}
        texts = "" if self.config.judge.name == "behaviour" else self.texts()
        inner = self._pretrain("pretrain/inner", self.inner(), texts=texts)
        return {
            "pretrain": inner,
            "remade": self._pretrain("pretrain/train", self.prepare(), texts=texts, like=inner),
        }

    @property
    def writes_profiles(self) -> bool:
        """Whether the LLM writes profiles: for its names of negatives, or for an enhancement that reads them."""
        config = self.config
        if getattr(config.enhancement, "profiles", False):
            return True
        generates = any(experiment.needs_hard_negatives for experiment in experiments(config))
        return generates and (config.negatives == "text" or config.finetuning.triplets.strategy == "llm_text")

    def train_inputs(self, experiment: Experiment) -> dict[str, str]:
        """Ask for all that an experiment reads."""
        inputs = {"prepare": self.prepare()}
        if experiment.initialisation == "semantic":
            inputs["texts"] = self.texts()
        if experiment.initialisation == "finetuned":
            inputs["texts"] = self.vectors()
        if experiment.needs_hard_negatives:
            is_tuned = self.config.negatives == "finetuned"
            inputs["hard_negatives"] = self.vectors() if is_tuned else self.text_negatives()
            inputs["projected"] = self.vectors() if is_tuned else self.texts()
        sampler = experiment.sampler
        guarded = getattr(sampler, "risk_penalty", 0.0) or getattr(sampler, "drop_judged_false", False)
        if guarded or self.config.training.needs_judge:
            inputs["judge"] = self.judge()
        enhancement = self.config.enhancement
        needed = () if enhancement is None else ENHANCEMENTS[enhancement.name].requires
        if "texts" in needed or experiment.needs_item_vectors:
            inputs["encoded"] = self.texts()
        if "preferences" in needed:
            inputs["preferences"] = self.preferences()
        return inputs

    def experiment(self, experiment: Experiment, inputs: Mapping[str, str]) -> None:
        config, label = self.config, experiment.label
        projects = "projected" in inputs or "texts" in inputs
        training = config.training
        if not training.recognised_share:  # then it decides nothing, and the model is the same
            training = training.model_copy(update={"recognised_evenness": 0.0})
        train = TrainStageConfig(
            seed=config.seed if config.training_seed is None else config.training_seed,
            initialisation="table" if experiment.initial_table else experiment.initialisation,
            initial_table=experiment.initial_table,
            model=config.model,
            sampler=experiment.sampler,
            alignment=config.alignment if projects else None,
            training=training,
            mask=config.evaluation.mask,
        )
        stage = TrainStage(train, config.evaluation, self.progress)
        if config.enhancement is not None:
            fields = {name: getattr(train, name) for name in type(train).model_fields}
            enhanced = EnhancedTrainStageConfig(**fields, enhancement=config.enhancement)
            stage = EnhancedTrainStage(enhanced, config.evaluation, self.progress)
        trained = self.add(f"train/{label}", stage, inputs)
        evaluate = EvaluateStage(EvaluateStageConfig(evaluation=config.evaluation))
        self.add(f"evaluate/{label}", evaluate, {"prepare": self.prepare(), "train": trained})
