"""The semantic alignment: one projection from text vectors into the space of the CF embeddings.

Item texts, user profiles and generated hard negatives go through the same projector, so that a text vector is a
point of the CF space from the first step (with `semantic_initialisation`, the very point an item starts from). The
projector learns by an alignment objective alone: one trained to lower the ranking loss learns to emit negatives
that are trivially easy, and the CF embeddings collapse with it. So whoever mixes projected vectors into negatives
detaches them, and `alignment_loss` detaches the CF embeddings.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy import linalg
from torch import Tensor, nn
from torch.nn import functional

from hnlmrec.config import Config
from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import DataError
from hnlmrec.models.base import xavier_uniform

_FIT_ROWS = 20_000  # enough to fit the components; bounds time and memory on a large catalogue
_CONTRAST_ROWS = 1_024  # of a batch: the similarities of all pairs grow with its square
INITIAL_STD = 0.1  # of CF embeddings made from text: METHOD found it good, and LightGCN's usual start
_NEARLY_ZERO = 1e-3  # an exact zero at the output would keep the gradient from the layers below it

ProjectorKind = Literal["pca", "linear", "mlp", "attention"]
AlignmentObjective = Literal["cosine", "mse", "contrastive"]
Doubles = npt.NDArray[np.float64]
MixingSchedule = Literal["constant", "linear", "beta"]


class AlignmentConfig(Config):
    """How text vectors are brought into the CF space."""

    projector: ProjectorKind = "linear"
    """`pca`: fixed principal components; `linear`: they are the start and are trained; `mlp`: plus a residual
    perceptron; `attention`: plus self-attention over the K vectors of one set before it."""
    whiten: bool = False
    """Give all components the same variance, in place of their own."""
    hidden_size: int = Field(128, ge=1)
    """Width of the hidden layer of `mlp` and `attention`."""
    objective: AlignmentObjective = "cosine"
    """What the projector learns by: 1 - cosine, or squared distance, between an item's projected text and its CF
    embedding; or InfoNCE, where the other items of the batch are its negatives."""
    temperature: float = Field(0.2, gt=0)
    """Temperature of the contrastive objective."""
    weight: float = Field(1.0, ge=0)
    """Weight of the alignment objective. It reaches the projector alone, never the CF embeddings."""


class SemanticProjector(nn.Module):
    """Maps text vectors [..., d_text] to points of the CF space [..., d].

    The start of every kind is the linear map onto the d leading principal components of the item texts, scaled to
    a standard deviation of 0.1 over all entries. Where the texts span fewer than d dimensions, the others start at
    zero, and alignment finds them (`pca` learns nothing and leaves them there). The other parts are residual and
    begin at nearly zero; there is no ReLU at the output, which would make every vector non-negative.

    Args:
        item_vectors: [n_items, d_text], text vectors of the items; a row of zeros is an item without text.
        size: d, length of a CF embedding.
        config: see `AlignmentConfig`.
        generator: for the random initial values of the residual parts.

    Raises:
        DataError: the item texts are all alike, or hold values that are not finite.
    """

    mean: Tensor  # [d_text]

    def __init__(
        self,
        item_vectors: npt.NDArray[np.floating],
        size: int,
        config: AlignmentConfig,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.config = config
        mean, components, self.rank = _principal_components(item_vectors, size, whiten=config.whiten)
        if not self.rank:
            raise DataError(
                f"the text vectors of the items (length {len(mean)}) are all alike, so no semantics can be had of "
                "them. Give the items texts that differ, or use another encoder."
            )
        self.register_buffer("mean", torch.from_numpy(mean))
        weight = nn.Parameter(torch.from_numpy(components), requires_grad=config.projector != "pca")
        self.weight = weight  # [d, d_text]
        self.attention = _SetAttention(size, generator) if config.projector == "attention" else None
        self.residual = (
            _Residual(size, config.hidden_size, generator) if config.projector in ("mlp", "attention") else None
        )

    @property
    def text_size(self) -> int:
        """Length d_text of a text vector."""
        return self.weight.shape[1]

    @property
    def size(self) -> int:
        """Length d of a CF embedding."""
        return self.weight.shape[0]

    @property
    def is_trainable(self) -> bool:
        """Whether the alignment objective has anything to learn."""
        return self.config.projector != "pca"

    def forward(self, vectors: Tensor, found: Tensor | None = None) -> Tensor:
        """Project text vectors.

        Args:
            vectors: [..., d_text]; for `attention`, [..., K, d_text] is read as sets of K.
            found: bool [..., K], the members of a set that are real; attention looks at no other. None for all.

        Returns:
            [..., d].
        """
        points = functional.linear(vectors - self.mean, self.weight)
        if self.attention is not None:
            points = self.attention(points, found)
        return points if self.residual is None else self.residual(points)


class _Residual(nn.Module):
    """x + W2 relu(W1 x + b1) + b2 on points of the CF space; W2 nearly zero at first."""

    def __init__(self, size: int, hidden_size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden = _linear(size, hidden_size, generator, std=(2.0 / size) ** 0.5 / INITIAL_STD)
        self.out = _linear(hidden_size, size, generator, std=_NEARLY_ZERO / hidden_size**0.5)

    def forward(self, points: Tensor) -> Tensor:
        correction: Tensor = self.out(functional.relu(self.hidden(points)))
        return points + correction


class _SetAttention(nn.Module):
    """x + W_o softmax(q k^T / sqrt(d)) v over the members of a set; W_o nearly zero at first."""

    def __init__(self, size: int, generator: torch.Generator) -> None:
        super().__init__()
        std = size**-0.5 / INITIAL_STD  # inputs have standard deviation 0.1
        # No biases: that of the keys would never learn, since a softmax ignores what all its entries share.
        self.query, self.key, self.value = (_linear(size, size, generator, std=std, bias=False) for _ in range(3))
        self.out = _linear(size, size, generator, std=_NEARLY_ZERO / size**0.5, bias=False)

    def forward(self, points: Tensor, found: Tensor | None) -> Tensor:
        if points.ndim < 3:  # single vectors are sets of one
            return self.forward(points.unsqueeze(-2), None).squeeze(-2)
        seen = None
        if found is not None:  # a member always sees itself, so that no row of the softmax is empty
            itself = torch.eye(points.shape[-2], dtype=torch.bool, device=points.device)
            seen = found[..., None, :] | itself
        mixed = functional.scaled_dot_product_attention(
            self.query(points), self.key(points), self.value(points), attn_mask=seen
        )
        correction: Tensor = self.out(mixed)
        return points + correction


def alignment_loss(
    projector: SemanticProjector, item_text: Tensor, item_cf: Tensor, items: Tensor | None = None
) -> Tensor:
    """Return the projector's objective, not weighted.

    Args:
        projector: its config chooses the objective.
        item_text: [B, d_text], or [S, K, d_text] for sets.
        item_cf: [B, d] or [S, K, d]; no gradient reaches it.
        items: int64 [B] or [S, K], item numbers, -1 for one that has no text and counts for nothing. With them the
            contrastive objective does not take an item that occurs twice for its own negative. None where all have
            a text and differ.

    Returns:
        Scalar; zero where nothing counts.
    """
    points: Tensor = projector(item_text).reshape(-1, projector.size)
    target = item_cf.detach().reshape(-1, projector.size)
    numbers = torch.arange(len(points), device=points.device) if items is None else items.reshape(-1)
    match projector.config.objective:
        case "cosine":
            terms = 1 - functional.cosine_similarity(points, target, dim=1)
        case "mse":
            terms = (points - target).square().sum(dim=1)
        case "contrastive":
            n = _CONTRAST_ROWS
            points, target, numbers = points[:n], target[:n], numbers[:n]
            terms = _contrast(points, target, numbers, projector.config.temperature)
    counted = numbers >= 0
    return torch.where(counted, terms, 0.0).sum() / counted.sum().clamp(min=1)


def _contrast(points: Tensor, target: Tensor, numbers: Tensor, temperature: float) -> Tensor:
    """Return each row's InfoNCE term, [B]; the other rows of the same item are no negatives of it."""
    logits = functional.normalize(points, dim=1) @ functional.normalize(target, dim=1).T / temperature
    own = torch.eye(len(points), dtype=torch.bool, device=points.device)
    allowed = own | ((numbers[:, None] != numbers) & (numbers >= 0))
    return -torch.log_softmax(logits.masked_fill(~allowed, -torch.inf), dim=1).diagonal()


