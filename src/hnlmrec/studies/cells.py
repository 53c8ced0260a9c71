"""A study file becomes cells: each one run's configuration and the node of its graph that holds its result."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hnlmrec.config import Config
from hnlmrec.errors import ConfigError, lookup
from hnlmrec.evaluation.metrics import METRICS
from hnlmrec.models import MODELS
from hnlmrec.models.recommenders import RECOMMENDERS
from hnlmrec.negative_sampling import SAMPLERS
from hnlmrec.negative_sampling.noise import NoiseSampler
from hnlmrec.negative_sampling.shuffled import ShuffledSampler
from hnlmrec.pipeline.build import experiments
from hnlmrec.pipeline.config import DEFAULT_NAMES, RunConfig
from hnlmrec.pipeline.shipped import build_run_config
from hnlmrec.reporting.study.inputs import NO_START
from hnlmrec.studies.config import DatasetSection, ModelEntry, StudyConfig, VariantSection, VarySection

JUDGE = "judge"
Values = dict[str, Any]
_SHOWN_ERRORS = 5


@dataclass(frozen=True)
class Place:
    """Where a cell stands in the grid.

    Attributes:
        dataset: label.
        model: label.
        variant: label.
        initialisation: "none" for a recommender without training.
        varied: label of the varied parameter; "" where none is.
        value: its value as text.
        seed: None where the result does not depend on it.
    """

    dataset: str
    model: str
    variant: str
    initialisation: str
    varied: str = ""
    value: str = ""
    seed: int | None = None

    @property
    def name(self) -> str:
        """The cell in words, for messages."""
        start = "" if self.initialisation == NO_START else f"+{self.initialisation}"
        varied = f" {self.varied}={self.value}" if self.varied else ""
        seed = "" if self.seed is None else f" seed {self.seed}"
        return f"{self.dataset} {self.model} {self.variant}{start}{varied}{seed}"

    @property
    def arm(self) -> Place:
        """What the search chooses settings for: the cell without seed and varied value."""
        return replace(self, varied="", value="", seed=None)


@dataclass(frozen=True)
class Cell:
    """One run: its place, its configuration, and the label of the node that measures it."""

    place: Place
    config: RunConfig
    target: str


class Grid:
    """Builds the cells of a study.

    Args:
        study: the file.
        base: sections of a run's configuration that all cells start from.
        bases: the same for the data sets that have their own, by label.
        overrides: settings of the command line, which win over all others.

    Raises:
        ConfigError: unknown labels, names or settings.
    """

    def __init__(
        self,
        study: StudyConfig,
        base: Mapping[str, Any],
        overrides: Sequence[str] = (),
        bases: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.study, self.overrides = study, tuple(overrides)
        self.datasets = study.datasets or (DatasetSection(label="data"),)
        self.bases = {entry.label: _shared((bases or {}).get(entry.label, base)) for entry in self.datasets}
        self.models = study.models or (ModelEntry(label=_model_name(base)),)
        _check_labels(study, self.datasets, self.models)
        self.profiles_are_written = {
            label: any(self._writes_profiles(values, variant) for variant in study.variants)
            for label, values in self.bases.items()
        }

    def arms(self) -> Iterator[tuple[Place, DatasetSection, ModelEntry, VariantSection]]:
        """Go through data sets, models, variants and initialisations, as far as they are selected."""
        chosen = self.study.select
        for dataset in _selected(self.datasets, chosen.datasets):
            for model in _selected(self.models, chosen.models):
                for variant in _selected(self.study.variants, chosen.variants):
                    if variant.models and model.label not in variant.models:
                        continue
                    for start in self._starts(variant):
                        yield Place(dataset.label, model.label, variant.label, start), dataset, model, variant

    def cells(self, chosen: Mapping[Place, Sequence[str]] | None = None) -> list[Cell]:
        """Return all cells.

        Args:
            chosen: settings that the search found, by arm.

        Raises:
            ConfigError: settings that no run can have, each told once.
        """
        found, problems = [], []
        for arm, dataset, model, variant in self.arms():
            for place, varied in self._grid(arm, variant):
                extra = [*(chosen or {}).get(arm, ()), *varied]
                try:
                    found.append(self.cell(place, dataset, model, variant, extra))
                except ConfigError as error:
                    problems.append(str(error))
        problems += [] if problems else _unmeasured(found, self.study.study.metrics)
        if problems:
            raise ConfigError("\n".join(list(dict.fromkeys(problems))[:_SHOWN_ERRORS]))
        if not found:
            raise ConfigError("no cell of the study is selected: look at [select] and at the labels of the file.")
        return found

    def cell(
        self,
        place: Place,
        dataset: DatasetSection,
        model: ModelEntry,
        variant: VariantSection,
        extra: Iterable[str] = (),
    ) -> Cell:
        """Build one cell; `extra` are settings after those of the variant and before the command line's."""
        where = f"variant {variant.label!r} with model {model.label!r} on {dataset.label!r}"
        values = self._values(dataset, model, variant)
        settings = [*dataset.set, *model.set, *self.own_settings(dataset, model, variant)]
        settings += self._transfer(dataset, variant, values)
        settings += [*extra, *self.overrides, *self._seed(place)]
        if place.initialisation != NO_START:
            settings.append(f"initialisation={json.dumps(place.initialisation)}")
        own = [text.removeprefix("recommender.") for text in settings if text.startswith("recommender.")]
        settings = [text for text in settings if not text.startswith("recommender.")]
        if own and not variant.recommender:
            raise ConfigError(f"{where}: {own[0]!r} is for a recommender, and the variant has a sampler.")
        if variant.recommender and variant.recommender != JUDGE:
            settings.append(f"compare.recommenders=[{_inline(variant.recommender, own)}]")
        if variant.recommender == JUDGE:
            settings.append("training.recognised_share=0.5")  # the graph then has a judge; nothing is trained
        config = build_run_config(values, settings, where)
        if self.study.search.trials and config.training.select_on == "test":
            raise ConfigError(f"{where}: a search is on validation, so training.select_on must be valid.")
        return Cell(place, config, _target(config, variant))

    def own_settings(self, dataset: DatasetSection, model: ModelEntry, variant: VariantSection) -> list[str]:
        """Return the settings of the variant, and those by which the study adjusts it on this data set."""
        labels = dataset.label, model.label, variant.label
        return [*variant.set, *(text for entry in self.study.adjust if entry.fits(*labels) for text in entry.set)]

    def _values(self, dataset: DatasetSection, model: ModelEntry, variant: VariantSection) -> Values:
        values: Values = json.loads(json.dumps(self.bases[dataset.label], default=str))
        values["name"] = self.study.study.name
        values["model"] = _model_section(values.get("model", {}), model)
        if variant.recommender:
            values["sampler"] = {"name": "uniform"}
        else:
            values["sampler"] = _sampler_section(values.get("sampler", {}), variant)
        if self.profiles_are_written[dataset.label] and not _needs_negatives(values["sampler"]["name"]):
            # The texts' vectors hold the profiles of the variant that writes them: for the others too, so that
            # the semantic initialisation and the judge are the same for all.
            values["negatives"] = "text"
            values["compare"] = {"samplers": [{"name": "semantic"}]}
        return values

    def _transfer(self, dataset: DatasetSection, variant: VariantSection, values: Values) -> list[str]:
        """Return the settings by which the LLM is fine-tuned on another data set; `values` get its base."""
        if variant.transfer_from in ("", dataset.label):
            return []
        source = next(entry for entry in self.datasets if entry.label == variant.transfer_from)
        values.setdefault("finetuning", {})["transfer_from"] = dict(self.bases[source.label].get("data", {}))
        settings = [text for text in (*source.set, *self.overrides) if text.startswith("data.")]
        return [f"finetuning.transfer_from.{text.removeprefix('data.')}" for text in settings]

    def _seed(self, place: Place) -> list[str]:
        if place.seed is None:
            return []
        return [f"training_seed={place.seed}" if self.study.study.vary == "training" else f"seed={place.seed}"]

    def _grid(self, arm: Place, variant: VariantSection) -> Iterator[tuple[Place, list[str]]]:
        study = self.study.study
        is_fixed = bool(variant.recommender) and study.vary == "training"
        seeds = (None,) if is_fixed else study.seeds
        points: list[tuple[str, str, list[str]]] = [("", "", [])]
        chosen = self.study.select.values
        points += [
            (vary.name, _text(value), [f"{vary.key}={json.dumps(value)}"])
            for vary in self.study.vary
            if not vary.variants or variant.label in vary.variants
            for value in chosen.get(vary.name, vary.values)
        ]
        for varied, value, settings in points:
            for seed in seeds:
                yield replace(arm, varied=varied, value=value, seed=seed), settings

    def _starts(self, variant: VariantSection) -> list[str]:
        if variant.recommender:
            return [NO_START]
        starts = variant.initialisations or self.study.study.initialisations
        chosen = self.study.select.initialisations
        return [start for start in starts if not chosen or start in chosen]

    def _writes_profiles(self, base: Mapping[str, Any], variant: VariantSection) -> bool:
        if variant.recommender or not _needs_negatives(_sampler_section({}, variant)["name"]):
            return False
        strategy = base.get("finetuning", {}).get("triplets", {}).get("strategy", "")
        settings = [*variant.set, *self.overrides]
        negatives = _set_value(settings, "negatives") or base.get("negatives", "text")
        strategy = _set_value(settings, "finetuning.triplets.strategy") or strategy
        return negatives == "text" or strategy == "llm_text"


