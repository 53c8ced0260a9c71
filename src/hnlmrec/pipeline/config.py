"""The configuration of a run: one section for each family, in the words of the command line's overrides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from pydantic import BeforeValidator, Field, create_model, model_validator

from hnlmrec.alignment import AlignmentConfig
from hnlmrec.config import Config, runtime
from hnlmrec.data.preparation import PreparationConfig
from hnlmrec.encoders import EncoderConfig
from hnlmrec.evaluation.evaluator import EvaluationConfig
from hnlmrec.generation.hard_negatives import HardNegativesConfig
from hnlmrec.generation.preferences import PreferencesConfig
from hnlmrec.generation.profiles import ProfilesConfig
from hnlmrec.judging import JudgeConfig
from hnlmrec.llm.providers import LLMConfig
from hnlmrec.models import MODELS
from hnlmrec.models.enhancements import ENHANCEMENTS
from hnlmrec.models.recommenders import RECOMMENDERS
from hnlmrec.negative_sampling import SAMPLERS
from hnlmrec.pipeline.finetuning_section import FinetuningSection
from hnlmrec.training import TrainingConfig

DEFAULT_NAMES = {"model": "lightgcn", "sampler": "semantic"}
Initialisation = Annotated[str, Field(pattern=r"^(random|semantic|finetuned|table:.+)$")]


def _tag(name: str) -> Any:
    return Literal[name]


def _choice(table: Mapping[str, Any]) -> Any:
    """Return the type of a section that `name` selects: one member for each entry of a table."""
    members: Any = tuple(
        create_model(f"{entry.__name__}Section", __base__=entry.Config, name=(_tag(name), name))
        for name, entry in table.items()
    )
    return Annotated[Union[members], Field(discriminator="name")]  # noqa: UP007 - built at run time


if TYPE_CHECKING:  # the members of the unions are known at run time only
    ModelSection: TypeAlias = Any
    SamplerSection: TypeAlias = Any
    RecommenderSection: TypeAlias = Any
    EnhancementSection: TypeAlias = Any
else:
    ModelSection = _choice(MODELS)
    SamplerSection = _choice(SAMPLERS)
    RecommenderSection = _choice(RECOMMENDERS)
    EnhancementSection = _choice(ENHANCEMENTS)


def _default(name: str) -> Any:
    """Return what makes a section without a name that of an entry, so that its keys can be set alone."""
    return BeforeValidator(lambda given: {"name": name, **given} if isinstance(given, dict) else given)


class PretrainSection(Config):
    """Section [pretrain]: the CF model whose vectors are the collaborative signals."""

    model: Annotated[ModelSection, _default("lightgcn")] = Field({}, validate_default=True)
    sampler: Annotated[SamplerSection, _default("dns")] = Field({}, validate_default=True)
    training: TrainingConfig = TrainingConfig()


class ComparisonConfig(Config):
    """What is trained beside the run's own sampler, on the same data, model and training settings."""

    samplers: tuple[SamplerSection, ...] = ()
    """Other samplers."""
    initialisations: tuple[Initialisation, ...] = ()
    """Every sampler is trained under each of these; empty for the run's own initialisation alone."""
    recommenders: tuple[RecommenderSection, ...] = ()
    """Strong simple methods that need no negatives."""


class RuntimeConfig(Config):
    """What changes where and how fast a run is made, never its results."""

    artifacts: str = runtime("artifacts")
    """Folder of the artefact store."""
    runs: str = runtime("runs")
    """Folder in which a run's results are gathered, under its name."""
    threads: int | None = runtime(None, ge=1)
    """CPU threads of torch and numba; None for all cores."""
    engine: Literal["local", "ray"] = runtime("local")
    """Where texts are written and encoded: in this process, or by the workers of a Ray cluster (extra [ray])."""
    ray_address: str | None = runtime(None)
    """Address of the cluster: "auto", "host:6379" or "ray://host:10001"; None starts one on this machine."""
    ray_workers: int = runtime(2, ge=1)
    """Worker processes; each has `llm.concurrency` requests in flight, or a copy of the text encoder."""
    ray_cpus_per_worker: float = runtime(1.0, ge=0)
    """CPU cores that Ray sets aside for each worker."""
    ray_gpus_per_worker: float = runtime(0.0, ge=0)
    """GPUs, likewise."""
    ray_vllm: bool = runtime(False)
    """Each worker starts a vLLM server of `llm.model` on its GPUs and asks that, in place of `llm.base_url`."""


class RunConfig(Config):
    """Everything that a run is made of."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")
    """Name of the folder below `runtime.runs`."""
    seed: int = Field(0, ge=0)
    """The seed of every random stream."""
    training_seed: int | None = Field(None, ge=0)
    """Another seed for the training alone, which keeps split, texts and judgements; null takes `seed`."""
    initialisation: Initialisation = "random"
    """Where the CF embeddings start: "random" values, "semantic" (the item texts' vectors through the projector),
    "finetuned" (the same with the fine-tuned LLM's vectors) or "table:FOLDER" (the tables users and items of that
    folder, such as a train stage writes)."""
    data: PreparationConfig
    llm: LLMConfig = LLMConfig()
    profiles: ProfilesConfig = ProfilesConfig()
    hard_negatives: HardNegativesConfig = HardNegativesConfig()
    encoder: EncoderConfig = EncoderConfig()
    negatives: Literal["text", "finetuned"] = "text"
    """Where the vectors of generated negatives come from: names that the LLM writes, encoded (`text`), or the
    fine-tuned LLM itself, which emits vectors (`finetuned`)."""
    pretrain: PretrainSection = PretrainSection()
    finetuning: FinetuningSection = FinetuningSection()
    judge: JudgeConfig = JudgeConfig()
    judge_encoder: EncoderConfig | None = None
    """A language model (`causal_lm`) or other encoder whose vectors of the items' texts the judge tunes on
    behaviour, beside those of `encoder`; null for none."""
    model: Annotated[ModelSection, _default(DEFAULT_NAMES["model"])] = Field({}, validate_default=True)
    """The CF model, by `name`; LightGCN where none is given."""
    enhancement: EnhancementSection | None = None
    """An LLM-enhanced baseline around the model, by `name`; null trains the model as it is."""
    preferences: PreferencesConfig = PreferencesConfig()
    sampler: Annotated[SamplerSection, _default(DEFAULT_NAMES["sampler"])] = Field({}, validate_default=True)
    """The negative sampler, by `name`; semantic where none is given."""
    alignment: AlignmentConfig = AlignmentConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    compare: ComparisonConfig = ComparisonConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    @model_validator(mode="after")
    def _can_be_run(self) -> RunConfig:
        if self.hard_negatives.shortlist == "scores":
            raise ValueError("hard_negatives.shortlist=scores is for calls from Python, which give the scores")
        return self
