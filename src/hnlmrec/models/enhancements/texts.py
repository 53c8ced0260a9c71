"""What the enhancements share that read a text vector of each user and item."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import torch
from torch import Tensor

from hnlmrec.data.node_texts import NodeTexts
from hnlmrec.models.base import CFModel
from hnlmrec.models.enhancements.base import Enhancement, EnhancementConfig, EnhancementResources


class TextEnhancementConfig(EnhancementConfig):
    """Fields of the enhancements that read text vectors."""

    profiles: bool = False
    """Let the LLM write profiles of all users and items, and encode these. False takes the text vectors as the run
    has them: with profiles where the source or another part of the run gives them, with titles and facts else."""


class TextEnhancement(Enhancement):
    """An enhancement that keeps the text vectors of all users and items.

    Args:
        backbone: any CF model.
        config: an instance of the class's own `Config`.
        texts: vectors of all users and items.
        generator: for the random initial values.
    """

    requires = ("texts",)
    user_texts: Tensor  # [n_users, d_text]
    item_texts: Tensor  # [n_items, d_text]

    @abstractmethod
    def __init__(self, backbone: CFModel, config: Any, texts: NodeTexts, *, generator: torch.Generator) -> None:
        super().__init__(backbone)
        self.register_buffer("user_texts", torch.from_numpy(texts.users), persistent=False)
        self.register_buffer("item_texts", torch.from_numpy(texts.items), persistent=False)

    @classmethod
    def build(
        cls,
        backbone: CFModel,
        config: EnhancementConfig,
        resources: EnhancementResources,
        *,
        generator: torch.Generator,
    ) -> Self:
        """Make the enhancement; it needs text vectors."""
        assert isinstance(config, cls.Config)
        resources.require(cls.__name__, *cls.requires)
        assert resources.texts is not None
        return cls(backbone, config, resources.texts, generator=generator)