def _check_labels(study: StudyConfig, datasets: Sequence[Any], models: Sequence[Any]) -> None:
    variants = {variant.label: variant for variant in study.variants}
    families: dict[str, Mapping[str, Any]] = {
        "data set": {dataset.label: dataset for dataset in datasets},
        "model": {model.label: model for model in models},
        "variant": variants,
    }
    chosen = study.select
    named = [("data set", name) for name in chosen.datasets] + [("model", name) for name in chosen.models]
    named += [("variant", name) for name in chosen.variants]
    named += [("variant", name) for vary in study.vary for name in vary.variants]
    named += [("data set", name) for entry in study.adjust for name in entry.datasets]
    named += [("model", name) for entry in study.adjust for name in entry.models]
    named += [("variant", name) for entry in study.adjust for name in entry.variants]
    named += [("variant", name) for name in study.search.spaces]
    named += [("model", name) for variant in study.variants for name in variant.models]
    named += [("data set", variant.transfer_from) for variant in study.variants if variant.transfer_from]
    if study.study.baseline:
        named.append(("variant", study.study.baseline))
    for family, name in named:
        lookup(families[family], name, f"{family} of the study")
    for variant in study.variants:
        if variant.sampler and variant.recommender:
            raise ConfigError(f"variant {variant.label!r} has both a sampler and a recommender: give one of them.")
        if variant.recommender and variant.recommender != JUDGE:
            lookup(RECOMMENDERS, variant.recommender, "recommender")
    _check_varied(study.vary, chosen.values)


