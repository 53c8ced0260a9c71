"""The study file: data sets x models x variants x initialisations x seeds x a varied parameter."""

from __future__ import annotations

from itertools import chain
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationInfo, field_validator, model_validator

from hnlmrec.config import Config, runtime

Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ,._+()=@-]*$")]
Setting = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*=")]


class StudySection(Config):
    """Section [study]: what is asked, and how it is answered."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")
    """Name of the folder below `runtime.runs`."""
    title: str = ""
    """Heading of the tables."""
    base: str = ""
    """A shipped configuration by name, or the path of a file (relative to the study file), that all cells start
    from; empty where the study file has a table [base]."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0, 1, 2, 3, 4), min_length=1)
    """Each cell is run with each of these."""
    vary: Literal["training", "all"] = "training"
    """What a seed changes: the `training` alone (`training_seed`: split, texts and judgements are shared), or
    `all` (`seed`: another split and everything after it)."""
    initialisations: tuple[str, ...] = Field(("random",), min_length=1)
    """Each variant starts from each of these: "random", "semantic", "finetuned", "table:FOLDER"."""
    baseline: str = ""
    """Label of the variant that all others are tested against; empty for the first."""
    test: Literal["t", "wilcoxon", "bootstrap"] = "t"
    """The test over users whose marks the tables show; tests.parquet has all three."""
    groups: int = Field(4, ge=0)
    """How many groups of users by activity, and of items by popularity, are looked at; 0 for none."""
    reductions: tuple[str, ...] = ()
    """What is smaller here than in the publication, or than one would want; told on the page of results."""
    metrics: tuple[str, ...] = Field(("recall@20", "ndcg@20"), min_length=1)
    """What is tested and drawn; the first is the main one. All measured metrics are in results.parquet."""


class DatasetSection(Config):
    """One of [[datasets]]."""

    label: Label
    base: str = ""
    """Its own base in place of the study's: a shipped configuration by name, or the path of a file."""
    set: tuple[Setting, ...] = ()
    """Settings of its runs, such as "data.source=path/to/toys"."""


class ModelEntry(Config):
    """One of [[models]]."""

    label: Label
    name: str = ""
    """Name of the model; empty where the label is one."""
    set: tuple[Setting, ...] = ()
    """Further settings, such as "model.n_layers=2"."""


class VariantSection(Config):
    """One of [[variants]]: a sampler with its settings, or a recommender that needs no training loop."""

    label: Label
    sampler: str = ""
    """Name of the sampler; empty where the label is one. The base's settings of another sampler are dropped; the
    ablations `noise` and `shuffled` take over those of `hnlmrec` and `semantic`."""
    recommender: str = ""
    """Name of a recommender, or "judge" (the judge of false negatives alone); it has no initialisation."""
    shared: tuple[str, ...] = ()
    """Names in [shared], whose settings come before its own."""
    set: tuple[Setting, ...] = ()
    """Further settings: "sampler.n_candidates=16", "training.recognised_share=0.5"; those of a recommender begin
    with "recommender."."""
    initialisations: tuple[str, ...] = ()
    """Its own initialisations, in place of the study's."""
    models: tuple[str, ...] = ()
    """Labels of the models that it is run with; empty for all. Some methods need a graph model."""
    transfer_from: str = ""
    """Label of the data set on which its LLM is fine-tuned; on the others it writes vectors without tuning. On
    that data set itself the variant is the fine-tuned one."""


class VarySection(Config):
    """One of [[vary]]: a parameter and the values that it takes."""

    key: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")
    """Which setting, for example "sampler.n_negatives"."""
    values: tuple[JsonValue, ...] = Field(min_length=1)
    """What it is set to."""
    label: str = ""
    """Its name in tables and pictures; empty for the key."""
    variants: tuple[str, ...] = ()
    """Labels of the variants that have this setting; empty for all. Every variant is run unvaried too."""

    @property
    def name(self) -> str:
        """What it is called."""
        return self.label or self.key


class AdjustSection(Config):
    """One of [[adjust]]: further settings where data set, model and variant are among those named.

    What suits a baseline on one data set may ruin it on another; each deserves its best.
    """

    datasets: tuple[str, ...] = ()
    """Labels; empty for all."""
    models: tuple[str, ...] = ()
    """Labels; empty for all."""
    variants: tuple[str, ...] = ()
    """Labels; empty for all."""
    set: tuple[Setting, ...] = Field(min_length=1)
    """Settings after those of the variant; a later entry wins over an earlier one."""

    def fits(self, dataset: str, model: str, variant: str) -> bool:
        """Return whether these settings are for a cell with these labels."""
        places = ((self.datasets, dataset), (self.models, model), (self.variants, variant))
        return all(not labels or label in labels for labels, label in places)


