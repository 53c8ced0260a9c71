"""The new layers around the language model: soft tokens before, standardisation, heads and maps behind."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

_NEARLY_ZERO = 0.1


class SoftTokens(nn.Module):
    """CF vectors to vectors that stand in the place of token embeddings.

    A perceptron with biases, then layer normalisation and the scale of the model's own token embeddings. Without
    the biases the normalisation would hide a vector's length, which tells popularity.

    Args:
        size: d, of a CF vector.
        hidden_size: h, of a token embedding.
        n_tokens: soft tokens of each vector.
        cf_scale: CF vectors are divided by it.
        token_scale: root mean square of an entry of the token embeddings; the start of a trained factor.
    """

    def __init__(self, size: int, hidden_size: int, n_tokens: int, cf_scale: float, token_scale: float) -> None:
        super().__init__()
        self.hidden_size, self.cf_scale = hidden_size, cf_scale
        self.layers = nn.Sequential(
            nn.Linear(size, hidden_size), nn.GELU(), nn.Linear(hidden_size, n_tokens * hidden_size)
        )
        self.norm = nn.LayerNorm(hidden_size, elementwise_affine=False)
        self.factor = nn.Parameter(torch.tensor([token_scale]))  # DeepSpeed cannot spread a scalar

    def forward(self, vectors: Tensor) -> Tensor:
        """Map [S, d] to [S * n_tokens, h]."""
        tokens = self.layers(vectors / self.cf_scale).reshape(-1, self.hidden_size)
        return torch.as_tensor(self.norm(tokens.float()) * self.factor)


class Standardisation(nn.Module):
    """Takes away the mean of each kind of prompt, and divides by the standard deviation, entry by entry.

    Pooled hidden states of one template are nearly parallel (cosine 0.99 with SmolLM2-135M), and a few entries are
    a hundred times larger than the others; without this step a head has to unlearn that first. Mean and deviation
    are measured once, before the fine-tuning, and are not trained.

    Args:
        n_kinds: kinds of prompts.
        hidden_size: h.
    """

    centre: Tensor  # [n_kinds, h]
    scale: Tensor  # [n_kinds, h]

    def __init__(self, n_kinds: int, hidden_size: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(n_kinds, hidden_size))
        self.register_buffer("scale", torch.ones(n_kinds, hidden_size))

    def forward(self, pooled: Tensor, kinds: Tensor) -> Tensor:
        """Map [B, h], whose rows are of the kinds int64 [B], to [B, h]."""
        return (pooled - self.centre[kinds]) / self.scale[kinds]

    def fit(self, pooled: Tensor, kind: int) -> None:
        """Measure pooled vectors of one kind, [n, h], n at least 2."""
        self.centre[kind] = pooled.mean(dim=0)
        deviation = pooled.std(dim=0)
        self.scale[kind] = deviation.clamp(min=1e-3 * float(deviation.mean()) + 1e-12)


def make_head(kind: Literal["linear", "mlp"], hidden_size: int, size: int) -> nn.Module:
    """Return what maps [B, h] to [B, size]; no ReLU at the output, which would make all vectors non-negative."""
    if kind == "linear":
        return nn.Linear(hidden_size, size)
    return nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.GELU(), nn.Linear(hidden_size, size))


class Heads(nn.ModuleList):
    """A head of each kind of prompt.

    Args:
        n_kinds: kinds of prompts.
        kind, hidden_size, size: see `make_head`.
    """

    def __init__(self, n_kinds: int, kind: Literal["linear", "mlp"], hidden_size: int, size: int) -> None:
        super().__init__(make_head(kind, hidden_size, size) for _ in range(n_kinds))

    def forward(self, pooled: Tensor, kinds: Tensor) -> Tensor:
        """Map [B, h], whose rows are of the kinds int64 [B], to [B, size]."""
        answers = torch.stack([head(pooled) for head in self], dim=1)  # all, so that each has a gradient
        return answers[torch.arange(len(kinds), device=kinds.device), kinds]


class ResidualMaps(nn.Module):
    """What is added to a residual: linear maps of a prompt's CF vectors, of its kind, that begin at zero.

    Args:
        n_kinds: kinds of prompts.
        size: d, of a CF vector.
    """

    def __init__(self, n_kinds: int, size: int) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.zeros(n_kinds, size, size))
        self.chosen = nn.Parameter(torch.zeros(n_kinds, size, size))

    def forward(self, own: Tensor, chosen: Tensor, kinds: Tensor) -> Tensor:
        """Map [B, d] and [B, d], whose rows are of the kinds int64 [B], to [B, d]."""
        answers = torch.einsum("bd,kde->bke", own, self.own) + torch.einsum("bd,kde->bke", chosen, self.chosen)
        return answers[torch.arange(len(kinds), device=kinds.device), kinds]

    def forget_axes(self) -> None:
        """Keep of each map what holds in any rotation of the space: its mean over all of them, tr(W)/d times I.

        That is how far a query turns to its own vector, or away from the chosen item's.
        """
        with torch.no_grad():
            for maps in (self.own, self.chosen):
                identity = torch.eye(maps.shape[-1], device=maps.device)
                maps.copy_(maps.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None] * identity)


def begin_at_nearly_zero(head: nn.Module) -> None:
    """Shrink the last layer of a head; an exact zero would keep the gradient from what is below it."""
    last = [layer for layer in head.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.mul_(_NEARLY_ZERO)
        last.bias.zero_()