def _unmeasured(cells: Sequence[Cell], metrics: Sequence[str]) -> list[str]:
    """Return what is wrong with the metrics, before days of training and not after them."""
    problems = []
    for evaluation in {
        cell.config.evaluation.model_dump_json(): cell.config.evaluation for cell in cells
    }.values():
        by_user = [name for name in evaluation.metrics if METRICS[name].per_user is not None]
        measured = [f"{name}@{k}" for k in evaluation.ks for name in by_user]
        missing = [name for name in metrics if name not in measured]
        if missing:
            problems.append(
                f"study.metrics: {', '.join(missing)} is not measured by user. Choose of: {', '.join(measured)}; "
                "evaluation.ks and evaluation.metrics say what is measured."
            )
    return problems


def _check_varied(varied: Sequence[VarySection], chosen: Mapping[str, Sequence[Any]]) -> None:
    names = [vary.name for vary in varied]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ConfigError(f"vary: {', '.join(doubled)} is there twice; join the values, or give other labels.")
    values = {vary.name: vary.values for vary in varied}
    for name, wanted in chosen.items():
        known = lookup(values, name, "varied setting of the study")
        unknown = [value for value in wanted if value not in known]
        if unknown:
            raise ConfigError(
                f"select.values: {name} has no value {', '.join(map(_text, unknown))}. "
                f"Choose of: {', '.join(map(_text, known))}."
            )


def _selected(entries: Sequence[Any], labels: Sequence[str]) -> list[Any]:
    return [entry for entry in entries if not labels or entry.label in labels]


def _shared(base: Mapping[str, Any]) -> Values:
    """Return the sections that cells take over from a base."""
    return {name: value for name, value in base.items() if name not in ("compare", "name")}


def _model_name(base: Mapping[str, Any]) -> str:
    return str(base.get("model", {}).get("name", DEFAULT_NAMES["model"]))


def _model_section(base: Mapping[str, Any], entry: ModelEntry) -> Values:
    """Return the base's section, without what another model does not have."""
    name = _set_value(entry.set, "model.name") or entry.name or entry.label
    return _kept(base, lookup(MODELS, name, "model").Config, name)


def _sampler_section(base: Mapping[str, Any], variant: VariantSection) -> Values:
    """Return the base's section where it is of the same sampler, or of the one that an ablation is of."""
    name = _set_value(variant.set, "sampler.name") or variant.sampler or variant.label
    kind = lookup(SAMPLERS, name, f"sampler of the variant {variant.label!r}")
    of_base = base.get("name", DEFAULT_NAMES["sampler"])
    if issubclass(kind, (NoiseSampler, ShuffledSampler)) and of_base in ("semantic", "hnlmrec"):
        return _kept(base, kind.Config, name)
    return {**(base if name == of_base else {}), "name": name}


def _kept(base: Mapping[str, Any], kind: type[Config], name: str) -> Values:
    """Return a section under another name, without the fields that are unknown there."""
    return {field: value for field, value in base.items() if field in kind.model_fields} | {"name": name}


def _set_value(settings: Iterable[str], key: str) -> str:
    """Return the text that the last of the settings gives to a key; "" where none does."""
    values = [text.partition("=")[2].strip(" \"'") for text in settings if text.startswith(f"{key}=")]
    return values[-1] if values else ""


def _needs_negatives(sampler: str) -> bool:
    return "hard_negatives" in SAMPLERS[sampler].requires


def _inline(name: str, settings: Iterable[str]) -> str:
    """Return a recommender's section as an inline table of TOML."""
    return "{" + ", ".join([f'name = "{name}"', *(text.replace("=", " = ", 1) for text in settings)]) + "}"


def _target(config: RunConfig, variant: VariantSection) -> str:
    if variant.recommender:
        return f"recommender/{variant.recommender}"
    return f"evaluate/{experiments(config)[0].label}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