def semantic_initialisation(
    item_vectors: npt.NDArray[np.floating],
    projector: SemanticProjector,
    train: Interactions,
    *,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return CF embeddings to start training from, (users [n_users, d], items [n_items, d]).

    Items are their projected texts; a user is the mean of its train items with text. An item without text (a row
    of zeros) is the mean of its train users. What neither rule reaches (a cold item without text, a user without
    any item with text) lies at zero, the mean of all texts. Both tables are scaled to a standard deviation of 0.1.

    In dimensions that the texts do not span, rows have the values of a random start (Xavier): two embeddings that
    are both zero in one would never leave it.

    Args:
        item_vectors: [n_items, d_text].
        projector: as it is at the start of training.
        train: the only interactions read.
        generator: of the random values.
    """
    device = projector.mean.device
    with torch.no_grad():
        parts = [projector(torch.from_numpy(part).to(device)).cpu() for part in _chunks(item_vectors)]
    items = torch.cat(parts).numpy()
    known = has_text(item_vectors)
    items[~known] = 0.0
    pairs = train.to_scipy()
    users = pairs @ items / np.maximum(pairs @ known.astype(np.float32), 1.0)[:, None]
    reached = (pairs.T @ users) / np.maximum(train.item_degrees, 1)[:, None]
    items[~known] = reached[~known]
    start = _scaled(users), _scaled(items)
    rank, size = projector.rank, projector.size
    for table in start:
        if rank < size:
            table[:, rank:] = xavier_uniform((len(table), size), generator)[:, rank:]
    return start


def mixing_weight(
    schedule: MixingSchedule,
    alpha: float,
    *,
    epoch: int,
    warmup_epochs: int,
    shape: tuple[int, ...],
    rng: torch.Generator,
) -> Tensor:
    """Return the share alpha of the hard negative in each mix, float32 of this shape.

    Args:
        schedule: `constant`; `linear`, which rises to alpha over the first `warmup_epochs` epochs; `beta`, drawn
            anew for each pair from Beta(a, 1) with a = alpha / (1 - alpha), whose mean is alpha.
        alpha: in [0, 1].
        epoch: 0, 1, …
        warmup_epochs: of the linear schedule.
        shape: of the result.
        rng: for the beta schedule; the result is on its device.
    """
    if schedule == "beta" and 0 < alpha < 1:
        uniform = torch.rand(shape, generator=rng, device=rng.device)
        return uniform.pow((1 - alpha) / alpha)  # the inverse of the distribution function x^a
    share = min(1.0, (epoch + 1) / max(warmup_epochs, 1)) if schedule == "linear" else 1.0
    return torch.full(shape, alpha * share, device=rng.device)


def _principal_components(
    vectors: npt.NDArray[np.floating], size: int, *, whiten: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], int]:
    """Return the mean [d_text], the scaled components [size, d_text], zeros after the last, and their number."""
    mean, covariance = _moments(vectors)
    text_size = len(mean)
    leading = [max(text_size - size, 0), text_size - 1]
    variances, directions = linalg.eigh(covariance, subset_by_index=leading)  # ascending
    variances, directions = variances[::-1], directions[:, ::-1].T  # at most [size], [size, d_text]
    rank = int((variances > max(variances[0], 0.0) * 1e-9).sum())
    variances, directions = variances[:rank], directions[:rank]
    largest = np.abs(directions).argmax(axis=1)  # the sign of an eigenvector is arbitrary: fix it
    scale = np.sqrt(variances) if whiten else np.sqrt(np.full(rank, variances.sum() / size))
    components = np.zeros((size, text_size))
    components[:rank] = directions * (np.sign(directions[np.arange(rank), largest]) * INITIAL_STD / scale)[:, None]
    return mean.astype(np.float32), components.astype(np.float32), rank


def _moments(vectors: npt.NDArray[np.floating]) -> tuple[Doubles, Doubles]:
    """Return mean and covariance of the rows with text; of a regular selection where there are many."""
    rows = np.flatnonzero(has_text(vectors))
    rows = rows[:: 1 + len(rows) // _FIT_ROWS]
    texts = np.asarray(vectors[rows], dtype=np.float32)
    if not np.isfinite(texts).all():
        raise DataError("the item text vectors hold values that are not finite; encode the items again.")
    n = max(len(texts), 1)
    mean = texts.sum(axis=0, dtype=np.float64) / n
    covariance = np.zeros((len(mean), len(mean)))
    for part in _chunks(texts):
        centred = part - mean
        covariance += centred.T @ centred / n
    return mean, covariance


def has_text(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Return which rows are not zero: [n, d_text] -> bool [n]."""
    return np.concatenate([part.any(axis=1) for part in _chunks(vectors)] or [np.zeros(0, dtype=np.bool_)])


def _chunks(vectors: npt.NDArray[np.floating]) -> list[npt.NDArray[np.float32]]:
    return [vectors[at : at + 8192].astype(np.float32) for at in range(0, len(vectors), 8192)]


def _scaled(vectors: npt.NDArray[np.floating]) -> Tensor:
    std = vectors.std()
    return torch.from_numpy((vectors * (INITIAL_STD / std if std > 0 else 1.0)).astype(np.float32))


def _linear(n_in: int, n_out: int, generator: torch.Generator, *, std: float, bias: bool = True) -> nn.Linear:
    # On "meta" the layer draws no initial values of its own, which would take them from global randomness.
    layer: nn.Linear = nn.Linear(n_in, n_out, bias=bias, device="meta").to_empty(device=generator.device)
    with torch.no_grad():
        layer.weight.normal_(0.0, std, generator=generator)
        if bias:
            layer.bias.zero_()
    return layer
