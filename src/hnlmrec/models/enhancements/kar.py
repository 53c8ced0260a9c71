"""KAR: knowledge vectors go through a hybrid-expert adaptor and are added to the vectors of users and items.

Yunjia Xi, Weiwen Liu, Jianghao Lin, Xiaoling Cai, Hong Zhu, Jieming Zhu, Bo Chen, Ruiming Tang, Weinan Zhang, Yong
Yu: "Towards Open-World Recommendation with Knowledge Augmentation from Large Language Models", RecSys 2024.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from hnlmrec.data.node_texts import NodeTexts
from hnlmrec.models.base import CFModel
from hnlmrec.models.enhancements.base import small_linear
from hnlmrec.models.enhancements.texts import TextEnhancement, TextEnhancementConfig


class KARConfig(TextEnhancementConfig):
    """Fields of KAR."""

    n_shared: int = Field(2, ge=1)
    """Experts that users and items share."""
    n_dedicated: int = Field(2, ge=1)
    """Experts of the users alone, and as many of the items alone."""
    expert_size: int = Field(32, ge=1)
    """Width of an expert's hidden layer."""


class KAR(TextEnhancement):
    """Layer-0 vectors e + adaptor(text): the sum over experts of gate_m(text) expert_m(text).

    An expert is a perceptron d_text -> expert_size -> d; the gate, one for users and one for items, is a softmax
    of a linear map of the text. The adaptor learns by the losses of the backbone alone.

    Departs from the paper, which predicts clicks from features: the adapted knowledge is no further input feature
    but is added to the layer-0 vector, so that a graph model smooths it with the rest and the score stays a dot
    product; a user and an item have one text vector each, in place of a user's reasoning and an item's facts from
    two prompts; a user without a profile stands at the mean text of its train items. Without text nothing is
    added. The L2 term is on the sum. The adaptor runs over all users and items in each step.

    Args:
        backbone: any CF model.
        config: see `KARConfig`.
        texts: vectors of all users and items.
        generator: for the adaptor's initial values.
    """

    Config = KARConfig

    def __init__(
        self, backbone: CFModel, config: KARConfig, texts: NodeTexts, *, generator: torch.Generator
    ) -> None:
        super().__init__(backbone, config, texts, generator=generator)
        size = backbone.user_embedding.shape[1]
        self.shared = _Experts(config.n_shared, texts.size, config.expert_size, size, generator)
        self.dedicated = nn.ModuleList(
            _Experts(config.n_dedicated, texts.size, config.expert_size, size, generator) for _ in range(2)
        )
        n = config.n_shared + config.n_dedicated
        gates = [small_linear(texts.size, n, generator) for _ in range(2)]
        self.gate_weights = nn.ParameterList(weight for weight, _ in gates)
        self.gate_biases = nn.ParameterList(bias for _, bias in gates)

    def layer_zero(self) -> tuple[Tensor, Tensor]:
        """Return the backbone's tables plus the adapted texts."""
        return (
            self.backbone.user_embedding + self.adapted(self.user_texts, 0),
            self.backbone.item_embedding + self.adapted(self.item_texts, 1),
        )

    def adapted(self, texts: Tensor, side: int) -> Tensor:
        """Return what is added to vectors of these texts: [n, d_text] -> [n, d]; side 0 is users, 1 items."""
        gate = functional.linear(texts, self.gate_weights[side], self.gate_biases[side]).softmax(dim=1)
        n = self.shared.n_experts
        mixed: Tensor = self.shared(texts, gate[:, :n]) + self.dedicated[side](texts, gate[:, n:])
        return mixed * texts.any(dim=1, keepdim=True)


class _Experts(nn.Module):
    """Several perceptrons of one shape as one: the gated sum of their outputs."""

    def __init__(self, n: int, n_in: int, hidden: int, n_out: int, generator: torch.Generator) -> None:
        super().__init__()
        self.n_experts = n
        self.hidden_weight, self.hidden_bias = small_linear(n_in, n * hidden, generator)
        self.out_weight, _ = small_linear(n * hidden, n_out, generator)

    def forward(self, texts: Tensor, gate: Tensor) -> Tensor:
        """[n, d_text], [n, experts] -> [n, d]."""
        hidden = functional.relu(functional.linear(texts, self.hidden_weight, self.hidden_bias))
        weighted = hidden.view(len(texts), self.n_experts, -1) * gate[:, :, None]
        return functional.linear(weighted.flatten(1), self.out_weight)