class SpaceEntry(Config):
    """What a setting may be in the search: a range `low` to `high`, or `choices`."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    """Whether the range is searched by orders of magnitude."""
    integer: bool = False
    """Whether only whole numbers are tried."""
    choices: tuple[bool | int | float | str, ...] = ()

    @model_validator(mode="after")
    def _one_of_both(self) -> SpaceEntry:
        is_range = self.low is not None and self.high is not None
        if is_range == bool(self.choices):
            raise ValueError("give either low and high, or choices")
        if is_range and not (self.low or 0) < (self.high or 0):
            raise ValueError("low must be below high")
        if self.log and not (self.low or 0) > 0:
            raise ValueError("a logarithmic range must begin above 0")
        return self


class SearchSection(Config):
    """Section [search]: settings are chosen on validation, with the same budget for every variant."""

    trials: int = Field(0, ge=0)
    """Trials for each (data set, model, variant, initialisation); 0 for no search."""
    seed: int = Field(1_000_003, ge=0)
    """Of the search and of its trainings; another one than the study's seeds."""
    set: tuple[Setting, ...] = ()
    """Settings of every trial alone, such as "training.epochs=60": a cheaper budget, the same for all."""
    space: dict[str, SpaceEntry] = Field(default_factory=dict)
    """Setting -> what it may be, for every variant that has it; takes the place of the shipped space's entry."""
    spaces: dict[str, dict[str, SpaceEntry]] = Field(default_factory=dict)
    """Variant's label -> further entries of its own."""
    fixed: tuple[str, ...] = ()
    """Settings that are not searched, although a shipped space holds them."""


class SelectSection(Config):
    """Section [select]: only a part of the grid, by labels; empty for all."""

    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    initialisations: tuple[str, ...] = ()
    values: dict[str, tuple[JsonValue, ...]] = Field(default_factory=dict)
    """Label of a [[vary]] -> those of its values that are run; the others keep all of theirs."""


class ResourcesSection(Config):
    """Section [resources]: what the study may use at one time. It changes no result."""

    processes: int = runtime(1, ge=1)
    """Runs side by side."""
    threads_per_process: int | None = runtime(None, ge=1)
    """CPU threads of each; None for all cores divided by the processes."""
    memory_gib: float | None = runtime(None, gt=0)
    """Memory of all of them together: no run is started that is expected not to fit, by the peak of earlier ones
    of its kind."""


class StudyConfig(Config):
    """Everything that a study is made of."""

    study: StudySection
    base: dict[str, JsonValue] = Field(default_factory=dict)
    """The sections of a run's configuration that all cells start from, in place of `study.base`."""
    datasets: tuple[DatasetSection, ...] = ()
    """Empty for the base's own data."""
    models: tuple[ModelEntry, ...] = ()
    """Empty for the base's own model."""
    shared: dict[str, tuple[Setting, ...]] = Field(default_factory=dict)
    """Name -> settings that several variants have in common."""
    variants: tuple[VariantSection, ...] = Field(min_length=1)
    adjust: tuple[AdjustSection, ...] = ()
    vary: tuple[VarySection, ...] = ()
    search: SearchSection = SearchSection()
    select: SelectSection = SelectSection()
    resources: ResourcesSection = ResourcesSection()

    @field_validator("variants")
    @classmethod
    def _with_shared(
        cls, variants: tuple[VariantSection, ...], info: ValidationInfo
    ) -> tuple[VariantSection, ...]:
        """Put the shared settings before each variant's own: from here on a variant stands for itself."""
        if "shared" not in info.data:  # not valid, which is told already
            return variants
        shared: dict[str, tuple[str, ...]] = info.data["shared"]
        unknown = sorted({name for variant in variants for name in variant.shared} - shared.keys())
        if unknown:
            raise ValueError(f"[shared] has no {', '.join(unknown)}. Known here: {', '.join(shared) or 'nothing'}")
        return tuple(
            variant.model_copy(
                update={
                    "shared": (),
                    "set": (*chain.from_iterable(map(shared.__getitem__, variant.shared)), *variant.set),
                }
            )
            for variant in variants
        )

    @model_validator(mode="after")
    def _labels_differ(self) -> StudyConfig:
        families: dict[str, Any] = {"datasets": self.datasets, "models": self.models, "variants": self.variants}
        for family, entries in families.items():
            labels = [entry.label for entry in entries]
            doubled = sorted({label for label in labels if labels.count(label) > 1})
            if doubled:
                raise ValueError(f"{family}: labels must differ, and these are there twice: {', '.join(doubled)}")
        if len(set(self.study.seeds)) < len(self.study.seeds):
            raise ValueError("study.seeds must differ")
        if bool(self.base) == bool(self.study.base):
            raise ValueError("give either study.base (a name or a path) or a table [base], and not both")
        return self
