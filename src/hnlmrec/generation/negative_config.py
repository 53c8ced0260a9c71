"""The settings of the hard-negative stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hnlmrec.config import Config
from hnlmrec.generation.grounding import Outcome
from hnlmrec.generation.shortlists import ShortlistKind
from hnlmrec.llm.prompts import PromptTemplate

_PROMPTS = {"free": "hard_negative", "constrained": "hard_negative_constrained"}


class HardNegativesConfig(Config):
    """How many hard negatives are named, for what, and from which items."""

    mode: Literal["free", "constrained"] = "constrained"
    """"free": the model names any item, which is then looked up; "constrained": it chooses from a shortlist."""
    granularity: Literal["per_pair", "per_user"] = "per_pair"
    """For each sampled (user, train item) pair, or for each user whatever the item: |users| keys only."""
    k: int = Field(1, ge=1)
    """Negatives of each key. The second and later ones are asked for with the earlier ones ruled out."""
    max_pairs_per_user: int | None = Field(2, ge=1)
    """Per pair: how many train items of each user are drawn; None for all."""
    max_history: int = Field(5, ge=1)
    """Per user: how many train items the prompt shows."""
    shortlist: ShortlistKind = "random"
    """Constrained: where the candidates come from. Text neighbours of the positive are often false negatives."""
    shortlist_size: int = Field(5, ge=2)
    """Constrained: number of candidates."""
    shortlist_skip: int = Field(0, ge=0)
    """Constrained: how many of the best-ranked items are passed over, for a window of ranks."""
    max_characters: int = Field(80, ge=20)
    """Constrained: longest piece of a candidate's facts that the prompt shows."""
    prompt: str | None = None
    """Name of a prompt, or the path of an .md file of your own; None for the one of the mode."""
    fuzzy_threshold: float = Field(0.92, gt=0.0, le=1.0)
    """Free: least similarity of letters at which a name means a title."""
    cosine_threshold: float = Field(0.75, gt=0.0, le=1.0)
    """Free: least cosine of the text vectors at which a name means a title."""
    keep: tuple[Outcome, ...] = ("catalogue", "off_catalogue")
    """Which outcomes become vectors. A name outside the catalogue still is a point in the space of texts, as in
    the paper; a copy of the positive or an item that the user has would push a positive away."""

    def template(self) -> PromptTemplate:
        """Return the prompt; its fingerprint belongs into the key of what is made with it."""
        return PromptTemplate.load(self.prompt or _PROMPTS[self.mode])
