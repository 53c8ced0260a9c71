"""Which settings of a variant are searched, and what they may be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hnlmrec.config import Config
from hnlmrec.errors import ConfigError
from hnlmrec.models.enhancements.spaces import ENHANCEMENT_SPACES
from hnlmrec.models.recommenders import RECOMMENDERS
from hnlmrec.models.spaces import MODEL_SPACES, RECOMMENDER_SPACES
from hnlmrec.negative_sampling import SAMPLERS
from hnlmrec.negative_sampling.spaces import SPACES
from hnlmrec.pipeline.config import RunConfig
from hnlmrec.search_space import Choice, Space, Span
from hnlmrec.studies.cells import JUDGE
from hnlmrec.studies.config import SearchSection, SpaceEntry, VariantSection
from hnlmrec.training.spaces import RECOGNISED_SPACE, TRAINING_SPACE


def search_space(
    config: RunConfig, variant: VariantSection, section: SearchSection, given: Iterable[str]
) -> dict[str, Span | Choice]:
    """Return setting -> what it may be.

    The shipped spaces of training, model, sampler and enhancement (or of the recommender), each widened to hold
    what the file sets, so that the first trial can be that; with the study file's entries, as they are, in their
    place or beside them; without what is set on purpose.

    Args:
        config: the variant's configuration.
        variant: of the study file.
        section: its section [search].
        given: settings ("KEY=VALUE") of the variant itself, by [[adjust]] and of the command line: these are not
            searched.

    Raises:
        ConfigError: `search.spaces` names a setting that the variant does not have.
    """
    if variant.recommender == JUDGE:
        return {}
    space = {key: entry.widened(current(config, key)) for key, entry in _shipped(config, variant).items()}
    space |= {key: _entry(entry) for key, entry in section.space.items() if _has(config, variant, key)}
    for key, entry in section.spaces.get(variant.label, {}).items():
        if not _has(config, variant, key):
            raise ConfigError(f"search.spaces: the variant {variant.label!r} has no setting {key!r}.")
        space[key] = _entry(entry)
    fixed = {text.partition("=")[0] for text in given} | set(section.fixed)
    return {key: entry for key, entry in sorted(space.items()) if key not in fixed}


def current(config: RunConfig, key: str) -> Any:
    """Return the value of a setting; "recommender.…" is of the compared recommender.

    Raises:
        KeyError: there is no such setting.
    """
    values = config.model_dump(mode="json")
    values["recommender"] = next(iter(values["compare"]["recommenders"]), {})
    for part in key.split("."):
        values = values[part]
    return values


def _shipped(config: RunConfig, variant: VariantSection) -> dict[str, Span | Choice]:
    families: Mapping[str, Space]
    if variant.recommender:
        families = {"recommender": RECOMMENDER_SPACES[variant.recommender]}
    else:
        judged = RECOGNISED_SPACE if config.training.needs_judge else {}
        enhancement = config.enhancement
        families = {
            "training": {**TRAINING_SPACE, **judged},
            "model": MODEL_SPACES[config.model.name],
            "sampler": SPACES[config.sampler.name],
            "enhancement": {} if enhancement is None else ENHANCEMENT_SPACES[enhancement.name],
        }
    return {f"{family}.{name}": entry for family, space in families.items() for name, entry in space.items()}


def _has(config: RunConfig, variant: VariantSection, key: str) -> bool:
    """Whether a variant has a setting: that of another sampler, or of trained models, is none of its own."""
    family, _, name = key.partition(".")
    if variant.recommender or family == "recommender":
        known: type[Config] | None = RECOMMENDERS[variant.recommender].Config if variant.recommender else None
        return family == "recommender" and known is not None and name in known.model_fields
    if family == "sampler":
        return name in SAMPLERS[config.sampler.name].Config.model_fields
    try:
        current(config, key)
    except (KeyError, TypeError):
        return False
    return True


def _entry(entry: SpaceEntry) -> Span | Choice:
    if entry.choices:
        return Choice(entry.choices)
    assert entry.low is not None
    assert entry.high is not None
    return Span(entry.low, entry.high, log=entry.log, integer=entry.integer)
